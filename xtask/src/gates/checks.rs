//! The gates that look at the code without running it.

use anyhow::{Context, Result, ensure};
use cargo_metadata::diagnostic::DiagnosticLevel;
use cargo_metadata::{Artifact, Message};

use super::gate::{Report, Verdict};
use crate::deny::{self, Advisories};
use crate::process::{self, Origin};
use crate::progress::Progress;
use crate::workspace::Workspace;
use crate::{docs, setup, tidy};

pub fn setup(workspace: &Workspace) -> Result<Report> {
    let report = setup::run(workspace)?;
    Ok(Report::check("cargo xtask setup", report.done, "steps"))
}

pub fn fmt(workspace: &Workspace) -> Result<Report> {
    let mut command = workspace.cargo();
    command.args(["fmt", "--all", "--", "--check", "-l"]);
    let finished = process::watch_all(&mut command)?;
    let files = rust_files(workspace)?;
    Ok(Report::check(process::describe(&command), files, "files")
        .failing_if(!finished.status.success(), || {
            "the files above are not formatted; run `cargo fmt --all`".to_owned()
        }))
}

pub fn clippy(workspace: &Workspace, features: Option<&str>) -> Result<Report> {
    let mut command = workspace.cargo();
    command.args(["clippy", "--workspace", "--all-targets"]);
    if let Some(features) = features {
        command.args(["--features", features]);
    }
    built_targets(
        workspace,
        command,
        &["--", "-D", "warnings"],
        "fix what clippy names above",
        |_| true,
    )
}

/// shm-cuda with each of its features alone: in the workspace somebody always wants all of them.
pub fn features(workspace: &Workspace) -> Result<Report> {
    let mut sum =
        Report::check("cargo clippy --package shm-cuda --lib, feature by feature", 0, "targets");
    for feature in ["", "pool", "share", "pool,share"] {
        let mut command = workspace.cargo();
        command.args(["clippy", "--package", "shm-cuda", "--lib"]);
        if !feature.is_empty() {
            command.args(["--features", feature]);
        }
        let advice =
            format!("fix what clippy names above, which it does with the features `{feature}`");
        let report =
            built_targets(workspace, command, &["--", "-D", "warnings"], &advice, |_| true)?;
        sum.count += report.count;
        if let Verdict::Failed(why) = report.verdict {
            sum.verdict = Verdict::Failed(why);
        }
    }
    Ok(sum)
}

pub fn deny(workspace: &Workspace) -> Result<Report> {
    let checked = deny::check(workspace)?;
    if let Advisories::Unknown(why) = &checked.advisories {
        println!("deny: known vulnerabilities were not looked for: {why}");
    }
    Ok(Report::check("cargo deny check licenses bans sources", checked.crates, "crates"))
}

pub fn rustdoc(workspace: &Workspace) -> Result<Report> {
    let mut command = workspace.cargo();
    command.args(["doc", "--workspace", "--no-deps"]);
    let mut flags = std::env::var("RUSTDOCFLAGS").unwrap_or_default();
    flags.push_str(" -D warnings");
    command.env("RUSTDOCFLAGS", flags.trim());
    // Crates that others need are checked too, which is not the same as documented.
    built_targets(workspace, command, &[], "fix what rustdoc names above", |artifact| {
        artifact.filenames.iter().any(|file| file.file_name() == Some("index.html"))
    })
}

pub fn docs(workspace: &Workspace) -> Result<Report> {
    let ran = "cargo xtask docs";
    Ok(match docs::build(workspace)? {
        docs::Built::Site(site) => Report::check(ran, site.pages, "pages"),
        docs::Built::Skipped(why) => Report::skipped(ran, why),
    })
}

pub fn tidy(workspace: &Workspace) -> Result<Report> {
    let report = tidy::run(workspace)?;
    Ok(Report::check("cargo xtask tidy", report.rules, "rules").failing_if(
        report.failures > 0,
        || {
            format!(
                "{} errors in {} files; each line above says what to do",
                report.failures, report.files
            )
        },
    ))
}

pub fn package(workspace: &Workspace) -> Result<Report> {
    let published: Vec<&str> = workspace
        .packages()
        .iter()
        // `publish = false` reads as an empty list of registries.
        .filter(|package| package.publish.as_ref().is_none_or(|list| !list.is_empty()))
        .map(|package| package.name.as_str())
        .collect();
    let mut command = workspace.cargo();
    command.args(["package", "--allow-dirty"]);
    for name in &published {
        command.args(["--package", name]);
    }
    forget_earlier_packages(workspace, &published)?;
    let finished = process::watch_all(&mut command)?;
    let packaged =
        finished.shown.iter().filter(|line| line.trim_start().starts_with("Packaged ")).count()
            as u64;
    let report = Report::check(process::describe(&command), packaged, "packages");
    Ok(report.failing_if(!finished.status.success() || packaged != published.len() as u64, || {
        format!(
            "{packaged} of {} packages could be packed and built from what they pack",
            published.len()
        )
    }))
}

/// Cargo builds what it has packed from a registry of its own below the target folder, and keeps what it
/// extracts and builds by path and version: what an earlier run has packed would be taken for what this
/// one packs.
fn forget_earlier_packages(workspace: &Workspace, published: &[&str]) -> Result<()> {
    let mut clean = workspace.cargo();
    clean.args(["clean", "--quiet"]);
    for name in published {
        clean.args(["--package", name]);
    }
    let status = clean.status().context("could not start cargo clean")?;
    ensure!(status.success(), "cargo clean ended with {status}");
    let home = std::env::var_os("CARGO_HOME").map(std::path::PathBuf::from);
    let Some(home) = home.or_else(|| std::env::home_dir().map(|home| home.join(".cargo"))) else {
        return Ok(());
    };
    for part in ["src", "cache"] {
        let Ok(registries) = std::fs::read_dir(home.join("registry").join(part)) else { continue };
        // Registries on disk have no host in front of the dash.
        let on_disk = registries
            .filter_map(|entry| entry.ok())
            .filter(|entry| entry.file_name().to_string_lossy().starts_with('-'));
        for registry in on_disk {
            for package in workspace.packages() {
                let stem = format!("{}-{}", package.name, package.version);
                let folder = registry.path().join(&stem);
                if folder.is_dir() {
                    std::fs::remove_dir_all(&folder)
                        .with_context(|| format!("could not remove {}", folder.display()))?;
                }
                let file = registry.path().join(format!("{stem}.crate"));
                if file.is_file() {
                    std::fs::remove_file(&file)
                        .with_context(|| format!("could not remove {}", file.display()))?;
                }
            }
        }
    }
    Ok(())
}

/// Runs a cargo command that answers in JSON and counts the targets of this workspace that it
/// checked. Targets that were checked before count too: cargo repeats their messages.
fn built_targets(
    workspace: &Workspace,
    mut command: std::process::Command,
    last_arguments: &[&str],
    advice: &str,
    counts: impl Fn(&Artifact) -> bool,
) -> Result<Report> {
    let ours: Vec<String> =
        workspace.packages().iter().map(|package| package.id.repr.clone()).collect();
    let mut targets = 0;
    let mut problems = 0;
    // What a person would type; the form of the messages is between cargo and this function.
    let ran = [&[process::describe(&command).as_str()], last_arguments].concat().join(" ");
    command.args(["--message-format", "json"]).args(last_arguments);
    let progress = Progress::spinner(&ran);
    let finished = process::watch(&mut command, progress, |_, origin, line| {
        if origin == Origin::Stderr {
            return Some(line.to_owned());
        }
        match serde_json::from_str::<Message>(line) {
            Ok(Message::CompilerArtifact(artifact)) => {
                if ours.contains(&artifact.package_id.repr) && counts(&artifact) {
                    targets += 1;
                }
                None
            }
            Ok(Message::CompilerMessage(message)) => {
                if matches!(
                    message.message.level,
                    DiagnosticLevel::Error | DiagnosticLevel::Warning
                ) {
                    problems += 1;
                }
                message.message.rendered
            }
            Ok(_) => None,
            Err(_) => Some(line.to_owned()),
        }
    })?;
    let mut report = Report::check(ran, targets, "targets");
    if !finished.status.success() {
        report.verdict = Verdict::Failed(format!("{problems} messages; {advice}"));
    }
    Ok(report)
}

/// The Rust files of the workspace: `cargo fmt --check` itself prints nothing when all is well.
fn rust_files(workspace: &Workspace) -> Result<u64> {
    let mut count = 0;
    for package in workspace.packages() {
        let folder = package.manifest_path.parent().context("a manifest lies in a folder")?;
        count += walkdir::WalkDir::new(folder)
            .into_iter()
            .filter_map(std::result::Result::ok)
            .filter(|entry| entry.path().extension().is_some_and(|kind| kind == "rs"))
            .count() as u64;
    }
    Ok(count)
}

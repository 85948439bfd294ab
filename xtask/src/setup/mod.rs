//! `cargo xtask setup`: everything a fresh machine with rustup and python3 needs.
//!
//! Each step says what it did, and does nothing where it was done before.

pub mod photos;

use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use cargo_metadata::semver::Version;

use crate::browser::{self, Browser};
use crate::cuda::{self, Profile};
use crate::deny;
use crate::docs::{self, Tools};
use crate::process;
use crate::python::Python;
use crate::python::venv::Change;
use crate::triton::{self, Fetched};
use crate::workspace::Workspace;
use photos::Photos;

/// Runs every step.
pub fn task(workspace: &Workspace) -> Result<ExitCode> {
    let report = run(workspace)?;
    println!("setup: {} steps done, {} skipped", report.done, report.skipped.len());
    Ok(ExitCode::SUCCESS)
}

/// How the steps went.
#[derive(Default)]
pub struct SetupReport {
    pub done: u64,
    /// Why each skipped step was skipped.
    pub skipped: Vec<String>,
}

/// Runs every step and reports.
pub fn run(workspace: &Workspace) -> Result<SetupReport> {
    let mut report = SetupReport::default();
    report.ok(&rust_version(workspace)?);
    for (component, subcommand) in [("rustfmt", "fmt"), ("clippy", "clippy")] {
        report.ok(&component_installed(workspace, component, subcommand)?);
    }
    report.ok(&crates_fetched(workspace)?);
    let simulated = cuda::simulated_driver(workspace, Profile::Debug)?;
    report.ok(&format!("simulated CUDA driver (sim) at {}", simulated.display()));
    let python = Python::ready(workspace)?;
    report.ok(&format!("test tools in .venv{}", unless_new(python.tools)));
    let wheel = python.wheel.path.file_name().unwrap_or_default().to_string_lossy();
    report.ok(&format!("{wheel} installed in .venv{}", unless_new(python.module)));
    deny::tool(workspace)?;
    report.ok("cargo-deny");
    match docs::tools(workspace)? {
        Tools::Ready(venv, change) => {
            let folder = venv.folder().display();
            report.ok(&format!("tools of the site in {folder}{}", unless_new(change)));
        }
        Tools::Skipped(why) => report.skip(why),
    }
    match photos::ensure(workspace)? {
        Photos::Ready { folder, count } => {
            report.ok(&format!("{count} photographs in {}", folder.display()));
        }
        Photos::Skipped(why) => report.skip(format!("photographs for the demo: {why}")),
    }
    match browser::ensure()? {
        Browser::Ready { path, version } => report.ok(&format!("{version} at {}", path.display())),
        Browser::Skipped(why) => report.skip(format!("browser for the live page: {why}")),
    }
    for (what, ensure) in triton::PARTS {
        match ensure(workspace)? {
            Fetched::Ready(text) => report.ok(&text),
            Fetched::Skipped(why) => report.skip(format!("{what}: {why}")),
        }
    }
    Ok(report)
}

impl SetupReport {
    fn ok(&mut self, what: &str) {
        println!("ok       {what}");
        self.done += 1;
    }

    fn skip(&mut self, why: String) {
        println!("SKIPPED: {why}");
        self.skipped.push(why);
    }
}

fn unless_new(change: Change) -> &'static str {
    match change {
        Change::Made => "",
        Change::Unchanged => ", as before",
    }
}

fn rust_version(workspace: &Workspace) -> Result<String> {
    let printed = process::ask(Command::new("rustc").arg("--version"))?;
    let found = parse_rustc_version(&printed)?;
    let needed = workspace
        .packages()
        .iter()
        .filter_map(|package| package.rust_version.as_ref())
        .max()
        .context("no package of the workspace has a `rust-version`; set it in Cargo.toml")?;
    check_rust_version(&found, needed)?;
    Ok(format!("Rust {found} (needs {needed})"))
}

fn parse_rustc_version(printed: &str) -> Result<Version> {
    printed.split_whitespace().nth(1).and_then(|version| Version::parse(version).ok()).with_context(
        || format!("`rustc --version` printed {printed:?}, which holds no version; reinstall Rust"),
    )
}

fn check_rust_version(found: &Version, needed: &Version) -> Result<()> {
    // A nightly of the needed release counts as that release.
    let released = Version::new(found.major, found.minor, found.patch);
    if released < *needed {
        bail!("Rust {found} is too old, {needed} is needed; run `rustup update stable`");
    }
    Ok(())
}

fn component_installed(workspace: &Workspace, component: &str, subcommand: &str) -> Result<String> {
    let version =
        |workspace: &Workspace| process::ask(workspace.cargo().args([subcommand, "--version"]));
    if let Ok(version) = version(workspace) {
        return Ok(version);
    }
    let mut add = Command::new("rustup");
    add.args(["component", "add", component]).current_dir(workspace.root());
    process::watch_all(&mut add).and_then(|finished| finished.expect_success(&add)).with_context(
        || format!("{component} is missing; install it with `rustup component add {component}`"),
    )?;
    version(workspace)
}

fn crates_fetched(workspace: &Workspace) -> Result<String> {
    let mut fetch = workspace.cargo();
    fetch.args(["fetch", "--locked"]);
    process::watch_all(&mut fetch)?.expect_success(&fetch).context(
        "the crates could not be fetched; check the network, and when Cargo.lock is out of \
             date run `cargo update --workspace` and commit it",
    )?;
    Ok("crates of Cargo.lock fetched".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_what_rustc_prints() {
        let version = parse_rustc_version("rustc 1.95.0 (59807616e 2026-04-14)").unwrap();
        assert_eq!(version, Version::new(1, 95, 0));
        let error = parse_rustc_version("command not found").unwrap_err();
        assert!(error.to_string().contains("command not found"), "{error}");
    }

    #[test]
    fn an_old_compiler_is_refused_with_both_versions() {
        let needed = Version::new(1, 89, 0);
        let error = check_rust_version(&Version::new(1, 88, 2), &needed).unwrap_err().to_string();
        assert!(error.contains("1.88.2") && error.contains("1.89.0"), "{error}");
        check_rust_version(&Version::new(1, 89, 0), &needed).unwrap();
        check_rust_version(&Version::parse("1.89.0-nightly").unwrap(), &needed).unwrap();
    }
}

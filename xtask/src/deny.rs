//! `cargo xtask deny`: every dependency has a licence that we allow, comes from crates.io, and is not
//! known to be vulnerable. The rules are in `deny.toml`; the tool is cargo-deny.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::process::{self, Finished};
use crate::workspace::Workspace;

/// The version that is installed where there is none.
const VERSION: &str = "0.20.2";

/// What needs no network beyond the crates themselves.
const OFFLINE: [&str; 3] = ["licenses", "bans", "sources"];

/// Checks, and looks for known vulnerabilities if their database can be had.
pub fn task(workspace: &Workspace) -> Result<ExitCode> {
    let checked = check(workspace)?;
    println!("deny: {} crates are as deny.toml wants them", checked.crates);
    match &checked.advisories {
        Advisories::None => println!("deny: none of them is known to be vulnerable"),
        Advisories::Unknown(why) => println!("SKIPPED: known vulnerabilities: {why}"),
    }
    Ok(ExitCode::SUCCESS)
}

/// What was checked.
pub struct Checked {
    pub crates: u64,
    pub advisories: Advisories,
}

/// Whether vulnerabilities are known.
pub enum Advisories {
    None,
    /// The database could not be had, and why.
    Unknown(String),
}

/// Checks. A crate that breaks a rule is an error.
pub fn check(workspace: &Workspace) -> Result<Checked> {
    let tool = tool(workspace)?;
    let mut rules = command(&tool, workspace);
    rules.args(["check", "--hide-inclusion-graph"]).args(OFFLINE);
    let finished = process::watch_all(&mut rules)?;
    if !finished.status.success() {
        bail!("a dependency breaks a rule of deny.toml; the lines above name it");
    }
    let mut list = command(&tool, workspace);
    list.args(["list", "--format", "json", "--layout", "crate"]);
    let crates = listed(&process::ask(&mut list)?)?;
    Ok(Checked { crates, advisories: advisories(&tool, workspace)? })
}

fn advisories(tool: &Path, workspace: &Workspace) -> Result<Advisories> {
    let mut known = command(tool, workspace);
    known.args(["check", "--hide-inclusion-graph", "advisories"]);
    let finished = process::watch_all(&mut known)?;
    match verdict(&finished) {
        Ok(()) => Ok(Advisories::None),
        Err(None) => bail!("a dependency is known to be vulnerable; the lines above name it"),
        Err(Some(why)) => Ok(Advisories::Unknown(why)),
    }
}

/// Tells a finding from a database that cannot be fetched, which is the machine's network.
fn verdict(finished: &Finished) -> Result<(), Option<String>> {
    if finished.status.success() {
        return Ok(());
    }
    Err(unfetched(&finished.shown))
}

fn unfetched(lines: &[String]) -> Option<String> {
    let told = |line: &&String| line.contains("fetch advisory database");
    lines.iter().find(told).map(|_| "the database of advisories could not be fetched".to_owned())
}

/// cargo-deny: the person's own, or one in `target/tools`, which is built if need be.
pub fn tool(workspace: &Workspace) -> Result<PathBuf> {
    let installed = PathBuf::from("cargo-deny");
    if process::ask(Command::new(&installed).arg("--version")).is_ok() {
        return Ok(installed);
    }
    let root = workspace.target_dir().join("tools");
    let built = root.join("bin").join("cargo-deny");
    let found = process::ask(Command::new(&built).arg("--version"));
    if found.is_ok_and(|version| version.ends_with(VERSION)) {
        return Ok(built);
    }
    let mut install = workspace.cargo();
    // Without optimisation it is built in half the time, and it runs for seconds.
    install
        .args(["install", "cargo-deny", "--version", VERSION, "--locked", "--force", "--debug"])
        .arg("--root")
        .arg(&root)
        // It is no part of the workspace and must not build into its folders.
        .env_remove("CARGO_TARGET_DIR");
    process::watch_all(&mut install)?
        .expect_success(&install)
        .context("cargo-deny could not be built; install it with `cargo install cargo-deny`")?;
    Ok(built)
}

fn command(tool: &Path, workspace: &Workspace) -> Command {
    let mut command = Command::new(tool);
    command.current_dir(workspace.root()).env("NO_COLOR", "1");
    command
}

/// How many crates a list holds.
fn listed(json: &str) -> Result<u64> {
    let list: serde_json::Value =
        serde_json::from_str(json).context("the list of cargo-deny is no JSON")?;
    let crates = list.as_object().context("the list of cargo-deny is no object")?.len();
    Ok(crates as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_are_counted() {
        assert_eq!(listed(r#"{"a 1.0": {"licenses": ["MIT"]}, "b 2.0": {}}"#).unwrap(), 2);
        for wrong in ["", "[]", "3"] {
            assert!(listed(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_database_that_cannot_be_fetched_is_told_from_a_vulnerable_crate() {
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        assert!(unfetched(&lines("[ERROR] failed to fetch advisory database x\n")).is_some());
        assert!(unfetched(&lines("error[vulnerability]: a crate\nadvisories FAILED")).is_none());
    }
}

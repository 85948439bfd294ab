//! `cargo xtask loom`: every loom model of the crates that have lock-free protocols.

use std::process::{Command, ExitCode};

use anyhow::{Result, bail};

use crate::flags::LoomArgs;
use crate::test_run::{self, TestRun};
use crate::workspace::Workspace;

/// The crates that have models. Each of them has to run some.
const CRATES: [&str; 2] = ["shm-core", "shm-pool"];

/// Runs the models and says how many there were.
pub fn task(workspace: &Workspace, args: &LoomArgs) -> Result<ExitCode> {
    let run = run(workspace, args)?;
    if !run.status.success() {
        bail!(
            "{} of {} loom models failed; the failing schedule is printed above",
            run.counts.failed,
            run.counts.ran()
        );
    }
    println!("loom: {} models hold in {}", run.counts.passed, CRATES.join(" and "));
    Ok(ExitCode::SUCCESS)
}

/// Runs the models of each crate, up to the first that fails.
pub fn run(workspace: &Workspace, args: &LoomArgs) -> Result<TestRun> {
    let mut run = each(workspace, args, CRATES[0])?;
    for name in &CRATES[1..] {
        if run.status.success() {
            run = run.and(each(workspace, args, name)?);
        }
    }
    Ok(run)
}

fn each(workspace: &Workspace, args: &LoomArgs, name: &str) -> Result<TestRun> {
    workspace.package(name)?;
    let run = test_run::run(&mut command(workspace, args, name))?;
    if run.status.success() && run.counts.ran() == 0 {
        bail!(
            "no loom model of {name} ran; their tests must be named `loom_...` and lie behind \
             cfg(loom)"
        );
    }
    Ok(run)
}

/// The command that runs the models of a crate. It has a target folder of its own, because
/// `--cfg loom` reaches every crate and would make each ordinary build start over.
fn command(workspace: &Workspace, args: &LoomArgs, name: &str) -> Command {
    let mut flags = std::env::var("RUSTFLAGS").unwrap_or_default();
    if !flags.is_empty() {
        flags.push(' ');
    }
    flags.push_str("--cfg loom");
    let mut command = workspace.cargo();
    command
        .args(["test", "--package", name, "--release", "--lib"])
        .arg("--target-dir")
        .arg(workspace.target_dir().join("loom"))
        .arg("loom_")
        .env("RUSTFLAGS", flags)
        .env("LOOM_MAX_PREEMPTIONS", args.max_preemptions.to_string());
    command
}

//! `cargo xtask loom`: every loom model of shm-core.

use std::process::{Command, ExitCode};

use anyhow::{Result, bail};

use crate::flags::LoomArgs;
use crate::test_run::{self, TestRun};
use crate::workspace::Workspace;

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
    if run.counts.ran() == 0 {
        bail!("no loom model ran; their tests must be named `loom_...` and lie behind cfg(loom)");
    }
    println!("loom: {} models hold", run.counts.passed);
    Ok(ExitCode::SUCCESS)
}

/// The command that runs the models. It has a target folder of its own, because `--cfg loom`
/// reaches every crate and would make each ordinary build start over.
pub fn command(workspace: &Workspace, args: &LoomArgs) -> Command {
    let mut flags = std::env::var("RUSTFLAGS").unwrap_or_default();
    if !flags.is_empty() {
        flags.push(' ');
    }
    flags.push_str("--cfg loom");
    let mut command = workspace.cargo();
    command
        .args(["test", "--package", "shm-core", "--release", "--lib"])
        .arg("--target-dir")
        .arg(workspace.target_dir().join("loom"))
        .arg("loom_")
        .env("RUSTFLAGS", flags)
        .env("LOOM_MAX_PREEMPTIONS", args.max_preemptions.to_string());
    command
}

/// Runs the models.
pub fn run(workspace: &Workspace, args: &LoomArgs) -> Result<TestRun> {
    workspace.package("shm-core")?;
    test_run::run(&mut command(workspace, args))
}

//! The program `report` of shm-benches, which reads, draws and compares what the suites wrote. It is a
//! program of its own so that this one needs nothing that draws.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::flags::ReportTask;
use crate::process;
use crate::workspace::Workspace;

/// Runs it with the words of the person, in the folder of the person, and ends as it ends.
pub(super) fn pass_on(workspace: &Workspace, task: &ReportTask) -> Result<ExitCode> {
    let (name, args) = match task {
        ReportTask::Compare(args) => ("compare", args),
        ReportTask::Tables(args) => ("tables", args),
        ReportTask::Draw(args) => ("draw", args),
    };
    let mut command = Report::build(workspace)?.command(name, &args.words);
    let status = command.status().context("could not start the program `report`")?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

/// The program.
pub(super) struct Report {
    path: PathBuf,
    root: PathBuf,
}

impl Report {
    /// Builds it.
    pub(super) fn build(workspace: &Workspace) -> Result<Report> {
        let mut build = workspace.cargo();
        build.args([
            "build",
            "--quiet",
            "--release",
            "--package",
            "shm-benches",
            "--bin",
            "report",
        ]);
        // Nothing of it may stand in the output before a comparison as JSON.
        let status = build.stdout(Stdio::null()).status().context("could not start cargo")?;
        if !status.success() {
            bail!("`{}` ended with {status}", process::describe(&build));
        }
        let path = workspace.target_dir().join("release").join("report");
        Ok(Report { path, root: workspace.root().to_owned() })
    }

    /// Has it make one file of what a run of all suites came to.
    pub(super) fn join(&self, outcome: &Value, out: &Path) -> Result<()> {
        let mut command = self.command("join", &["--out".into(), out.into()]);
        // It asks git for the commit.
        command.current_dir(&self.root).stdin(Stdio::piped());
        let mut child = command.spawn().context("could not start the program `report`")?;
        let mut input = child.stdin.take().context("the program `report` has no input")?;
        input.write_all(outcome.to_string().as_bytes()).context("`report` does not listen")?;
        drop(input);
        let status = child.wait().context("could not wait for the program `report`")?;
        if !status.success() {
            bail!("`{}` ended with {status}", process::describe(&command));
        }
        Ok(())
    }

    /// Has it draw a run.
    pub(super) fn draw(&self, run: &Path, folder: &Path) -> Result<()> {
        let mut command = self.command("draw", &[run.into(), "--out".into(), folder.into()]);
        let status = command.status().context("could not start the program `report`")?;
        if !status.success() {
            bail!("`{}` ended with {status}", process::describe(&command));
        }
        Ok(())
    }

    fn command(&self, task: &str, words: &[OsString]) -> Command {
        let mut command = Command::new(&self.path);
        command.arg(task).args(words);
        command
    }
}

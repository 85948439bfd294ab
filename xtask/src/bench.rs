//! `cargo xtask bench`: the measurements of shm-benches and those of the Python package, one suite or
//! all, and what is made of the files that they write.

mod all;
mod contenders;
mod report;

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::flags::{BenchArgs, Suite};
use crate::process;
use crate::progress;
use crate::python::{Python, peers};
use crate::workspace::Workspace;

/// Runs one suite, or all, or has stored runs made into something.
pub fn task(workspace: &Workspace, args: &BenchArgs) -> Result<ExitCode> {
    if let Some(task) = &args.task {
        return report::pass_on(workspace, task);
    }
    match (args.suite.context("no suite is named; `cargo xtask bench --help` lists them")?, args) {
        (Suite::All, BenchArgs { json: Some(file), .. }) => bail!(
            "`all` writes one file of all suites: say --out {} in place of --json",
            file.display()
        ),
        (Suite::All, _) => all::run(workspace, args.out.as_deref(), args.quick),
        (_, BenchArgs { out: Some(file), .. }) => {
            bail!("one suite writes its report: say --json {} in place of --out", file.display())
        }
        (suite, _) => {
            for suite in suites(suite) {
                run(workspace, suite, args.json.as_deref(), args.quick)?;
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Runs one suite to its end.
fn run(workspace: &Workspace, suite: &str, json: Option<&Path>, quick: bool) -> Result<()> {
    let mut command = command(workspace, suite, json, quick)?;
    println!("$ {}", process::describe(&command));
    // The suite talks to the person directly: it knows best how far it is.
    let status = command.status().context("could not start the suite")?;
    if !status.success() {
        bail!("the suite `{suite}` ended with {status}");
    }
    if let Some(file) = json {
        println!("bench: {} rows of `{suite}` in {}", rows(file)?, file.display());
    }
    Ok(())
}

/// The suites that a word of the command line stands for.
pub fn suites(suite: Suite) -> Vec<&'static str> {
    match suite {
        Suite::Copy => vec!["copy"],
        Suite::Stream => vec!["stream"],
        Suite::Pool => vec!["pool"],
        Suite::Cuda => vec![CUDA],
        Suite::Share => vec![SHARE],
        Suite::Py => vec![PY],
        Suite::Triton => vec![TRITON],
        Suite::All => vec!["copy", "stream", "pool", CUDA, SHARE, PY, TRITON],
    }
}

/// The suite that is a Python program.
const PY: &str = "py";

/// The suite that needs a GPU or the simulated driver.
pub const CUDA: &str = "cuda";

/// The suite that also measures our Python package, and beside it another.
const SHARE: &str = "share";

/// The suite that needs servers and other clients.
const TRITON: &str = "triton";

/// The command that runs one suite.
pub fn command(
    workspace: &Workspace,
    suite: &str,
    json: Option<&Path>,
    quick: bool,
) -> Result<Command> {
    workspace.package("shm-benches")?;
    // The suite runs in another folder than the one in which the person typed the path.
    let json = json.map(std::path::absolute).transpose()?;
    let mut command = match suite {
        PY => python_suite(workspace, json.as_deref())?,
        TRITON => {
            let mut command = rust_suite(workspace, suite, json.as_deref());
            contenders::provide(workspace, &mut command)?;
            command
        }
        CUDA => {
            let mut command = rust_suite(workspace, suite, json.as_deref());
            contenders::of_cuda(workspace, &mut command)?;
            command
        }
        SHARE => {
            let mut command = rust_suite(workspace, suite, json.as_deref());
            contenders::of_share(workspace, &mut command);
            command
        }
        _ => rust_suite(workspace, suite, json.as_deref()),
    };
    if quick {
        command.arg("--quick");
    }
    if !progress::interactive() {
        command.env("CI", "1");
    }
    Ok(command)
}

fn rust_suite(workspace: &Workspace, suite: &str, json: Option<&Path>) -> Command {
    let mut command = workspace.cargo();
    command.args(["bench", "--package", "shm-benches", "--bench", suite, "--"]);
    if let Some(file) = json {
        command.arg("--json").arg(file);
    }
    command
}

/// It measures our module beside the one it replaces, each in an environment of its own, and
/// draws what it measured beside the rows.
fn python_suite(workspace: &Workspace, json: Option<&Path>) -> Result<Command> {
    let ours = Python::ready(workspace)?.venv;
    let json = match json {
        Some(file) => file.to_path_buf(),
        None => {
            let folder = workspace.target_dir().join("bench-py");
            fs::create_dir_all(&folder)
                .with_context(|| format!("could not create {}", folder.display()))?;
            folder.join("py.json")
        }
    };
    let mut command = ours.python();
    command
        .arg(Path::new("benches").join(PY).join("bench.py"))
        .arg("--json")
        .arg(&json)
        .arg("--svg")
        .arg(json.with_extension("svg"))
        .current_dir(workspace.root());
    for version in peers::VERSIONS {
        let python = peers::interpreter(workspace, &ours, version)?;
        command.arg("--peer").arg(format!("{version}={}", python.display()));
    }
    Ok(command)
}

/// How many rows a suite wrote. A file without rows is an error.
pub fn rows(file: &Path) -> Result<u64> {
    let text = fs::read_to_string(file)
        .with_context(|| format!("the suite wrote no {}; does it know --json?", file.display()))?;
    count_rows(&text).with_context(|| format!("{} is no report of a suite", file.display()))
}

fn count_rows(text: &str) -> Result<u64> {
    let report: Value = serde_json::from_str(text).context("it is no JSON")?;
    let rows = report.get("rows").and_then(Value::as_array).context("it has no array `rows`")?;
    if rows.is_empty() {
        bail!("its `rows` are empty");
    }
    Ok(rows.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_counted() {
        assert_eq!(count_rows("{\"machine\":1,\"rows\":[{},{},{}]}").unwrap(), 3);
    }

    #[test]
    fn no_rows_are_an_error() {
        for text in ["", "[1, 2]", "{\"rows\":[]}", "{\"rows\":3}", "{\"a\":1}", "thread panicked"]
        {
            assert!(count_rows(text).is_err(), "{text:?}");
        }
    }
}

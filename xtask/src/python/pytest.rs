//! `cargo xtask py`: the Python tests, and running pytest so that its results can be counted.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::venv::Venv;
use super::{PACKAGE, Python};
use crate::cuda::{self, Profile};
use crate::flags::PyArgs;
use crate::process;
use crate::progress::Progress;
use crate::serve::SERVER;
use crate::test_run::TestCounts;
use crate::workspace::Workspace;

/// Runs the tests of the package; pytest talks to the person itself.
pub fn task(workspace: &Workspace, args: &PyArgs) -> Result<ExitCode> {
    let python = Python::ready(workspace)?;
    let mut command = package_tests(workspace, &python.venv)?;
    command.args(&args.pytest);
    let run = run(workspace, command, Progress::lines)?;
    let counts = run.counts();
    println!("py: {} passed, {} failed, {} skipped", counts.passed, counts.failed, counts.ignored);
    match run.trouble() {
        Some(why) => bail!("{why}"),
        None => Ok(ExitCode::SUCCESS),
    }
}

/// The command that runs the tests of the package. The inference server that some of them talk to is
/// built for them, and so is the simulated CUDA driver.
pub fn package_tests(workspace: &Workspace, venv: &Venv) -> Result<Command> {
    let mut command = command(venv);
    command.arg(Path::new(PACKAGE).join("tests")).current_dir(workspace.root());
    command.env(SERVER_VARIABLE, server(workspace)?);
    command.env(SIMULATED_VARIABLE, cuda::simulated_driver(workspace, Profile::Debug)?);
    Ok(command)
}

/// Tells the tests where the server is.
const SERVER_VARIABLE: &str = "SHM_ZOO_SERVE";

/// Tells the tests where the simulated CUDA driver is.
const SIMULATED_VARIABLE: &str = "SHM_CUDA_SIM_LIBRARY";

/// The embedded inference server with the test models.
fn server(workspace: &Workspace) -> Result<PathBuf> {
    let mut build = workspace.cargo();
    build.args(["build", "--release", "--package", "shm-zoo", "--bin", SERVER]);
    process::watch_all(&mut build)?
        .expect_success(&build)
        .context("the server that the tests talk to could not be built")?;
    Ok(workspace.target_dir().join("release").join(SERVER))
}

/// A pytest that ends a test that hangs and leaves no cache behind.
pub fn command(venv: &Venv) -> Command {
    let mut command = venv.python();
    command
        .args(["-m", "pytest", "-p", "no:cacheprovider"])
        .args(["--timeout", &ONE_TEST.as_secs().to_string()])
        .args(["--durations", "25", "--durations-min", "2"]);
    command
}

/// How long one test may take.
const ONE_TEST: Duration = Duration::from_secs(120);

/// How long a whole run may take: several times what it takes on two slow processors. A test that hangs
/// ends by itself, so this is for an interpreter that does.
const LIMIT: Duration = Duration::from_secs(45 * 60);

/// How one test ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    Passed,
    /// How the failure reads, in one line.
    Failed(String),
    /// Why.
    Skipped(String),
    /// Left out by the command line.
    Deselected,
    /// It was to be run, and nothing was heard of it.
    Unfinished,
}

/// What a run of pytest did.
pub struct PytestRun {
    /// By the test's own name, in which the files are relative to the folder of the run.
    pub ends: BTreeMap<String, End>,
    pub status: ExitStatus,
    pub killed_after: Option<Duration>,
    /// Everything that pytest printed.
    pub printed: Vec<String>,
}

/// Runs a [`command`] to its end, which is bounded, and hears how each test ended.
pub fn run(
    workspace: &Workspace,
    mut command: Command,
    progress: impl FnOnce(&str) -> Progress,
) -> Result<PytestRun> {
    let outcomes = listen(workspace, &mut command)?;
    let progress = progress(&process::describe(&command));
    let finished =
        process::watch_within(&mut command, LIMIT, progress, |_, _, line| Some(line.to_owned()))?;
    let text = fs::read_to_string(&outcomes)
        .with_context(|| format!("could not read {}", outcomes.display()))?;
    Ok(PytestRun {
        ends: ends(&text)?,
        status: finished.status,
        killed_after: finished.killed_after,
        printed: finished.shown,
    })
}

impl PytestRun {
    /// The tests by how they ended. A test of which nothing was heard has failed.
    pub fn counts(&self) -> TestCounts {
        let mut counts = TestCounts::default();
        for end in self.ends.values() {
            match end {
                End::Passed => counts.passed += 1,
                End::Failed(_) | End::Unfinished => counts.failed += 1,
                End::Skipped(_) => counts.ignored += 1,
                End::Deselected => {}
            }
        }
        counts
    }

    /// What is wrong with the run as a whole.
    pub fn trouble(&self) -> Option<String> {
        let counts = self.counts();
        if let Some(limit) = self.killed_after {
            return Some(format!("pytest was killed after {} s", limit.as_secs()));
        }
        if counts.failed > 0 {
            return Some(format!("{} of {} tests failed", counts.failed, counts.ran()));
        }
        (!self.status.success())
            .then(|| format!("no test failed, but pytest ended with {}", self.status))
    }
}

/// The plugin that tells how tests end; the name of its file is that of a module.
const PLUGIN: (&str, &str) = ("xtask_outcomes", include_str!("outcomes.py"));

/// Loads the plugin into the command. Returns the file that it will write.
fn listen(workspace: &Workspace, command: &mut Command) -> Result<PathBuf> {
    let folder = workspace.target_dir().join("pytest");
    fs::create_dir_all(&folder)
        .with_context(|| format!("could not create {}", folder.display()))?;
    let (module, source) = PLUGIN;
    let plugin = folder.join(module).with_extension("py");
    fs::write(&plugin, source).with_context(|| format!("could not write {}", plugin.display()))?;
    let outcomes = folder.join("outcomes.jsonl");
    fs::write(&outcomes, "").with_context(|| format!("could not write {}", outcomes.display()))?;
    let mut path = vec![folder];
    let asked = command.get_envs().find(|(name, _)| *name == "PYTHONPATH").and_then(|(_, to)| to);
    path.extend(asked.map(std::env::split_paths).into_iter().flatten());
    let path = std::env::join_paths(path).context("the path of the workspace holds a colon")?;
    command.args(["-p", module]).env("PYTHONPATH", path).env("XTASK_OUTCOMES", &outcomes);
    Ok(outcomes)
}

#[derive(Deserialize)]
struct Event {
    test: String,
    event: String,
    why: String,
}

/// Adds up what happened to each test: a failure in any phase is the test's failure.
fn ends(lines: &str) -> Result<BTreeMap<String, End>> {
    let mut ends = BTreeMap::new();
    for line in lines.lines() {
        let Ok(Event { test, event, why }) = serde_json::from_str(line) else {
            // Only a killed run leaves half a line, and its tests count as unfinished.
            continue;
        };
        let end = match event.as_str() {
            "collected" => End::Unfinished,
            "passed" => End::Passed,
            "failed" => End::Failed(why),
            "skipped" => End::Skipped(why),
            "deselected" => End::Deselected,
            _ => bail!("the pytest plugin told of an unknown event: {line}"),
        };
        let known = ends.entry(test).or_insert(End::Unfinished);
        if !matches!(known, End::Failed(_)) {
            *known = end;
        }
    }
    Ok(ends)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(test: &str, event: &str, why: &str) -> String {
        format!("{{\"test\":\"{test}\",\"event\":\"{event}\",\"why\":\"{why}\"}}\n")
    }

    #[test]
    fn the_phases_of_a_test_add_up() {
        let text = [
            line("a", "collected", ""),
            line("b", "collected", ""),
            line("c", "collected", ""),
            line("d", "deselected", ""),
            line("a", "passed", ""),
            line("b", "passed", ""),
            // Its teardown.
            line("b", "failed", "left open"),
        ]
        .concat();
        let ends = ends(&text).unwrap();
        let expected = [
            ("a", End::Passed),
            ("b", End::Failed("left open".to_owned())),
            ("c", End::Unfinished),
            ("d", End::Deselected),
        ];
        assert_eq!(ends, expected.map(|(test, end)| (test.to_owned(), end)).into());
    }

    #[test]
    fn a_run_that_was_cut_off_counts_what_it_told() {
        let text = line("a", "collected", "") + "{\"test\":\"a\",\"ev";
        let ends = ends(&text).unwrap();
        assert_eq!(ends["a"], End::Unfinished);
    }

    #[test]
    fn events_that_nobody_knows_are_an_error() {
        assert!(ends(&line("a", "exploded", "")).is_err());
    }

    fn run_of(ends: &[(&str, End)], script: &str) -> PytestRun {
        PytestRun {
            ends: ends.iter().map(|(test, end)| ((*test).to_owned(), end.clone())).collect(),
            status: Command::new("sh").args(["-c", script]).status().unwrap(),
            killed_after: None,
            printed: Vec::new(),
        }
    }

    #[test]
    fn a_test_that_was_never_heard_of_has_failed() {
        let run = run_of(
            &[("a", End::Passed), ("b", End::Unfinished), ("c", End::Skipped("no GPU".into()))],
            "exit 139",
        );
        assert_eq!(run.counts(), TestCounts { passed: 1, failed: 1, ignored: 1 });
        assert_eq!(run.trouble().unwrap(), "1 of 2 tests failed");
    }

    #[test]
    fn a_status_without_a_failed_test_is_trouble_too() {
        let run = run_of(&[("a", End::Passed)], "exit 4");
        assert!(run.trouble().unwrap().contains("pytest ended with"));
        assert_eq!(run_of(&[("a", End::Passed)], "exit 0").trouble(), None);
    }
}

//! The bundle, tried as on another machine: a copy elsewhere, no cargo, no variables of ours, the
//! simulated driver.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::Bundle;
use crate::bench;
use crate::process;
use crate::progress::Progress;
use crate::python::{Python, peers};
use crate::test_run::TestCounts;
use crate::workspace::Workspace;

/// Longer than all of it takes, and short enough to end what hangs.
const LIMIT: Duration = Duration::from_secs(30 * 60);

/// Runs the tests and the bench of a copy. Returns the tests; a failing bench is an error.
pub fn run(workspace: &Workspace, bundle: &Bundle) -> Result<TestCounts> {
    let place = Elsewhere::copy(&bundle.folder)?;
    // An interpreter with NumPy and without pytest, as the other machine's may be.
    let ours = Python::ready(workspace)?.venv;
    let python = peers::interpreter(workspace, &ours, peers::VERSIONS[0])?;

    let mut tests = place.command("run-tests", &python);
    let shown = finish(tests.arg("--sim"))?;
    let without_pytest = shown.iter().find(|line| line.contains("pytest does not start"));
    if let Some(line) = without_pytest {
        bail!("the pytest of the bundle is not whole: {line}");
    }
    let last = shown.last().map(String::as_str).unwrap_or_default();
    let counts = counts(last).with_context(|| format!("run-tests ended with the line {last:?}"))?;

    let json = place.folder.join("rows.json");
    let mut measure = place.command("run-bench", &python);
    finish(measure.args(["--sim", "--quick", "--json"]).arg(&json))?;
    println!("gpu bundle: {} rows of `{}` on sim", bench::rows(&json)?, bench::CUDA);
    Ok(counts)
}

/// A copy outside of the workspace, which goes when this does.
struct Elsewhere {
    folder: PathBuf,
}

impl Elsewhere {
    fn copy(bundle: &Path) -> Result<Self> {
        let name = format!("shm-gpu-bundle-{}", std::process::id());
        let place = Self { folder: std::env::temp_dir().join(name) };
        let mut copy = Command::new("cp");
        copy.arg("-R").arg(bundle).arg(&place.folder);
        process::ask(&mut copy)?;
        Ok(place)
    }

    fn command(&self, program: &str, python: &Path) -> Command {
        let mut command = Command::new(self.folder.join(program));
        command.env_clear().env("PATH", PATH).env("PYTHON", python).current_dir(&self.folder);
        command
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        // What is left in the folder for temporary files goes with it.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Holds a shell and no cargo.
const PATH: &str = "/usr/bin:/bin";

fn finish(command: &mut Command) -> Result<Vec<String>> {
    for folder in std::env::split_paths(PATH) {
        ensure!(!folder.join("cargo").exists(), "there is a cargo in {}", folder.display());
    }
    let progress = Progress::spinner(&process::describe(command));
    let finished =
        process::watch_within(command, LIMIT, progress, |_, _, line| Some(line.to_owned()))?;
    finished.expect_success(command)?;
    Ok(finished.shown)
}

/// Reads the line that ends the tests: `3 passed, 0 failed, 1 skipped`.
fn counts(line: &str) -> Result<TestCounts> {
    let mut counts = TestCounts::default();
    for part in line.split(", ") {
        let (number, word) = part.split_once(' ').context("it counts nothing")?;
        let place = match word {
            "passed" => &mut counts.passed,
            "failed" => &mut counts.failed,
            "skipped" => &mut counts.ignored,
            _ => bail!("it counts `{word}`"),
        };
        *place = number.parse().context("it has no number")?;
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_read() {
        let expected = TestCounts { passed: 12, failed: 0, ignored: 3 };
        assert_eq!(counts("12 passed, 0 failed, 3 skipped").unwrap(), expected);
        for line in ["", "passed", "many passed", "3 rows", "Killed"] {
            assert!(counts(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_copy_goes_with_its_end() {
        let bundle = tempfile::tempdir().unwrap();
        std::fs::write(bundle.path().join("run-tests"), "").unwrap();
        let place = Elsewhere::copy(bundle.path()).unwrap();
        let folder = place.folder.clone();
        assert!(folder.join("run-tests").exists());
        drop(place);
        assert!(!folder.exists());
    }
}

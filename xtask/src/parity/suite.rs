//! Running the tests of one suite, and hearing how each ended.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::release::{Release, Suite};
use super::table::{self, Difference};
use super::verdict::{self, Row, Verdict};
use crate::progress::Progress;
use crate::python::Python;
use crate::python::pytest::{self, End};
use crate::workspace::Workspace;

/// A suite that is about to run.
pub struct Run<'a> {
    pub release: &'a Release,
    pub suite: &'a Suite,
    /// The name of the folder that it runs in, which is made.
    pub folder: &'a str,
    /// What the tests find in their environment.
    pub environment: &'a [(&'static str, PathBuf)],
    /// Tests that are not to be started.
    pub not_run: &'a [Difference],
}

/// What came of it.
pub struct Ended {
    /// By the test's name without the folder.
    pub tests: BTreeMap<String, End>,
    /// What is wrong with the run and not with one test.
    pub faults: Vec<Row>,
}

impl Run<'_> {
    /// Runs it to its end.
    pub fn start(&self, workspace: &Workspace, python: &Python) -> Result<Ended> {
        let folder = self.release.lay_out(self.suite, self.folder, workspace, &python.venv)?;
        let mut command = self.command(python, &folder);
        for test in self.not_run.iter().flat_map(|difference| difference.tests) {
            command.arg("--deselect").arg(Path::new(TESTS).join(test));
        }
        command.args(self.suite.files.iter().map(|file| Path::new(TESTS).join(file)));
        let run = pytest::run(workspace, command, Progress::spinner)?;
        let mut tests: BTreeMap<String, End> = run
            .ends
            .iter()
            // Those without the mark are another suite's.
            .filter(|(_, end)| self.suite.marked.is_none() || **end != End::Deselected)
            .map(|(test, end)| (strip_folder(test).to_owned(), end.clone()))
            .collect();
        for (test, end) in &mut tests {
            self.try_again(workspace, python, &folder, test, end)?;
        }
        let mut faults = Vec::new();
        if let Some(limit) = run.killed_after {
            faults.push(of_the_run(format!("pytest was killed after {} s", limit.as_secs())));
        }
        if tests.len() != self.suite.tests {
            faults.push(of_the_run(format!(
                "{} tests were found, {} are known",
                tests.len(),
                self.suite.tests
            )));
            run.printed.iter().for_each(|line| println!("{line}"));
        }
        Ok(Ended { tests, faults })
    }

    /// The command that runs tests in that folder.
    fn command(&self, python: &Python, folder: &Path) -> Command {
        let mut command = pytest::command(&python.venv);
        // The later number of seconds is the one that counts: these tests are short.
        command.args(["-q", "--tb=no", "--no-summary", "--timeout", "60"]);
        command.args(self.suite.marked.iter().flat_map(|marked| ["-m", *marked]));
        // The children that the tests start find the alias there too.
        command.env("PYTHONPATH", folder.join("src")).current_dir(folder);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Gives a test that failed for want of speed a few more chances.
    fn try_again(
        &self,
        workspace: &Workspace,
        python: &Python,
        folder: &Path,
        test: &str,
        end: &mut End,
    ) -> Result<()> {
        for _ in 0..CHANCES {
            let Some(why) = verdict::too_slow(table::TIMED, test, end) else {
                break;
            };
            println!("again    {test}: {why}");
            let mut command = self.command(python, folder);
            command.arg(Path::new(TESTS).join(test));
            let run = pytest::run(workspace, command, Progress::spinner)?;
            *end = run.ends.into_values().next().unwrap_or(End::Unfinished);
        }
        Ok(())
    }
}

/// How often a test that needs some speed is tried again.
const CHANCES: u32 = 5;

/// Where the tests lie, in the folder of the run.
const TESTS: &str = "tests";

fn strip_folder(test: &str) -> &str {
    test.strip_prefix(TESTS).map_or(test, |rest| rest.trim_start_matches('/'))
}

/// Something that is wrong with the run and not with one test.
pub fn of_the_run(why: String) -> Row {
    Row { test: "the run".to_owned(), verdict: Verdict::Failed(why) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_no_part_of_a_test_name() {
        assert_eq!(strip_folder("tests/test_a.py::b[x]"), "test_a.py::b[x]");
        assert_eq!(strip_folder("test_a.py::b"), "test_a.py::b");
    }
}

//! `cargo xtask parity shared-tensor`: what shared-tensor 0.2.16 documents and its tests check, one behaviour
//! after the other, each with the test of ours that shows it or the reason why there is none.
//!
//! Its source archive holds no tests, and those of its repository start the server in the client's own
//! process, where nothing crosses a socket. Ours are written anew, import `shared_tensor`, which is our
//! module there, and talk to a server in another process wherever it matters.

mod judge;
mod table;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::cuda::{self, Profile};
use crate::progress::Progress;
use crate::python::{PACKAGE, Python, pytest};
use crate::test_run::TestCounts;
use crate::workspace::Workspace;
use judge::{Sum, judge};

/// How each behaviour was found.
pub struct Report {
    sum: Sum,
    /// What is wrong with the run as a whole.
    fault: Option<String>,
}

impl Report {
    /// The behaviours as tests: those that need a GPU are skipped ones.
    pub fn tests(&self) -> TestCounts {
        self.sum.tests()
    }

    /// What breaks the promise.
    pub fn trouble(&self) -> Option<String> {
        let broken = self.sum.failed > 0 || self.sum.passed == 0;
        let of_the_table = broken.then(|| {
            format!(
                "shared-tensor: {}; the lines FAIL above name them (the table is \
                 xtask/src/parity/shared_tensor/table)",
                self.sum
            )
        });
        of_the_table.or_else(|| self.fault.clone())
    }
}

/// Runs the tests that the table names, and lists every behaviour.
pub fn run(workspace: &Workspace) -> Result<Report> {
    let python = Python::ready(workspace)?;
    let sources = lay_out(workspace)?;
    let mut command = pytest::command(&python.venv);
    command.args(["-q", "--tb=short", "--no-summary"]).current_dir(workspace.root());
    // The servers that the tests start find the alias there too.
    command.env("PYTHONPATH", sources);
    command.env("SHM_CUDA_SIM_LIBRARY", cuda::simulated_driver(workspace, Profile::Debug)?);
    command.args(table::files().map(|file| Path::new(PACKAGE).join("tests/share").join(file)));
    let run = pytest::run(workspace, command, Progress::spinner)?;
    let lines = judge(&table::all(), &run.ends);
    lines.iter().for_each(|line| println!("{line}"));
    let sum = Sum::of(&lines);
    let fault = run.trouble();
    if fault.is_some() || sum.failed > 0 {
        run.printed.iter().for_each(|line| println!("{line}"));
    }
    println!("parity: shared-tensor 0.2.16: {sum}");
    Ok(Report { sum, fault })
}

/// Makes the folder in which `shared_tensor` is found.
fn lay_out(workspace: &Workspace) -> Result<PathBuf> {
    let folder = workspace.target_dir().join("parity").join("shared-tensor").join("src");
    fs::create_dir_all(&folder)
        .with_context(|| format!("could not create {}", folder.display()))?;
    let alias = folder.join("shared_tensor.py");
    fs::write(&alias, include_str!("alias.py"))
        .with_context(|| format!("could not write {}", alias.display()))?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_and_runs_of_nothing_break_the_promise() {
        let of = |sum: Sum, fault: Option<&str>| Report { sum, fault: fault.map(str::to_owned) };
        let good = Sum { passed: 3, differs: 2, ..Sum::default() };
        assert_eq!(of(good, None).trouble(), None);
        assert!(of(Sum { failed: 1, ..good }, None).trouble().unwrap().contains("1 failed"));
        assert!(of(Sum::default(), None).trouble().is_some());
        assert_eq!(of(good, Some("killed")).trouble().unwrap(), "killed");
    }

    #[test]
    fn no_behaviour_is_there_twice() {
        let mut names: Vec<&str> = table::all().iter().map(|behaviour| behaviour.what).collect();
        names.sort_unstable();
        let twice = names.windows(2).find(|pair| pair[0] == pair[1]);
        assert_eq!(twice, None);
    }

    #[test]
    fn the_tests_of_the_table_are_in_its_files() {
        // Those that are not would fail one by one.
        let lines = judge(&table::all(), &Default::default());
        let named = lines.iter().filter_map(|line| match &line.verdict {
            judge::Verdict::Failed(why) => why.strip_prefix("there is no test "),
            _ => None,
        });
        let files: Vec<&str> = table::files().collect();
        let mut count = 0;
        for test in named {
            let file = test.split("::").next();
            assert!(file.is_some_and(|file| files.contains(&file)), "{test}");
            count += 1;
        }
        assert!(count > 100, "{count}");
    }
}

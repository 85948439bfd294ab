//! `cargo xtask parity pyshmem`: the tests of pyshmem itself, run against our module.
//!
//! All tests of 1.0.1 have to pass, for that is the release the package replaces. Of 1.4.0 those
//! have to pass that only use what is public and that ask for nothing we changed on purpose; the
//! others stand in `table`, each with its reason.

mod release;
mod table;
mod verdict;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Result, bail};

use crate::flags::{ParityArgs, Peer};
use crate::progress::Progress;
use crate::python::Python;
use crate::python::pytest::{self, End};
use crate::workspace::Workspace;
use release::Release;
use table::Difference;
use verdict::{Row, Sum, Verdict};

/// Runs the tests of the releases and lists how each ended.
pub fn task(workspace: &Workspace, args: &ParityArgs) -> Result<ExitCode> {
    let report = match args.peer {
        Peer::Pyshmem => run(workspace)?,
    };
    match report.trouble() {
        Some(why) => bail!("{why}"),
        None => Ok(ExitCode::SUCCESS),
    }
}

/// How the tests of each release ended.
pub struct Parity {
    pub releases: Vec<(&'static str, Sum)>,
}

impl Parity {
    /// What breaks the promise.
    pub fn trouble(&self) -> Option<String> {
        let broken: Vec<String> = self
            .releases
            .iter()
            .filter(|(_, sum)| sum.tests().failed > 0 || sum.passed == 0)
            .map(|(version, sum)| format!("pyshmem {version}: {sum}"))
            .collect();
        (!broken.is_empty()).then(|| {
            format!(
                "{}; the lines FAIL and TABLE above name the tests (the table is \
                 xtask/src/parity/table.rs)",
                broken.join("; ")
            )
        })
    }
}

/// Runs the tests of the releases, lists how each ended, and counts them.
pub fn run(workspace: &Workspace) -> Result<Parity> {
    let python = Python::ready(workspace)?;
    let mut releases = Vec::new();
    for (release, different, not_run) in
        [(release::ORIGINAL, &[][..], &[][..]), (release::NEWEST, table::DIFFERENT, table::NOT_RUN)]
    {
        let rows = tests_of(workspace, &python, &release, different, not_run)?;
        for row in &rows {
            println!("{row}");
        }
        for (file, why) in release.left_out {
            println!("not run  {file}: {why}");
        }
        let sum = Sum::of(&rows);
        println!("parity: pyshmem {}: {sum}\n", release.version);
        releases.push((release.version, sum));
    }
    for (version, sum) in &releases {
        println!("parity: pyshmem {version}: {sum}");
    }
    Ok(Parity { releases })
}

fn tests_of(
    workspace: &Workspace,
    python: &Python,
    release: &Release,
    different: &[Difference],
    not_run: &[Difference],
) -> Result<Vec<Row>> {
    let folder = release.lay_out(workspace, &python.venv)?;
    let mut command = command(python, &folder);
    for test in not_run.iter().flat_map(|difference| difference.tests) {
        command.arg("--deselect").arg(Path::new(TESTS).join(test));
    }
    command.args(release.files.iter().map(|file| Path::new(TESTS).join(file)));
    let run = pytest::run(workspace, command, Progress::spinner)?;
    let mut ends: BTreeMap<String, End> =
        run.ends.iter().map(|(test, end)| (strip_folder(test).to_owned(), end.clone())).collect();
    for (test, end) in &mut ends {
        try_again(workspace, python, &folder, test, end)?;
    }
    let mut rows = verdict::judge(&ends, different, not_run);
    if let Some(limit) = run.killed_after {
        rows.push(of_the_run(format!("pytest was killed after {} s", limit.as_secs())));
    }
    if ends.len() != release.tests {
        rows.push(of_the_run(format!(
            "{} tests were found, {} are known",
            ends.len(),
            release.tests
        )));
        run.printed.iter().for_each(|line| println!("{line}"));
    }
    Ok(rows)
}

/// The command that runs tests of the release in that folder.
fn command(python: &Python, folder: &Path) -> Command {
    let mut command = pytest::command(&python.venv);
    // The later number of seconds is the one that counts: these tests are short.
    command.args(["-q", "--tb=no", "--no-summary", "--timeout", "60"]);
    // The children that the tests start find the alias there too.
    command.env("PYTHONPATH", folder.join("src")).current_dir(folder);
    command
}

/// Gives a test that failed for want of speed a few more chances.
fn try_again(
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
        let mut command = command(python, folder);
        command.arg(Path::new(TESTS).join(test));
        let run = pytest::run(workspace, command, Progress::spinner)?;
        *end = run.ends.into_values().next().unwrap_or(End::Unfinished);
    }
    Ok(())
}

/// How often a test that needs some speed is tried again.
const CHANCES: u32 = 5;

/// Where the tests lie, in the folder of the run.
const TESTS: &str = "tests";

fn strip_folder(test: &str) -> &str {
    test.strip_prefix(TESTS).map_or(test, |rest| rest.trim_start_matches('/'))
}

/// Something that is wrong with the run and not with one test.
fn of_the_run(why: String) -> Row {
    Row { test: "the run".to_owned(), verdict: Verdict::Failed(why) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_promise_is_broken_by_failures_stale_entries_and_by_nothing_having_run() {
        let of = |sum: Sum| Parity { releases: vec![("1.4.0", sum)] };
        let good = Sum { passed: 3, differ: 7, skipped: 1, ..Sum::default() };
        assert_eq!(of(good).trouble(), None);
        assert!(of(Sum { failed: 1, ..good }).trouble().unwrap().contains("1 failed"));
        assert!(of(Sum { out_of_date: 1, ..good }).trouble().unwrap().contains("table.rs"));
        assert!(of(Sum::default()).trouble().is_some());
    }

    #[test]
    fn a_test_is_named_in_the_table_once() {
        let mut names: Vec<&str> = table::DIFFERENT
            .iter()
            .chain(table::NOT_RUN)
            .chain(table::TIMED)
            .flat_map(|difference| difference.tests)
            .copied()
            .collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn the_folder_is_no_part_of_a_test_name() {
        assert_eq!(strip_folder("tests/test_a.py::b[x]"), "test_a.py::b[x]");
        assert_eq!(strip_folder("test_a.py::b"), "test_a.py::b");
    }
}

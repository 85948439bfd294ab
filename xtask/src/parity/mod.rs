//! `cargo xtask parity <package>`: what a package that we replace promises, held against our module.
//!
//! Of pyshmem the tests themselves are run; of shared-tensor, see `shared_tensor`.
//!
//! All tests of 1.0.1 have to pass, for that is the release the package replaces; its GPU tests run on
//! the simulated CUDA driver, except for those that compute on a device. Of 1.4.0 those have to pass
//! that only use what is public and that ask for nothing we changed on purpose. The others stand in
//! `table`, each with its reason.

mod device;
mod release;
pub mod shared_tensor;
mod sim_reports;
mod suite;
mod table;
mod verdict;

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::flags::{ParityArgs, Peer};
use crate::python::Python;
use crate::workspace::Workspace;
use release::Release;
use suite::Run;
use table::Difference;
use verdict::{Row, Sum};

/// Runs the tests of the releases and lists how each ended.
pub fn task(workspace: &Workspace, args: &ParityArgs) -> Result<ExitCode> {
    let trouble = match args.peer {
        Peer::Pyshmem => run(workspace)?.trouble(),
        Peer::SharedTensor => shared_tensor::run(workspace)?.trouble(),
    };
    match trouble {
        Some(why) => bail!("{why}"),
        None => Ok(ExitCode::SUCCESS),
    }
}

/// How the tests of each release ended.
pub struct Parity {
    pub releases: Vec<(String, Sum)>,
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
        for (file, why) in release.left_out {
            println!("not run  {file}: {why}");
        }
        let sum = list(release.version, &rows);
        releases.push((release.version.to_owned(), sum));
        if let Some(suite) = &release.device {
            let rows = device::tests_of(workspace, &python, &release, suite)?;
            let name = format!("{}, GPU tests on the simulated driver (sim)", release.version);
            let sum = list(&name, &rows);
            releases.push((name, sum));
        }
    }
    for (version, sum) in &releases {
        println!("parity: pyshmem {version}: {sum}");
    }
    Ok(Parity { releases })
}

/// The tests of streams in host memory.
fn tests_of(
    workspace: &Workspace,
    python: &Python,
    release: &Release,
    different: &[Difference],
    not_run: &[Difference],
) -> Result<Vec<Row>> {
    let suite = &release.host;
    let run = Run { release, suite, folder: release.version, environment: &[], not_run };
    let ended = run.start(workspace, python)?;
    let mut rows = verdict::judge(&ended.tests, different, not_run);
    rows.extend(ended.faults);
    Ok(rows)
}

/// Lists how each test ended, and counts them.
fn list(name: &str, rows: &[Row]) -> Sum {
    for row in rows {
        println!("{row}");
    }
    let sum = Sum::of(rows);
    println!("parity: pyshmem {name}: {sum}\n");
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_promise_is_broken_by_failures_stale_entries_and_by_nothing_having_run() {
        let of = |sum: Sum| Parity { releases: vec![("1.4.0".to_owned(), sum)] };
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
            .chain(table::COMPUTED)
            .flat_map(|difference| difference.tests)
            .copied()
            .collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}

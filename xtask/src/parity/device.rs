//! The GPU tests of a release, on the simulated CUDA driver.
//!
//! They import `torch`, which is an adapter of ours there: it gives tensors on the device the calls
//! that the tests make of them, and computes nothing on it. Tests that would are listed as skipped.

use std::collections::BTreeMap;

use anyhow::Result;

use super::release::{Release, Suite};
use super::sim_reports::SimReports;
use super::suite::{Run, of_the_run};
use super::table;
use super::verdict::{self, Row, Verdict};
use crate::cuda::{self, DRIVER_VARIABLE, Profile};
use crate::python::Python;
use crate::python::pytest::End;
use crate::workspace::Workspace;

/// Runs them and says how each ended.
pub fn tests_of(
    workspace: &Workspace,
    python: &Python,
    release: &Release,
    suite: &Suite,
) -> Result<Vec<Row>> {
    let driver = cuda::simulated_driver(workspace, Profile::Debug)?;
    let folder = format!("{}-gpu-sim", release.version);
    let reports = workspace.target_dir().join("parity").join(format!("{folder}-reports"));
    SimReports::make_room(&reports)?;
    let environment = [(DRIVER_VARIABLE, driver), (SimReports::FOLDER_VARIABLE, reports.clone())];
    let run = Run { release, suite, folder: &folder, environment: &environment, not_run: &[] };
    let ended = run.start(workspace, python)?;
    let mut rows = judge(&ended.tests);
    rows.extend(ended.faults);
    let reports = SimReports::read(&reports)?;
    println!("{reports}");
    rows.extend(reports.trouble().map(of_the_run));
    Ok(rows)
}

/// Tests that need PyTorch's kernels fail for that reason alone, and count as skipped. The driver is
/// there, so that nothing else may be skipped.
fn judge(tests: &BTreeMap<String, End>) -> Vec<Row> {
    let mut rows = verdict::judge(tests, table::COMPUTED, &[]);
    for row in &mut rows {
        row.verdict = match std::mem::replace(&mut row.verdict, Verdict::Passed) {
            Verdict::Differs(why) => Verdict::Skipped(why.to_owned()),
            Verdict::Skipped(why) => Verdict::Failed(format!("it was skipped: {why}")),
            other => other,
        };
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    const MULTIPLIES: &str = "test_benchmark.py::test_gpu_shared_memory_mvm_pipeline";

    fn verdict(test: &str, end: End) -> Verdict {
        let rows = judge(&[(test.to_owned(), end)].into());
        rows.into_iter().find(|row| row.test == test).unwrap().verdict
    }

    #[test]
    fn only_what_needs_a_kernel_is_skipped() {
        let needs = "torch.NeedsKernel: needs a PyTorch kernel: Tensor.__matmul__".to_owned();
        assert!(matches!(verdict(MULTIPLIES, End::Failed(needs.clone())), Verdict::Skipped(_)));
        assert!(matches!(verdict("test_gpu_api.py::a", End::Failed(needs)), Verdict::Failed(_)));
        let torn = End::Failed("torn".to_owned());
        assert!(matches!(verdict(MULTIPLIES, torn), Verdict::Failed(_)));
        assert!(matches!(verdict(MULTIPLIES, End::Passed), Verdict::OutOfDate(_)));
    }

    #[test]
    fn a_test_that_found_no_device_has_failed() {
        let skipped = End::Skipped("CUDA is not available".to_owned());
        let Verdict::Failed(why) = verdict("test_gpu_api.py::a", skipped) else {
            panic!("a skipped test was let through");
        };
        assert!(why.contains("CUDA is not available"), "{why}");
        assert_eq!(verdict("test_gpu_api.py::a", End::Passed), Verdict::Passed);
    }
}

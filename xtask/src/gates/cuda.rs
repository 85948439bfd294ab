//! The gates of CUDA: on the simulated driver, on the installed one where there is one, and the bundle
//! that is carried to machines that have one.

use anyhow::Result;

use super::gate::Report;
use super::tests::report_of;
use crate::cuda::{CONFORMANCE_VARIABLE, DRIVER_VARIABLE, SIMULATED, installed_devices};
use crate::gpu_bundle;
use crate::process;
use crate::test_run::{self, TestRun};
use crate::workspace::Workspace;

/// shm-cuda by itself, as little of it as there can be and all of it, and what the driver promises.
pub fn simulated(workspace: &Workspace) -> Result<Report> {
    let (plain, plain_ran) =
        tests(workspace, &["--package", "shm-cuda", "--package", SIMULATED], "sim")?;
    let (whole, _) = tests(workspace, &["--package", "shm-cuda", "--features", FEATURES], "sim")?;
    let failed = !plain.status.success() && whole.status.success();
    // The sum ends as its last run did, so the one that failed comes last.
    let sum = if failed { whole.and(plain) } else { plain.and(whole) };
    let ran = format!("{plain_ran}; the same of shm-cuda with {FEATURES}");
    Ok(report_of(ran, "tests", &sum))
}

/// The same tests on the installed driver.
pub fn installed(workspace: &Workspace) -> Result<Report> {
    let arguments = ["--package", "shm-cuda", "--package", SIMULATED, "--features", ALL_FEATURES];
    let devices = installed_devices(workspace)?;
    for device in &devices {
        println!("{device}");
    }
    if devices.is_empty() {
        let ran = format!("{CONFORMANCE_VARIABLE}=real cargo test");
        return Ok(Report::skipped(ran, "no NVIDIA driver on this machine"));
    }
    let (run, ran) = tests(workspace, &arguments, "real")?;
    Ok(report_of(format!("{CONFORMANCE_VARIABLE}=real {ran}"), "tests", &run))
}

/// Makes the bundle and tries it.
pub fn bundle(workspace: &Workspace) -> Result<Report> {
    let ran = "cargo xtask gpu-bundle, ./run-tests --sim and ./run-bench --sim in a copy";
    let bundle = gpu_bundle::make(workspace, workspace.target_dir().join("gpu-bundle"))?;
    println!("gpu bundle: {}", bundle.describe());
    let counts = gpu_bundle::trial::run(workspace, &bundle)?;
    Ok(Report::check(ran, counts.ran(), "tests").with_tests(counts))
}

const FEATURES: &str = "pool,share,testing";
const ALL_FEATURES: &str = "shm-cuda/pool,shm-cuda/share,shm-cuda/testing";

fn tests(workspace: &Workspace, arguments: &[&str], driver: &str) -> Result<(TestRun, String)> {
    let mut command = workspace.cargo();
    command.args(["test", "--no-fail-fast"]).args(arguments);
    command.env_remove(DRIVER_VARIABLE).env(CONFORMANCE_VARIABLE, driver);
    let run = test_run::run(&mut command)?;
    Ok((run, process::describe(&command)))
}

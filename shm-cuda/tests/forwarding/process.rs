//! A test in a process of its own: this program, once more, with that test only.

use crate::simulation;
use std::process::Command;

/// Names the test that a process was started for.
const ALONE: &str = "SHM_CUDA_TEST_ALONE";

/// Runs `body` in a process of its own, in which `SHM_CUDA_DRIVER` is what `prepare` makes it. `test` is
/// the name of the calling test.
pub fn alone(test: &str, prepare: impl FnOnce(&mut Command), body: impl FnOnce()) {
    if std::env::var_os(ALONE).is_some_and(|name| name == test) {
        return body();
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads", "1"]);
    command.env(ALONE, test).env_remove("SHM_CUDA_DRIVER");
    prepare(&mut command);
    let output = command.output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    // The first line of a test's own stands behind the name of the test.
    for skipped in printed.lines().filter_map(|line| line.find("SKIPPED").map(|at| &line[at..])) {
        println!("{skipped}");
    }
    // A process that found no test of that name would end well too.
    assert!(
        output.status.success() && printed.contains("1 passed"),
        "{test} alone ended with {}\n{printed}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Names the driver to test on to a process that will look for one itself.
pub fn name_driver(command: &mut Command) {
    if !simulation::is_real() {
        command.env("SHM_CUDA_DRIVER", simulation::library());
    }
}

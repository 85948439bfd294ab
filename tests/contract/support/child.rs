//! A test that runs in a process of its own: for limits, namespaces and deadly signals.

use std::process::{Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

const MARK: &str = "SHM_CONTRACT_CHILD";

/// Runs the body of the test `$test` in a process of its own.
macro_rules! alone {
    ($test:ident, $body:expr) => {
        $crate::support::child::run_alone(module_path!(), stringify!($test), $body)
    };
}
pub(crate) use alone;

/// How a child ended, and what it said.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) output: String,
}

/// Runs `body` in a fresh process, which is this executable told to run only the calling test.
/// Fails if the child fails or takes longer than a minute.
#[track_caller]
pub(crate) fn run_alone(module: &str, test: &str, body: fn()) {
    let Some(ended) = run(module, test, body) else { return };
    for line in ended.output.lines().filter(|line| line.contains("SKIPPED")) {
        println!("{line}");
    }
    assert!(
        ended.status.success(),
        "child of {module}::{test}: {}\n{}",
        ended.status,
        ended.output
    );
    assert!(ended.output.contains("1 passed"), "no test {module}::{test}:\n{}", ended.output);
}

/// As [`run_alone`], leaving the judgement to the caller; `None` inside the child, after `body`.
#[track_caller]
pub(crate) fn run(module: &str, test: &str, body: fn()) -> Option<Ended> {
    if std::env::var_os(MARK).is_some() {
        body();
        return None;
    }
    let path = format!("{module}::{test}");
    // Test names leave out the crate.
    let path = path.split_once("::").expect("a module path").1;
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([path, "--exact", "--nocapture", "--test-threads=1"])
        .env(MARK, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let until = Instant::now() + Duration::from_secs(60);
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > until {
            child.kill().unwrap();
            let output = text(&child.wait_with_output().unwrap());
            panic!("{path} did not end within a minute:\n{output}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let prefix = crate::support::name::file_path(&format!("contract-{}-", child.id()));
    let output = child.wait_with_output().unwrap();
    if !output.status.success() {
        remove_all(&prefix);
    }
    Some(Ended { status: output.status, output: text(&output) })
}

/// A child that crashed could not clean up.
fn remove_all(prefix: &std::path::Path) {
    for file in std::fs::read_dir("/dev/shm").unwrap().flatten() {
        if file.path().to_string_lossy().starts_with(&*prefix.to_string_lossy()) {
            std::fs::remove_file(file.path()).unwrap();
        }
    }
}

/// Everything that a child said.
pub(crate) fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

//! Running `cargo test` and counting what it ran.

use std::ops::AddAssign;
use std::process::{Command, ExitStatus};

use anyhow::Result;

use crate::process;

/// Tests by how they ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TestCounts {
    pub passed: u64,
    pub failed: u64,
    pub ignored: u64,
}

impl TestCounts {
    /// Tests that really ran.
    pub fn ran(&self) -> u64 {
        self.passed + self.failed
    }

    /// Reads a line of the form `test result: ok. 3 passed; 0 failed; 1 ignored; ...`.
    pub fn from_result_line(line: &str) -> Option<Self> {
        let (_, numbers) = line.trim().strip_prefix("test result: ")?.split_once(". ")?;
        let mut counts = Self::default();
        for part in numbers.split(';') {
            let (number, word) = part.trim().split_once(' ')?;
            let place = match word {
                "passed" => &mut counts.passed,
                "failed" => &mut counts.failed,
                "ignored" => &mut counts.ignored,
                _ => continue,
            };
            *place = number.parse().ok()?;
        }
        Some(counts)
    }
}

impl AddAssign for TestCounts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
    }
}

/// What a `cargo test` did.
pub struct TestRun {
    pub counts: TestCounts,
    /// How many test programs reported a result.
    pub programs: u64,
    pub status: ExitStatus,
}

impl TestRun {
    /// Both runs as one, which ended as the later one did.
    pub fn and(self, later: Self) -> Self {
        let mut counts = self.counts;
        counts += later.counts;
        Self { counts, programs: self.programs + later.programs, status: later.status }
    }
}

/// Runs a `cargo test` command to its end.
pub fn run(command: &mut Command) -> Result<TestRun> {
    let finished = process::watch_all(command)?;
    let results: Vec<TestCounts> =
        finished.shown.iter().filter_map(|line| TestCounts::from_result_line(line)).collect();
    let mut counts = TestCounts::default();
    for result in &results {
        counts += *result;
    }
    Ok(TestRun { counts, programs: results.len() as u64, status: finished.status })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_are_read_whole() {
        let line = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; \
                    40 filtered out; finished in 0.52s";
        assert_eq!(
            TestCounts::from_result_line(line),
            Some(TestCounts { passed: 12, failed: 3, ignored: 1 })
        );
    }

    #[test]
    fn other_lines_count_nothing() {
        for line in [
            "test name ... ok",
            "running 3 tests",
            "test result: ",
            "test result: ok. many passed; 0 failed",
        ] {
            assert_eq!(TestCounts::from_result_line(line), None, "{line}");
        }
    }

    #[test]
    fn a_failing_run_is_counted_and_keeps_its_status() {
        let mut command = Command::new("sh");
        command.arg("-c").arg(
            "echo 'test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured';
             echo 'test result: FAILED. 1 passed; 1 failed; 4 ignored; 0 measured'; exit 101",
        );
        let run = run(&mut command).unwrap();
        assert_eq!(run.counts, TestCounts { passed: 3, failed: 1, ignored: 4 });
        assert_eq!(run.programs, 2);
        assert_eq!(run.counts.ran(), 4);
        assert_eq!(run.status.code(), Some(101));
    }
}

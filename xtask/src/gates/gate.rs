//! What a gate reports and how the reports add up.

use std::time::Duration;

use anyhow::Result;

use crate::test_run::TestCounts;

/// What a gate did.
pub struct Report {
    /// The command, as a person would type it.
    pub ran: String,
    pub count: u64,
    /// What was counted.
    pub unit: &'static str,
    /// The tests among it; none for a check that has no tests.
    pub tests: TestCounts,
    pub verdict: Verdict,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Passed,
    /// Why it failed and what to do.
    Failed(String),
    /// Why it could not run here.
    Skipped(String),
}

impl Report {
    /// A check without tests of its own.
    pub fn check(ran: impl Into<String>, count: u64, unit: &'static str) -> Self {
        Self {
            ran: ran.into(),
            count,
            unit,
            tests: TestCounts::default(),
            verdict: Verdict::Passed,
        }
    }

    /// The same report with the verdict of a failure, when there is one.
    pub fn failing_if(mut self, failed: bool, why: impl FnOnce() -> String) -> Self {
        if failed {
            self.verdict = Verdict::Failed(why());
        }
        self
    }

    /// The same report with tests in it.
    pub fn with_tests(mut self, tests: TestCounts) -> Self {
        self.tests = tests;
        self
    }

    /// A gate that could not run on this machine.
    pub fn skipped(ran: impl Into<String>, why: impl Into<String>) -> Self {
        Self { verdict: Verdict::Skipped(why.into()), ..Self::check(ran, 0, "") }
    }
}

/// A gate that has run.
pub struct Gate {
    pub name: String,
    pub ran: String,
    pub count: u64,
    pub unit: &'static str,
    pub tests: TestCounts,
    pub verdict: Verdict,
    pub took: Duration,
}

impl Gate {
    /// Turns what the gate returned into a verdict: an error fails, and so does a gate that says
    /// it passed but ran nothing.
    pub fn judge(name: &str, outcome: Result<Report>) -> Self {
        let report = outcome.unwrap_or_else(|error| Report {
            verdict: Verdict::Failed(format!("{error:#}")),
            ..Report::check("", 0, "")
        });
        let verdict = match report.verdict {
            Verdict::Passed if report.count == 0 => {
                Verdict::Failed(format!("it ran no {}, so it proves nothing", report.unit))
            }
            verdict => verdict,
        };
        Self {
            name: name.to_owned(),
            ran: report.ran,
            count: report.count,
            unit: report.unit,
            tests: report.tests,
            verdict,
            took: Duration::ZERO,
        }
    }

    /// The same gate with the time it took.
    pub fn taking(mut self, took: Duration) -> Self {
        self.took = took;
        self
    }

    /// Verdict and count in a few words.
    pub fn line(&self) -> String {
        match &self.verdict {
            Verdict::Passed => format!("ok, {} {}", self.count, self.unit),
            Verdict::Failed(why) => format!("FAILED: {why}"),
            Verdict::Skipped(why) => format!("SKIPPED: {why}"),
        }
    }
}

/// The table of all gates.
pub fn table(gates: &[Gate]) -> String {
    let mut text = format!(
        "{:<13} {:<8} {:>7} {:<12} {:>8}  {}\n",
        "gate", "verdict", "count", "of", "seconds", "ran"
    );
    for gate in gates {
        let verdict = match gate.verdict {
            Verdict::Passed => "ok",
            Verdict::Failed(_) => "FAILED",
            Verdict::Skipped(_) => "SKIPPED",
        };
        text.push_str(&format!(
            "{:<13} {:<8} {:>7} {:<12} {:>8.1}  {}\n",
            gate.name,
            verdict,
            gate.count,
            gate.unit,
            gate.took.as_secs_f64(),
            gate.ran
        ));
    }
    text
}

/// The last line of the run, which counts tests, and whether everything is green. A gate that
/// fails without a failed test counts as one failed test, so that `0 failed` is never printed by
/// a run that failed; a skipped gate counts as one skipped test.
pub fn last_line(gates: &[Gate]) -> (String, bool) {
    let mut sum = TestCounts::default();
    for gate in gates {
        sum += gate.tests;
        match gate.verdict {
            Verdict::Failed(_) if gate.tests.failed == 0 => sum.failed += 1,
            Verdict::Skipped(_) => sum.ignored += 1,
            _ => {}
        }
    }
    let mut line = format!("{} passed, {} failed", sum.passed, sum.failed);
    if sum.ignored > 0 {
        line.push_str(&format!(", {} skipped", sum.ignored));
    }
    (line, sum.failed == 0 && sum.passed > 0)
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    fn counts(passed: u64, failed: u64, ignored: u64) -> TestCounts {
        TestCounts { passed, failed, ignored }
    }

    #[test]
    fn a_gate_that_ran_nothing_fails() {
        let gate = Gate::judge("loom", Ok(Report::check("cargo test", 0, "models")));
        assert_eq!(
            gate.verdict,
            Verdict::Failed("it ran no models, so it proves nothing".to_owned())
        );
    }

    #[test]
    fn an_error_fails_with_its_causes() {
        let error = anyhow!("disk full").context("could not list");
        let gate = Gate::judge("leftovers", Err(error));
        assert_eq!(gate.line(), "FAILED: could not list: disk full");
    }

    #[test]
    fn the_last_line_counts_tests_and_failed_gates() {
        let tested = || Report::check("cargo test", 12, "tests").with_tests(counts(10, 2, 1));
        let green = || Report::check("cargo test", 10, "tests").with_tests(counts(10, 0, 0));
        let gates = [
            Gate::judge("test", Ok(tested().failing_if(true, || "2 failed".into()))),
            Gate::judge("fmt", Ok(Report::check("cargo fmt", 3, "files"))),
        ];
        assert_eq!(last_line(&gates), ("10 passed, 2 failed, 1 skipped".to_owned(), false));

        let gates =
            [Gate::judge("test", Ok(green())), Gate::judge("clippy", Err(anyhow!("a warning")))];
        assert_eq!(last_line(&gates), ("10 passed, 1 failed".to_owned(), false));

        let gates = [
            Gate::judge("test", Ok(green())),
            Gate::judge("demo", Ok(Report::skipped("demo", "no pictures"))),
        ];
        assert_eq!(last_line(&gates), ("10 passed, 0 failed, 1 skipped".to_owned(), true));
    }

    #[test]
    fn a_run_without_any_test_is_not_green() {
        let gates = [Gate::judge("fmt", Ok(Report::check("cargo fmt", 3, "files")))];
        assert_eq!(last_line(&gates), ("0 passed, 0 failed".to_owned(), false));
    }

    #[test]
    fn the_table_has_a_row_for_each_gate() {
        let gates = [
            Gate::judge("fmt", Ok(Report::check("cargo fmt --check", 3, "files"))),
            Gate::judge("demo", Ok(Report::skipped("demo", "no pictures"))),
        ];
        let table = table(&gates);
        assert_eq!(table.lines().count(), 3, "{table}");
        assert!(table.contains("SKIPPED"), "{table}");
        assert!(table.contains("cargo fmt --check"), "{table}");
    }
}

//! How the tests of a release ended, held against the table of differences.

use std::collections::BTreeMap;
use std::fmt;

use super::table::Difference;
use crate::python::pytest::End;
use crate::test_run::TestCounts;

/// What one test means for parity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Passed,
    /// It cannot run on this machine.
    Skipped(String),
    /// It fails, as the table says, for this reason.
    Differs(&'static str),
    /// It was not started, as the table says, for this reason.
    NotRun(&'static str),
    /// It fails, and the table does not know.
    Failed(String),
    /// The table names it, and it does not fail, or no test has that name.
    OutOfDate(&'static str),
}

/// Whether the test failed for want of speed, by the table of tests that need some; and the reason.
pub fn too_slow(timed: &[Difference], test: &str, end: &End) -> Option<&'static str> {
    let End::Failed(why) = end else {
        return None;
    };
    entry(timed, test).filter(|entry| reads_like(entry, why)).map(|entry| entry.reason)
}

/// One line of the listing.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    pub test: String,
    pub verdict: Verdict,
}

/// Judges every test, and every entry of the tables that no test answers to.
pub fn judge(
    ends: &BTreeMap<String, End>,
    different: &[Difference],
    not_run: &[Difference],
) -> Vec<Row> {
    let mut rows: Vec<Row> = ends
        .iter()
        .map(|(test, end)| Row {
            test: test.clone(),
            verdict: verdict(end, entry(different, test), entry(not_run, test)),
        })
        .collect();
    for difference in different.iter().chain(not_run) {
        for entry in difference.tests {
            if !ends.keys().any(|test| function(test) == *entry) {
                let verdict = Verdict::OutOfDate("no test has this name");
                rows.push(Row { test: (*entry).to_owned(), verdict });
            }
        }
    }
    rows
}

fn verdict(end: &End, differs: Option<&Difference>, not_run: Option<&Difference>) -> Verdict {
    match (end, differs, not_run) {
        (End::Deselected, _, Some(entry)) => Verdict::NotRun(entry.reason),
        (End::Deselected, _, None) => Verdict::Failed("it was left out for no reason".to_owned()),
        (End::Failed(why), Some(entry), _) => match reads_like(entry, why) {
            true => Verdict::Differs(entry.reason),
            false => Verdict::Failed(format!("{why} (the table knows of another failure)")),
        },
        (_, Some(entry), _) | (_, None, Some(entry)) => Verdict::OutOfDate(entry.reason),
        (End::Failed(why), None, None) => Verdict::Failed(why.clone()),
        (End::Unfinished, None, None) => Verdict::Failed("the run ended before it".to_owned()),
        (End::Skipped(why), None, None) => Verdict::Skipped(why.clone()),
        (End::Passed, None, None) => Verdict::Passed,
    }
}

fn reads_like(entry: &Difference, why: &str) -> bool {
    entry.reads.iter().any(|text| why.contains(text))
}

fn entry<'a>(table: &'a [Difference], test: &str) -> Option<&'a Difference> {
    let function = function(test);
    table.iter().find(|difference| difference.tests.contains(&function))
}

/// The name of a test without the parameters of the case.
fn function(test: &str) -> &str {
    test.split('[').next().unwrap_or(test)
}

/// The rows by their verdicts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    pub passed: u64,
    pub failed: u64,
    pub skipped: u64,
    pub differ: u64,
    pub not_run: u64,
    pub out_of_date: u64,
}

impl Sum {
    /// Counts the rows.
    pub fn of(rows: &[Row]) -> Self {
        let mut sum = Self::default();
        for row in rows {
            match row.verdict {
                Verdict::Passed => sum.passed += 1,
                Verdict::Skipped(_) => sum.skipped += 1,
                Verdict::Differs(_) => sum.differ += 1,
                Verdict::NotRun(_) => sum.not_run += 1,
                Verdict::Failed(_) => sum.failed += 1,
                Verdict::OutOfDate(_) => sum.out_of_date += 1,
            }
        }
        sum
    }

    /// The tests of the suite's summary: those that differ as the table says are no tests of ours.
    pub fn tests(&self) -> TestCounts {
        TestCounts {
            passed: self.passed,
            failed: self.failed + self.out_of_date,
            ignored: self.skipped,
        }
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        for (count, what) in [
            (self.out_of_date, "entries of the table out of date"),
            (self.differ, "differ as the table says"),
            (self.not_run, "not run"),
            (self.skipped, "skipped"),
        ] {
            if count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, why) = match &self.verdict {
            Verdict::Passed => ("pass", None),
            Verdict::Skipped(why) => ("SKIPPED", Some(why.as_str())),
            Verdict::Differs(why) => ("differs", Some(*why)),
            Verdict::NotRun(why) => ("not run", Some(*why)),
            Verdict::Failed(why) => ("FAIL", Some(why.as_str())),
            Verdict::OutOfDate(why) => ("TABLE", Some(*why)),
        };
        write!(f, "{word:<8} {}", self.test)?;
        match why {
            Some(why) => write!(f, ": {why}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIFFERENT: &[Difference] = &[Difference {
        reason: "private",
        reads: &["no attribute", "no module"],
        tests: &["a.py::pokes", "a.py::cases"],
    }];
    const NOT_RUN: &[Difference] =
        &[Difference { reason: "purges", reads: &[], tests: &["a.py::purge"] }];

    fn verdicts(ends: &[(&str, End)]) -> Vec<(String, Verdict)> {
        let mut all: BTreeMap<String, End> = [
            ("a.py::cases[1]", End::Failed("no".to_owned())),
            ("a.py::cases[2]", End::Failed("no".to_owned())),
            ("a.py::pokes", End::Failed("no".to_owned())),
            ("a.py::purge", End::Deselected),
        ]
        .map(|(test, end)| (test.to_owned(), end))
        .into();
        all.extend(ends.iter().map(|(test, end)| ((*test).to_owned(), end.clone())));
        judge(&all, DIFFERENT, NOT_RUN)
            .into_iter()
            .filter(|row| ends.iter().any(|(test, _)| row.test == *test))
            .map(|row| (row.test, row.verdict))
            .collect()
    }

    #[test]
    fn known_differences_are_no_failures() {
        let rows = verdicts(&[
            ("a.py::pokes", End::Failed("no attribute".to_owned())),
            ("a.py::cases[1]", End::Failed("no module a.b".to_owned())),
            ("a.py::purge", End::Deselected),
        ]);
        let found: Vec<_> = rows.into_iter().map(|(_, verdict)| verdict).collect();
        assert_eq!(
            found,
            [Verdict::Differs("private"), Verdict::Differs("private"), Verdict::NotRun("purges")]
        );
    }

    #[test]
    fn a_test_of_the_table_that_does_not_fail_is_out_of_date() {
        for end in [End::Passed, End::Skipped("no GPU".to_owned()), End::Unfinished] {
            assert_eq!(
                verdicts(&[("a.py::cases[2]", end.clone())])[0].1,
                Verdict::OutOfDate("private"),
                "{end:?}"
            );
        }
        assert_eq!(verdicts(&[("a.py::purge", End::Passed)])[0].1, Verdict::OutOfDate("purges"));
    }

    #[test]
    fn a_test_of_the_table_that_fails_in_another_way_is_a_failure() {
        let rows = verdicts(&[("a.py::pokes", End::Failed("torn snapshot".to_owned()))]);
        let Verdict::Failed(why) = &rows[0].1 else {
            panic!("hidden by the table: {rows:?}");
        };
        assert!(why.contains("torn snapshot") && why.contains("another failure"), "{why}");
    }

    #[test]
    fn only_a_failure_that_reads_so_is_for_want_of_speed() {
        let timed = &[Difference { reason: "slow", reads: &["no reads"], tests: &["a.py::b"] }];
        let failed = |why: &str| End::Failed(why.to_owned());
        assert_eq!(too_slow(timed, "a.py::b", &failed("AssertionError: no reads")), Some("slow"));
        for (test, end) in [
            ("a.py::b", failed("torn")),
            ("a.py::c", failed("no reads")),
            ("a.py::b", End::Passed),
            ("a.py::b", End::Unfinished),
        ] {
            assert_eq!(too_slow(timed, test, &end), None, "{test} {end:?}");
        }
    }

    #[test]
    fn other_tests_must_pass() {
        let failed = Verdict::Failed("torn".to_owned());
        assert_eq!(verdicts(&[("a.py::reads", End::Failed("torn".to_owned()))])[0].1, failed);
        for end in [End::Unfinished, End::Deselected] {
            let rows = verdicts(&[("a.py::reads", end)]);
            assert!(matches!(rows[0].1, Verdict::Failed(_)), "{rows:?}");
        }
        assert_eq!(verdicts(&[("a.py::reads", End::Passed)])[0].1, Verdict::Passed);
    }

    #[test]
    fn an_entry_that_no_test_answers_to_is_out_of_date() {
        let rows = judge(&BTreeMap::new(), DIFFERENT, NOT_RUN);
        let sum = Sum::of(&rows);
        assert_eq!(sum, Sum { out_of_date: 3, ..Sum::default() });
        assert_eq!(sum.tests().failed, 3);
    }

    #[test]
    fn the_listing_says_why() {
        let row = Row { test: "a.py::b".to_owned(), verdict: Verdict::Failed("torn".to_owned()) };
        assert_eq!(row.to_string(), "FAIL     a.py::b: torn");
        let sum = Sum { passed: 4, differ: 2, skipped: 1, ..Sum::default() };
        assert_eq!(sum.to_string(), "4 passed, 0 failed, 2 differ as the table says, 1 skipped");
    }
}

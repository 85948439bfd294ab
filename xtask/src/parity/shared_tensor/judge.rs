//! How the tests ended, held against the table of behaviours.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::table::{Behaviour, Shown};
use crate::python::pytest::End;
use crate::test_run::TestCounts;

/// One behaviour, and how it was found.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    pub what: String,
    pub verdict: Verdict,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// By this test.
    Passed(&'static str),
    Failed(String),
    /// It needs a GPU, or what is only made for one.
    Gpu(&'static str),
    /// Changed on purpose.
    Differs(&'static str),
    /// About the inside of shared-tensor, which nobody sees from outside.
    Inside(&'static str),
}

/// Judges every behaviour, and every test that no behaviour names.
pub fn judge(table: &[&'static Behaviour], ends: &BTreeMap<String, End>) -> Vec<Line> {
    let mut lines: Vec<Line> = table
        .iter()
        .map(|behaviour| Line {
            what: behaviour.what.to_owned(),
            verdict: verdict(&behaviour.shown, ends),
        })
        .collect();
    let named: BTreeSet<&str> = table
        .iter()
        .filter_map(|behaviour| match behaviour.shown {
            Shown::By(test) => Some(test),
            _ => None,
        })
        .collect();
    let unnamed: BTreeSet<&str> =
        ends.keys().map(|test| short(test)).filter(|test| !named.contains(test)).collect();
    lines.extend(unnamed.into_iter().map(|test| Line {
        what: test.to_owned(),
        verdict: Verdict::Failed("no behaviour of the table names this test".to_owned()),
    }));
    lines
}

fn verdict(shown: &Shown, ends: &BTreeMap<String, End>) -> Verdict {
    let test = match *shown {
        Shown::By(test) => test,
        Shown::NeedsGpu(why) => return Verdict::Gpu(why),
        Shown::Differs(why) => return Verdict::Differs(why),
        Shown::Inside(why) => return Verdict::Inside(why),
    };
    let mut cases = ends.iter().filter(|(name, _)| short(name) == test).peekable();
    if cases.peek().is_none() {
        return Verdict::Failed(format!("there is no test {test}"));
    }
    let failed = cases.find_map(|(name, end)| match end {
        End::Passed => None,
        End::Failed(why) => Some(format!("{name}: {why}")),
        End::Skipped(why) => Some(format!("{name} was skipped: {why}")),
        End::Deselected => Some(format!("{name} was left out")),
        End::Unfinished => Some(format!("the run ended before {name}")),
    });
    failed.map_or(Verdict::Passed(test), Verdict::Failed)
}

/// The file and the function of a test, without folders and without the case.
fn short(test: &str) -> &str {
    let file = test.split("::").next().map_or(0, |path| path.rfind('/').map_or(0, |at| at + 1));
    let test = &test[file..];
    test.split('[').next().unwrap_or(test)
}

/// The lines by their verdicts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    pub passed: u64,
    pub failed: u64,
    pub gpu: u64,
    pub differs: u64,
    pub inside: u64,
}

impl Sum {
    pub fn of(lines: &[Line]) -> Self {
        let mut sum = Self::default();
        for line in lines {
            match line.verdict {
                Verdict::Passed(_) => sum.passed += 1,
                Verdict::Failed(_) => sum.failed += 1,
                Verdict::Gpu(_) => sum.gpu += 1,
                Verdict::Differs(_) => sum.differs += 1,
                Verdict::Inside(_) => sum.inside += 1,
            }
        }
        sum
    }

    pub fn tests(&self) -> TestCounts {
        TestCounts { passed: self.passed, failed: self.failed, ignored: self.gpu }
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} behaviours shown, {} failed; {} need a GPU, {} changed on purpose, {} about its inside",
            self.passed, self.failed, self.gpu, self.differs, self.inside
        )
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, why) = match &self.verdict {
            Verdict::Passed(test) => ("pass", *test),
            Verdict::Failed(why) => ("FAIL", why.as_str()),
            Verdict::Gpu(why) => ("GPU", *why),
            Verdict::Differs(why) => ("differs", *why),
            Verdict::Inside(why) => ("inside", *why),
        };
        write!(f, "{word:<8} {}: {why}", self.what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[Behaviour] = &[
        Behaviour { what: "pings", shown: Shown::By("test_a.py::test_ping") },
        Behaviour { what: "maps", shown: Shown::NeedsGpu("maps a device") },
        Behaviour { what: "pickles", shown: Shown::Differs("no code from the wire") },
    ];

    fn table() -> Vec<&'static Behaviour> {
        TABLE.iter().collect()
    }

    fn found(ends: &[(&str, End)]) -> Vec<Verdict> {
        let ends = ends.iter().map(|(test, end)| ((*test).to_owned(), end.clone())).collect();
        judge(&table(), &ends).into_iter().map(|line| line.verdict).collect()
    }

    #[test]
    fn a_behaviour_is_shown_when_all_cases_of_its_test_pass() {
        let ping = "shm-py/tests/share/test_a.py::test_ping";
        let passed = (ping, End::Passed);
        assert_eq!(found(&[passed])[0], Verdict::Passed("test_a.py::test_ping"));
        let cases = [format!("{ping}[1/2]"), format!("{ping}[b]")];
        let both = |second: End| found(&[(&cases[0], End::Passed), (&cases[1], second)]);
        assert!(matches!(both(End::Passed)[0], Verdict::Passed(_)));
        for end in [
            End::Failed("no".to_owned()),
            End::Skipped("no".to_owned()),
            End::Deselected,
            End::Unfinished,
        ] {
            let verdicts = both(end.clone());
            assert!(matches!(verdicts[0], Verdict::Failed(_)), "{end:?}: {verdicts:?}");
        }
    }

    #[test]
    fn a_test_that_is_not_there_fails_and_so_does_one_that_is_not_named() {
        let verdicts = found(&[("share/test_a.py::test_other", End::Passed)]);
        assert!(matches!(&verdicts[0], Verdict::Failed(why) if why.contains("no test")));
        assert!(matches!(&verdicts[3], Verdict::Failed(why) if why.contains("no behaviour")));
        let sum = Sum::of(&judge(&table(), &BTreeMap::new()));
        assert_eq!(sum, Sum { failed: 1, gpu: 1, differs: 1, ..Sum::default() });
        assert_eq!(sum.tests(), TestCounts { passed: 0, failed: 1, ignored: 1 });
    }
}

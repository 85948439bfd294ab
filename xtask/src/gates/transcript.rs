//! The whole output of a gate goes into a file, and only what explains a failure is shown: a run of all
//! gates prints more than half a megabyte, in which nobody finds the one test that failed.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::progress;
use crate::workspace::Workspace;

/// The output of one gate while it runs.
pub struct Transcript {
    file: PathBuf,
}

impl Transcript {
    /// Sends the lines of all work that begins from now on into `target/gates/NAME.log`.
    pub fn begin(workspace: &Workspace, gate: &str) -> Result<Self> {
        let folder = workspace.target_dir().join("gates");
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("could not create {}", folder.display()))?;
        let file = folder.join(format!("{}.log", file_stem(gate)));
        let log =
            File::create(&file).with_context(|| format!("could not create {}", file.display()))?;
        progress::write_to(Some(Box::new(BufWriter::new(log))));
        Ok(Self { file })
    }

    /// Ends it. Lines are shown as they come from then on.
    pub fn end(self) -> Result<Recorded> {
        if let Some(mut log) = progress::write_to(None) {
            log.flush().with_context(|| format!("could not write {}", self.file.display()))?;
        }
        let text = std::fs::read_to_string(&self.file)
            .with_context(|| format!("could not read {}", self.file.display()))?;
        Ok(Recorded { file: self.file, lines: text.lines().map(str::to_owned).collect() })
    }
}

/// What a gate has printed.
pub struct Recorded {
    file: PathBuf,
    lines: Vec<String>,
}

impl Recorded {
    /// The part that says why the gate failed, and where the whole lies.
    pub fn failure(&self) -> String {
        let mut lines = explaining(&self.lines);
        if lines.len() > SHOWN {
            let more = lines.len() - SHOWN;
            lines.truncate(SHOWN);
            lines.push(format!("... and {more} lines more"));
        }
        lines.push(format!("the whole output: {}", shown(&self.file)));
        lines.join("\n")
    }
}

/// Long enough for several failed tests, short enough to be read.
const SHOWN: usize = 250;

/// How many lines say why a program failed that is no test and no compiler.
const LAST: usize = 60;

/// The failures of tests and the errors of compilers among `lines`; the last lines where there are none.
fn explaining(lines: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    let mut until: Option<End> = None;
    for line in lines {
        if until.is_none() {
            until = End::of_what_begins_with(line);
        }
        if let Some(end) = until {
            found.push(line.clone());
            if end.is_reached_by(line) {
                until = None;
            }
        }
    }
    if found.is_empty() {
        found = lines[lines.len().saturating_sub(LAST)..].to_vec();
    }
    found
}

/// Where a passage ends that explains a failure.
#[derive(Clone, Copy)]
enum End {
    /// The failures of a Rust test program end with its result.
    TestResult,
    /// Those of Python tests are the last that is printed.
    Output,
    /// A message of a compiler ends with an empty line.
    EmptyLine,
}

impl End {
    fn of_what_begins_with(line: &str) -> Option<Self> {
        let section = |name| line.starts_with("====") && line.contains(name);
        if line == "failures:" {
            Some(Self::TestResult)
        } else if section(" FAILURES ") || section(" ERRORS ") {
            Some(Self::Output)
        } else if line.starts_with("error") {
            Some(Self::EmptyLine)
        } else {
            None
        }
    }

    fn is_reached_by(self, line: &str) -> bool {
        match self {
            Self::TestResult => line.starts_with("test result: "),
            Self::Output => false,
            Self::EmptyLine => line.trim().is_empty(),
        }
    }
}

/// `cuda (sim)` is no pleasant name of a file.
fn file_stem(gate: &str) -> String {
    let words: Vec<&str> = gate
        .split(|letter: char| !letter.is_alphanumeric() && letter != '+')
        .filter(|word| !word.is_empty())
        .collect();
    words.join("-")
}

/// The path as a person in the workspace would type it.
fn shown(file: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    file.strip_prefix(here).unwrap_or(file).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn the_failed_tests_of_a_program_are_shown_and_no_others() {
        let printed = lines(
            "test good ... ok\ntest result: ok. 1 passed\ntest bad ... FAILED\n\nfailures:\n\n\
             ---- bad stdout ----\nleft: 1\n\nfailures:\n    bad\n\ntest result: FAILED. 0 passed\n\
             test later ... ok\ntest result: ok. 1 passed",
        );
        let shown = explaining(&printed);
        assert_eq!(shown.first().map(String::as_str), Some("failures:"), "{shown:?}");
        assert!(shown.contains(&"left: 1".to_owned()), "{shown:?}");
        assert_eq!(shown.last().map(String::as_str), Some("test result: FAILED. 0 passed"));
    }

    #[test]
    fn the_messages_of_compilers_are_shown_without_what_went_well() {
        let printed = lines(
            "   Compiling one\nerror[E0432]: unresolved import\n --> src/lib.rs:1\n\n   Compiling two\n\
             error: could not compile `one`",
        );
        assert_eq!(
            explaining(&printed),
            lines(
                "error[E0432]: unresolved import\n --> src/lib.rs:1\n\nerror: could not compile `one`"
            )
        );
    }

    #[test]
    fn failed_python_tests_are_shown_to_the_end() {
        let printed = lines("....F..\n==== FAILURES ====\n\nassert 1 == 2\n\n1 failed");
        assert_eq!(explaining(&printed), printed[1..]);
    }

    #[test]
    fn of_other_programs_the_end_is_shown() {
        let printed: Vec<String> = (0..200).map(|line| format!("line {line}")).collect();
        assert_eq!(explaining(&printed), printed[200 - LAST..]);
    }

    #[test]
    fn a_long_explanation_names_what_it_leaves_out() {
        let recorded = Recorded {
            file: PathBuf::from("target/gates/test.log"),
            lines: (0..SHOWN + 5).map(|line| format!("error: {line}\n")).collect(),
        };
        let shown = recorded.failure();
        assert!(shown.ends_with("... and 5 lines more\nthe whole output: target/gates/test.log"));
    }

    #[test]
    fn names_of_gates_become_names_of_files() {
        assert_eq!(file_stem("cuda (sim)"), "cuda-sim");
        assert_eq!(file_stem("clippy+"), "clippy+");
    }
}

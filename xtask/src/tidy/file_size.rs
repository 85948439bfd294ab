//! A file that a reader cannot hold in mind mixes concepts.

use super::sources::Sources;
use super::{Finding, Outcome, Severity};

const FAILS_ABOVE: usize = 800;
const WARNS_ABOVE: usize = 500;

pub fn check(sources: &Sources) -> Outcome {
    let mut findings = Vec::new();
    for (path, text) in sources.code() {
        let lines = text.lines().count();
        if lines <= WARNS_ABOVE {
            continue;
        }
        let (severity, limit) = if lines > FAILS_ABOVE {
            (Severity::Fails, FAILS_ABOVE)
        } else {
            (Severity::Warns, WARNS_ABOVE)
        };
        findings.push(Finding {
            severity,
            place: path.to_path_buf(),
            line: None,
            message: format!(
                "{lines} lines, more than {limit}; give each concept in it a module of its own"
            ),
        });
    }
    Outcome { rule: "file-size", looked_at: sources.code().count(), unit: "files", findings }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::sources::fixture;

    #[test]
    fn long_files_warn_and_longer_ones_fail() {
        let lines = |count: usize| "\n".repeat(count);
        let (_folder, sources) = fixture::tree(&[
            ("fits.rs", &lines(500)),
            ("long.py", &lines(501)),
            ("longest_allowed.rs", &lines(800)),
            ("too_long.rs", &lines(801)),
            ("prose.md", &lines(5000)),
        ]);
        let outcome = check(&sources);
        let found: Vec<_> = outcome
            .findings
            .iter()
            .map(|finding| (finding.place.to_str().unwrap(), finding.severity))
            .collect();
        assert_eq!(
            found,
            [
                ("long.py", Severity::Warns),
                ("longest_allowed.rs", Severity::Warns),
                ("too_long.rs", Severity::Fails)
            ]
        );
        assert_eq!(outcome.looked_at, 4);
    }
}

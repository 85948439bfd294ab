//! Paths of one person's machine have no place in the repository.

use super::sources::Sources;
use super::{Finding, Outcome};

/// Written in two parts, so that this file does not break its own rule.
const MACHINE_PATHS: [&str; 4] = [
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("/Us", "ers/"),
    concat!("/tmp/", "target"),
];

pub fn check(sources: &Sources) -> Outcome {
    let mut findings = Vec::new();
    for (path, text) in &sources.files {
        for (index, line) in text.lines().enumerate() {
            for word in MACHINE_PATHS {
                if line.contains(word) {
                    findings.push(Finding::fails(
                        path,
                        index + 1,
                        format!(
                            "`{word}` is a path of one machine; write it relative to the \
                             workspace or to a temporary folder"
                        ),
                    ));
                }
            }
        }
    }
    Outcome { rule: "words", looked_at: sources.files.len(), unit: "files", findings }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::sources::fixture;

    #[test]
    fn machine_paths_fail_in_code_and_prose() {
        let (_folder, sources) = fixture::tree(&[
            ("a.md", concat!("see\n/ho", "me/someone/notes")),
            ("b.rs", concat!("// built in /tmp/", "target-x")),
            ("c.toml", "path = \"../home\"\n"),
        ]);
        let outcome = check(&sources);
        assert_eq!(outcome.places(), [("a.md", Some(2)), ("b.rs", Some(1))]);
    }
}

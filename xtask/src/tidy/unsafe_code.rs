//! `unsafe` lives in few, listed files.

use std::path::Path;

use super::sources::Sources;
use super::{Finding, Outcome, tokens};

const LIST: &str = "xtask/src/tidy/unsafe_files.rs";

pub fn check(sources: &Sources, listed: &[&str]) -> Outcome {
    let mut findings = Vec::new();
    for (path, text) in sources.rust() {
        let lines = match tokens::lines_of(text, "unsafe") {
            Ok(lines) => lines,
            Err(why) => {
                findings.push(Finding::fails(path, None, why));
                continue;
            }
        };
        let is_listed = listed.iter().any(|file| Path::new(file) == path);
        match lines.first() {
            Some(&line) if !is_listed => findings.push(Finding::fails(
                path,
                line,
                format!(
                    "`unsafe` ({} times) in a file that is not listed for it; use a safe crate or \
                     a listed file, or have it reviewed and add it to {LIST}",
                    lines.len()
                ),
            )),
            None if is_listed => findings.push(Finding::fails(
                path,
                None,
                format!("is listed for `unsafe` and holds none; remove it from {LIST}"),
            )),
            _ => {}
        }
    }
    for file in listed {
        if !sources.files.contains_key(Path::new(file)) {
            findings.push(Finding::fails(
                LIST,
                None,
                format!("lists {file}, which does not exist; remove the entry"),
            ));
        }
    }
    Outcome { rule: "unsafe", looked_at: sources.rust().count(), unit: "files", findings }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::sources::fixture;

    #[test]
    fn unsafe_outside_the_list_fails_and_says_what_to_do() {
        let (_folder, sources) = fixture::tree(&[
            ("a/listed.rs", "fn a() { unsafe { b() } }"),
            ("a/other.rs", "// fine\nunsafe impl Send for X {}\nunsafe impl Sync for X {}"),
            ("a/safe.rs", "#![forbid(unsafe_code)]\n// unsafe"),
        ]);
        let outcome = check(&sources, &["a/listed.rs"]);
        assert_eq!(outcome.findings.len(), 1);
        let text = outcome.findings[0].to_string();
        assert!(text.contains("a/other.rs:2"), "{text}");
        assert!(text.contains("2 times") && text.contains(LIST), "{text}");
    }

    #[test]
    fn a_list_that_is_out_of_date_fails() {
        let (_folder, sources) = fixture::tree(&[("a/listed.rs", "fn a() {}")]);
        let outcome = check(&sources, &["a/listed.rs", "a/gone.rs"]);
        let texts: Vec<_> = outcome.findings.iter().map(Finding::to_string).collect();
        assert_eq!(texts.len(), 2, "{texts:?}");
        assert!(texts[0].contains("holds none"), "{texts:?}");
        assert!(texts[1].contains("a/gone.rs"), "{texts:?}");
    }
}

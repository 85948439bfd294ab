//! Nothing unfinished: clippy sees only the code of one configuration, this sees all of it.

use super::sources::Sources;
use super::{Finding, Outcome, tokens};

pub fn check(sources: &Sources) -> Outcome {
    let mut findings = Vec::new();
    for (path, text) in sources.rust() {
        for name in ["todo", "unimplemented"] {
            match tokens::lines_of_macro(text, name) {
                Ok(lines) => findings.extend(lines.into_iter().map(|line| {
                    Finding::fails(
                        path,
                        line,
                        format!("`{name}!` is left; write what it stands for"),
                    )
                })),
                Err(why) => findings.push(Finding::fails(path, None, why)),
            }
        }
    }
    Outcome { rule: "unfinished", looked_at: sources.rust().count(), unit: "files", findings }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::sources::fixture;

    #[test]
    fn a_place_holder_fails_even_behind_a_cfg() {
        let (_folder, sources) = fixture::tree(&[
            ("a.rs", "#[cfg(target_os = \"plan9\")]\nfn later() { todo!(\"soon\") }"),
            ("b.rs", "fn never() {\n    unimplemented!()\n}"),
            ("c.rs", "// todo!()\nfn done() {}"),
        ]);
        let found: Vec<_> = check(&sources)
            .findings
            .iter()
            .map(|finding| (finding.place.to_str().unwrap().to_owned(), finding.line))
            .collect();
        assert_eq!(found, [("a.rs".to_owned(), Some(2)), ("b.rs".to_owned(), Some(2))]);
    }
}

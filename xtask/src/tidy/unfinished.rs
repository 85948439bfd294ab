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
    for (path, text) in sources.python() {
        for (index, line) in text.lines().enumerate() {
            if let Some(marker) = PYTHON_MARKERS.into_iter().find(|marker| line.contains(marker)) {
                findings.push(Finding::fails(
                    path,
                    index + 1,
                    format!("`{marker}` is left; write what it stands for"),
                ));
            }
        }
    }
    Outcome { rule: "unfinished", looked_at: sources.code().count(), unit: "files", findings }
}

/// What Python programs write in place of what is missing.
const PYTHON_MARKERS: [&str; 4] = ["raise NotImplementedError", "# TODO", "# FIXME", "# XXX"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::sources::fixture;

    #[test]
    fn python_has_markers_of_its_own() {
        let (_folder, sources) = fixture::tree(&[
            ("a.py", "def later():\n    raise NotImplementedError\n"),
            ("b.py", "x = 1  # TODO: two\n"),
            ("c.py", "def done():\n    return NotImplemented\n"),
            ("d.pyi", "# TODO\n"),
        ]);
        let outcome = check(&sources);
        assert_eq!(outcome.places(), [("a.py", Some(2)), ("b.py", Some(1))]);
        assert_eq!(outcome.looked_at, 3);
    }

    #[test]
    fn a_place_holder_fails_even_behind_a_cfg() {
        let (_folder, sources) = fixture::tree(&[
            ("a.rs", "#[cfg(target_os = \"plan9\")]\nfn later() { todo!(\"soon\") }"),
            ("b.rs", "fn never() {\n    unimplemented!()\n}"),
            ("c.rs", "// todo!()\nfn done() {}"),
        ]);
        let outcome = check(&sources);
        assert_eq!(outcome.places(), [("a.rs", Some(2)), ("b.rs", Some(2))]);
    }
}

//! `lib.rs` is the table of contents of a crate: docs, attributes, modules and re-exports.

use std::path::Path;

use syn::Item;
use syn::spanned::Spanned;

use super::module_tree::Target;
use super::sources::Sources;
use super::{Finding, Outcome};

pub fn check(sources: &Sources, targets: &[Target]) -> Outcome {
    let mut findings = Vec::new();
    let mut looked_at = 0;
    for target in targets {
        let Ok(path) = target.root.strip_prefix(&sources.root) else {
            continue;
        };
        let Some(text) = sources.files.get(path) else {
            continue;
        };
        if path.file_name().is_none_or(|name| name != "lib.rs") {
            continue;
        }
        looked_at += 1;
        match syn::parse_file(text) {
            Ok(file) => contents(path, &file.items, &mut findings),
            Err(error) => findings.push(Finding::fails(
                path,
                error.span().start().line,
                format!("does not read as Rust: {error}"),
            )),
        }
    }
    Outcome { rule: "lib-root", looked_at, unit: "lib.rs files", findings }
}

fn contents(path: &Path, items: &[Item], findings: &mut Vec<Finding>) {
    for item in items {
        match item {
            Item::Use(_) | Item::ExternCrate(_) => {}
            Item::Mod(module) => {
                if let Some((_, inside)) = &module.content {
                    contents(path, inside, findings);
                }
            }
            other => findings.push(Finding::fails(
                path,
                other.span().start().line,
                "lib.rs holds only docs, attributes, modules and re-exports; move this into a \
                 module and re-export it"
                    .to_owned(),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::sources::fixture;

    #[test]
    fn code_in_lib_rs_fails_at_its_line() {
        let (folder, sources) = fixture::tree(&[
            (
                "good/src/lib.rs",
                "//! Docs.\n#![deny(missing_docs)]\nmod a;\npub use a::B;\n\
                 /// Short names.\npub mod prelude { pub use crate::a::B; }",
            ),
            ("bad/src/lib.rs", "//! Docs.\nmod a;\n\npub fn logic() {}\n"),
            ("bad/src/main.rs", "fn main() {}"),
        ]);
        let targets = ["good/src/lib.rs", "bad/src/lib.rs", "bad/src/main.rs"]
            .map(|path| Target { root: folder.path().join(path) });
        let outcome = check(&sources, &targets);
        assert_eq!(outcome.looked_at, 2);
        let texts: Vec<_> = outcome.findings.iter().map(Finding::to_string).collect();
        assert_eq!(texts.len(), 1, "{texts:?}");
        assert!(texts[0].contains("bad/src/lib.rs:4"), "{texts:?}");
    }
}

//! A module is named after its concept; these words name none.

use std::path::Path;

use syn::Item;

use super::sources::Sources;
use super::{Finding, Outcome};

const EMPTY_WORDS: [&str; 8] =
    ["common", "helper", "helpers", "manager", "managers", "misc", "util", "utils"];

pub fn check(sources: &Sources) -> Outcome {
    let mut findings = Vec::new();
    for (path, text) in sources.code() {
        if let Some(word) = path.iter().find_map(|part| {
            let part = Path::new(part);
            empty_word(part.file_stem()?.to_str()?)
        }) {
            findings.push(Finding::fails(path, None, message("path", word)));
        }
        if path.extension().is_some_and(|extension| extension == "rs")
            && let Ok(file) = syn::parse_file(text)
        {
            inline_modules(path, &file.items, &mut findings);
        }
    }
    Outcome { rule: "names", looked_at: sources.code().count(), unit: "files", findings }
}

fn inline_modules(path: &Path, items: &[Item], findings: &mut Vec<Finding>) {
    for item in items {
        let Item::Mod(module) = item else { continue };
        let Some((_, inside)) = &module.content else {
            continue;
        };
        if let Some(word) = empty_word(&module.ident.to_string()) {
            let line = module.ident.span().start().line;
            findings.push(Finding::fails(path, line, message("module name", word)));
        }
        inline_modules(path, inside, findings);
    }
}

fn empty_word(name: &str) -> Option<&'static str> {
    name.split(['_', '-']).find_map(|part| EMPTY_WORDS.into_iter().find(|word| *word == part))
}

fn message(what: &str, word: &str) -> String {
    format!("the {what} says `{word}`, which names no concept; name it after what it holds")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::sources::fixture;

    #[test]
    fn empty_words_are_found_in_files_folders_and_inline_modules() {
        let (_folder, sources) = fixture::tree(&[
            ("a/src/utils.rs", ""),
            ("a/src/slot_manager.rs", ""),
            ("a/common/mod.rs", ""),
            ("b/helper.py", ""),
            ("b/inline.rs", "mod outer {\n    mod test_helpers {}\n}"),
            ("b/communication.rs", "// manager, utils\nmod commons {}"),
        ]);
        let outcome = check(&sources);
        assert_eq!(
            outcome.places(),
            [
                ("a/common/mod.rs", None),
                ("a/src/slot_manager.rs", None),
                ("a/src/utils.rs", None),
                ("b/helper.py", None),
                ("b/inline.rs", Some(2)),
            ]
        );
    }
}

//! The tables of README.md and benches/RESULTS.md, made of the files of runs.
//!
//! Both documents are written by hand around blocks, from a line that names the command to the line
//! `<!-- end -->`; the blocks are what is made here. Every figure of the two comes from the same files.

mod cuda;
mod digits;
mod plain;
mod python;
mod summary;
mod triton;

pub(crate) use digits::number;

use anyhow::{Context, Result, ensure};

use crate::stored::{StoredRun, StoredSuite};

/// The document that newcomers read, from the root of the repository.
pub const README: &str = "README.md";

/// The one with all tables.
pub const RESULTS: &str = "benches/RESULTS.md";

/// What stands in place of the table of a suite that was not measured.
const UNMEASURED: &str = "No run is stored yet.\n";

const END: &str = "<!-- end -->";

/// A part of a document that is generated.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    /// The command that its first line names.
    pub command: String,
    /// What stands between that line and the end.
    pub text: String,
}

/// The blocks of [`README`].
pub fn readme(run: &StoredRun) -> Result<Vec<Block>> {
    Ok(vec![block("all", summary::table(run))])
}

/// The blocks of [`RESULTS`].
pub fn results(run: &StoredRun) -> Result<Vec<Block>> {
    let mut blocks = vec![block("all", summary::suites(run))];
    for (name, table) in TABLES {
        let text = match run.suite(name) {
            Some(suite) => {
                table(suite).with_context(|| format!("could not write the table of `{name}`"))?
            }
            None => UNMEASURED.to_owned(),
        };
        blocks.push(block(name, text));
    }
    Ok(blocks)
}

type Table = fn(&StoredSuite) -> Result<String>;

const TABLES: [(&str, Table); 6] = [
    ("stream", |suite| plain::table(suite, "iceoryx2")),
    ("pool", |suite| plain::table(suite, "pymllm")),
    ("py", python::table),
    ("triton", triton::tables),
    ("cuda", cuda::table),
    ("share", |suite| plain::table(suite, "shared-tensor")),
];

fn block(suite: &str, text: String) -> Block {
    Block { command: format!("cargo xtask bench {suite}"), text }
}

/// A document with these blocks in place of those that it has.
pub fn replaced(name: &str, document: &str, blocks: &[Block]) -> Result<String> {
    let mut text = document.to_owned();
    for block in blocks {
        let begin = format!("<!-- measured by `{}` -->\n", block.command);
        let (before, rest) = text.split_once(&begin).with_context(|| {
            format!("{name} lacks the line {begin:?}; write it where the table is to be")
        })?;
        let (_, after) = rest
            .split_once(END)
            .with_context(|| format!("{name} has no line {END:?} after {begin:?}"))?;
        ensure!(!after.contains(&begin), "{name} has the line {begin:?} twice; take one away");
        text = format!("{before}{begin}{}{END}{after}", block.text);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_blocks_of_a_document_are_replaced() {
        let old = "a\n<!-- measured by `cargo xtask bench pool` -->\nold\n<!-- end -->\nb\n";
        let new = replaced("x.md", old, &[block("pool", "new\n".to_owned())]).unwrap();
        assert_eq!(new, old.replace("old", "new"));
    }

    #[test]
    fn a_document_without_the_block_is_named() {
        let blocks = [block("pool", String::new())];
        let unended = "<!-- measured by `cargo xtask bench pool` -->\n";
        for document in ["", unended, &format!("{unended}{END}\n{unended}{END}")] {
            let error = replaced("x.md", document, &blocks).unwrap_err().to_string();
            assert!(error.contains("x.md") && error.contains("bench pool"), "{error}");
        }
    }
}

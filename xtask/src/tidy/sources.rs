//! The text files of the workspace, read once for all rules.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use walkdir::{DirEntry, WalkDir};

/// Every text file that somebody wrote, by its path relative to the root.
pub struct Sources {
    pub root: PathBuf,
    pub files: BTreeMap<PathBuf, String>,
}

impl Sources {
    /// Reads the files below `root`, build outputs and version control left out.
    pub fn load(root: &Path, target_dir: &Path) -> Result<Self> {
        let walk = WalkDir::new(root)
            .sort_by_file_name()
            .into_iter()
            .filter_entry(|entry| entry.path() != target_dir && is_written_by_people(entry));
        let mut files = BTreeMap::new();
        for entry in walk {
            let entry = entry.with_context(|| format!("could not walk {}", root.display()))?;
            if !entry.file_type().is_file() || !is_text(entry.path()) {
                continue;
            }
            let text = fs::read_to_string(entry.path())
                .with_context(|| format!("could not read {} as text", entry.path().display()))?;
            let relative = entry.path().strip_prefix(root)?.to_path_buf();
            files.insert(relative, text);
        }
        Ok(Self { root: root.to_path_buf(), files })
    }

    /// The Rust files.
    pub fn rust(&self) -> impl Iterator<Item = (&Path, &str)> {
        self.of_kinds(&["rs"])
    }

    /// The Python files; the stubs beside them are no programs.
    pub fn python(&self) -> impl Iterator<Item = (&Path, &str)> {
        self.of_kinds(&["py"])
    }

    /// The Rust and Python files.
    pub fn code(&self) -> impl Iterator<Item = (&Path, &str)> {
        self.of_kinds(&["rs", "py"])
    }

    fn of_kinds(&self, kinds: &'static [&str]) -> impl Iterator<Item = (&Path, &str)> {
        self.files.iter().filter_map(move |(path, text)| {
            let kind = path.extension()?.to_str()?;
            kinds.contains(&kind).then_some((path.as_path(), text.as_str()))
        })
    }
}

const TEXT: [&str; 12] =
    ["cfg", "html", "json", "md", "py", "pyi", "rs", "sh", "toml", "txt", "yaml", "yml"];
const BUILD_OUTPUTS: [&str; 4] = ["target", "node_modules", "__pycache__", "dist"];
const HIDDEN_BUT_OURS: [&str; 3] = [".cargo", ".ci", ".github"];

fn is_written_by_people(entry: &DirEntry) -> bool {
    let name = entry.file_name().to_string_lossy();
    if entry.depth() == 0 || !entry.file_type().is_dir() {
        return true;
    }
    if name.starts_with('.') {
        return HIDDEN_BUT_OURS.contains(&name.as_ref());
    }
    !BUILD_OUTPUTS.contains(&name.as_ref())
}

fn is_text(path: &Path) -> bool {
    match path.extension() {
        Some(extension) => extension.to_str().is_some_and(|extension| TEXT.contains(&extension)),
        // Scripts such as `.ci/run` have no extension.
        None => {
            path.parent().is_some_and(|parent| parent.file_name().is_some_and(|name| name == ".ci"))
        }
    }
}

#[cfg(test)]
pub mod fixture {
    use super::*;

    /// Writes the files below a fresh folder and loads them as a workspace.
    pub fn tree(files: &[(&str, &str)]) -> (tempfile::TempDir, Sources) {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let sources = Sources::load(folder.path(), &folder.path().join("target")).unwrap();
        (folder, sources)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn build_outputs_and_pictures_are_left_out() {
        let (_folder, sources) = fixture::tree(&[
            ("a/src/lib.rs", ""),
            ("a/picture.png", ""),
            ("target/debug/build.rs", ""),
            (".git/config.toml", ""),
            (".ci/run", ""),
            ("b/module.py", ""),
        ]);
        let paths: Vec<_> = sources.files.keys().map(|path| path.to_str().unwrap()).collect();
        assert_eq!(paths, [".ci/run", "a/src/lib.rs", "b/module.py"]);
        assert_eq!(sources.rust().count(), 1);
        assert_eq!(sources.python().count(), 1);
        assert_eq!(sources.code().count(), 2);
    }
}

//! The Python side of the bundle: our package and its tests of CUDA, pytest, and what we compare with.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use walkdir::{DirEntry, WalkDir};

use super::copy;
use crate::process;
use crate::python::{Python, peers};
use crate::workspace::Workspace;

/// What pytest is made of: pure Python, so that any interpreter can run it.
const PYTEST: [&str; 8] = [
    "_pytest",
    "iniconfig",
    "packaging",
    "pluggy",
    "py.py",
    "pygments",
    "pytest",
    "pytest_timeout.py",
];

/// Half of pygments are lexers of hundreds of languages. pytest colours these two.
const LEXERS: [&str; 4] = ["__init__.py", "_mapping.py", "diff.py", "python.py"];

/// Unpacks the packages. None is installed: the programs of the bundle name their folders.
pub fn lay_out(workspace: &Workspace, python: &Python, folder: &Path) -> Result<()> {
    python.wheel.unpack(&python.venv, &folder.join("python"))?;
    let ask = "import pytest, pathlib; print(pathlib.Path(pytest.__file__).parent.parent)";
    let site = PathBuf::from(process::ask(python.venv.python().args(["-I", "-c", ask]))?);
    for name in PYTEST {
        let part = site.join(name);
        ensure!(part.exists(), "pytest is not as expected: no {}", part.display());
        copy_sources(&part, &folder.join("pytest").join(name))?;
    }
    for version in peers::VERSIONS {
        let site = peers::packages(workspace, &python.venv, version)?;
        // With it goes what says whose it is and under which licence.
        for name in ["pyshmem".to_owned(), format!("pyshmem-{version}.dist-info")] {
            let part = site.join(&name);
            copy_sources(&part, &folder.join("pyshmem").join(version).join(name))?;
        }
    }
    Ok(())
}

/// Copies the Python suite, of which the bundle runs the part about CUDA.
pub fn suite(workspace: &Workspace, folder: &Path) -> Result<()> {
    let package = workspace.package("shm-benches")?;
    let from = package.manifest_path.parent().context("a manifest lies in a folder")?;
    copy_sources(from.join("py").as_std_path(), &folder.join("bench").join("py"))
}

/// Copies the tests with all that they import. Returns how many files of them are about CUDA.
pub fn tests(workspace: &Workspace, folder: &Path) -> Result<u64> {
    let package = workspace.package("shm-py")?;
    let from = package.manifest_path.parent().context("a manifest lies in a folder")?;
    let to = folder.join("python-tests");
    copy_sources(from.join("tests").as_std_path(), &to)?;
    let mut count = 0;
    for entry in fs::read_dir(&to).with_context(|| format!("could not list {}", to.display()))? {
        let name = entry.with_context(|| format!("could not list {}", to.display()))?.file_name();
        let name = name.to_string_lossy();
        count += u64::from(name.starts_with("test_cuda") && name.ends_with(".py"));
    }
    Ok(count)
}

/// Copies a file, or a folder without what Python compiled.
fn copy_sources(from: &Path, to: &Path) -> Result<()> {
    let wanted = |entry: &DirEntry| entry.file_name() != "__pycache__" && !is_spare_lexer(entry);
    for entry in WalkDir::new(from).into_iter().filter_entry(wanted) {
        let entry = entry.with_context(|| format!("could not walk {}", from.display()))?;
        if entry.file_type().is_file() {
            let inside = entry.path().strip_prefix(from)?;
            let is_the_file = inside.as_os_str().is_empty();
            copy(entry.path(), &if is_the_file { to.to_owned() } else { to.join(inside) })?;
        }
    }
    Ok(())
}

fn is_spare_lexer(entry: &DirEntry) -> bool {
    let in_lexers = entry.path().parent().is_some_and(|folder| folder.ends_with("pygments/lexers"));
    in_lexers && !LEXERS.iter().any(|lexer| entry.file_name() == *lexer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_copied_without_what_python_compiled() {
        let root = tempfile::tempdir().unwrap();
        let from = root.path().join("from");
        fs::create_dir_all(from.join("deep/__pycache__")).unwrap();
        fs::write(from.join("deep/a.py"), "a = 1").unwrap();
        fs::write(from.join("deep/__pycache__/a.pyc"), "").unwrap();
        let to = root.path().join("to");
        copy_sources(&from, &to).unwrap();
        assert!(to.join("deep/a.py").exists() && !to.join("deep/__pycache__").exists());
        copy_sources(&from.join("deep/a.py"), &root.path().join("other/b.py")).unwrap();
        assert_eq!(fs::read_to_string(root.path().join("other/b.py")).unwrap(), "a = 1");
    }

    #[test]
    fn of_the_lexers_only_those_of_pytest_are_copied() {
        let root = tempfile::tempdir().unwrap();
        let lexers = root.path().join("from/pygments/lexers");
        fs::create_dir_all(&lexers).unwrap();
        for name in ["__init__.py", "_mapping.py", "diff.py", "python.py", "cobol.py"] {
            fs::write(lexers.join(name), "").unwrap();
        }
        let to = root.path().join("to");
        copy_sources(&root.path().join("from"), &to).unwrap();
        let mut copied: Vec<_> = fs::read_dir(to.join("pygments/lexers"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        copied.sort();
        assert_eq!(copied, LEXERS);
    }
}

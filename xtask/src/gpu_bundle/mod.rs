//! `cargo xtask gpu-bundle`: one folder with the CUDA tests and benches, which runs on any Linux x86-64
//! machine with an NVIDIA driver, Python and NumPy: no Rust, no network, nothing to install.

mod binaries;
mod contents;
mod packages;
pub mod trial;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};

use crate::elf::{Elf, GlibcVersion};
use crate::flags::GpuBundleArgs;
use crate::python::Python;
use crate::workspace::Workspace;

/// Makes the folder and says what is in it.
pub fn task(workspace: &Workspace, args: &GpuBundleArgs) -> Result<ExitCode> {
    let folder = match &args.out {
        Some(folder) => std::path::absolute(folder)?,
        None => workspace.target_dir().join("gpu-bundle"),
    };
    let bundle = make(workspace, folder)?;
    println!("gpu bundle: {}", bundle.describe());
    if args.check {
        let counts = trial::run(workspace, &bundle)?;
        println!("gpu bundle: {} tests passed on sim, {} skipped", counts.passed, counts.ignored);
    }
    println!("copy the folder and run `./run-tests` and `./run-bench --json OUT.json` in it");
    Ok(ExitCode::SUCCESS)
}

/// A bundle on disk.
pub struct Bundle {
    pub folder: PathBuf,
    bytes: u64,
    test_programs: u64,
    python_tests: u64,
    glibc: Option<GlibcVersion>,
}

impl Bundle {
    /// What is in it, in words.
    pub fn describe(&self) -> String {
        format!(
            "{} with {} test programs and {} files of Python tests, {:.1} MiB, needs glibc {}",
            self.folder.display(),
            self.test_programs,
            self.python_tests,
            mebibytes(self.bytes),
            self.glibc
                .as_ref()
                .map_or_else(|| "of any version".to_owned(), GlibcVersion::to_string)
        )
    }
}

/// Such a folder is carried to other machines again and again.
const MOST_BYTES: u64 = 60 << 20;

/// Builds everything and lays it out in `folder`, which then holds nothing else.
pub fn make(workspace: &Workspace, folder: PathBuf) -> Result<Bundle> {
    let binaries = binaries::build(workspace)?;
    let python = Python::ready(workspace)?;
    empty(&folder)?;
    let test_programs = binaries.lay_out(&folder)?;
    packages::lay_out(workspace, &python, &folder)?;
    packages::suite(workspace, &folder)?;
    let python_tests = packages::tests(workspace, &folder)?;
    contents::programs(&folder)?;
    let (bytes, glibc) = measure(&folder)?;
    let bundle = Bundle { folder, bytes, test_programs, python_tests, glibc };
    ensure!(
        bytes <= MOST_BYTES,
        "the bundle is too large: {}; at most {:.0} MiB; look for what grew with `du -a`",
        bundle.describe(),
        mebibytes(MOST_BYTES)
    );
    Ok(bundle)
}

/// Says that a folder is a bundle, so that it may be emptied.
const MARK: &str = "gpu-bundle.txt";

/// An existing folder is only emptied if it is a bundle.
fn empty(folder: &Path) -> Result<()> {
    let mark = folder.join(MARK);
    let occupied = folder.is_dir()
        && fs::read_dir(folder)
            .with_context(|| format!("could not list {}", folder.display()))?
            .next()
            .is_some();
    if occupied && !mark.is_file() {
        bail!(
            "{} holds other things than a bundle; name another folder with --out, or remove it",
            folder.display()
        );
    }
    if folder.exists() {
        fs::remove_dir_all(folder)
            .with_context(|| format!("could not empty {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("could not create {}", folder.display()))?;
    fs::write(&mark, contents::ABOUT).with_context(|| format!("could not write {}", mark.display()))
}

/// The size of all files, and the newest C library that a program or library among them needs.
fn measure(folder: &Path) -> Result<(u64, Option<GlibcVersion>)> {
    let (mut bytes, mut newest) = (0, None);
    for entry in walkdir::WalkDir::new(folder) {
        let entry = entry.with_context(|| format!("could not walk {}", folder.display()))?;
        if !entry.file_type().is_file() {
            continue;
        }
        bytes += entry.metadata()?.len();
        if is_elf(entry.path())? {
            newest = newest.max(Elf::read(entry.path())?.newest_glibc()?);
        }
    }
    Ok((bytes, newest))
}

fn is_elf(file: &Path) -> Result<bool> {
    use std::io::Read;
    let mut start = Vec::new();
    fs::File::open(file)
        .and_then(|file| file.take(4).read_to_end(&mut start))
        .with_context(|| format!("could not read {}", file.display()))?;
    Ok(start == b"\x7fELF")
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Copies a file into a folder that may not be there yet.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let folder = to.parent().context("a file lies in a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("could not create {}", folder.display()))?;
    fs::copy(from, to)
        .with_context(|| format!("could not copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_with_other_things_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("thesis.txt"), "years of work").unwrap();
        let error = empty(folder.path()).unwrap_err().to_string();
        assert!(error.contains("--out"), "{error}");
        assert!(folder.path().join("thesis.txt").exists());
    }

    #[test]
    fn an_earlier_bundle_is_emptied() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("new");
        empty(&folder).unwrap();
        fs::write(folder.join("stale"), "").unwrap();
        empty(&folder).unwrap();
        assert!(!folder.join("stale").exists() && folder.join(MARK).exists());
    }

    #[test]
    fn the_size_counts_every_file() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("deep")).unwrap();
        fs::write(folder.path().join("deep/a"), [0; 1000]).unwrap();
        fs::write(folder.path().join("b"), [0; 24]).unwrap();
        assert_eq!(measure(folder.path()).unwrap(), (1024, None));
        let program = std::env::current_exe().unwrap();
        copy(&program, &folder.path().join("bin/program")).unwrap();
        assert!(measure(folder.path()).unwrap().1.is_some());
    }
}

//! NVIDIA's load generator perf_analyzer, out of the package tritonclient (BSD license). It runs
//! with `LD_LIBRARY_PATH` set to its folder.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::wheel::{self, Pin};
use super::{Fetched, folder, server};
use crate::process;
use crate::workspace::Workspace;

/// The newest release whose program runs with glibc 2.35.
const PIN: Pin = Pin {
    requirement: "tritonclient==2.49.0",
    sha256: "e7b40ba11056c93da434bc8a8b302c0a337489923a0a747c5d313314baa26db3",
    platform: "manylinux1_x86_64",
};

const INSIDE: &str = "tritonclient-2.49.0.data/data/bin/perf_analyzer";

/// The libraries that it asks for, and how the names begin under which the server has them.
const BORROWED: [(&str, &str); 2] =
    [("libb64.so.0d", "libb64-"), ("libcudart.so.12", "libcudart-")];

/// Makes sure that it is there and runs.
pub fn ensure(workspace: &Workspace) -> Result<Fetched> {
    if let Some(why) = server::obstacle() {
        return Ok(Fetched::Skipped(why));
    }
    let libraries = server::folder(workspace).join(server::LIBRARIES);
    if !libraries.exists() {
        return Ok(Fetched::Skipped(
            "it borrows libraries of the server; run `cargo xtask triton fetch`".to_owned(),
        ));
    }
    let folder = folder(workspace).join("perf_analyzer");
    wheel::ensure(&PIN, &folder, |unpacked, folder| {
        let program = folder.join("perf_analyzer");
        wheel::rename(&unpacked.join(INSIDE), &program)?;
        wheel::make_executable(&program)?;
        BORROWED.iter().try_for_each(|(name, prefix)| {
            let library = Path::new("../server").join(server::LIBRARIES);
            let library = library.join(file_beginning_with(&libraries, prefix)?);
            symlink(&library, folder.join(name))
                .with_context(|| format!("could not link {name} to {}", library.display()))
        })
    })?;
    let program = folder.join("perf_analyzer");
    let mut version = Command::new(&program);
    process::ask(version.arg("--version").env("LD_LIBRARY_PATH", &folder))
        .context("perf_analyzer was fetched but does not run")?;
    Ok(Fetched::Ready(format!("load generator in {}", program.display())))
}

fn file_beginning_with(folder: &Path, prefix: &str) -> Result<PathBuf> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("could not list {}", folder.display()))?;
    entries
        .filter_map(|entry| entry.ok().map(|entry| entry.file_name()))
        .find(|name| name.to_string_lossy().starts_with(prefix))
        .map(PathBuf::from)
        .with_context(|| format!("{} has no file {prefix}*", folder.display()))
}

//! Environments with the packages that ours replace, for the benches to compare with.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use super::venv::Venv;
use crate::process;
use crate::workspace::Workspace;

/// The releases that the benches compare with: the one that was asked to be replaced and the
/// newest one.
pub const VERSIONS: [&str; 2] = ["1.0.1", "1.4.0"];

/// The interpreter of an environment with that release of pyshmem and with the same numpy as
/// `.venv`, so that a difference is not one of numpy's.
pub fn interpreter(workspace: &Workspace, ours: &Venv, version: &str) -> Result<PathBuf> {
    let numpy = process::ask(ours.python().args(["-c", "import numpy; print(numpy.__version__)"]))
        .context("could not ask .venv for its numpy; run `cargo xtask setup`")?;
    let folder = workspace.target_dir().join("py-peers").join(version);
    let (venv, _) = Venv::ensure(folder, &requirements(&numpy, version))?;
    Ok(venv.python_path())
}

/// The folder with the packages of the [`interpreter`] of that release.
pub fn packages(workspace: &Workspace, ours: &Venv, version: &str) -> Result<PathBuf> {
    let python = interpreter(workspace, ours, version)?;
    let ask = "import pyshmem, pathlib; print(pathlib.Path(pyshmem.__file__).parent.parent)";
    Ok(PathBuf::from(process::ask(Command::new(python).args(["-I", "-c", ask]))?))
}

/// The interpreter of an environment with triton-shm-client, and with what it was measured with.
pub fn triton(workspace: &Workspace) -> Result<PathBuf> {
    let folder = workspace.target_dir().join("py-peers").join("triton-shm-client");
    let (venv, _) = Venv::ensure(folder, TRITON)?;
    Ok(venv.python_path())
}

/// The interpreter of an environment with shared-tensor. It has no PyTorch, which has to fit the machine:
/// the package starts and answers without it, and shares nothing.
pub fn shared_tensor(workspace: &Workspace) -> Result<PathBuf> {
    let folder = workspace.target_dir().join("py-peers").join("shared-tensor");
    let (venv, _) = Venv::ensure(folder, SHARED_TENSOR)?;
    Ok(venv.python_path())
}

const SHARED_TENSOR: &str = "shared-tensor==0.2.16\n";

const TRITON: &str =
    "triton-shm-client==0.1.0\ntritonclient[grpc]==2.73.0\ngrpcio==1.85.1\nnumpy==2.4.6\n";

fn requirements(numpy: &str, version: &str) -> String {
    format!("numpy=={numpy}\npyshmem=={version}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_packages_are_pinned() {
        assert_eq!(requirements("2.4.6", "1.0.1"), "numpy==2.4.6\npyshmem==1.0.1\n");
    }
}

//! `cargo xtask wheel`: the package as people install it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use super::PACKAGE;
use super::venv::Venv;
use crate::process;
use crate::workspace::Workspace;

/// Builds the wheel and says where it is.
pub fn task(workspace: &Workspace) -> Result<ExitCode> {
    let (venv, _) = super::tools(workspace)?;
    let wheel = build(workspace, &venv)?;
    println!("wheel: {}, {} kB", wheel.path.display(), wheel.bytes.div_ceil(1000));
    println!("install it with: python3 -m pip install {}", wheel.path.display());
    Ok(ExitCode::SUCCESS)
}

/// A wheel on disk.
pub struct Wheel {
    pub path: PathBuf,
    pub bytes: u64,
}

impl Wheel {
    /// Unpacks it, which is all that installing does, into a folder that then holds nothing else.
    pub fn unpack(&self, venv: &Venv, folder: &Path) -> Result<()> {
        if folder.exists() {
            fs::remove_dir_all(folder)
                .with_context(|| format!("could not empty {}", folder.display()))?;
        }
        let mut unzip = venv.python();
        unzip.args(["-I", "-m", "zipfile", "--extract"]).arg(&self.path).arg(folder);
        process::ask(&mut unzip).map(drop)
    }
}

/// Builds the wheel with the environment's maturin. The build has a target folder of its own: the
/// extension module is linked without libpython, and changing to and fro would build everything
/// that knows Python again each time.
pub fn build(workspace: &Workspace, venv: &Venv) -> Result<Wheel> {
    let package = workspace.package(PACKAGE)?;
    let folder = workspace.target_dir().join("wheels");
    // After a failing build there must be no wheel, and after a good one no other.
    for stale in wheels_in(&folder)? {
        fs::remove_file(&stale).with_context(|| format!("could not remove {}", stale.display()))?;
    }
    let mut maturin = venv.python();
    maturin
        .args(["-m", "maturin", "build", "--release", "--locked"])
        .arg("--manifest-path")
        .arg(&package.manifest_path)
        .arg("--interpreter")
        .arg(venv.python_path())
        .arg("--target-dir")
        .arg(workspace.target_dir().join("wheel"))
        .arg("--out")
        .arg(&folder)
        .env("RUSTFLAGS", flags_without_paths(workspace))
        .current_dir(workspace.root());
    // The wheel says when it was built, and would be another one each time.
    if std::env::var_os("SOURCE_DATE_EPOCH").is_none() {
        maturin.env("SOURCE_DATE_EPOCH", "315532800");
    }
    process::watch_all(&mut maturin)?
        .expect_success(&maturin)
        .context("the wheel could not be built; mend what maturin names above")?;
    match wheels_in(&folder)?.as_slice() {
        [path] => {
            let bytes = fs::metadata(path)
                .with_context(|| format!("could not look at {}", path.display()))?
                .len();
            Ok(Wheel { path: path.clone(), bytes })
        }
        found => bail!(
            "maturin reported success, but {} holds {} wheels where one is expected",
            folder.display(),
            found.len()
        ),
    }
}

/// The caller's own flags, and those that keep the builder's folders out of panic messages.
fn flags_without_paths(workspace: &Workspace) -> String {
    let mut flags: Vec<String> = std::env::var("RUSTFLAGS").into_iter().collect();
    let cargo_home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo_home = cargo_home.or_else(|| std::env::home_dir().map(|home| home.join(".cargo")));
    let folders = [(Some(workspace.root().to_path_buf()), "shm"), (cargo_home, "cargo")];
    for (folder, name) in folders {
        if let Some(folder) = folder {
            flags.push(format!("--remap-path-prefix={}={name}", folder.display()));
        }
    }
    flags.join(" ")
}

fn wheels_in(folder: &Path) -> Result<Vec<PathBuf>> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut wheels = Vec::new();
    for entry in
        fs::read_dir(folder).with_context(|| format!("could not list {}", folder.display()))?
    {
        let path = entry.with_context(|| format!("could not list {}", folder.display()))?.path();
        if path.extension().is_some_and(|extension| extension == "whl") {
            wheels.push(path);
        }
    }
    Ok(wheels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_wheels_are_found() {
        let folder = tempfile::tempdir().unwrap();
        assert!(wheels_in(&folder.path().join("absent")).unwrap().is_empty());
        for name in ["a-1.0-py3-none-any.whl", "a-1.0.tar.gz", "whl"] {
            fs::write(folder.path().join(name), b"").unwrap();
        }
        let found = wheels_in(folder.path()).unwrap();
        assert_eq!(found, [folder.path().join("a-1.0-py3-none-any.whl")]);
    }
}

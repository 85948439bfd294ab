//! The programs of the bundle: what cargo builds, without what only a debugger reads.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use cargo_metadata::{Artifact, Message, TargetKind};

use super::copy;
use crate::bench::CUDA;
use crate::cuda::{SIMULATED, SIMULATED_LIBRARY};
use crate::process::{self, Origin};
use crate::progress::Progress;
use crate::workspace::Workspace;

/// The packages whose integration tests run on a driver.
const TESTED: [&str; 2] = [SIMULATED, "shm-cuda"];

/// What was built, where cargo left it.
pub struct Binaries {
    /// By the name that they get.
    tests: Vec<(String, PathBuf)>,
    bench: PathBuf,
    devices: PathBuf,
    simulated: PathBuf,
}

/// Builds all of it, in release.
pub fn build(workspace: &Workspace) -> Result<Binaries> {
    expect_bench(workspace)?;
    let mut command = workspace.cargo();
    command.args(["test", "--no-run", "--release", "--test", "*"]);
    for package in TESTED {
        workspace.package(package)?;
        command.args(["--package", package]);
    }
    command.args(["--features", "shm-cuda/pool,shm-cuda/share,shm-cuda/testing"]);
    let artifacts = artifacts(&mut command)?;
    let simulated = artifacts
        .iter()
        .flat_map(|artifact| &artifact.filenames)
        .find(|file| file.file_name() == Some(SIMULATED_LIBRARY))
        .with_context(|| format!("cargo built no {SIMULATED_LIBRARY}"))?
        .as_std_path()
        .to_owned();
    let tests: Vec<(String, PathBuf)> = artifacts.iter().filter_map(test_program).collect();
    for package in TESTED {
        let begins = format!("{package}.");
        ensure!(
            tests.iter().any(|(name, _)| name.starts_with(&begins)),
            "{package} has no integration tests to take along"
        );
    }

    let mut command = workspace.cargo();
    command.args(["bench", "--no-run", "--package", "shm-benches", "--bench", CUDA]);
    let bench = program(&mut command, CUDA)?;

    let mut command = workspace.cargo();
    command.args(["build", "--release", "--package", "shm-cuda", "--example", "devices"]);
    let devices = program(&mut command, "devices")?;
    Ok(Binaries { tests, bench, devices, simulated })
}

fn expect_bench(workspace: &Workspace) -> Result<()> {
    let package = workspace.package("shm-benches")?;
    let found = package
        .targets
        .iter()
        .any(|target| target.name == CUDA && target.kind.contains(&TargetKind::Bench));
    ensure!(
        found,
        "shm-benches has no suite `{CUDA}`, so the bundle could measure nothing; add a [[bench]] of \
         that name to benches/Cargo.toml"
    );
    Ok(())
}

/// Runs a cargo command that builds, and returns what it built or found built.
fn artifacts(command: &mut Command) -> Result<Vec<Artifact>> {
    let described = process::describe(command);
    command.args(["--message-format", "json-render-diagnostics"]);
    let mut artifacts = Vec::new();
    let progress = Progress::spinner(&described);
    let finished = process::watch(command, progress, |_, origin, line| {
        if origin == Origin::Stderr {
            return Some(line.to_owned());
        }
        match serde_json::from_str::<Message>(line) {
            Ok(Message::CompilerArtifact(artifact)) => artifacts.push(artifact),
            Ok(_) => {}
            Err(_) => return Some(line.to_owned()),
        }
        None
    })?;
    if !finished.status.success() {
        bail!("`{described}` ended with {}", finished.status);
    }
    Ok(artifacts)
}

fn program(command: &mut Command, target: &str) -> Result<PathBuf> {
    let described = process::describe(command);
    artifacts(command)?
        .into_iter()
        .filter(|artifact| artifact.target.name == target)
        .find_map(|artifact| artifact.executable)
        .map(cargo_metadata::camino::Utf8PathBuf::into_std_path_buf)
        .with_context(|| format!("`{described}` built no program `{target}`"))
}

/// The name and the place of an integration test.
fn test_program(artifact: &Artifact) -> Option<(String, PathBuf)> {
    let file = artifact.executable.as_ref()?;
    let is_test = artifact.target.kind.contains(&TargetKind::Test);
    let package = artifact.manifest_path.parent()?.file_name()?;
    // The folder of the simulated driver has a shorter name than its package.
    let package = TESTED.iter().find(|name| **name == package || name.ends_with(package))?;
    is_test.then(|| (format!("{package}.{}", artifact.target.name), file.as_std_path().to_owned()))
}

impl Binaries {
    /// Copies them into the bundle, stripped. Returns how many test programs there are.
    pub fn lay_out(&self, folder: &Path) -> Result<u64> {
        // The tests look for the simulated driver beside themselves.
        let tests = folder.join("tests");
        for (name, program) in &self.tests {
            stripped(program, &tests.join(name))?;
        }
        stripped(&self.simulated, &tests.join(SIMULATED_LIBRARY))?;
        stripped(&self.bench, &folder.join("bench").join(CUDA))?;
        stripped(&self.devices, &folder.join("bench").join("devices"))?;
        Ok(self.tests.len() as u64)
    }
}

fn stripped(from: &Path, to: &Path) -> Result<()> {
    copy(from, to)?;
    let mut strip = Command::new("strip");
    strip.arg(to);
    process::ask(&mut strip)
        .context("debugging symbols could not be left out; install binutils")
        .map(drop)
}

//! What the suites `triton`, `cuda` and `share` need beside themselves: servers, drivers, interpreters,
//! the programs of others.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::cuda::{self, Profile};
use crate::process;
use crate::python::{Python, peers};
use crate::triton::{self, Fetched};
use crate::workspace::Workspace;

/// Makes sure that they are there and tells the suite where. What cannot be had is skipped, here and
/// there, with the reason.
pub fn provide(workspace: &Workspace, command: &mut Command) -> Result<()> {
    let mut missing = false;
    for (what, ensure) in triton::PARTS {
        let skipped = match ensure(workspace) {
            Ok(Fetched::Ready(_)) => continue,
            Ok(Fetched::Skipped(why)) => why,
            Err(error) => format!("{error:#}"),
        };
        println!("SKIPPED: {what}: {skipped}");
        missing = true;
    }
    // The server's own program says what of it is missing.
    command
        .env("SHM_BENCH_TRITON_REAL", program(workspace, "shm-tests", "shm-triton-server")?)
        .env("SHM_BENCH_TRITON_EMBEDDED", program(workspace, "shm-zoo", "shm-zoo-serve")?)
        .env("SHM_TRITON_SERVER", triton::folder(workspace));
    let load = triton::folder(workspace).join("perf_analyzer").join("perf_analyzer");
    if load.exists() || !missing {
        command.env("SHM_BENCH_PERF_ANALYZER", load);
    }
    match peers::triton(workspace) {
        Ok(python) => {
            command.env("SHM_BENCH_TRITON_PYTHON", python);
        }
        Err(error) => println!("SKIPPED: the clients in Python: {error:#}"),
    }
    Ok(())
}

/// Tells the suite `cuda` which driver it measures: where there is no GPU, the simulated one.
pub fn of_cuda(workspace: &Workspace, command: &mut Command) -> Result<()> {
    if cuda::installed_devices(workspace)?.is_empty() {
        println!(
            "no GPU here: the suite measures what the host does, on the simulated driver (sim)"
        );
        command.arg("--sim").arg(cuda::simulated_driver(workspace, Profile::Release)?);
    } else {
        println!(
            "SKIPPED: pyshmem beside ours: `./run-bench` of `cargo xtask gpu-bundle` measures it"
        );
        command.env_remove(cuda::DRIVER_VARIABLE);
    }
    Ok(())
}

/// Names another interpreter that has shared-tensor, such as one that has PyTorch too.
const SHARED_TENSOR: &str = "SHM_BENCH_SHARE_PEER";

/// Tells the suite `share` where our Python package is, and where shared-tensor is. Without PyTorch and a
/// GPU that one only answers pings; which PyTorch fits the machine only the person can choose.
pub fn of_share(workspace: &Workspace, command: &mut Command) {
    match Python::ready(workspace) {
        Ok(python) => {
            command.env("SHM_BENCH_SHARE_PYTHON", python.venv.python_path());
        }
        Err(error) => println!("SKIPPED: our package in Python: {error:#}"),
    }
    let named = std::env::var_os(SHARED_TENSOR).map(PathBuf::from);
    command.env_remove(SHARED_TENSOR);
    match named.map_or_else(|| peers::shared_tensor(workspace), |python| imports_it(&python)) {
        Ok(python) => {
            command.env(SHARED_TENSOR, python);
        }
        Err(error) => println!("SKIPPED: shared-tensor: {error:#}"),
    }
}

fn imports_it(python: &Path) -> Result<PathBuf> {
    let mut import = Command::new(python);
    import.args(["-I", "-c", "import shared_tensor; assert shared_tensor.__version__ == '0.2.16'"]);
    process::ask(&mut import).map(|_| python.to_owned())
}

/// Builds a program of the workspace, as fast as the benches themselves.
fn program(workspace: &Workspace, package: &str, name: &str) -> Result<PathBuf> {
    let mut build = workspace.cargo();
    build.args(["build", "--quiet", "--release", "--package", package, "--bin", name]);
    process::watch_all(&mut build)?.expect_success(&build)?;
    Ok(workspace.target_dir().join("release").join(name))
}

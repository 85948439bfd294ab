//! The CUDA drivers that tests and benches run on: the simulated one, which is built, and the installed
//! one, which is looked for.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use crate::process;
use crate::workspace::Workspace;

/// The package of the simulated driver.
pub const SIMULATED: &str = "shm-cuda-sim";

/// Its library.
pub const SIMULATED_LIBRARY: &str = "libshm_cuda_sim.so";

/// Names the driver that a program loads.
pub const DRIVER_VARIABLE: &str = "SHM_CUDA_DRIVER";

/// With `real` in it the tests run on the installed driver.
pub const CONFORMANCE_VARIABLE: &str = "SHM_CUDA_CONFORMANCE";

/// How something is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    Debug,
    Release,
}

/// Builds the simulated driver and says where it is.
pub fn simulated_driver(workspace: &Workspace, profile: Profile) -> Result<PathBuf> {
    workspace.package(SIMULATED)?;
    let mut build = workspace.cargo();
    build.args(["build", "--package", SIMULATED]);
    let folder = match profile {
        Profile::Debug => "debug",
        Profile::Release => {
            build.arg("--release");
            "release"
        }
    };
    process::watch_all(&mut build)?
        .expect_success(&build)
        .context("the simulated CUDA driver could not be built")?;
    let library = workspace.target_dir().join(folder).join(SIMULATED_LIBRARY);
    ensure!(library.is_file(), "cargo built no {}", library.display());
    Ok(library)
}

/// The devices of the installed driver, in words; none where there is no driver.
pub fn installed_devices(workspace: &Workspace) -> Result<Vec<String>> {
    let mut list = workspace.cargo();
    list.args(["run", "--quiet", "--package", "shm-cuda", "--example", "devices"]);
    list.env_remove(DRIVER_VARIABLE);
    let printed = process::ask(&mut list).context("the installed CUDA driver was looked for")?;
    Ok(devices(&printed))
}

fn devices(printed: &str) -> Vec<String> {
    printed.lines().filter(|line| line.starts_with("cuda:")).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_told_from_the_rest() {
        let printed = "CUDA 12040 from libcuda.so.1\ncuda:0  H100  GPU-1  80 GiB\ncuda:1  H100";
        assert_eq!(devices(printed), ["cuda:0  H100  GPU-1  80 GiB", "cuda:1  H100"]);
        assert!(devices("no CUDA driver at libcuda.so.1: not found").is_empty());
    }
}

//! The server itself, as NVIDIA ships it inside a Python package (Apache 2.0), with the native
//! backend of this workspace.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::wheel::{self, Pin};
use super::{Fetched, backend, models};
use crate::process;
use crate::workspace::Workspace;

/// Triton 2.51.0.
const PIN: Pin = Pin {
    requirement: "nvidia-pytriton==0.7.0",
    sha256: "21f063ff93bb426d0c06b7a55e7eb9efcfe62c0dddd9a908e9877e18710128df",
    platform: "manylinux_2_35_x86_64",
};

/// The oldest C library that it runs with.
const GLIBC: (u32, u32) = (2, 35);

/// Makes sure that server, backend and models are there and are those of the sources.
pub fn ensure(workspace: &Workspace) -> Result<Fetched> {
    if let Some(why) = obstacle() {
        return Ok(Fetched::Skipped(why));
    }
    let folder = folder(workspace);
    wheel::ensure(&PIN, &folder, take)?;
    backend::install(workspace)?;
    let count = models::install_native(workspace)?;
    Ok(Fetched::Ready(format!("Triton server with {count} models in {}", folder.display())))
}

/// Why the server cannot run here, if so.
pub fn obstacle() -> Option<String> {
    if cfg!(not(all(target_os = "linux", target_arch = "x86_64"))) {
        return Some("it is there for Linux on x86-64 only".to_owned());
    }
    let printed = match process::ask(Command::new("getconf").arg("GNU_LIBC_VERSION")) {
        Ok(printed) => printed,
        Err(error) => return Some(format!("it needs the GNU C library ({error:#})")),
    };
    let (major, minor) = GLIBC;
    if glibc(&printed).is_none_or(|found| found < GLIBC) {
        return Some(format!("it needs glibc {major}.{minor} or newer, here is {printed}"));
    }
    wheel::obstacle()
}

/// The folder of the server.
pub fn folder(workspace: &Workspace) -> PathBuf {
    super::folder(workspace).join("server")
}

/// The folder of its backends.
pub fn backends(workspace: &Workspace) -> PathBuf {
    folder(workspace).join(INSIDE).join("backends")
}

/// The program that runs models written in Python, one for each version of Python.
pub fn python_stub(workspace: &Workspace, version: &str) -> PathBuf {
    let stubs = folder(workspace).join(INSIDE).join("python_backend_stubs");
    stubs.join(version).join("triton_python_backend_stub")
}

/// The libraries that came with it.
pub const LIBRARIES: &str = "nvidia_pytriton.libs";

const INSIDE: &str = "pytriton/tritonserver";

fn take(unpacked: &Path, folder: &Path) -> Result<()> {
    // The programs look for the libraries from where they lie, so they keep their places.
    let destination = folder.join(INSIDE);
    let parent = destination.parent().unwrap_or(folder);
    fs::create_dir_all(parent).with_context(|| format!("could not create {}", parent.display()))?;
    wheel::rename(&unpacked.join(INSIDE), &destination)?;
    wheel::rename(&unpacked.join(LIBRARIES), &folder.join(LIBRARIES))?;
    let license = "nvidia_pytriton-0.7.0.dist-info/licenses/LICENSE";
    wheel::rename(&unpacked.join(license), &folder.join("LICENSE"))?;
    wheel::make_executable(&destination.join("bin").join("tritonserver"))
}

fn glibc(printed: &str) -> Option<(u32, u32)> {
    let (major, minor) = printed.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.split('.').next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_the_c_library_are_compared_as_numbers() {
        assert_eq!(glibc("glibc 2.36\n"), Some((2, 36)));
        assert!(glibc("glibc 2.4.1").unwrap() < GLIBC);
        assert!(glibc("glibc 2.100").unwrap() > GLIBC);
        assert_eq!(glibc("musl 1.2"), None);
    }
}

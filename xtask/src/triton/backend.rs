//! The native backend: built from the package `shm-triton-backend` and put where the server looks.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::{server, wheel};
use crate::process;
use crate::workspace::Workspace;

/// How `config.pbtxt` names it.
const NAME: &str = "shm_test";
const PACKAGE: &str = "shm-triton-backend";

/// Builds and installs it.
pub fn install(workspace: &Workspace) -> Result<()> {
    let mut build = workspace.cargo();
    build.args(["build", "--quiet", "--release", "--package", PACKAGE]);
    process::watch_all(&mut build)?.expect_success(&build)?;
    let built = workspace.target_dir().join("release").join("libshm_triton_backend.so");
    let folder = server::backends(workspace).join(NAME);
    fs::create_dir_all(&folder)
        .with_context(|| format!("could not create {}", folder.display()))?;
    replace(&built, &folder.join(format!("libtriton_{NAME}.so")))
}

/// Replaces a file by another's copy. A server that runs goes on with the old one, which is why
/// its bytes are not written over.
pub fn replace(source: &Path, destination: &Path) -> Result<()> {
    let draft = destination.with_extension("draft");
    fs::copy(source, &draft)
        .with_context(|| format!("could not copy {} to {}", source.display(), draft.display()))?;
    wheel::rename(&draft, destination)
}

//! What the extension module shows to other libraries of a process.

use anyhow::{Context, Result};

use super::{MODULE, Python};
use crate::elf::Elf;
use crate::workspace::Workspace;

/// The symbols that the extension module of the wheel exports.
pub fn of_wheel(workspace: &Workspace, python: &Python) -> Result<Vec<String>> {
    let folder = workspace.target_dir().join("wheel-unpacked");
    python.wheel.unpack(&python.venv, &folder)?;
    let package = folder.join(MODULE);
    let extension = walkdir::WalkDir::new(&package)
        .into_iter()
        .filter_map(std::result::Result::ok)
        .find(|entry| entry.path().extension().is_some_and(|kind| kind == "so"))
        .with_context(|| format!("{} holds no extension module", package.display()))?;
    Elf::read(extension.path())?.exports()
}

//! The Python side of the workspace: an interpreter, the virtual environment `.venv` at the root,
//! the wheel, and what is run with them.

pub mod exports;
mod install;
mod interpreter;
pub mod peers;
pub mod pytest;
pub mod readme;
pub mod types;
pub mod venv;
pub mod wheel;

use std::fs;

use anyhow::{Context, Result};

use crate::workspace::Workspace;
use venv::{Change, Venv};
use wheel::Wheel;

/// `.venv` with the test tools in it and with the wheel of the sources as they are now.
pub struct Python {
    pub venv: Venv,
    pub wheel: Wheel,
    pub tools: Change,
    pub module: Change,
}

impl Python {
    /// Does what is left to do; where nothing changed that is a look at each part.
    pub fn ready(workspace: &Workspace) -> Result<Self> {
        let (venv, tools) = tools(workspace)?;
        let wheel = wheel::build(workspace, &venv)?;
        let module = install::wheel(&venv, &wheel)?;
        Ok(Self { venv, wheel, tools, module })
    }
}

/// `.venv` with the test tools in it.
fn tools(workspace: &Workspace) -> Result<(Venv, Change)> {
    let pins = workspace.root().join(PACKAGE).join("requirements-dev.txt");
    let pins =
        fs::read_to_string(&pins).with_context(|| format!("could not read {}", pins.display()))?;
    Venv::ensure(workspace.root().join(".venv"), &pins)
}

/// The package that the wheel is made of, and its folder.
pub const PACKAGE: &str = "shm-py";

/// What Python imports.
const MODULE: &str = "shm_py";

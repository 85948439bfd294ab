//! Putting the wheel into `.venv`, when it is another than the one that is there.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::MODULE;
use super::venv::{Change, Venv, run_pip};
use super::wheel::Wheel;
use crate::process;

/// Installs the wheel unless the same one is installed.
pub fn wheel(venv: &Venv, wheel: &Wheel) -> Result<Change> {
    let installed = venv.folder().join(INSTALLED);
    if same_bytes(&wheel.path, &installed)? && is_importable(venv)? {
        return Ok(Change::Unchanged);
    }
    let mut pip = venv.pip("install");
    pip.args(["--no-deps", "--force-reinstall", "--no-index"]).arg(&wheel.path);
    run_pip(&mut pip)?;
    fs::copy(&wheel.path, &installed)
        .with_context(|| format!("could not write {}", installed.display()))?;
    Ok(Change::Made)
}

/// A copy of the wheel that was installed last, to compare the next one with.
const INSTALLED: &str = "installed-by-xtask.whl";

fn same_bytes(wheel: &Path, installed: &Path) -> Result<bool> {
    let new = fs::read(wheel).with_context(|| format!("could not read {}", wheel.display()))?;
    Ok(fs::read(installed).is_ok_and(|old| old == new))
}

/// A person may have uninstalled it since.
fn is_importable(venv: &Venv) -> Result<bool> {
    let script = format!("import importlib.util as u; print(u.find_spec('{MODULE}') is not None)");
    Ok(process::ask(venv.python().args(["-I", "-c", &script]))? == "True")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wheels_are_compared_by_their_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let [one, same, other] = ["one", "same", "other"].map(|name| folder.path().join(name));
        fs::write(&one, b"wheel").unwrap();
        fs::write(&same, b"wheel").unwrap();
        fs::write(&other, b"Wheel").unwrap();
        assert!(same_bytes(&one, &same).unwrap());
        assert!(!same_bytes(&one, &other).unwrap());
        assert!(!same_bytes(&one, &folder.path().join("absent")).unwrap());
        assert!(same_bytes(&folder.path().join("absent"), &one).is_err());
    }
}

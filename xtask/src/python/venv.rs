//! A virtual environment that holds what a list of pins names.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::interpreter::{self, Version};
use crate::process;

/// A virtual environment.
pub struct Venv {
    folder: PathBuf,
}

/// Whether something had to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Made,
    Unchanged,
}

impl Venv {
    /// Makes sure that `folder` is a virtual environment of this machine's Python with everything
    /// that the requirements name. Where the last call left it so, it is only looked at.
    pub fn ensure(folder: PathBuf, requirements: &str) -> Result<(Self, Change)> {
        let version = interpreter::version_on_path()?;
        let venv = Self { folder };
        let stamp = stamp(version, requirements);
        let stamped = venv.folder.join(STAMP);
        let runs = interpreter::version(&venv.python_path()).is_ok_and(|found| found == version);
        if runs && fs::read_to_string(&stamped).is_ok_and(|found| found == stamp) {
            return Ok((venv, Change::Unchanged));
        }
        if !runs {
            venv.make()?;
        }
        // While packages come and go the stamp would not be true.
        remove_if_there(&stamped)?;
        let list = venv.folder.join("requirements.txt");
        fs::write(&list, requirements)
            .with_context(|| format!("could not write {}", list.display()))?;
        let mut pip = venv.pip("install");
        pip.arg("--requirement").arg(&list);
        run_pip(&mut pip)?;
        fs::write(&stamped, stamp)
            .with_context(|| format!("could not write {}", stamped.display()))?;
        Ok((venv, Change::Made))
    }

    /// Makes a new, empty environment; what was in the folder is gone.
    pub fn fresh(folder: PathBuf) -> Result<Self> {
        interpreter::version_on_path()?;
        let venv = Self { folder };
        venv.make()?;
        Ok(venv)
    }

    /// The folder of the environment.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The environment's interpreter.
    pub fn python_path(&self) -> PathBuf {
        self.folder.join("bin").join("python")
    }

    /// A command of the environment's interpreter. It sees the packages of the environment and
    /// no others, and leaves no byte code behind.
    pub fn python(&self) -> Command {
        let mut command = Command::new(self.python_path());
        command
            .env_remove("PYTHONPATH")
            .env_remove("PYTHONHOME")
            .env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }

    /// A command of the environment's pip, which reads the configuration of the person.
    pub fn pip(&self, command: &str) -> Command {
        let mut pip = self.python();
        pip.args(["-m", "pip", command, "--quiet", "--no-input", "--disable-pip-version-check"]);
        pip
    }

    fn make(&self) -> Result<()> {
        let mut make = Command::new("python3");
        make.args(["-m", "venv", "--clear"]).arg(&self.folder);
        process::watch_all(&mut make)?.expect_success(&make).with_context(|| {
            format!(
                "no virtual environment could be made in {}; install the venv module of Python \
                 (the package python3-venv on Debian and Ubuntu)",
                self.folder.display()
            )
        })
    }
}

/// Runs a pip command to its end.
pub fn run_pip(pip: &mut Command) -> Result<()> {
    process::watch_all(pip)?.expect_success(pip).context(
        "pip failed, and its lines above say why; it uses your own configuration, which \
         `python3 -m pip config list` shows",
    )
}

/// Says for which Python and which requirements the environment was made.
const STAMP: &str = "made-by-xtask.txt";

fn stamp(version: Version, requirements: &str) -> String {
    format!("# Python {version}\n{requirements}")
}

fn remove_if_there(file: &Path) -> Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            bail!("could not remove {}: {error}", file.display())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_is_left_alone_until_its_pins_change() {
        if interpreter::version_on_path().is_err() {
            println!("SKIPPED: no python3 that is new enough");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("venv");
        // Comments only: nothing is fetched.
        for (pins, change) in [
            ("# nothing\n", Change::Made),
            ("# nothing\n", Change::Unchanged),
            ("# nothing else\n", Change::Made),
        ] {
            assert_eq!(Venv::ensure(place.clone(), pins).unwrap().1, change, "{pins}");
        }
        let absent = format!("{}\n", folder.path().join("absent.whl").display());
        let error = Venv::ensure(place.clone(), &absent).map(|_| ()).unwrap_err();
        assert!(format!("{error:#}").contains("pip failed"), "{error:#}");
        // What a failing pip left behind is not taken for complete.
        assert_eq!(Venv::ensure(place, "# nothing else\n").unwrap().1, Change::Made);
    }
}

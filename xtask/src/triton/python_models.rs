//! What the server's Python backend needs: an interpreter with NumPy and onnxruntime, the program
//! that runs models in it, and our models.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::backend::replace;
use super::{Fetched, STAMP, detector, folder, models, server, wheel};
use crate::process;
use crate::python::venv::run_pip;
use crate::workspace::Workspace;

/// NumPy below 2, for which the backend was built.
const REQUIREMENTS: &str = "numpy==1.26.4\nonnxruntime==1.31.1\n";

/// The Python of the pins above.
const VERSION: &str = "3.11";

/// Makes sure that all of it is there.
pub fn ensure(workspace: &Workspace) -> Result<Fetched> {
    if let Some(why) = server::obstacle() {
        return Ok(Fetched::Skipped(why));
    }
    for (there, what) in [
        (server::python_stub(workspace, VERSION), "the server"),
        (detector::path(workspace), "the detector"),
    ] {
        if !there.exists() {
            let why = format!("{what} is missing; run `cargo xtask triton fetch`");
            return Ok(Fetched::Skipped(why));
        }
    }
    let interpreter = match Interpreter::find() {
        Ok(interpreter) => interpreter,
        Err(why) => return Ok(Fetched::Skipped(format!("{why:#}"))),
    };
    environment(&folder(workspace).join("python"), &interpreter)?;
    link(&interpreter.library, &folder(workspace).join("python-library"))?;
    let stub = server::backends(workspace).join("python").join("triton_python_backend_stub");
    if !stub.exists() {
        replace(&server::python_stub(workspace, VERSION), &stub)?;
        wheel::make_executable(&stub)?;
    }
    let count = models::install_python(workspace, &detector::path(workspace))?;
    let python = &interpreter.full_version;
    Ok(Fetched::Ready(format!("{count} models for Triton's Python backend, with Python {python}")))
}

struct Interpreter {
    program: &'static str,
    full_version: String,
    /// The folder of its shared library, which the backend loads.
    library: PathBuf,
}

impl Interpreter {
    /// The one of this machine.
    fn find() -> Result<Self> {
        let named = Self::of_program("python3.11");
        named.or_else(|error| Self::of_program("python3").map_err(|_| error)).with_context(|| {
            format!("Python {VERSION} with its shared library is needed; install it")
        })
    }

    fn of_program(program: &'static str) -> Result<Self> {
        let printed = process::ask(Command::new(program).args(["-I", "-c", QUESTION]))?;
        let mut lines = printed.lines();
        let full_version = lines.next().unwrap_or_default().to_owned();
        ensure!(
            full_version.strip_prefix(VERSION).is_some_and(|rest| rest.starts_with('.')),
            "{program} is Python {full_version}"
        );
        let library = format!("libpython{VERSION}.so.1.0");
        let library = lines
            .map(PathBuf::from)
            .find(|folder| folder.join(&library).exists())
            .with_context(|| format!("{program} comes without {library}"))?;
        Ok(Self { program, full_version, library })
    }
}

/// The version, then the folders where the library may be.
const QUESTION: &str = "import platform, sysconfig
print(platform.python_version())
folder = sysconfig.get_config_var('LIBDIR')
print(folder)
print(folder + '/' + str(sysconfig.get_config_var('MULTIARCH')))";

/// Makes the virtual environment, unless it is there.
fn environment(folder: &Path, interpreter: &Interpreter) -> Result<()> {
    let stamp = format!("# Python {}\n{REQUIREMENTS}", interpreter.full_version);
    let python = folder.join("bin").join("python");
    let works = || {
        process::ask(Command::new(&python).args(["-I", "-c", "import numpy, onnxruntime"])).is_ok()
    };
    if fs::read_to_string(folder.join(STAMP)).is_ok_and(|found| found == stamp) && works() {
        return Ok(());
    }
    let mut make = Command::new(interpreter.program);
    make.args(["-m", "venv", "--clear"]).arg(folder);
    process::watch_all(&mut make)?.expect_success(&make)?;
    let list = folder.join("requirements.txt");
    fs::write(&list, REQUIREMENTS)
        .with_context(|| format!("could not write {}", list.display()))?;
    let mut pip = Command::new(&python);
    pip.env_remove("PYTHONPATH")
        .args(["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"])
        .args(["--only-binary=:all:", "--requirement"])
        .arg(&list);
    run_pip(&mut pip)?;
    fs::write(folder.join(STAMP), stamp)
        .with_context(|| format!("could not write {}", folder.join(STAMP).display()))
}

fn link(target: &Path, place: &Path) -> Result<()> {
    if fs::read_link(place).is_ok_and(|found| found == target) {
        return Ok(());
    }
    if place.is_symlink() {
        fs::remove_file(place).with_context(|| format!("could not remove {}", place.display()))?;
    }
    symlink(target, place)
        .with_context(|| format!("could not link {} to {}", place.display(), target.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_follows_its_target() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("link");
        for target in ["one", "one", "two"] {
            link(Path::new(target), &place).unwrap();
            assert_eq!(fs::read_link(&place).unwrap(), Path::new(target));
        }
    }

    #[test]
    fn another_program_is_not_taken_for_the_interpreter() {
        let error = Interpreter::of_program("no-such-python").map(|_| ()).unwrap_err();
        assert!(format!("{error:#}").contains("no-such-python"), "{error:#}");
    }
}

//! Pinned wheels: pip fetches one file of one release and checks its hash, so what is unpacked is
//! exactly what was looked at when the pin was written. Nothing of it is installed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::STAMP;
use crate::process;

/// One file of one release.
pub struct Pin {
    pub requirement: &'static str,
    pub sha256: &'static str,
    /// The platform that the file's name says.
    pub platform: &'static str,
}

/// Why nothing can be fetched here, if so.
pub fn obstacle() -> Option<String> {
    let pip = process::ask(Command::new("python3").args(["-m", "pip", "--version"]));
    pip.err().map(|error| format!("pip does not run ({error:#}); install python3-pip"))
}

/// Makes sure that `folder` holds what `take` took of the wheel: it is given the unpacked wheel
/// and an empty folder to move things to. Whether something was fetched.
pub fn ensure(
    pin: &Pin,
    folder: &Path,
    take: impl FnOnce(&Path, &Path) -> Result<()>,
) -> Result<bool> {
    if fs::read_to_string(folder.join(STAMP)).is_ok_and(|stamp| stamp == pin.line()) {
        return Ok(false);
    }
    // Whatever is cut off leaves only this behind, and the next time begins anew.
    let draft = folder.with_extension("draft");
    empty(&draft)?;
    let unpacked = draft.join("unpacked");
    unpack(&download(pin, &draft)?, &unpacked)?;
    let taken = draft.join("taken");
    fs::create_dir(&taken).with_context(|| format!("could not create {}", taken.display()))?;
    take(&unpacked, &taken)
        .with_context(|| format!("{} is not the archive that was pinned", pin.requirement))?;
    fs::write(taken.join(STAMP), pin.line())
        .with_context(|| format!("could not write {}", taken.join(STAMP).display()))?;
    remove(folder)?;
    rename(&taken, folder)?;
    remove(&draft)?;
    Ok(true)
}

impl Pin {
    fn line(&self) -> String {
        format!("{} --hash=sha256:{}\n", self.requirement, self.sha256)
    }
}

/// Moves a file or a folder.
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to)
        .with_context(|| format!("could not move {} to {}", from.display(), to.display()))
}

/// Archives of this kind do not keep modes.
pub fn make_executable(path: &Path) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("could not make {} executable", path.display()))
}

fn download(pin: &Pin, folder: &Path) -> Result<PathBuf> {
    let requirements = folder.join("requirements.txt");
    fs::write(&requirements, pin.line())
        .with_context(|| format!("could not write {}", requirements.display()))?;
    let mut pip = Command::new("python3");
    pip.env_remove("PYTHONPATH")
        .args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check"])
        .args(["--no-deps", "--only-binary=:all:", "--require-hashes"])
        .args(["--python-version", "3.11", "--platform", pin.platform])
        .arg("--dest")
        .arg(folder)
        .arg("--requirement")
        .arg(&requirements);
    process::watch_all(&mut pip)?.expect_success(&pip).with_context(|| {
        format!("{} could not be downloaded; check the network", pin.requirement)
    })?;
    let mut wheels = fs::read_dir(folder)
        .with_context(|| format!("could not list {}", folder.display()))?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "whl"));
    match wheels.next() {
        Some(wheel) => Ok(wheel),
        None => bail!("pip reported success but left no wheel in {}", folder.display()),
    }
}

fn unpack(wheel: &Path, folder: &Path) -> Result<()> {
    let mut unzip = Command::new("python3");
    unzip.args(["-m", "zipfile", "-e"]).arg(wheel).arg(folder);
    process::watch_all(&mut unzip)?.expect_success(&unzip)
}

fn empty(folder: &Path) -> Result<()> {
    remove(folder)?;
    fs::create_dir_all(folder).with_context(|| format!("could not create {}", folder.display()))
}

fn remove(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)
            .with_context(|| format!("could not remove {}", folder.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIN: Pin = Pin { requirement: "none==1.0", sha256: "00", platform: "any" };

    #[test]
    fn what_the_pin_left_is_not_fetched_again() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(STAMP), PIN.line()).unwrap();
        assert!(!ensure(&PIN, folder.path(), |_, _| panic!("fetched again")).unwrap());
    }

    #[test]
    fn programs_run_after_they_were_unpacked() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("program");
        fs::write(&program, "#!/bin/sh\necho ran\n").unwrap();
        assert!(process::ask(&mut Command::new(&program)).is_err());
        make_executable(&program).unwrap();
        assert_eq!(process::ask(&mut Command::new(&program)).unwrap(), "ran");
    }
}

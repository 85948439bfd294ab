//! A browser for the test of the live page: the one that is installed, or Debian's.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::process;

/// Says the test which browser to use.
pub const VARIABLE: &str = "SHM_BROWSER";

/// What a Chromium is called where it is installed.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// What there is.
pub enum Browser {
    Ready {
        path: PathBuf,
        version: String,
    },
    /// Why there is none, and what to install.
    Skipped(String),
}

/// The browser that is installed, or that can be installed now.
pub fn ensure() -> Result<Browser> {
    match find()? {
        Browser::Skipped(_) if may_install() => install(),
        found => Ok(found),
    }
}

/// The browser that is installed.
pub fn find() -> Result<Browser> {
    let given = std::env::var_os(VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    for path in given.into_iter().chain(candidates(&path)) {
        // One that does not start is none.
        if let Ok(version) = process::ask(Command::new(&path).arg("--version")) {
            return Ok(Browser::Ready { path, version });
        }
    }
    Ok(Browser::Skipped(missing("no Chromium on PATH")))
}

fn candidates(path: &OsStr) -> Vec<PathBuf> {
    let folders: Vec<PathBuf> = std::env::split_paths(path).collect();
    NAMES
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)))
        .filter(|file| file.is_file())
        .collect()
}

/// Only for root, only on Debian itself: elsewhere `chromium` may be a package that installs another
/// store of packages.
fn may_install() -> bool {
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    is_debian(&release)
        && rustix::process::geteuid().is_root()
        && Path::new("/usr/bin/apt-get").is_file()
}

fn is_debian(release: &str) -> bool {
    release.lines().any(|line| line.trim().replace('"', "") == "ID=debian")
}

fn install() -> Result<Browser> {
    let steps: [&[&str]; 2] =
        [&["update"], &["install", "--yes", "--no-install-recommends", "chromium"]];
    for arguments in steps {
        let mut command = Command::new("apt-get");
        command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        let finished = process::watch_all(&mut command)?;
        if let Err(error) = finished.expect_success(&command) {
            return Ok(Browser::Skipped(missing(&format!("{error:#}"))));
        }
    }
    find()
}

fn missing(why: &str) -> String {
    format!(
        "{why}; install one, on Debian `apt-get install chromium`, or name one with {VARIABLE}=PATH"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_debian_itself_is_debian() {
        assert!(is_debian("NAME=\"Debian GNU/Linux\"\nID=debian\n"));
        assert!(!is_debian("NAME=\"Ubuntu\"\nID=ubuntu\nID_LIKE=debian\n"));
        assert!(!is_debian(""));
    }

    #[test]
    fn browsers_are_found_by_name_in_the_folders_of_the_path() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("chromium");
        assert!(candidates(folder.path().as_os_str()).is_empty());
        std::fs::write(&file, "").unwrap();
        assert_eq!(candidates(folder.path().as_os_str()), [file]);
    }

    #[test]
    fn what_is_missing_is_named() {
        assert!(missing("no Chromium on PATH").contains("apt-get install chromium"));
    }
}

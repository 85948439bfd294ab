//! The stubs of the package, checked against the built module and against the code that uses them.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use super::MODULE;
use super::venv::Venv;
use crate::process::{self, Finished};
use crate::workspace::Workspace;

/// What one of the checkers did.
pub struct Checked {
    pub command: Command,
    pub finished: Finished,
    /// How many modules or files it says it checked.
    pub count: u64,
}

/// Compares every definition of the stubs with the module that is installed.
pub fn stubs(workspace: &Workspace, venv: &Venv) -> Result<Checked> {
    let folder = cache(workspace)?;
    let exceptions = folder.join("stubtest-exceptions.txt");
    fs::write(&exceptions, WITHOUT_STUBS)
        .with_context(|| format!("could not write {}", exceptions.display()))?;
    let mut command = venv.python();
    command.args(["-m", "mypy.stubtest", MODULE, "--allowlist"]).arg(exceptions);
    // Elsewhere than where the sources lie: the installed package is what is checked.
    command.current_dir(folder);
    checked(command)
}

/// Private modules that are written in Python and are their own stubs: what they import for the
/// type checker only is not there when they run. An enumeration of strings is made by `enum`, which the
/// checker's own stubs of `str` do not know.
const WITHOUT_STUBS: &str =
    "shm_py\\._(?!native)\\w+\\..*\nshm_py\\.share\\.TaskStatus\\.__new__\n";

/// Checks the Python code of the package, its tests and all examples against the stubs.
pub fn code(workspace: &Workspace, venv: &Venv) -> Result<Checked> {
    let mut command = venv.python();
    command.args(["-m", "mypy", "--strict", "--cache-dir"]).arg(cache(workspace)?);
    command.args(CHECKED);
    command.current_dir(workspace.root());
    checked(command)
}

/// Folders with code that must agree with the stubs. Scripts are checked as modules of their own, so no
/// two may have the same name; the checker names those that have.
const CHECKED: [&str; 4] = ["shm-py/python", "shm-py/examples", "shm-py/tests", "examples"];

fn cache(workspace: &Workspace) -> Result<PathBuf> {
    let folder = workspace.target_dir().join("mypy");
    fs::create_dir_all(&folder)
        .with_context(|| format!("could not create {}", folder.display()))?;
    Ok(folder)
}

fn checked(mut command: Command) -> Result<Checked> {
    let finished = process::watch_all(&mut command)?;
    let count = finished.shown.iter().find_map(|line| count_of(line)).unwrap_or(0);
    Ok(Checked { command, finished, count })
}

/// Reads the line that ends a successful run: `Success: no issues found in 3 source files`.
fn count_of(line: &str) -> Option<u64> {
    let (_, rest) = line.strip_prefix("Success: ")?.split_once(" in ")?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_stands_in_the_line_of_success() {
        assert_eq!(count_of("Success: no issues found in 3 source files"), Some(3));
        assert_eq!(count_of("Success: no issues found in 1 module"), Some(1));
        assert_eq!(count_of("Found 2 errors in 1 file (checked 4 source files)"), None);
    }
}

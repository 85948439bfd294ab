//! The Python of this machine.

use std::fmt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process;

/// The oldest Python that the package supports, as its `requires-python` says.
const OLDEST: Version = Version { major: 3, minor: 9, patch: 0 };

/// A version of Python.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    major: u32,
    minor: u32,
    patch: u32,
}

/// The version of the `python3` that a person gets on this machine, if it is new enough.
pub fn version_on_path() -> Result<Version> {
    let found = version(Path::new("python3"))
        .context("python3 does not run; install Python, with its venv and pip")?;
    check(found)?;
    Ok(found)
}

/// The version of some interpreter.
pub fn version(python: &Path) -> Result<Version> {
    let mut command = Command::new(python);
    parse(&process::ask(command.args([
        "-I",
        "-c",
        "import platform; print(platform.python_version())",
    ]))?)
}

fn parse(printed: &str) -> Result<Version> {
    // A release candidate is `3.15.0rc1`: it counts as its release.
    let mut numbers = printed.trim().split('.').map(|part| {
        let digits = part.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(part.len());
        part[..digits].parse::<u32>().ok()
    });
    let mut next = || {
        numbers
            .next()
            .flatten()
            .with_context(|| format!("Python says that its version is {printed:?}"))
    };
    Ok(Version { major: next()?, minor: next()?, patch: next()? })
}

fn check(found: Version) -> Result<()> {
    if found < OLDEST {
        bail!(
            "python3 is Python {found}, {}.{} or newer is needed; install one and put it first on \
             PATH as `python3`",
            OLDEST.major,
            OLDEST.minor
        );
    }
    Ok(())
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_compared_as_numbers() {
        let version = parse("3.11.7\n").unwrap();
        assert_eq!(version, Version { major: 3, minor: 11, patch: 7 });
        assert!(version > parse("3.9.18").unwrap());
        assert_eq!(parse("3.15.0rc1").unwrap().to_string(), "3.15.0");
        let error = parse("command not found").unwrap_err().to_string();
        assert!(error.contains("command not found"), "{error}");
    }

    #[test]
    fn an_old_python_is_refused_with_both_versions() {
        let error = check(parse("3.8.18").unwrap()).unwrap_err().to_string();
        assert!(error.contains("3.8.18") && error.contains("3.9 or newer"), "{error}");
        check(parse("3.9.0").unwrap()).unwrap();
    }
}

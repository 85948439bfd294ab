//! How a command ends: the exit codes, and failures in words.

use serde::Serialize;
use shm_core::OpenError;
use std::fmt;

/// The exit codes of `shm`, the same for every command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Exit {
    /// It did what it was asked for.
    Done = 0,
    /// It did, and what it found is not as it should be: problems of `fsck`, files that `gc` could not
    /// remove, a segment that was taken away while it was watched.
    Findings = 1,
    /// The command line is wrong.
    Usage = 2,
    /// There is no such segment or file.
    NotFound = 3,
    /// The segment is damaged, of a kind that the command cannot use, of another user or of another
    /// version.
    Refused = 4,
    /// The time that was given passed, and nothing came.
    TimedOut = 5,
    /// The system refused: a file could not be written, a port is taken, memory is full.
    System = 6,
}

/// Why a command failed and what to do about it.
#[derive(Debug, Serialize)]
pub struct Failure {
    /// The exit code that it leads to.
    pub exit: Exit,
    /// What failed: the name or field, what was expected, what was found.
    pub message: String,
    /// What to do; empty if the message says it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hint: String,
}

impl Failure {
    /// A failure in words.
    pub fn new(exit: Exit, message: impl Into<String>, hint: impl Into<String>) -> Failure {
        Failure { exit, message: message.into(), hint: hint.into() }
    }

    /// What the system said when `doing` something.
    pub fn system(doing: &str, source: &std::io::Error) -> Failure {
        Failure::new(Exit::System, format!("could not {doing}: {source}"), "")
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match self.hint.as_str() {
            "" => Ok(()),
            hint => write!(f, "\n{hint}"),
        }
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Failure {
        let (exit, hint) = match &error {
            OpenError::NotFound { .. } => (Exit::NotFound, "`shm ls` lists what there is"),
            OpenError::Name(_) => (Exit::Usage, ""),
            OpenError::Io { .. } | OpenError::TooManyOpenFiles { .. } => (Exit::System, ""),
            OpenError::Kind { .. } => (Exit::Refused, "`shm stat` says what it is"),
            _ => (Exit::Refused, "`shm fsck` says what is wrong with it"),
        };
        Failure::new(exit, error.to_string(), hint)
    }
}

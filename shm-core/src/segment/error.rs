//! What can go wrong with a segment, per operation. Each message names the field, what was
//! expected, what was found, and what to do next.

use crate::name::NameError;
use std::io;

/// Why a segment could not be created.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CreateError {
    /// The name cannot be used.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A segment of that name exists.
    #[error("segment '{name}' already exists; open it, unlink it, or ask for it to be replaced")]
    Exists {
        /// The name as given.
        name: String,
    },
    /// The file of that name is not one that may be replaced.
    #[error("cannot replace segment '{name}'")]
    NotReplaceable {
        /// The name as given.
        name: String,
        /// Why the present file is not ours to replace.
        source: Box<UnlinkError>,
    },
    /// Shared memory is full, even after what dead processes left behind was swept.
    #[error(
        "segment '{name}' needs {need} bytes of shared memory and {have} are free; \
         unlink segments that are no longer used, or enlarge /dev/shm"
    )]
    NoSpace {
        /// The name as given.
        name: String,
        /// Bytes that the segment needs.
        need: u64,
        /// Bytes that are free.
        have: u64,
    },
    /// The total size does not fit the address space, or the memory of this process.
    #[error(
        "segment '{name}' would need more memory than this process can have; ask for fewer or smaller frames"
    )]
    TooLarge {
        /// The name as given.
        name: String,
    },
    /// The process has no file descriptor left.
    #[error(
        "segment '{name}' needs one file descriptor and the process has none left; raise `ulimit -n` or drop handles"
    )]
    TooManyOpenFiles {
        /// The name as given.
        name: String,
    },
    /// The operating system refused a step.
    #[error("cannot {step} for segment '{name}'")]
    Io {
        /// The name as given.
        name: String,
        /// What was being done.
        step: &'static str,
        /// The system's answer.
        source: io::Error,
    },
}

/// Why a segment could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The name cannot be used.
    #[error(transparent)]
    Name(#[from] NameError),
    /// There is none.
    #[error("segment '{name}' does not exist; create it first, or wait for it with a deadline")]
    NotFound {
        /// The name as given.
        name: String,
    },
    /// Its creator has not finished, or died before it had.
    #[error(
        "segment '{name}' is not complete: its creator is still at work or died; wait with a deadline, or create it anew"
    )]
    NotReady {
        /// The name as given.
        name: String,
    },
    /// Somebody is removing it, or looking whether it may be removed, and does not finish.
    #[error("segment '{name}' is being removed by another process; try again")]
    Busy {
        /// The name as given.
        name: String,
    },
    /// A file of that name exists that this library did not write.
    #[error(
        "file of segment '{name}' begins with {found:#018x}, which no segment does; move that file away"
    )]
    Foreign {
        /// The name as given.
        name: String,
        /// Its first eight bytes.
        found: u64,
    },
    /// The file is no regular file.
    #[error("file of segment '{name}' is not a regular file; move it away")]
    NotRegular {
        /// The name as given.
        name: String,
    },
    /// Another user owns the file.
    #[error(
        "segment '{name}' belongs to uid {found}, not to uid {expected}; remove it as its owner or use another name"
    )]
    Owner {
        /// The name as given.
        name: String,
        /// This process's effective user id.
        expected: u32,
        /// The file's owner.
        found: u32,
    },
    /// Written by a version with another layout.
    #[error(
        "segment '{name}' has ABI version {found}, this library speaks {expected}; run both sides from the same release"
    )]
    Abi {
        /// The name as given.
        name: String,
        /// The version of this library.
        expected: u32,
        /// The version in the header.
        found: u32,
    },
    /// The file is shorter than its header says.
    #[error(
        "segment '{name}' is truncated: its header says {expected} bytes, the file has {found}; create it anew"
    )]
    Truncated {
        /// The name as given.
        name: String,
        /// Length in the header.
        expected: u64,
        /// Length of the file.
        found: u64,
    },
    /// Another kind of segment has this name.
    #[error("segment '{name}' is a {found}, not a {expected}; open it as what it is")]
    Kind {
        /// The name as given.
        name: String,
        /// What was asked for.
        expected: String,
        /// What the header says.
        found: String,
    },
    /// A field of the header is not what a creator writes.
    #[error(
        "segment '{name}': header field {field} is {found}, expected {expected}; the header is damaged, create the segment anew"
    )]
    Corrupt {
        /// The name as given.
        name: String,
        /// Which field.
        field: &'static str,
        /// What it should be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// The process has no file descriptor left.
    #[error(
        "segment '{name}' needs one file descriptor and the process has none left; raise `ulimit -n` or drop handles"
    )]
    TooManyOpenFiles {
        /// The name as given.
        name: String,
    },
    /// The operating system refused a step.
    #[error("cannot {step} segment '{name}'")]
    Io {
        /// The name as given.
        name: String,
        /// What was being done.
        step: &'static str,
        /// The system's answer.
        source: io::Error,
    },
}

/// Why a segment's name was not taken away.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnlinkError {
    /// It could not be opened and checked.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Somebody else is unlinking or replacing it and does not finish.
    #[error("segment '{name}' is being unlinked by another process; try again")]
    Busy {
        /// The name as given.
        name: String,
    },
    /// The name leads to another segment now: this handle's has been unlinked or replaced.
    #[error(
        "segment '{name}' was unlinked or replaced since this handle was opened; nothing was removed, open the name again"
    )]
    Stale {
        /// The name as given.
        name: String,
    },
    /// The operating system refused a step.
    #[error("cannot {step} segment '{name}'")]
    Io {
        /// The name as given.
        name: String,
        /// What was being done.
        step: &'static str,
        /// The system's answer.
        source: io::Error,
    },
}

impl OpenError {
    /// The error for a field that makes no sense.
    pub fn corrupt(
        name: &str,
        field: &'static str,
        expected: impl Into<String>,
        found: impl core::fmt::Display,
    ) -> OpenError {
        OpenError::Corrupt {
            name: name.to_owned(),
            field,
            expected: expected.into(),
            found: found.to_string(),
        }
    }

    /// True for the two errors that waiting can cure.
    pub fn may_appear(&self) -> bool {
        matches!(self, OpenError::NotFound { .. } | OpenError::NotReady { .. })
    }
}

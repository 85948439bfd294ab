//! Why a path could not be taken.

use super::super::failure::Failure;
use std::io;
use std::path::{Path, PathBuf};

/// Why a server could not begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// A live server has the path.
    #[error("{path} is served by process {pid}; stop it, or choose another path")]
    Taken {
        /// Which path.
        path: PathBuf,
        /// By whom; 0 if it is not known.
        pid: u32,
    },
    /// The folder or file is not safe to use.
    #[error("{path}: expected {expected}, found {found}")]
    Unsafe {
        /// Which path.
        path: PathBuf,
        /// What it should be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// The system refused.
    #[error("{call} {path}: {source}")]
    System {
        /// Which call.
        call: &'static str,
        /// With which path.
        path: PathBuf,
        /// Its error.
        source: io::Error,
    },
    /// Something that it was to offer cannot be offered.
    #[error(transparent)]
    Endpoint(#[from] Failure),
}

impl BindError {
    pub(super) fn system(
        call: &'static str,
        path: &Path,
        error: impl Into<io::Error>,
    ) -> BindError {
        BindError::System { call, path: path.to_owned(), source: error.into() }
    }
}

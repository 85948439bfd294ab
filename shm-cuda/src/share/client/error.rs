//! Why a request has no answer.
//!
//! Upholds invariant 10: each error carries what is needed to act on it.

use super::super::failure::Failure;
use std::path::PathBuf;

/// Why a request has no answer.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Nobody listens there.
    #[error("no server at {path}: {reason}; start one, or wait longer for it")]
    Unreachable {
        /// Where.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Whoever listens there is not trusted.
    #[error(
        "the server at {path} belongs to user {user}, expected {expected}; name it in `trust_users` if that is right"
    )]
    Untrusted {
        /// Where.
        path: PathBuf,
        /// Whose.
        user: u32,
        /// Whose it should be.
        expected: u32,
    },
    /// The server is gone.
    #[error(
        "the server at {path} (process {pid}) is gone; what it gave stays as its handles say; connect again for more"
    )]
    Gone {
        /// Where it was.
        path: PathBuf,
        /// Which process.
        pid: u32,
    },
    /// The client was closed, or belongs to the process that this one was forked from.
    #[error("the client of {path} is of no use here: {reason}; connect anew")]
    Closed {
        /// Where its server is.
        path: PathBuf,
        /// Why.
        reason: &'static str,
    },
    /// The system refused to carry the connection on.
    #[error("the connection to {path} failed: {reason}; connect again")]
    Broken {
        /// Where the server is.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// Time is up; the server was told that nobody waits any more.
    #[error("no answer within the deadline; the request was cancelled")]
    TimedOut,
    /// The server says no.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// The server does not speak this protocol.
    #[error("the server at {path} broke the protocol: {reason}")]
    Protocol {
        /// Where.
        path: PathBuf,
        /// How.
        reason: String,
    },
}

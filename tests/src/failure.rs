//! Why a step with a peer did not go as it should.

use crate::payload::Torn;
use std::io;
use std::time::Duration;

/// A step that went wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The peer answered with an error.
    #[error("peer {pid} answered '{answer}' to '{command}'")]
    Refused {
        /// Process id of the peer.
        pid: u32,
        /// What was asked.
        command: String,
        /// What came back, without the word `error`.
        answer: String,
    },
    /// The peer ended instead of answering.
    #[error("peer {pid} ended instead of answering '{command}'")]
    Gone {
        /// Process id of the peer.
        pid: u32,
        /// What was asked.
        command: String,
    },
    /// The peer did not answer within the bound against hangs.
    #[error("peer {pid} did not answer '{command}' within {waited:?}")]
    Silent {
        /// Process id of the peer.
        pid: u32,
        /// What was asked.
        command: String,
        /// The bound.
        waited: Duration,
    },
    /// A frame was torn, here or in a peer.
    #[error("torn frame: {0}")]
    Torn(String),
    /// Something else than expected.
    #[error("{0}")]
    Unexpected(String),
    /// The operating system refused.
    #[error("operating system: {0}")]
    Io(#[from] io::Error),
}

impl Failure {
    /// Anything that has a message.
    pub fn from_display(error: impl core::fmt::Display) -> Failure {
        Failure::Unexpected(error.to_string())
    }
}

impl From<Torn> for Failure {
    fn from(torn: Torn) -> Failure {
        Failure::Torn(torn.to_string())
    }
}

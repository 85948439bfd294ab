//! Why a request was not served.

use super::ModelError;
use crate::wire::Code;
use std::fmt;

/// What a client is told instead of an answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// What kind of error it is.
    pub code: Code,
    /// What went wrong, for the client's user.
    pub message: String,
}

impl Refusal {
    pub(super) fn new(code: Code, message: impl fmt::Display) -> Refusal {
        Refusal { code, message: message.to_string() }
    }

    pub(super) fn invalid(message: impl fmt::Display) -> Refusal {
        Refusal::new(Code::InvalidArgument, message)
    }

    pub(super) fn not_found(message: impl fmt::Display) -> Refusal {
        Refusal::new(Code::NotFound, message)
    }

    pub(super) fn unavailable(message: impl fmt::Display) -> Refusal {
        Refusal::new(Code::Unavailable, message)
    }

    pub(super) fn internal(message: impl fmt::Display) -> Refusal {
        Refusal::new(Code::Internal, message)
    }
}

impl From<ModelError> for Refusal {
    fn from(error: ModelError) -> Refusal {
        Refusal { code: error.code, message: error.message }
    }
}

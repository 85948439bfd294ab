//! What goes wrong in a service, as it crosses the wire.
//!
//! Upholds invariant 10: each carries what is needed to act on it.

use super::memory::MemoryError;
use super::tensor::LayoutError;
use crate::error::CudaError;
use crate::ipc::IpcError;
use core::fmt;

/// Kinds of failures. The numbers are part of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u16)]
pub enum FailureKind {
    /// A frame or body that is not of this protocol.
    Protocol = 1,
    /// No endpoint of that name, or a registration that cannot be.
    Endpoint = 2,
    /// A value that cannot travel.
    Value = 3,
    /// Something that this server, client or machine cannot do.
    Capability = 4,
    /// A task that failed, was cancelled or is not there.
    Task = 5,
    /// Options that contradict each other, or a key format that names no argument.
    Configuration = 6,
    /// The endpoint's own code failed.
    Build = 7,
    /// A lease or an object that is gone, or another client's.
    Stale = 8,
    /// A limit was reached: try later, or ask for less.
    Busy = 9,
    /// The server is stopping.
    Stopping = 10,
    /// The request was cancelled.
    Cancelled = 11,
    /// The peer may not do this.
    Permission = 12,
}

/// One failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What kind.
    pub kind: FailureKind,
    /// What happened and what to do.
    pub message: String,
    /// The name of the error in the language of the endpoint, such as `ValueError`; empty if it has none.
    pub error_type: String,
    /// More of it, by name, such as `field`, `expected`, `found`, `endpoint`, `limit`.
    pub details: Vec<(String, String)>,
}

impl FailureKind {
    /// All of them.
    pub const ALL: [FailureKind; 12] = [
        FailureKind::Protocol,
        FailureKind::Endpoint,
        FailureKind::Value,
        FailureKind::Capability,
        FailureKind::Task,
        FailureKind::Configuration,
        FailureKind::Build,
        FailureKind::Stale,
        FailureKind::Busy,
        FailureKind::Stopping,
        FailureKind::Cancelled,
        FailureKind::Permission,
    ];

    /// Its number on the wire.
    pub fn code(self) -> u16 {
        self as u16
    }

    /// The kind of a number.
    pub fn from_code(code: u16) -> Option<FailureKind> {
        FailureKind::ALL.into_iter().find(|kind| kind.code() == code)
    }
}

impl Failure {
    /// A failure without details.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Failure {
        Failure { kind, message: message.into(), error_type: String::new(), details: Vec::new() }
    }

    /// The same with one more detail.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl fmt::Display) -> Failure {
        self.details.push((name.to_owned(), value.to_string()));
        self
    }

    /// The same, with the name of the error that the endpoint raised.
    #[must_use]
    pub fn of_type(mut self, error_type: impl Into<String>) -> Failure {
        self.error_type = error_type.into();
        self
    }

    /// A detail by its name.
    pub fn detail(&self, name: &str) -> Option<&str> {
        self.details.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl core::error::Error for Failure {}

impl From<MemoryError> for Failure {
    fn from(error: MemoryError) -> Failure {
        Failure::new(FailureKind::Capability, error.to_string()).of_type("MemoryError")
    }
}

impl From<LayoutError> for Failure {
    fn from(error: LayoutError) -> Failure {
        Failure::new(FailureKind::Value, error.to_string()).of_type("LayoutError")
    }
}

impl From<CudaError> for Failure {
    fn from(error: CudaError) -> Failure {
        Failure::new(FailureKind::Capability, error.to_string()).of_type("CudaError")
    }
}

impl From<IpcError> for Failure {
    fn from(error: IpcError) -> Failure {
        Failure::new(FailureKind::Capability, error.to_string()).of_type("IpcError")
    }
}

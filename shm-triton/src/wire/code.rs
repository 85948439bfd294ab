//! What kind of error a server answered with.

use std::fmt;

/// The kind of a server's error: gRPC's status codes, which HTTP's are mapped to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Code {
    /// The request cannot be served as it is.
    InvalidArgument,
    /// No such model, version or region.
    NotFound,
    /// The name is taken.
    AlreadyExists,
    /// The server cannot serve this now: it starts, ends, or its queue refused.
    Unavailable,
    /// The server does not do this.
    Unimplemented,
    /// The caller may not do this.
    PermissionDenied,
    /// The server has no room.
    ResourceExhausted,
    /// The model or the server failed.
    Internal,
    /// Anything else.
    Unknown,
}

impl Code {
    /// The code of an HTTP status and its text: Triton answers several kinds with one status.
    pub fn of_http(status: u16, message: &str) -> Code {
        match status {
            400 if message.contains("already in manager") => Code::AlreadyExists,
            400 | 413 | 415 => Code::InvalidArgument,
            401 | 403 => Code::PermissionDenied,
            404 => Code::NotFound,
            409 => Code::AlreadyExists,
            429 => Code::ResourceExhausted,
            500 => Code::Internal,
            501 | 405 => Code::Unimplemented,
            503 => Code::Unavailable,
            _ => Code::Unknown,
        }
    }

    /// The HTTP status that Triton answers with.
    pub fn http(self) -> u16 {
        match self {
            Code::InvalidArgument | Code::AlreadyExists => 400,
            Code::NotFound => 404,
            Code::Unavailable => 503,
            Code::Unimplemented => 501,
            Code::PermissionDenied => 403,
            Code::ResourceExhausted => 429,
            Code::Internal | Code::Unknown => 500,
        }
    }

    /// The number of gRPC's status.
    pub fn grpc(self) -> i32 {
        match self {
            Code::InvalidArgument => 3,
            Code::NotFound => 5,
            Code::AlreadyExists => 6,
            Code::PermissionDenied => 7,
            Code::ResourceExhausted => 8,
            Code::Unimplemented => 12,
            Code::Internal => 13,
            Code::Unavailable => 14,
            Code::Unknown => 2,
        }
    }

    /// The code of gRPC's status.
    pub fn of_grpc(status: i32) -> Code {
        match status {
            3 | 11 => Code::InvalidArgument,
            5 => Code::NotFound,
            6 => Code::AlreadyExists,
            7 | 16 => Code::PermissionDenied,
            8 => Code::ResourceExhausted,
            12 => Code::Unimplemented,
            13 => Code::Internal,
            14 => Code::Unavailable,
            _ => Code::Unknown,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

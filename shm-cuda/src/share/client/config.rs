//! How a client connects, and what it lets a server send.
//!
//! Upholds invariants 2 (limits before memory is taken) and 5 (a server that is not there costs a
//! stated time).

use super::super::limits::Limits;
use super::super::memory::Access;
use std::path::PathBuf;
use std::time::Duration;

/// How a client connects.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Where the server is.
    pub path: PathBuf,
    /// How long to wait for a server that is not there yet.
    pub connect_within: Duration,
    /// What it calls itself; for reports.
    pub name: String,
    /// Users that the server may belong to besides this one.
    pub trust_users: Vec<u32>,
    /// What the server may send.
    pub limits: Limits,
    /// How host memory that was received is mapped.
    pub access: Access,
}

impl ClientConfig {
    /// The usual configuration for a path: waits 5 s for a server, maps host memory for reading.
    pub fn new(path: impl Into<PathBuf>) -> ClientConfig {
        ClientConfig {
            path: path.into(),
            connect_within: Duration::from_secs(5),
            name: own_name(),
            trust_users: Vec::new(),
            limits: Limits::default(),
            access: Access::Read,
        }
    }
}

/// What people call this program: the file it was started from.
fn own_name() -> String {
    let program = std::env::current_exe().ok();
    let name = program.as_ref().and_then(|path| path.file_name());
    name.map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

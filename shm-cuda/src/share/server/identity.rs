//! Which server it is, for clients and for its own process.

use super::super::service::ConnectionId;
use super::event_loop::FIRST_CONNECTION;
use rustix::rand::{GetRandomFlags, getrandom};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// One start of a server. Clones are the same one.
#[derive(Clone, Debug)]
pub(super) struct ServerIdentity {
    pub(super) id: [u8; 16],
    pub(super) process: [u8; 16],
    pub(super) pid: u32,
    pub(super) path: Arc<Path>,
    pub(super) started: Instant,
    pub(super) workers: usize,
    connections: Arc<AtomicU64>,
}

impl ServerIdentity {
    pub(super) fn new(path: PathBuf, workers: usize) -> io::Result<ServerIdentity> {
        Ok(ServerIdentity {
            id: random()?,
            process: crate::ipc::this_process(),
            pid: std::process::id(),
            path: path.into(),
            started: Instant::now(),
            workers,
            connections: Arc::new(AtomicU64::new(FIRST_CONNECTION)),
        })
    }

    /// A number that no connection or local caller had before.
    pub(super) fn next_connection(&self) -> ConnectionId {
        self.connections.fetch_add(1, Ordering::Relaxed)
    }

    /// True in the process that started the server, false in a child that was forked from it.
    pub(super) fn is_here(&self) -> bool {
        self.pid == std::process::id()
    }
}

fn random() -> io::Result<[u8; 16]> {
    let mut id = [0; 16];
    let drawn = getrandom(&mut id, GetRandomFlags::empty())?;
    if drawn == id.len() { Ok(id) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

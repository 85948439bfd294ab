//! A client: one connection, many requests at a time, and handles on what it was given.
//!
//! ```text
//!  Client ─┐                     ┌─ line        the socket: one half to read, one to write
//!  Pending ─┼─▶ Connection ──────┼─ desk        who waits for what, and who of them reads
//!  Handle ──┘   (lives as long   └─ watch       a thread that sleeps until the server is gone
//!               as one of these)
//! ```
//! A thread that waits for an answer reads the socket itself, so an answer costs no hop between threads. Of
//! several that wait one reads and hands out what comes; the others sleep (`desk` says how one of them
//! takes over). Each decodes its own answer.
//!
//! Upholds invariants 1, 3 and 5: a server that is killed ends every wait by its hang-up, one that is
//! stopped costs a caller its deadline and nothing else; and 10: the one thread belongs to the connection.

mod ask;
mod config;
mod connect;
mod connection;
mod desk;
mod error;
mod handle;
mod lease;
mod line;
mod pending;
mod response;
mod watch;

pub use ask::Ask;
pub use config::ClientConfig;
pub use error::ClientError;
pub use handle::{Handle, Health};
pub use pending::Pending;
pub use response::{Outcome, Response};

use super::unshared::Unshared;
use super::value::Arguments;
use super::wire::TaskId;
use connection::Connection;
use response::unexpected;
use shm_core::Deadline;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::Arc;

/// A connection to a server. Clones share it.
///
/// It ends when [`close`](Client::close) is called, or with the last clone, handle and pending request. In a
/// forked child it is of no use: every call fails, and nothing is sent on the parent's behalf.
#[derive(Clone, Debug)]
pub struct Client {
    connection: Arc<Connection>,
    /// What [`descriptor`](Client::descriptor) lends.
    socket: Arc<Unshared>,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`] says what is in the way, after `connect_within` if a server may be about
    /// to begin; [`ClientError::Untrusted`] before anything was said; [`ClientError::Failed`] if the server
    /// does not take this client.
    pub fn connect(config: ClientConfig) -> Result<Client, ClientError> {
        let (line, welcome) = connect::connect(&config)?;
        let socket = line.socket.clone();
        let connection = Connection::new(config, line, &welcome)?;
        Ok(Client { connection, socket })
    }

    /// Sends a request without waiting for its answer. Any number may be under way.
    ///
    /// # Errors
    /// How the connection ended; [`ClientError::Failed`] if the request cannot travel, or if the server does
    /// not read what was sent before.
    pub fn start(&self, ask: Ask) -> Result<Pending, ClientError> {
        Pending::start(&self.connection, ask, None)
    }

    /// Sends many requests with as few system calls as it takes. All are sent, or none counts.
    ///
    /// # Errors
    /// As of [`start`](Client::start).
    pub fn start_all(&self, asks: Vec<Ask>) -> Result<Vec<Pending>, ClientError> {
        Pending::start_all(&self.connection, asks)
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// What the server says, [`ClientError::TimedOut`], or how the connection ended.
    pub fn ask(&self, ask: Ask, deadline: Deadline) -> Result<Response, ClientError> {
        Pending::ask(&self.connection, ask, deadline)
    }

    /// Round trip.
    ///
    /// # Errors
    /// As of [`ask`](Client::ask).
    pub fn ping(&self, deadline: Deadline) -> Result<(), ClientError> {
        self.ask(Ask::Ping, deadline).map(drop)
    }

    /// Calls an endpoint.
    ///
    /// # Errors
    /// As of [`ask`](Client::ask).
    pub fn call(
        &self,
        endpoint: &str,
        arguments: Arguments,
        deadline: Deadline,
    ) -> Result<Outcome, ClientError> {
        self.outcome(Ask::Call(endpoint.to_owned(), arguments), deadline)
    }

    /// Makes a task of a call.
    ///
    /// # Errors
    /// As of [`ask`](Client::ask).
    pub fn submit(
        &self,
        endpoint: &str,
        arguments: Arguments,
        deadline: Deadline,
    ) -> Result<TaskId, ClientError> {
        match self.ask(Ask::Submit(endpoint.to_owned(), arguments), deadline)? {
            Response::Submitted(task) => Ok(task),
            other => Err(unexpected(&self.connection, &other)),
        }
    }

    /// The result of a task when it is over.
    ///
    /// # Errors
    /// As of [`ask`](Client::ask).
    pub fn wait_task(&self, task: TaskId, deadline: Deadline) -> Result<Outcome, ClientError> {
        self.outcome(Ask::WaitTask(task), deadline)
    }

    fn outcome(&self, ask: Ask, deadline: Deadline) -> Result<Outcome, ClientError> {
        match self.ask(ask, deadline)? {
            Response::Outcome(outcome) => Ok(outcome),
            other => Err(unexpected(&self.connection, &other)),
        }
    }

    /// True until the server is gone.
    pub fn is_alive(&self) -> bool {
        !self.connection.is_inherited() && !self.connection.has_ended()
    }

    /// Calls `notify` once, when the server is gone, from a thread of this client; at once if it is gone. It
    /// is dropped uncalled if the client is closed first; [`close`](Client::close) waits for one that runs.
    pub fn on_gone(&self, notify: Box<dyn FnOnce() + Send>) {
        if !self.connection.is_inherited() {
            self.connection.on_gone(notify);
        }
    }

    /// Which server it is.
    pub fn server_id(&self) -> [u8; 16] {
        self.connection.server
    }

    /// The server's process.
    pub fn server_pid(&self) -> u32 {
        self.connection.pid
    }

    /// Where the server is.
    pub fn path(&self) -> &Path {
        &self.connection.path
    }

    /// The socket, for an event loop: readable when [`Client::drive`] has something to do. It stays open
    /// until the last clone of the client is dropped, also when it was closed.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Takes in what has arrived, without waiting: for event loops. If another thread waits for an answer,
    /// it is that thread that takes it in.
    ///
    /// # Errors
    /// How the connection ended, once everything that had arrived was taken in.
    pub fn drive(&self) -> Result<(), ClientError> {
        self.connection.check_process()?;
        if let Some(line) = self.connection.line() {
            self.connection.drive(&line);
        }
        match self.connection.ended() {
            Some(end) => Err(self.connection.error_of(&end)),
            None => Ok(()),
        }
    }

    /// Ends the connection: all its leases end, every wait fails with [`ClientError::Closed`].
    pub fn close(&self) {
        self.connection.close();
    }
}

//! A managed object in the hands of a client.
//!
//! Upholds invariants 3 (what has become of it follows from a hang-up, never from a timer), 5 (dropping one
//! never waits) and 6.

use super::super::value::Value;
use super::super::wire::{ObjectId, ObjectInfo};
use super::ask::Ask;
use super::connection::{Connection, End};
use super::error::ClientError;
use super::lease::Lease;
use super::pending::Pending;
use super::response::{Response, unexpected};
use shm_core::Deadline;
use std::sync::Arc;

/// A managed object of a server, leased. Dropping it releases the lease.
///
/// The tensors of its value may be used for longer than the handle: host memory stays, and device memory
/// that the server would free is kept leased until its last storage is dropped. Only an explicit
/// [`release`](Handle::release) does not wait for that.
#[derive(Debug)]
pub struct Handle {
    // Dropped first: what is mapped goes before the lease on it.
    value: Value,
    lease: Arc<Lease>,
    object: ObjectId,
    survives: bool,
}

/// Why a handle is of no use any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// The lease is held and the server is there.
    Live,
    /// It was released, or the client was closed, which releases everything.
    Released,
    /// The server is gone; the object stays readable.
    ServerGone,
    /// The server is gone, and the object with it.
    Lost,
}

impl Handle {
    pub(super) fn new(value: Value, lease: Arc<Lease>, object: ObjectId) -> Handle {
        let survives = !lease.keep_with(&value);
        Handle { value, lease, object, survives }
    }

    /// Which object.
    pub fn object(&self) -> ObjectId {
        self.object
    }

    /// The lease.
    pub fn lease(&self) -> u64 {
        self.lease.number
    }

    /// The object.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// Which server gave it.
    pub fn server_id(&self) -> [u8; 16] {
        self.connection().server
    }

    /// Gives it back; true the first time.
    ///
    /// Device memory that does not [survive](Handle::survives_server) must not be used afterwards: the
    /// server may free it.
    ///
    /// # Errors
    /// The server is gone or does not answer; the handle counts as released all the same.
    pub fn release(&self, deadline: Deadline) -> Result<bool, ClientError> {
        self.connection().check_process()?;
        if !self.lease.mark_released() {
            return Ok(false);
        }
        let ask = Ask::Release(vec![self.lease.number]);
        match Pending::ask(self.connection(), ask, deadline)? {
            Response::Released(released) => Ok(released == [true]),
            other => Err(unexpected(self.connection(), &other)),
        }
    }

    /// What has become of it, without asking the server.
    pub fn health(&self) -> Health {
        let connection = self.connection();
        if self.lease.is_released() || connection.is_inherited() {
            return Health::Released;
        }
        match connection.ended() {
            None => Health::Live,
            Some(End::Closed) => Health::Released,
            Some(_) if self.survives => Health::ServerGone,
            Some(_) => Health::Lost,
        }
    }

    /// What the server says of it; `None` if it does not know it.
    ///
    /// # Errors
    /// The server is gone or does not answer.
    pub fn info(&self, deadline: Deadline) -> Result<Option<ObjectInfo>, ClientError> {
        match Pending::ask(self.connection(), Ask::Object(self.object), deadline)? {
            Response::Object(info) => Ok(info),
            other => Err(unexpected(self.connection(), &other)),
        }
    }

    /// True if the object stays readable when the server is gone.
    pub fn survives_server(&self) -> bool {
        self.survives
    }

    fn connection(&self) -> &Arc<Connection> {
        &self.lease.connection
    }
}

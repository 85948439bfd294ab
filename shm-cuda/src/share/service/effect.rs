//! What goes in and out of the state machine.

use super::super::endpoint::{Cancellation, Endpoint, KeyFunction};
use super::super::value::Arguments;
use super::super::wire::Reply;
use core::fmt;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// What is to be done.
#[derive(Debug)]
pub enum Effect {
    /// Send this. For the request number 0 it is a notice, to nobody's request.
    Reply(Caller, Reply),
    /// Have a worker do this.
    Run(Job),
}

/// Whom a reply is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Caller {
    /// Its connection.
    pub connection: ConnectionId,
    /// Its number of the request.
    pub request: u64,
}

/// A connection, or a caller in the server's own process. Never reused.
pub type ConnectionId = u64;

/// Work for a worker.
#[derive(Debug)]
pub struct Job {
    /// Its name.
    pub id: JobId,
    /// The work.
    pub work: Work,
}

/// Names a piece of work.
pub type JobId = u64;

/// Kinds of work.
pub enum Work {
    /// Make the key of arguments, by [`of_work`](super::super::key::of_work); answered by
    /// [`Service::keyed`](super::Service::keyed).
    Key {
        /// Of these: as they came for a function, else by the names of the parameters.
        arguments: Arc<Arguments>,
        /// A hash of all of them if `None`.
        function: Option<KeyFunction>,
    },
    /// Build a value; answered by [`Service::built`](super::Service::built).
    Build {
        /// By its function.
        endpoint: Arc<Endpoint>,
        /// Of these.
        arguments: Arc<Arguments>,
        /// Whether it is still wanted.
        cancellation: Cancellation,
    },
}

/// How far a stop has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Finish what was accepted.
    Drain,
    /// Answer what was accepted with an error.
    Abort,
}

/// The time, monotonic and of the calendar.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// For ages.
    pub instant: Instant,
    /// For reports.
    pub time: SystemTime,
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Work::Key { function, .. } => {
                f.debug_struct("Key").field("by_function", &function.is_some()).finish()
            }
            Work::Build { endpoint, .. } => {
                f.debug_struct("Build").field("endpoint", &endpoint.name).finish()
            }
        }
    }
}

//! What a request gave, made by the thread that wanted it.
//!
//! Upholds invariants 2 (an answer is checked against what was asked, and its value decoded under the
//! limits) and 7: the lease of a value that cannot be decoded goes back at once.

use super::super::value::Value;
use super::super::wire::{
    Frame, ObjectId, ObjectInfo, Payload, Received, Reply, TaskId, TaskInfo, decode_value,
};
use super::ask::Expected;
use super::connection::Connection;
use super::error::ClientError;
use super::handle::Handle;
use super::lease::Lease;
use std::sync::Arc;

/// What a call gave.
#[derive(Debug)]
pub enum Outcome {
    /// A value.
    Value(Value),
    /// A managed object.
    Handle(Handle),
}

/// What a request gave.
#[derive(Debug)]
pub enum Response {
    /// To a ping.
    Pong,
    /// Plain data.
    Info(Value),
    /// To a call, a wait or an acquire.
    Outcome(Outcome),
    /// To a submission.
    Submitted(TaskId),
    /// A task.
    Task(TaskInfo),
    /// Tasks.
    Tasks(Vec<TaskInfo>),
    /// To a cancellation.
    Cancelled(bool),
    /// To a release.
    Released(Vec<bool>),
    /// To a question about an object.
    Object(Option<ObjectInfo>),
    /// To an invalidation.
    Invalidated(u64),
}

impl Response {
    fn fits(&self, expected: Expected) -> bool {
        match self {
            Response::Pong => expected == Expected::Pong,
            Response::Info(_) => expected == Expected::Info,
            Response::Outcome(_) => expected == Expected::Outcome,
            Response::Submitted(_) => expected == Expected::Submitted,
            Response::Task(_) => expected == Expected::Task,
            Response::Tasks(_) => expected == Expected::Tasks,
            Response::Cancelled(_) => expected == Expected::Cancelled,
            Response::Released(released) => expected == Expected::Released(released.len()),
            Response::Object(_) => expected == Expected::Object,
            Response::Invalidated(_) => expected == Expected::Invalidated,
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Response::Pong => "a pong",
            Response::Info(_) => "plain data",
            Response::Outcome(_) => "an answer to a call",
            Response::Submitted(_) => "the number of a task",
            Response::Task(_) => "a task",
            Response::Tasks(_) => "tasks",
            Response::Cancelled(_) => "an answer to a cancellation",
            Response::Released(_) => "an answer to a release",
            Response::Object(_) => "an object",
            Response::Invalidated(_) => "an answer to an invalidation",
        }
    }
}

/// Reads the frame that answers a request.
pub(super) fn read(
    connection: &Arc<Connection>,
    expected: Expected,
    frame: Frame,
) -> Result<Response, ClientError> {
    let reply = Reply::decode(&frame.header, &frame.body, frame.descriptors);
    let reply = reply.map_err(|error| protocol(connection, error.to_string()))?;
    let response = match reply {
        Received::Answer { value, lease, object } => {
            Response::Outcome(outcome(connection, value, lease, object)?)
        }
        Received::Reply(Reply::Failed(failure)) => return Err(failure.into()),
        Received::Reply(Reply::Pong) => Response::Pong,
        Received::Reply(Reply::Info(value)) => Response::Info(value),
        Received::Reply(Reply::Submitted(task)) => Response::Submitted(task),
        Received::Reply(Reply::Task(task)) => Response::Task(task),
        Received::Reply(Reply::Tasks(tasks)) => Response::Tasks(tasks),
        Received::Reply(Reply::Cancelled(cancelled)) => Response::Cancelled(cancelled),
        Received::Reply(Reply::Released(released)) => Response::Released(released),
        Received::Reply(Reply::Object(object)) => Response::Object(object),
        Received::Reply(Reply::Invalidated(entries)) => Response::Invalidated(entries),
        Received::Reply(Reply::Welcome(_) | Reply::Answer(_) | Reply::Stopping) => {
            let reason = "a request was answered by what answers none".to_owned();
            return Err(protocol(connection, reason));
        }
    };
    if response.fits(expected) {
        return Ok(response);
    }
    let found = response.kind();
    Err(protocol(connection, format!("expected {expected:?} as an answer, found {found}")))
}

fn outcome(
    connection: &Arc<Connection>,
    value: Payload,
    lease: Option<u64>,
    object: Option<ObjectId>,
) -> Result<Outcome, ClientError> {
    // First of all: it goes back if anything of the rest is wrong.
    let lease = lease.map(|number| Lease::new(connection.clone(), number));
    let decoded =
        decode_value(&value.body, value.descriptors, &connection.limits, connection.access);
    let value = decoded.map_err(|error| protocol(connection, error.to_string()))?;
    match (object, lease) {
        (Some(object), Some(lease)) => Ok(Outcome::Handle(Handle::new(value, lease, object))),
        (None, None) => Ok(Outcome::Value(value)),
        (None, Some(lease)) => {
            // Nobody sees this lease: it goes with the last storage that needs it.
            lease.keep_with(&value);
            Ok(Outcome::Value(value))
        }
        (Some(object), None) => {
            Err(protocol(connection, format!("it sent object {object} without a lease")))
        }
    }
}

/// A response that does not answer what was asked.
pub(super) fn unexpected(connection: &Connection, response: &Response) -> ClientError {
    protocol(connection, format!("the answer to another question came: {}", response.kind()))
}

fn protocol(connection: &Connection, reason: String) -> ClientError {
    ClientError::Protocol { path: connection.path.clone(), reason }
}

//! What can be asked of a server, and as what it travels.
//!
//! Upholds invariant 2: which answer a request can have is noted when it is sent, so that another one
//! is noticed.

use super::super::failure::{Failure, FailureKind};
use super::super::limits::Limits;
use super::super::value::Arguments;
use super::super::wire::{
    ArgumentsOf, Message, ObjectId, Request, TaskId, TaskState, encode_arguments,
};

/// What can be asked.
#[derive(Clone, Debug)]
pub enum Ask {
    /// Nothing: whether the server answers.
    Ping,
    /// About the server.
    ServerInfo,
    /// What there is.
    Endpoints,
    /// Call an endpoint.
    Call(String, Arguments),
    /// Make a task of a call.
    Submit(String, Arguments),
    /// About a task.
    Task(TaskId),
    /// The result of a task that is over.
    TaskResult(TaskId),
    /// The result when it is over.
    WaitTask(TaskId),
    /// Cancel a task.
    CancelTask(TaskId),
    /// All tasks, or of one state.
    Tasks(Option<TaskState>),
    /// Release leases.
    Release(Vec<u64>),
    /// A lease on an object.
    Acquire(ObjectId),
    /// About an object.
    Object(ObjectId),
    /// Forget a cached call.
    InvalidateCall(String, Arguments),
    /// Forget all cached calls of an endpoint.
    InvalidateEndpoint(String),
}

/// Which answer a request has if it has no failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    Pong,
    Info,
    Outcome,
    Submitted,
    Task,
    Tasks,
    Cancelled,
    /// For how many leases.
    Released(usize),
    Object,
    Invalidated,
}

impl Ask {
    pub(super) fn expected(&self) -> Expected {
        match self {
            Ask::Ping => Expected::Pong,
            Ask::ServerInfo | Ask::Endpoints => Expected::Info,
            Ask::Call(..) | Ask::TaskResult(_) | Ask::WaitTask(_) | Ask::Acquire(_) => {
                Expected::Outcome
            }
            Ask::Submit(..) => Expected::Submitted,
            Ask::Task(_) => Expected::Task,
            Ask::CancelTask(_) => Expected::Cancelled,
            Ask::Tasks(_) => Expected::Tasks,
            Ask::Release(leases) => Expected::Released(leases.len()),
            Ask::Object(_) => Expected::Object,
            Ask::InvalidateCall(..) | Ask::InvalidateEndpoint(_) => Expected::Invalidated,
        }
    }

    /// As a frame; `limits` are those of the server.
    pub(super) fn encode(self, limits: &Limits) -> Result<Message, Failure> {
        let message = self.message(limits)?;
        let len = message.body_len();
        if len <= limits.body {
            return Ok(message);
        }
        let text = "the request is longer than the server takes; put large data into tensors";
        let failure = Failure::new(FailureKind::Value, text);
        let failure = failure.with("field", "body length").with("found", len);
        Err(failure.with("expected", format!("at most {} bytes", limits.body)))
    }

    fn message(self, limits: &Limits) -> Result<Message, Failure> {
        let with = |kind, endpoint: &str, arguments: &Arguments| {
            let arguments = encode_arguments(arguments, limits)?;
            Ok(Request::encode_with(kind, endpoint, arguments))
        };
        let request = match self {
            Ask::Call(endpoint, arguments) => {
                return with(ArgumentsOf::Call, &endpoint, &arguments);
            }
            Ask::Submit(endpoint, arguments) => {
                return with(ArgumentsOf::Submit, &endpoint, &arguments);
            }
            Ask::InvalidateCall(endpoint, arguments) => {
                return with(ArgumentsOf::InvalidateCall, &endpoint, &arguments);
            }
            Ask::Ping => Request::Ping,
            Ask::ServerInfo => Request::ServerInfo,
            Ask::Endpoints => Request::Endpoints,
            Ask::Task(task) => Request::Task(task),
            Ask::TaskResult(task) => Request::TaskResult(task),
            Ask::WaitTask(task) => Request::WaitTask(task),
            Ask::CancelTask(task) => Request::CancelTask(task),
            Ask::Tasks(state) => Request::Tasks(state),
            Ask::Release(leases) => Request::Release(leases),
            Ask::Acquire(object) => Request::Acquire(object),
            Ask::Object(object) => Request::Object(object),
            Ask::InvalidateEndpoint(endpoint) => Request::InvalidateEndpoint(endpoint),
        };
        Ok(request.encode())
    }
}

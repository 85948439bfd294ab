//! What frames mean: requests, replies and notices.
//!
//! Upholds invariant 7: each is a value of its own type; there is no half-decoded message.

use super::super::failure::Failure;
use super::super::value::Value;
use super::encode::EncodedValue;
use std::os::fd::OwnedFd;

/// Names an object of one server, never reused.
pub type ObjectId = u64;
/// Names a task of one server, never reused.
pub type TaskId = u64;

/// First frame of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Versions that it speaks, lowest and highest.
    pub versions: (u16, u16),
    /// Its process id, in its own namespace.
    pub pid: u32,
    /// Which process it is, so that memory of the same process is not opened twice.
    pub process: [u8; 16],
    /// What it calls itself; for reports.
    pub name: String,
}

/// First frame of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The version that is spoken.
    pub version: u16,
    /// Which server it is: another one after each start.
    pub server: [u8; 16],
    /// Its process id.
    pub pid: u32,
    /// Which process it is.
    pub process: [u8; 16],
    /// Bytes of the largest body that it takes.
    pub body_limit: u32,
    /// Requests that it takes before it answers.
    pub in_flight_limit: u32,
    /// True if it takes opaque bytes.
    pub opaque: bool,
}

/// What a client asks. Bodies of arguments are decoded by whoever carries the request out.
#[derive(Debug)]
pub enum Request {
    /// Says who it is.
    Hello(Hello),
    /// Asks for nothing.
    Ping,
    /// Asks about the server.
    ServerInfo,
    /// Asks what there is.
    Endpoints,
    /// Calls an endpoint and waits for what it gives.
    Call {
        /// Which one.
        endpoint: String,
        /// With what.
        arguments: Payload,
    },
    /// Makes a task of a call.
    Submit {
        /// Which endpoint.
        endpoint: String,
        /// With what.
        arguments: Payload,
    },
    /// Asks about a task.
    Task(TaskId),
    /// Asks for the result of a task that is over.
    TaskResult(TaskId),
    /// Asks for the result of a task when it is over.
    WaitTask(TaskId),
    /// Cancels a task that has not begun; asks one that has to stop.
    CancelTask(TaskId),
    /// Asks for all tasks, or those of one state.
    Tasks(Option<TaskState>),
    /// Gives leases back.
    Release(Vec<u64>),
    /// Asks for a lease on an object.
    Acquire(ObjectId),
    /// Asks about an object.
    Object(ObjectId),
    /// Forgets what is cached for these arguments.
    InvalidateCall {
        /// Of which endpoint.
        endpoint: String,
        /// Which arguments.
        arguments: Payload,
    },
    /// Forgets what is cached of an endpoint.
    InvalidateEndpoint(String),
    /// Is not interested in the answer to an earlier request any more; not answered itself.
    Cancel(u64),
}

/// Encoded arguments or values as they were received.
#[derive(Debug)]
pub struct Payload {
    /// CBOR.
    pub body: Vec<u8>,
    /// What came with it.
    pub descriptors: Vec<OwnedFd>,
}

/// What a server says.
#[derive(Clone, Debug)]
pub enum Reply {
    /// To a hello.
    Welcome(Welcome),
    /// To a ping.
    Pong,
    /// Plain data: server info, lists of endpoints.
    Info(Value),
    /// What an endpoint gave.
    Answer(Answer),
    /// The task that a call became.
    Submitted(TaskId),
    /// A task.
    Task(TaskInfo),
    /// Tasks.
    Tasks(Vec<TaskInfo>),
    /// Whether a task will not run, or was asked to stop.
    Cancelled(bool),
    /// For each lease whether it was this client's and is now released.
    Released(Vec<bool>),
    /// An object, if it is there.
    Object(Option<ObjectInfo>),
    /// How many cached results were forgotten.
    Invalidated(u64),
    /// It did not work.
    Failed(Failure),
    /// To nobody's request: the server stops, and takes no more calls.
    Stopping,
}

/// What an endpoint gave, on its way to one client.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The value.
    pub value: EncodedValue,
    /// The client's lease, if there is one to be released.
    pub lease: Option<u64>,
    /// The object behind it, if it is managed.
    pub object: Option<ObjectId>,
}

/// State of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum TaskState {
    /// Waits for a worker.
    Pending = 0,
    /// A worker is at it.
    Running = 1,
    /// There is a result.
    Completed = 2,
    /// There is an error.
    Failed = 3,
    /// It never ran, or stopped when asked to.
    Cancelled = 4,
}

/// A task, as clients see it. Times are seconds since 1970.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskInfo {
    /// Which one.
    pub task: TaskId,
    /// Of which endpoint.
    pub endpoint: String,
    /// How far it is.
    pub state: TaskState,
    /// When it was submitted.
    pub created: f64,
    /// When a worker began.
    pub started: Option<f64>,
    /// When it was over.
    pub completed: Option<f64>,
    /// What went wrong.
    pub failure: Option<Failure>,
    /// The object that came of it, if it is managed.
    pub object: Option<ObjectId>,
}

/// An object, as clients see it. Times are seconds since 1970.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectInfo {
    /// Which one.
    pub object: ObjectId,
    /// Of which endpoint.
    pub endpoint: String,
    /// Its cache key as 64 hexadecimal digits; empty if it is not cached.
    pub key: String,
    /// Leases that are out, of all clients.
    pub leases: u64,
    /// Bytes of its storages.
    pub bytes: u64,
    /// When it was built.
    pub created: f64,
    /// When it was last asked for.
    pub accessed: f64,
    /// True if it stays readable when the server is gone.
    pub survives: bool,
}

/// A message as bytes, ready to be sent behind a header.
#[derive(Debug)]
pub struct Message {
    /// Kind of the frame.
    pub kind: u16,
    /// Bytes before the encoded value, if there is one.
    pub body: Vec<u8>,
    /// A value that is sent behind them with its descriptors.
    pub value: Option<EncodedValue>,
}

/// Requests that carry arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArgumentsOf {
    /// [`Request::Call`].
    Call,
    /// [`Request::Submit`].
    Submit,
    /// [`Request::InvalidateCall`].
    InvalidateCall,
}

/// What a client receives.
#[derive(Debug)]
pub enum Received {
    /// Everything but answers.
    Reply(Reply),
    /// An answer, its value not yet decoded.
    Answer {
        /// Its value.
        value: Payload,
        /// Its lease.
        lease: Option<u64>,
        /// Its object.
        object: Option<ObjectId>,
    },
}

impl Message {
    /// Bytes of its body, all together.
    pub fn body_len(&self) -> usize {
        self.body.len() + self.value.as_ref().map_or(0, |value| value.body.len())
    }

    /// Descriptors that travel with it.
    pub fn descriptors(&self) -> usize {
        self.value.as_ref().map_or(0, EncodedValue::descriptors)
    }
}

impl TaskState {
    /// All of them.
    pub const ALL: [TaskState; 5] = [
        TaskState::Pending,
        TaskState::Running,
        TaskState::Completed,
        TaskState::Failed,
        TaskState::Cancelled,
    ];

    /// Its number on the wire.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The state of a number.
    pub fn from_code(code: u8) -> Option<TaskState> {
        TaskState::ALL.into_iter().find(|state| state.code() == code)
    }
}

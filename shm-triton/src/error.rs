//! What can go wrong, by operation. Every error says what to do next.
//!
//! Upholds invariant 10.

use crate::datatype::DataType;
use crate::wire::Code;
use std::io;
use std::time::Duration;

/// A question to the server that was not answered as hoped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// No answer before the deadline.
    #[error("the server did not answer {what} within {after:.1?}; it may be busy or stopped")]
    Timeout {
        /// What was asked.
        what: &'static str,
        /// How long was waited.
        after: Duration,
    },
    /// Nothing was sent.
    #[error(
        "{what}: the server at {address} cannot be reached: {source}; start it, or check the address"
    )]
    Unavailable {
        /// What was to be asked.
        what: &'static str,
        /// Where.
        address: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The connection ended before the answer; whether the server did it is unknown.
    #[error("{what}: the connection to {address} ended before the answer: {source}; ask again")]
    Lost {
        /// What was asked.
        what: &'static str,
        /// Where.
        address: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The server's own error.
    #[error("{what}: the server answered {code}: {message}")]
    Refused {
        /// What was asked.
        what: &'static str,
        /// What kind of error.
        code: Code,
        /// The server's words.
        message: String,
    },
    /// The answer breaks the protocol.
    #[error("{what}: the answer is not the protocol's: {wrong}")]
    Malformed {
        /// What was asked.
        what: &'static str,
        /// What is wrong with it.
        wrong: String,
    },
    /// The client was closed, or this process was forked from the one that made it.
    #[error(
        "the client is closed, or belongs to the process this one was forked from; connect anew"
    )]
    Closed,
}

/// Why a client could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The URL names no server.
    #[error(transparent)]
    Address(#[from] crate::AddressError),
    /// The transport is not compiled in.
    #[error("{address}: this build has no gRPC; turn on the feature `grpc`, or use http://")]
    NoGrpc {
        /// What was asked for.
        address: String,
    },
    /// The transport's thread could not be started.
    #[error("the transport cannot be started: {0}")]
    Io(#[from] io::Error),
}

/// Why a model could not be registered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// The server does not know the model, or did not answer.
    #[error(transparent)]
    Call(#[from] CallError),
    /// It is registered under this name already.
    #[error(
        "model '{model}' is registered already; use `TritonClient::model`, or unregister it first"
    )]
    Registered {
        /// The model.
        model: String,
    },
    /// What was said about the model is not what the server says.
    #[error(
        "model '{model}', {field}: expected {expected}, the server has {found}; correct the specification"
    )]
    Mismatch {
        /// The model.
        model: String,
        /// What differs.
        field: String,
        /// What was said.
        expected: String,
        /// What the server says.
        found: String,
    },
    /// The model answers one request with many responses, which would all use the same memory.
    #[error(
        "model '{model}' is decoupled: its responses would overwrite each other in shared memory; use the server's streaming interface"
    )]
    Decoupled {
        /// The model.
        model: String,
    },
    /// A number that makes no sense.
    #[error("model '{model}', {field}: expected {expected}, found {found}")]
    Config {
        /// The model.
        model: String,
        /// Which setting.
        field: String,
        /// What would do.
        expected: String,
        /// What was given.
        found: String,
    },
    /// The shared memory could not be made or registered.
    #[error(transparent)]
    Region(#[from] RegionError),
}

/// What can go wrong with the shared memory of a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegionError {
    /// It could not be made.
    #[error("the shared memory of model '{model}' cannot be made: {source}")]
    Create {
        /// The model.
        model: String,
        /// Why.
        source: shm_core::CreateError,
    },
    /// The slots could not be laid out.
    #[error("the slots of model '{model}' cannot be laid out: {source}")]
    Pool {
        /// The model.
        model: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The server takes no shared memory from clients.
    #[error(
        "the server refuses shared memory of clients: {message}; start it with --allow-client-shm=true, or connect with SharedMemory::Preferred to send tensors inline"
    )]
    Disabled {
        /// The server's words.
        message: String,
    },
    /// The server could not map it.
    #[error(
        "the server cannot map region '{region}' (key {key}): {message}; client and server must share one machine, /dev/shm and user"
    )]
    Unmapped {
        /// Name of the region.
        region: String,
        /// Name of the shared memory object.
        key: String,
        /// The server's words.
        message: String,
    },
    /// Somebody removed or shortened the file.
    #[error(
        "the shared memory of region '{region}' was unlinked or truncated by somebody else; nothing was sent, and the next call uses new memory"
    )]
    Damaged {
        /// Name of the region.
        region: String,
    },
    /// The server was asked and did not answer as hoped.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// Why inputs cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    /// The model has no such input.
    #[error("input '{name}': the model has no such input; it has {}", .known.join(", "))]
    Unknown {
        /// The name.
        name: String,
        /// The names it has.
        known: Vec<String>,
    },
    /// An input that must be there is not.
    #[error("input '{name}' is missing; every input that is not optional must be given")]
    Missing {
        /// The name.
        name: String,
    },
    /// An input was given twice.
    #[error("input '{name}' is given twice")]
    Twice {
        /// The name.
        name: String,
    },
    /// Other elements than the model takes.
    #[error("input '{name}': expected {expected}, found {found}; nothing is converted silently")]
    DataType {
        /// The name.
        name: String,
        /// What the model takes.
        expected: String,
        /// What was given.
        found: String,
    },
    /// Another shape than the model takes.
    #[error(
        "input '{name}': expected shape {expected:?}, found {found:?}; -1 stands for any length, and nothing is broadcast"
    )]
    Shape {
        /// The name.
        name: String,
        /// What the model takes, with the batch dimension as -1.
        expected: Vec<i64>,
        /// What was given.
        found: Vec<i64>,
    },
    /// Inputs of one request disagree about the number of samples, or there are too many for one slot.
    #[error("input '{name}': expected {expected} samples, found {found}")]
    Batch {
        /// The name.
        name: String,
        /// How many there should be.
        expected: String,
        /// How many there are.
        found: i64,
    },
    /// As many bytes or items as the shape does not have.
    #[error("input '{name}': shape {shape:?} has {expected} {unit}, found {found}")]
    Length {
        /// The name.
        name: String,
        /// The shape.
        shape: Vec<i64>,
        /// How many it has.
        expected: usize,
        /// How many there are.
        found: usize,
        /// Of what: `bytes`, `items`.
        unit: &'static str,
    },
}

/// Why a response cannot be believed, or an output not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OutputError {
    /// The response has no such output, or it was not asked for.
    #[error("output '{name}' is not in the response; the model did not produce it")]
    Missing {
        /// The name.
        name: String,
    },
    /// The response has an output that the model does not have.
    #[error("output '{name}' is in the response, but not in the model; it has {}", .known.join(", "))]
    Unknown {
        /// The name.
        name: String,
        /// The names it has.
        known: Vec<String>,
    },
    /// Other elements than expected.
    #[error("output '{name}': expected {expected}, found {found}")]
    DataType {
        /// The name.
        name: String,
        /// What was expected.
        expected: String,
        /// What the response has.
        found: String,
    },
    /// Another shape than the model declares.
    #[error("output '{name}': expected shape {expected:?}, found {found:?}")]
    Shape {
        /// The name.
        name: String,
        /// What the model declares, with this request's samples.
        expected: Vec<i64>,
        /// What the response has.
        found: Vec<i64>,
    },
    /// More bytes than the slot has, or fewer than the shape says.
    #[error("output '{name}': shape {shape:?} has {expected} bytes, there are {found}")]
    Length {
        /// The name.
        name: String,
        /// The shape.
        shape: Vec<i64>,
        /// How many it has.
        expected: usize,
        /// How many there are, or fit.
        found: usize,
    },
    /// Items of a BYTES tensor that do not fit where they are.
    #[error(
        "output '{name}': item {item} of {items} does not lie inside the {bytes} bytes that there are"
    )]
    Items {
        /// The name.
        name: String,
        /// Which item.
        item: usize,
        /// How many the shape has.
        items: usize,
        /// How many bytes there are.
        bytes: usize,
    },
}

impl OutputError {
    pub(crate) fn datatype(name: &str, expected: DataType, found: &str) -> OutputError {
        OutputError::DataType {
            name: name.to_owned(),
            expected: expected.name().to_owned(),
            found: found.to_owned(),
        }
    }
}

/// Why an inference gave no outputs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InferError {
    /// The inputs do not fit the model. Nothing was sent.
    #[error(transparent)]
    Input(#[from] InputError),
    /// No slot came free before the deadline. Nothing was sent.
    #[error(
        "no slot of model '{model}' came free within {waited:.1?}: {in_use} of {slots} are in use; register it with more slots, or wait longer"
    )]
    NoSlot {
        /// The model.
        model: String,
        /// How long was waited.
        waited: Duration,
        /// Slots that are lent, or belong to requests that are still open.
        in_use: usize,
        /// How many there are.
        slots: usize,
    },
    /// The server did not answer before the deadline, or the wait was interrupted. The request stays
    /// open, and its slot comes back when the server answers.
    #[error(
        "model '{model}' did not answer within {after:.1?}; the request stays open on the server, and its slot comes back when it is answered"
    )]
    Timeout {
        /// The model.
        model: String,
        /// How long was waited.
        after: Duration,
    },
    /// The server cannot be reached. Nothing was sent.
    #[error("the server at {address} cannot be reached: {source}; nothing was sent, try again")]
    Unavailable {
        /// Where.
        address: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The connection ended before the answer: the model may or may not have run. The memory of this
    /// request is not used again.
    #[error(
        "the connection to {address} ended before the answer: {source}; the model may have run, try again if that does no harm"
    )]
    Lost {
        /// Where.
        address: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The server's or the model's own error.
    #[error("model '{model}': the server answered {code}: {message}")]
    Refused {
        /// The model.
        model: String,
        /// What kind of error.
        code: Code,
        /// The server's words.
        message: String,
    },
    /// The answer breaks the protocol.
    #[error("model '{model}': the answer is not the protocol's: {wrong}")]
    Malformed {
        /// The model.
        model: String,
        /// What is wrong with it.
        wrong: String,
    },
    /// The response is not what the model declares. Its bytes are not handed out.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// The shared memory is not usable.
    #[error(transparent)]
    Region(#[from] RegionError),
    /// The slot belongs to a request that was given up, or whose connection was lost.
    #[error("this slot is gone: it belongs to a request that was given up; take a new one")]
    SlotGone,
    /// The model was unregistered, the client closed, or the process forked.
    #[error(
        "the model is unregistered or its client closed, or both belong to the process this one was forked from; connect anew"
    )]
    Closed,
    /// One of the chunks that the samples were cut into failed.
    #[error("chunk {index} of {of} (samples {first} to {}): {source}", .first + .samples - 1)]
    Chunk {
        /// Which chunk, from 0.
        index: usize,
        /// How many there are.
        of: usize,
        /// Its first sample.
        first: usize,
        /// How many samples it has.
        samples: usize,
        /// What happened.
        source: Box<InferError>,
    },
}

/// Why a client or a model could not be closed cleanly.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CloseError {
    /// Slots are lent, or requests open. Their memory stays valid, and is given back when they end.
    #[error(
        "{slots} slots are still lent or belong to open requests; drop them, or close with a later deadline"
    )]
    InUse {
        /// How many.
        slots: usize,
    },
    /// The server could not be told. The next client that registers a model will tell it.
    #[error("the server still has {} registered: {}; the next client to register a model removes them", .regions.len(), .regions.join(", "))]
    Registered {
        /// Names of the regions.
        regions: Vec<String>,
    },
    /// Already closed, or this process was forked from the one that made it.
    #[error("already closed, or it belongs to the process this one was forked from")]
    Closed,
}

//! Requests and replies of the protocol, apart from how a transport writes them.
//!
//! Source: the KServe predict protocol v2 with Triton's extensions for shared memory, binary tensor data,
//! parameters, statistics, sequences and model configuration.

pub(crate) mod code;
#[cfg(feature = "grpc")]
pub(crate) mod grpc;
#[cfg(feature = "grpc")]
pub(crate) mod proto;

pub use code::Code;

use bytes::Bytes;
use std::collections::BTreeMap;

/// A value of a request's or a tensor's parameter.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Parameter {
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// A text.
    Text(String),
}

/// Parameters by name.
pub type Parameters = BTreeMap<String, Parameter>;

/// Bytes of a registered region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedBytes {
    /// The region's name.
    pub region: String,
    /// Where the tensor begins in it.
    pub offset: u64,
    /// How many bytes it has, or at most may have if it is an output.
    pub byte_size: u64,
}

/// Where the bytes of a tensor are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// In a registered region.
    Shared(SharedBytes),
    /// In the message, as the protocol lays them out.
    Inline(Bytes),
}

/// An input of a request.
#[derive(Clone, Debug, PartialEq)]
pub struct InputMessage {
    /// Its name.
    pub name: String,
    /// Its element type, as the protocol names it.
    pub datatype: String,
    /// Its shape, with the batch dimension.
    pub shape: Vec<i64>,
    /// Its bytes.
    pub payload: Payload,
    /// Other parameters.
    pub parameters: Parameters,
}

/// An output that a request asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct WantedMessage {
    /// Its name.
    pub name: String,
    /// Where to write it; `None` for in the message.
    pub shared: Option<SharedBytes>,
    /// Other parameters, `classification` and `binary_data` among them.
    pub parameters: Parameters,
}

/// A request to run a model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InferRequest {
    /// The model.
    pub model_name: String,
    /// Its version; empty for whichever the server prefers.
    pub model_version: String,
    /// The caller's own name for the request; may be empty.
    pub id: String,
    /// Parameters: `sequence_id`, `sequence_start`, `sequence_end`, `priority`, `timeout` (microseconds)
    /// and the model's own.
    pub parameters: Parameters,
    /// The inputs.
    pub inputs: Vec<InputMessage>,
    /// The outputs that are wanted; all, in the message, if empty.
    pub outputs: Vec<WantedMessage>,
}

/// An output of a response.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputMessage {
    /// Its name.
    pub name: String,
    /// Its element type, as the protocol names it.
    pub datatype: String,
    /// Its shape.
    pub shape: Vec<i64>,
    /// Its bytes; `None` if they were written to the region that the request named.
    pub data: Option<Bytes>,
}

/// A response of a model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InferResponse {
    /// The model.
    pub model_name: String,
    /// The version that ran.
    pub model_version: String,
    /// The request's own name, repeated.
    pub id: String,
    /// Parameters of the response.
    pub parameters: Parameters,
    /// The outputs.
    pub outputs: Vec<OutputMessage>,
}

/// What a server says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerMetadata {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The extensions it has.
    pub extensions: Vec<String>,
}

/// A tensor in a model's metadata: `shape` has the batch dimension, as -1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorMetadata {
    /// Its name.
    pub name: String,
    /// Its element type, as the protocol names it.
    pub datatype: String,
    /// Its shape.
    pub shape: Vec<i64>,
}

/// What a server says about a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelMetadata {
    /// Its name.
    pub name: String,
    /// The versions that can be asked for.
    pub versions: Vec<String>,
    /// What runs it.
    pub platform: String,
    /// What it takes.
    pub inputs: Vec<TensorMetadata>,
    /// What it gives.
    pub outputs: Vec<TensorMetadata>,
}

/// What a client needs of a model's configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelConfiguration {
    /// Its name.
    pub name: String,
    /// Most samples of one request; 0 if tensors have no batch dimension.
    pub max_batch_size: i64,
    /// Inputs that may be left out.
    pub optional_inputs: Vec<String>,
    /// It answers with any number of responses.
    pub decoupled: bool,
    /// Its requests belong to sequences.
    pub sequence: bool,
}

/// A region of system shared memory that a server has mapped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegionStatus {
    /// Its name.
    pub name: String,
    /// The name of the shared memory object.
    pub key: String,
    /// Where it begins in the object.
    pub offset: u64,
    /// Its length.
    pub byte_size: u64,
}

/// How often something happened, and how long it took in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Duration {
    /// How often.
    pub count: u64,
    /// Nanoseconds in all.
    pub ns: u64,
}

/// What a model has done since the server started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelStatistics {
    /// The model.
    pub name: String,
    /// Its version.
    pub version: String,
    /// When the last request came, milliseconds since 1970 UTC.
    pub last_inference_ms: u64,
    /// Samples.
    pub inference_count: u64,
    /// Executions; fewer than samples where they are batched.
    pub execution_count: u64,
    /// Requests that were answered.
    pub success: Duration,
    /// Requests that failed.
    pub fail: Duration,
    /// Waiting for an instance.
    pub queue: Duration,
    /// Fetching inputs.
    pub compute_input: Duration,
    /// Running.
    pub compute_infer: Duration,
    /// Writing outputs.
    pub compute_output: Duration,
}

//! The messages of `inference.GRPCInferenceService`, written by hand: field numbers and types are facts of
//! the protocol (KServe v2, with Triton's extensions), and so neither a schema nor a compiler for it is needed.
//! Fields that neither side uses are left out, which the encoding allows.

#![cfg_attr(
    not(feature = "server"),
    allow(dead_code, reason = "some messages are sent by one side only")
)]
#![allow(missing_docs, reason = "fields have the protocol's names")]

use bytes::Bytes;
use std::collections::HashMap;

/// Path of the service.
pub(crate) const SERVICE: &str = "/inference.GRPCInferenceService/";

/// Numbers of the data types in a configuration, in the order of their names in `DataType::ALL`.
pub(crate) fn data_type_number(datatype: crate::DataType) -> i32 {
    use crate::DataType::*;
    match datatype {
        Bool => 1,
        Uint8 => 2,
        Uint16 => 3,
        Uint32 => 4,
        Uint64 => 5,
        Int8 => 6,
        Int16 => 7,
        Int32 => 8,
        Int64 => 9,
        Fp16 => 10,
        Fp32 => 11,
        Fp64 => 12,
        Bytes => 13,
        Bf16 => 14,
    }
}

/// A value of a parameter.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Parameter {
    #[prost(oneof = "Choice", tags = "1, 2, 3, 4, 5")]
    pub choice: Option<Choice>,
}

/// The kinds of values.
#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Choice {
    #[prost(bool, tag = "1")]
    Bool(bool),
    #[prost(int64, tag = "2")]
    Int64(i64),
    #[prost(string, tag = "3")]
    Text(String),
    #[prost(double, tag = "4")]
    Double(f64),
    #[prost(uint64, tag = "5")]
    Uint64(u64),
}

/// A request that says nothing but that it is asked: health, server metadata; and the reply to register and unregister.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct NoFields {}

/// Health of the server or readiness of a model.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Live {
    #[prost(bool, tag = "1")]
    pub ok: bool,
}

/// A model and a version, in requests about models.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct NameVersion {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub version: String,
}

/// A region, or an empty name for all.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Name {
    #[prost(string, tag = "1")]
    pub name: String,
}

/// Server metadata.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ServerMetadata {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub version: String,
    #[prost(string, repeated, tag = "3")]
    pub extensions: Vec<String>,
}

/// A tensor in the metadata of a model.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct TensorMetadata {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub datatype: String,
    #[prost(int64, repeated, tag = "3")]
    pub shape: Vec<i64>,
}

/// Model metadata.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ModelMetadata {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, repeated, tag = "2")]
    pub versions: Vec<String>,
    #[prost(string, tag = "3")]
    pub platform: String,
    #[prost(message, repeated, tag = "4")]
    pub inputs: Vec<TensorMetadata>,
    #[prost(message, repeated, tag = "5")]
    pub outputs: Vec<TensorMetadata>,
}

/// Typed tensor contents; the raw ones are preferred by every client.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Contents {
    #[prost(bool, repeated, tag = "1")]
    pub bools: Vec<bool>,
    #[prost(int32, repeated, tag = "2")]
    pub ints: Vec<i32>,
    #[prost(int64, repeated, tag = "3")]
    pub int64s: Vec<i64>,
    #[prost(uint32, repeated, tag = "4")]
    pub uints: Vec<u32>,
    #[prost(uint64, repeated, tag = "5")]
    pub uint64s: Vec<u64>,
    #[prost(float, repeated, tag = "6")]
    pub floats: Vec<f32>,
    #[prost(double, repeated, tag = "7")]
    pub doubles: Vec<f64>,
    #[prost(bytes = "vec", repeated, tag = "8")]
    pub bytes: Vec<Vec<u8>>,
}

/// An input of an inference request.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Input {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub datatype: String,
    #[prost(int64, repeated, tag = "3")]
    pub shape: Vec<i64>,
    #[prost(map = "string, message", tag = "4")]
    pub parameters: HashMap<String, Parameter>,
    #[prost(message, optional, tag = "5")]
    pub contents: Option<Contents>,
}

/// An output that an inference request asks for.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Wanted {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(map = "string, message", tag = "2")]
    pub parameters: HashMap<String, Parameter>,
}

/// Inference request.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct InferRequest {
    #[prost(string, tag = "1")]
    pub model_name: String,
    #[prost(string, tag = "2")]
    pub model_version: String,
    #[prost(string, tag = "3")]
    pub id: String,
    #[prost(map = "string, message", tag = "4")]
    pub parameters: HashMap<String, Parameter>,
    #[prost(message, repeated, tag = "5")]
    pub inputs: Vec<Input>,
    #[prost(message, repeated, tag = "6")]
    pub outputs: Vec<Wanted>,
    #[prost(bytes = "bytes", repeated, tag = "7")]
    pub raw_inputs: Vec<Bytes>,
}

/// An output of an inference response.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Output {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub datatype: String,
    #[prost(int64, repeated, tag = "3")]
    pub shape: Vec<i64>,
    #[prost(map = "string, message", tag = "4")]
    pub parameters: HashMap<String, Parameter>,
    #[prost(message, optional, tag = "5")]
    pub contents: Option<Contents>,
}

/// Inference response.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct InferResponse {
    #[prost(string, tag = "1")]
    pub model_name: String,
    #[prost(string, tag = "2")]
    pub model_version: String,
    #[prost(string, tag = "3")]
    pub id: String,
    #[prost(map = "string, message", tag = "4")]
    pub parameters: HashMap<String, Parameter>,
    #[prost(message, repeated, tag = "5")]
    pub outputs: Vec<Output>,
    #[prost(bytes = "bytes", repeated, tag = "6")]
    pub raw_outputs: Vec<Bytes>,
}

/// One response of a stream of inferences.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct StreamResponse {
    #[prost(string, tag = "1")]
    pub error_message: String,
    #[prost(message, optional, tag = "2")]
    pub response: Option<InferResponse>,
}

/// An input in the configuration of a model.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ConfigInput {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(int32, tag = "2")]
    pub data_type: i32,
    #[prost(int64, repeated, tag = "4")]
    pub dims: Vec<i64>,
    #[prost(bool, tag = "8")]
    pub optional: bool,
}

/// An output in the configuration of a model.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ConfigOutput {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(int32, tag = "2")]
    pub data_type: i32,
    #[prost(int64, repeated, tag = "3")]
    pub dims: Vec<i64>,
}

/// How many instances a model has.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct InstanceGroup {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(int32, tag = "2")]
    pub count: i32,
    #[prost(int32, tag = "4")]
    pub kind: i32,
}

/// How a model answers.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct TransactionPolicy {
    #[prost(bool, tag = "1")]
    pub decoupled: bool,
}

/// Configuration of a model: the fields that clients use.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ModelConfig {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub platform: String,
    #[prost(int32, tag = "4")]
    pub max_batch_size: i32,
    #[prost(message, repeated, tag = "5")]
    pub input: Vec<ConfigInput>,
    #[prost(message, repeated, tag = "6")]
    pub output: Vec<ConfigOutput>,
    #[prost(message, repeated, tag = "7")]
    pub instance_group: Vec<InstanceGroup>,
    #[prost(message, optional, tag = "13")]
    pub sequence_batching: Option<NoFields>,
    #[prost(string, tag = "17")]
    pub backend: String,
    #[prost(message, optional, tag = "19")]
    pub transaction_policy: Option<TransactionPolicy>,
}

/// Reply with a configuration.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ModelConfigReply {
    #[prost(message, optional, tag = "1")]
    pub config: Option<ModelConfig>,
}

/// How often and how long in all.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct StatisticDuration {
    #[prost(uint64, tag = "1")]
    pub count: u64,
    #[prost(uint64, tag = "2")]
    pub ns: u64,
}

/// Durations of a model's requests.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct InferStatistics {
    #[prost(message, optional, tag = "1")]
    pub success: Option<StatisticDuration>,
    #[prost(message, optional, tag = "2")]
    pub fail: Option<StatisticDuration>,
    #[prost(message, optional, tag = "3")]
    pub queue: Option<StatisticDuration>,
    #[prost(message, optional, tag = "4")]
    pub compute_input: Option<StatisticDuration>,
    #[prost(message, optional, tag = "5")]
    pub compute_infer: Option<StatisticDuration>,
    #[prost(message, optional, tag = "6")]
    pub compute_output: Option<StatisticDuration>,
}

/// Durations by batch size.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct BatchStatistics {
    #[prost(uint64, tag = "1")]
    pub batch_size: u64,
    #[prost(message, optional, tag = "2")]
    pub compute_input: Option<StatisticDuration>,
    #[prost(message, optional, tag = "3")]
    pub compute_infer: Option<StatisticDuration>,
    #[prost(message, optional, tag = "4")]
    pub compute_output: Option<StatisticDuration>,
}

/// Statistics of one model.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ModelStatistics {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub version: String,
    #[prost(uint64, tag = "3")]
    pub last_inference: u64,
    #[prost(uint64, tag = "4")]
    pub inference_count: u64,
    #[prost(uint64, tag = "5")]
    pub execution_count: u64,
    #[prost(message, optional, tag = "6")]
    pub inference_stats: Option<InferStatistics>,
    #[prost(message, repeated, tag = "7")]
    pub batch_stats: Vec<BatchStatistics>,
}

/// Statistics of the models asked for.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Statistics {
    #[prost(message, repeated, tag = "1")]
    pub models: Vec<ModelStatistics>,
}

/// A registered region of system shared memory; also the request to register it.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Region {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub key: String,
    #[prost(uint64, tag = "3")]
    pub offset: u64,
    #[prost(uint64, tag = "4")]
    pub byte_size: u64,
}

/// Registered regions by name.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Regions {
    #[prost(map = "string, message", tag = "1")]
    pub regions: HashMap<String, Region>,
}

/// Request to register a region of device memory.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct CudaRegister {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(bytes = "vec", tag = "2")]
    pub handle: Vec<u8>,
    #[prost(int64, tag = "3")]
    pub device: i64,
    #[prost(uint64, tag = "4")]
    pub byte_size: u64,
}

/// A registered region of device memory.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct CudaRegion {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(uint64, tag = "2")]
    pub device: u64,
    #[prost(uint64, tag = "3")]
    pub byte_size: u64,
}

/// Registered regions of device memory by name.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct CudaRegions {
    #[prost(map = "string, message", tag = "1")]
    pub regions: HashMap<String, CudaRegion>,
}

/// Request for the models of a repository.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct IndexRequest {
    #[prost(string, tag = "1")]
    pub repository: String,
    #[prost(bool, tag = "2")]
    pub ready: bool,
}

/// A model of a repository.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct IndexModel {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub version: String,
    #[prost(string, tag = "3")]
    pub state: String,
    #[prost(string, tag = "4")]
    pub reason: String,
}

/// The models of a repository.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Index {
    #[prost(message, repeated, tag = "1")]
    pub models: Vec<IndexModel>,
}

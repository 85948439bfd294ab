//! Replies out of HTTP/1.1 messages.
//!
//! Upholds invariant 2: what a server says about lengths is checked against what came.

use super::connection::Raw;
use super::encode::Asked;
use crate::datatype::{DataType, elements};
use crate::transport::Reply;
use crate::wire::{
    Code, Duration, InferResponse, ModelConfiguration, ModelMetadata, ModelStatistics,
    OutputMessage, Parameter, Parameters, RegionStatus, ServerMetadata, TensorMetadata,
};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// The reply that `raw` is to what was asked.
pub(super) fn reply(asked: Asked, raw: &Raw) -> Reply {
    let good = (200..300).contains(&raw.status);
    match asked {
        Asked::Live | Asked::Ready | Asked::ModelReady if good => Reply::Yes(true),
        Asked::Live | Asked::Ready | Asked::ModelReady if matches!(raw.status, 400 | 404 | 503) => {
            Reply::Yes(false)
        }
        _ if !good => refused(raw),
        _ => read(asked, raw).unwrap_or_else(Reply::Malformed),
    }
}

fn refused(raw: &Raw) -> Reply {
    #[derive(Deserialize)]
    struct Failure {
        error: String,
    }
    let message = match serde_json::from_slice::<Failure>(&raw.body) {
        Ok(failure) => failure.error,
        Err(_) if raw.body.is_empty() => format!("HTTP status {}", raw.status),
        Err(_) => String::from_utf8_lossy(&raw.body[..raw.body.len().min(500)]).into_owned(),
    };
    Reply::Refused { code: Code::of_http(raw.status, &message), message }
}

fn read(asked: Asked, raw: &Raw) -> Result<Reply, String> {
    Ok(match asked {
        Asked::Live | Asked::Ready | Asked::ModelReady => Reply::Yes(true),
        Asked::Change => Reply::Done,
        Asked::Infer => Reply::Infer(infer(raw)?),
        Asked::Metadata => {
            let read: ServerJson = json(&raw.body)?;
            Reply::ServerMetadata(ServerMetadata {
                name: read.name,
                version: read.version,
                extensions: read.extensions,
            })
        }
        Asked::ModelMetadata => {
            let read: ModelJson = json(&raw.body)?;
            let tensors = |tensors: Vec<TensorJson>| {
                tensors
                    .into_iter()
                    .map(|t| TensorMetadata { name: t.name, datatype: t.datatype, shape: t.shape })
                    .collect()
            };
            Reply::ModelMetadata(ModelMetadata {
                name: read.name,
                versions: read.versions,
                platform: read.platform,
                inputs: tensors(read.inputs),
                outputs: tensors(read.outputs),
            })
        }
        Asked::ModelConfig => {
            let read: ConfigJson = json(&raw.body)?;
            let optional = read.input.into_iter().filter(|i| i.optional).map(|i| i.name).collect();
            Reply::ModelConfig(ModelConfiguration {
                name: read.name,
                max_batch_size: read.max_batch_size,
                optional_inputs: optional,
                decoupled: read.model_transaction_policy.is_some_and(|policy| policy.decoupled),
                sequence: read.sequence_batching.is_some(),
            })
        }
        Asked::Statistics => {
            let read: StatisticsJson = json(&raw.body)?;
            Reply::Statistics(
                read.model_stats.into_iter().map(StatsJson::into_statistics).collect(),
            )
        }
        Asked::Regions => {
            let read: Vec<RegionJson> = json(&raw.body)?;
            Reply::Regions(
                read.into_iter()
                    .map(|r| RegionStatus {
                        name: r.name,
                        key: r.key,
                        offset: r.offset,
                        byte_size: r.byte_size,
                    })
                    .collect(),
            )
        }
    })
}

fn json<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

fn infer(raw: &Raw) -> Result<InferResponse, String> {
    let json_len = raw.json_len.unwrap_or(raw.body.len());
    let text = raw.body.get(..json_len).ok_or("the JSON is longer than the reply")?;
    let read: InferJson = json(text)?;
    let binary = raw.body.slice(json_len..);
    let mut at = 0_usize;
    let mut outputs = Vec::with_capacity(read.outputs.len());
    for output in read.outputs {
        let size = output.parameters.and_then(|parameters| parameters.binary_data_size);
        let data = match (size, output.data) {
            (Some(size), _) => {
                let size = usize::try_from(size).ok();
                let end =
                    size.and_then(|size| at.checked_add(size)).filter(|&end| end <= binary.len());
                let end = end.ok_or_else(|| {
                    format!("output {:?}: its binary data lie outside the reply", output.name)
                })?;
                let data = binary.slice(at..end);
                at = end;
                Some(data)
            }
            (None, Some(values)) => {
                let what = |wrong| format!("output {:?}: {wrong}", output.name);
                Some(from_json(&output.datatype, &output.shape, &values).map_err(what)?)
            }
            (None, None) => None,
        };
        outputs.push(OutputMessage {
            name: output.name,
            datatype: output.datatype,
            shape: output.shape,
            data,
        });
    }
    Ok(InferResponse {
        model_name: read.model_name,
        model_version: read.model_version,
        id: read.id.unwrap_or_default(),
        parameters: parameters(read.parameters),
        outputs,
    })
}

/// Tensor values written as JSON, flat or nested, as the protocol's bytes.
fn from_json(datatype: &str, shape: &[i64], values: &[Value]) -> Result<Bytes, String> {
    let datatype: DataType = datatype.parse().map_err(|error| format!("{error}"))?;
    let mut out = Vec::new();
    let mut count = 0;
    let mut rest: Vec<&Value> = values.iter().rev().collect();
    while let Some(value) = rest.pop() {
        match value {
            Value::Array(nested) => rest.extend(nested.iter().rev()),
            _ => {
                append(&mut out, datatype, value)
                    .ok_or_else(|| format!("{value} is no {datatype}"))?;
                count += 1;
            }
        }
    }
    match elements(shape) == Some(count) {
        true => Ok(out.into()),
        false => Err(format!("{count} values for shape {shape:?}")),
    }
}

fn append(out: &mut Vec<u8>, datatype: DataType, value: &Value) -> Option<()> {
    let int = || value.as_i64();
    let float = || value.as_f64();
    match datatype {
        DataType::Bool => out.push(value.as_bool()?.into()),
        DataType::Uint8 => out.push(int()?.try_into().ok()?),
        DataType::Int8 => out.extend(i8::try_from(int()?).ok()?.to_le_bytes()),
        DataType::Uint16 => out.extend(u16::try_from(int()?).ok()?.to_le_bytes()),
        DataType::Int16 => out.extend(i16::try_from(int()?).ok()?.to_le_bytes()),
        DataType::Uint32 => out.extend(u32::try_from(int()?).ok()?.to_le_bytes()),
        DataType::Int32 => out.extend(i32::try_from(int()?).ok()?.to_le_bytes()),
        DataType::Uint64 => out.extend(value.as_u64()?.to_le_bytes()),
        DataType::Int64 => out.extend(int()?.to_le_bytes()),
        DataType::Fp32 => out.extend((float()? as f32).to_le_bytes()),
        DataType::Fp64 => out.extend(float()?.to_le_bytes()),
        // The protocol has no JSON form for them.
        DataType::Fp16 | DataType::Bf16 => return None,
        DataType::Bytes => {
            let text = value.as_str()?.as_bytes();
            out.extend(u32::try_from(text.len()).ok()?.to_le_bytes());
            out.extend(text);
        }
    }
    Some(())
}

fn parameters(read: Option<BTreeMap<String, Value>>) -> Parameters {
    let value = |value| match value {
        Value::Bool(value) => Some(Parameter::Bool(value)),
        Value::Number(number) => {
            number.as_i64().map(Parameter::Int).or_else(|| number.as_f64().map(Parameter::Float))
        }
        Value::String(text) => Some(Parameter::Text(text)),
        _ => None,
    };
    read.into_iter().flatten().filter_map(|(name, read)| Some((name, value(read)?))).collect()
}

#[derive(Deserialize)]
struct InferJson {
    #[serde(default)]
    model_name: String,
    #[serde(default)]
    model_version: String,
    id: Option<String>,
    parameters: Option<BTreeMap<String, Value>>,
    #[serde(default)]
    outputs: Vec<OutputJson>,
}

#[derive(Deserialize)]
struct OutputJson {
    name: String,
    datatype: String,
    shape: Vec<i64>,
    parameters: Option<OutputParametersJson>,
    data: Option<Vec<Value>>,
}

#[derive(Deserialize)]
struct OutputParametersJson {
    binary_data_size: Option<u64>,
}

#[derive(Deserialize)]
struct ServerJson {
    name: String,
    version: String,
    #[serde(default)]
    extensions: Vec<String>,
}

#[derive(Deserialize)]
struct ModelJson {
    name: String,
    #[serde(default)]
    versions: Vec<String>,
    #[serde(default)]
    platform: String,
    #[serde(default)]
    inputs: Vec<TensorJson>,
    #[serde(default)]
    outputs: Vec<TensorJson>,
}

#[derive(Deserialize)]
struct TensorJson {
    name: String,
    datatype: String,
    shape: Vec<i64>,
}

#[derive(Deserialize)]
struct ConfigJson {
    name: String,
    #[serde(default)]
    max_batch_size: i64,
    #[serde(default)]
    input: Vec<ConfigInputJson>,
    model_transaction_policy: Option<PolicyJson>,
    sequence_batching: Option<Value>,
}

#[derive(Deserialize)]
struct ConfigInputJson {
    name: String,
    #[serde(default)]
    optional: bool,
}

#[derive(Deserialize)]
struct PolicyJson {
    #[serde(default)]
    decoupled: bool,
}

#[derive(Deserialize)]
struct StatisticsJson {
    model_stats: Vec<StatsJson>,
}

#[derive(Deserialize)]
struct StatsJson {
    name: String,
    #[serde(default)]
    version: String,
    #[serde(default)]
    last_inference: u64,
    #[serde(default)]
    inference_count: u64,
    #[serde(default)]
    execution_count: u64,
    #[serde(default)]
    inference_stats: BTreeMap<String, DurationJson>,
}

#[derive(Clone, Copy, Default, Deserialize)]
struct DurationJson {
    #[serde(default)]
    count: u64,
    #[serde(default)]
    ns: u64,
}

impl StatsJson {
    fn into_statistics(self) -> ModelStatistics {
        let of = |name: &str| {
            let read = self.inference_stats.get(name).copied().unwrap_or_default();
            Duration { count: read.count, ns: read.ns }
        };
        ModelStatistics {
            last_inference_ms: self.last_inference,
            inference_count: self.inference_count,
            execution_count: self.execution_count,
            success: of("success"),
            fail: of("fail"),
            queue: of("queue"),
            compute_input: of("compute_input"),
            compute_infer: of("compute_infer"),
            compute_output: of("compute_output"),
            name: self.name.clone(),
            version: self.version.clone(),
        }
    }
}

#[derive(Deserialize)]
struct RegionJson {
    name: String,
    key: String,
    #[serde(default)]
    offset: u64,
    byte_size: u64,
}

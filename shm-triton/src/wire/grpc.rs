//! Between the protocol's neutral messages and gRPC's.
//!
//! What comes from a server is checked here as far as one message can be: the layers above compare it with
//! what they asked for.

mod contents;

pub(crate) use contents::raw_of_contents;

use super::proto;
use super::{
    Duration, InferRequest, InferResponse, ModelConfiguration, ModelMetadata, ModelStatistics,
    OutputMessage, Parameter, Parameters, Payload, RegionStatus, ServerMetadata, SharedBytes,
    TensorMetadata,
};
use crate::datatype::{DataType, elements};
use bytes::Bytes;
use std::collections::HashMap;
use std::str::FromStr;

/// The message of a request, and the raw contents that belong behind it: those of the inputs that are not in
/// shared memory, in their order. They are kept apart so that they need not be copied to be sent.
pub(crate) fn infer_request(request: &InferRequest) -> (proto::InferRequest, Vec<Bytes>) {
    let mut raw = Vec::new();
    let inputs = request.inputs.iter().map(|input| {
        let mut parameters = parameters_to_proto(&input.parameters);
        match &input.payload {
            Payload::Shared(shared) => add_shared(&mut parameters, shared),
            Payload::Inline(bytes) => raw.push(bytes.clone()),
        }
        proto::Input {
            name: input.name.clone(),
            datatype: input.datatype.clone(),
            shape: input.shape.clone(),
            parameters,
            contents: None,
        }
    });
    let inputs = inputs.collect();
    let outputs = request.outputs.iter().map(|output| {
        let mut parameters = parameters_to_proto(&output.parameters);
        if let Some(shared) = &output.shared {
            add_shared(&mut parameters, shared);
        }
        proto::Wanted { name: output.name.clone(), parameters }
    });
    let message = proto::InferRequest {
        model_name: request.model_name.clone(),
        model_version: request.model_version.clone(),
        id: request.id.clone(),
        parameters: parameters_to_proto(&request.parameters),
        inputs,
        outputs: outputs.collect(),
        raw_inputs: Vec::new(),
    };
    (message, raw)
}

/// A response, of which the request asked for the outputs of which `shared` is true in shared memory.
pub(crate) fn infer_response(
    message: proto::InferResponse,
    shared: impl Fn(&str) -> bool,
) -> Result<InferResponse, String> {
    let raw_entries = message.raw_outputs.len();
    if raw_entries != 0 && raw_entries != message.outputs.len() {
        return Err(format!(
            "raw_output_contents has {raw_entries} entries for {} outputs; expected one for each",
            message.outputs.len()
        ));
    }
    let mut raw = message.raw_outputs.into_iter();
    let outputs = message.outputs.into_iter().map(|output| {
        let in_region = shared(&output.name);
        infer_output(output, raw.next(), in_region)
    });
    Ok(InferResponse {
        model_name: message.model_name,
        model_version: message.model_version,
        id: message.id,
        parameters: parameters_of_proto(message.parameters),
        outputs: outputs.collect::<Result<_, _>>()?,
    })
}

fn infer_output(
    output: proto::Output,
    raw: Option<Bytes>,
    in_region: bool,
) -> Result<OutputMessage, String> {
    let name = &output.name;
    let Some(count) = elements(&output.shape) else {
        return Err(format!("output {name:?} has the shape {:?}; expected lengths", output.shape));
    };
    let data = match (raw, &output.contents) {
        (Some(_), Some(contents)) if *contents != proto::Contents::default() => {
            return Err(format!(
                "output {name:?} has both raw and typed contents; expected one of them"
            ));
        }
        (Some(raw), _) if raw.is_empty() && in_region => None,
        (Some(raw), _) => Some(raw),
        (None, Some(contents)) if *contents != proto::Contents::default() => {
            let raw = raw_of_contents(&output.datatype, contents)
                .map_err(|error| format!("output {name:?} {error}"))?;
            Some(Bytes::from(raw))
        }
        (None, _) if in_region => None,
        (None, _) if count == 0 => Some(Bytes::new()),
        (None, _) => {
            return Err(format!(
                "output {name:?} was asked for in the message and has no contents there"
            ));
        }
    };
    // A type that is not known here has a size that only the caller can judge.
    let size = DataType::from_str(&output.datatype).ok().and_then(DataType::size);
    if let (Some(data), Some(size)) = (&data, size)
        && count.checked_mul(size) != Some(data.len())
    {
        return Err(format!(
            "output {name:?} has {} bytes; expected {count} elements of {size} bytes, from its shape {:?} and datatype {}",
            data.len(),
            output.shape,
            output.datatype
        ));
    }
    Ok(OutputMessage { name: output.name, datatype: output.datatype, shape: output.shape, data })
}

/// Where a tensor is in shared memory, as the protocol's parameters say it. Numbers that do not fit become
/// ones that no region has.
fn add_shared(parameters: &mut HashMap<String, proto::Parameter>, shared: &SharedBytes) {
    let whole = |number: u64| Parameter::Int(i64::try_from(number).unwrap_or(i64::MAX));
    let mut add =
        |name: &str, value| parameters.insert(name.to_owned(), parameter_to_proto(&value));
    add("shared_memory_region", Parameter::Text(shared.region.clone()));
    add("shared_memory_byte_size", whole(shared.byte_size));
    if shared.offset != 0 {
        add("shared_memory_offset", whole(shared.offset));
    }
}

/// Parameters for a message.
pub(crate) fn parameters_to_proto(parameters: &Parameters) -> HashMap<String, proto::Parameter> {
    parameters.iter().map(|(name, value)| (name.clone(), parameter_to_proto(value))).collect()
}

fn parameter_to_proto(value: &Parameter) -> proto::Parameter {
    let choice = match value {
        Parameter::Bool(value) => proto::Choice::Bool(*value),
        Parameter::Int(value) => proto::Choice::Int64(*value),
        Parameter::Float(value) => proto::Choice::Double(*value),
        Parameter::Text(value) => proto::Choice::Text(value.clone()),
    };
    proto::Parameter { choice: Some(choice) }
}

/// Parameters of a message. Those without a value are left out; an unsigned number beyond the signed ones
/// becomes its text.
pub(crate) fn parameters_of_proto(parameters: HashMap<String, proto::Parameter>) -> Parameters {
    let value = |choice| match choice {
        proto::Choice::Bool(value) => Parameter::Bool(value),
        proto::Choice::Int64(value) => Parameter::Int(value),
        proto::Choice::Double(value) => Parameter::Float(value),
        proto::Choice::Text(value) => Parameter::Text(value),
        proto::Choice::Uint64(value) => {
            i64::try_from(value).map_or_else(|_| Parameter::Text(value.to_string()), Parameter::Int)
        }
    };
    parameters
        .into_iter()
        .filter_map(|(name, parameter)| Some((name, value(parameter.choice?))))
        .collect()
}

impl From<proto::ServerMetadata> for ServerMetadata {
    fn from(message: proto::ServerMetadata) -> ServerMetadata {
        ServerMetadata {
            name: message.name,
            version: message.version,
            extensions: message.extensions,
        }
    }
}

impl From<proto::TensorMetadata> for TensorMetadata {
    fn from(message: proto::TensorMetadata) -> TensorMetadata {
        TensorMetadata { name: message.name, datatype: message.datatype, shape: message.shape }
    }
}

impl From<proto::ModelMetadata> for ModelMetadata {
    fn from(message: proto::ModelMetadata) -> ModelMetadata {
        ModelMetadata {
            name: message.name,
            versions: message.versions,
            platform: message.platform,
            inputs: message.inputs.into_iter().map(TensorMetadata::from).collect(),
            outputs: message.outputs.into_iter().map(TensorMetadata::from).collect(),
        }
    }
}

/// A model's configuration; it is an error if the reply has none.
pub(crate) fn model_configuration(
    reply: proto::ModelConfigReply,
) -> Result<ModelConfiguration, String> {
    let config =
        reply.config.ok_or("the reply has no field config; expected the model's configuration")?;
    if config.max_batch_size < 0 {
        return Err(format!("max_batch_size is {}; expected 0 or more", config.max_batch_size));
    }
    Ok(ModelConfiguration {
        name: config.name,
        max_batch_size: i64::from(config.max_batch_size),
        optional_inputs: config
            .input
            .into_iter()
            .filter(|input| input.optional)
            .map(|input| input.name)
            .collect(),
        decoupled: config.transaction_policy.is_some_and(|policy| policy.decoupled),
        sequence: config.sequence_batching.is_some(),
    })
}

impl From<proto::ModelStatistics> for ModelStatistics {
    fn from(message: proto::ModelStatistics) -> ModelStatistics {
        let times = message.inference_stats.unwrap_or_default();
        let duration = |entry: Option<proto::StatisticDuration>| {
            entry.map_or_else(Duration::default, |entry| Duration {
                count: entry.count,
                ns: entry.ns,
            })
        };
        ModelStatistics {
            name: message.name,
            version: message.version,
            last_inference_ms: message.last_inference,
            inference_count: message.inference_count,
            execution_count: message.execution_count,
            success: duration(times.success),
            fail: duration(times.fail),
            queue: duration(times.queue),
            compute_input: duration(times.compute_input),
            compute_infer: duration(times.compute_infer),
            compute_output: duration(times.compute_output),
        }
    }
}

/// Registered regions, by name.
pub(crate) fn region_statuses(message: proto::Regions) -> Vec<RegionStatus> {
    let mut regions: Vec<RegionStatus> = message
        .regions
        .into_values()
        .map(|region| RegionStatus {
            name: region.name,
            key: region.key,
            offset: region.offset,
            byte_size: region.byte_size,
        })
        .collect();
    regions.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    regions
}

#[cfg(test)]
mod tests;

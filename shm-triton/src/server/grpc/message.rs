//! Inference requests and responses as messages.

use crate::server::Refusal;
use crate::wire::grpc::raw_of_contents;
use crate::wire::proto::{self, Choice};
use crate::wire::{
    InferRequest, InferResponse, InputMessage, Parameter, Parameters, Payload, SharedBytes,
    WantedMessage,
};
use bytes::Bytes;
use std::collections::HashMap;

type ProtoParameters = HashMap<String, proto::Parameter>;

/// Reads a request. Raw contents belong, in order, to the inputs that are not in shared memory.
pub(super) fn request(message: proto::InferRequest) -> Result<InferRequest, Refusal> {
    let given = message.raw_inputs.len();
    let mut raw = message.raw_inputs.into_iter();
    let inputs: Vec<InputMessage> = message
        .inputs
        .into_iter()
        .map(|tensor| input(tensor, given, &mut raw))
        .collect::<Result<_, _>>()?;
    let unused = raw.len();
    // A client that has only shared inputs may send entries, which nobody reads.
    if unused > 0 && unused < given {
        return Err(Refusal::invalid(format!(
            "expected {} raw_input_contents, one for each input that is not in shared memory, but got {given}",
            given - unused
        )));
    }
    let outputs = message.outputs.into_iter().map(output).collect::<Result<_, _>>()?;
    Ok(InferRequest {
        model_name: message.model_name,
        model_version: message.model_version,
        id: message.id,
        parameters: rest(message.parameters, "the request")?,
        inputs,
        outputs,
    })
}

fn input(
    tensor: proto::Input,
    given: usize,
    raw: &mut impl Iterator<Item = Bytes>,
) -> Result<InputMessage, Refusal> {
    let proto::Input { name, datatype, shape, mut parameters, contents } = tensor;
    let owner = format!("input '{name}'");
    let payload = match (shared(&mut parameters, &owner)?, contents) {
        (Some(_), Some(_)) => {
            return Err(Refusal::invalid(format!(
                "{owner} has both contents and 'shared_memory_region'; send one of them"
            )));
        }
        (Some(shared), None) => Payload::Shared(shared),
        (None, Some(_)) if given > 0 => {
            return Err(Refusal::invalid(format!(
                "contents field must not be specified when using raw_input_contents for {owner}"
            )));
        }
        (None, Some(contents)) => {
            let bytes = raw_of_contents(&datatype, &contents)
                .map_err(|why| Refusal::invalid(format!("{owner} {why}")))?;
            Payload::Inline(bytes.into())
        }
        (None, None) => match raw.next() {
            Some(bytes) => Payload::Inline(bytes),
            None if given > 0 => {
                return Err(Refusal::invalid(format!(
                    "expected one raw_input_contents for each input that is not in shared memory, but got {given}: none is left for {owner}"
                )));
            }
            // A tensor without elements may come without an entry.
            None => Payload::Inline(Bytes::new()),
        },
    };
    Ok(InputMessage { name, datatype, shape, payload, parameters: rest(parameters, &owner)? })
}

fn output(tensor: proto::Wanted) -> Result<WantedMessage, Refusal> {
    let proto::Wanted { name, mut parameters } = tensor;
    let owner = format!("output '{name}'");
    let shared = shared(&mut parameters, &owner)?;
    Ok(WantedMessage { name, shared, parameters: rest(parameters, &owner)? })
}

/// Takes out where a tensor lies in shared memory, if it does.
fn shared(parameters: &mut ProtoParameters, owner: &str) -> Result<Option<SharedBytes>, Refusal> {
    if parameters.is_empty() {
        return Ok(None);
    }
    let region = match parameters.remove("shared_memory_region").map(|parameter| parameter.choice) {
        None => None,
        Some(Some(Choice::Text(region))) => Some(region),
        Some(other) => return Err(wrong(owner, "shared_memory_region", "a text", &other)),
    };
    let byte_size = take_size(parameters, owner, "shared_memory_byte_size")?;
    let offset = take_size(parameters, owner, "shared_memory_offset")?;
    match (region, byte_size) {
        (Some(region), Some(byte_size)) => {
            Ok(Some(SharedBytes { region, offset: offset.unwrap_or(0), byte_size }))
        }
        (None, None) if offset.is_none() => Ok(None),
        (Some(_), None) => Err(Refusal::invalid(format!(
            "{owner} has 'shared_memory_region' without 'shared_memory_byte_size'"
        ))),
        (None, _) => Err(Refusal::invalid(format!(
            "{owner} has 'shared_memory_byte_size' or 'shared_memory_offset' without 'shared_memory_region'"
        ))),
    }
}

fn take_size(
    parameters: &mut ProtoParameters,
    owner: &str,
    name: &str,
) -> Result<Option<u64>, Refusal> {
    match parameters.remove(name).map(|parameter| parameter.choice) {
        None => Ok(None),
        Some(Some(Choice::Int64(size))) if size >= 0 => Ok(Some(size as u64)),
        Some(Some(Choice::Uint64(size))) => Ok(Some(size)),
        Some(other) => Err(wrong(owner, name, "a whole number, at least 0", &other)),
    }
}

fn rest(parameters: ProtoParameters, owner: &str) -> Result<Parameters, Refusal> {
    parameters
        .into_iter()
        .map(|(name, parameter)| {
            let value = match parameter.choice {
                Some(Choice::Bool(value)) => Parameter::Bool(value),
                Some(Choice::Int64(value)) => Parameter::Int(value),
                Some(Choice::Text(value)) => Parameter::Text(value),
                Some(Choice::Double(value)) => Parameter::Float(value),
                Some(Choice::Uint64(value)) => match i64::try_from(value) {
                    Ok(value) => Parameter::Int(value),
                    // The bits are what tells sequences apart.
                    Err(_) if name == "sequence_id" => Parameter::Int(value as i64),
                    Err(_) => {
                        return Err(wrong(
                            owner,
                            &name,
                            "a whole number of 63 bits",
                            &parameter.choice,
                        ));
                    }
                },
                None => return Err(wrong(owner, &name, "a value", &parameter.choice)),
            };
            Ok((name, value))
        })
        .collect()
}

fn wrong(owner: &str, name: &str, expected: &str, found: &Option<Choice>) -> Refusal {
    Refusal::invalid(format!("parameter '{name}' of {owner} must be {expected}, got {found:?}"))
}

/// Writes a response: one raw entry for each output, an empty one where it is in shared memory.
pub(super) fn response(response: InferResponse) -> proto::InferResponse {
    let mut raw_outputs = Vec::with_capacity(response.outputs.len());
    let outputs = response
        .outputs
        .into_iter()
        .map(|output| {
            raw_outputs.push(output.data.unwrap_or_default());
            proto::Output {
                name: output.name,
                datatype: output.datatype,
                shape: output.shape,
                parameters: HashMap::new(),
                contents: None,
            }
        })
        .collect();
    proto::InferResponse {
        model_name: response.model_name,
        model_version: response.model_version,
        id: response.id,
        parameters: response
            .parameters
            .iter()
            .map(|(name, value)| (name.clone(), parameter(value)))
            .collect(),
        outputs,
        raw_outputs,
    }
}

pub(super) fn parameter(value: &Parameter) -> proto::Parameter {
    proto::Parameter {
        choice: Some(match value {
            Parameter::Bool(value) => Choice::Bool(*value),
            Parameter::Int(value) => Choice::Int64(*value),
            Parameter::Float(value) => Choice::Double(*value),
            Parameter::Text(value) => Choice::Text(value.clone()),
        }),
    }
}

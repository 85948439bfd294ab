//! Reading an inference request: JSON, and the binary data after it.

use super::data;
use super::error::{Failure, failure};
use super::parameter::Read;
use crate::datatype::DataType;
use crate::wire::{InferRequest, InputMessage, Payload, WantedMessage};
use bytes::{Buf, Bytes};
use serde::Deserialize;
use serde_json::value::RawValue;

/// How the outputs that go into the message are to be written.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Formats {
    /// Those that say it themselves.
    named: Vec<(String, bool)>,
    /// All others.
    binary: bool,
}

impl Formats {
    pub fn is_binary(&self, output: &str) -> bool {
        self.named
            .iter()
            .find(|(name, _)| name == output)
            .map_or(self.binary, |(_, binary)| *binary)
    }
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(default)]
    id: String,
    #[serde(default)]
    parameters: Read,
    #[serde(borrow)]
    inputs: Vec<InputTensor<'a>>,
    #[serde(default)]
    outputs: Vec<OutputTensor>,
}

#[derive(Deserialize)]
struct InputTensor<'a> {
    name: String,
    datatype: String,
    shape: Vec<i64>,
    #[serde(default)]
    parameters: Read,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct OutputTensor {
    name: String,
    #[serde(default)]
    parameters: Read,
}

/// Reads a request whose JSON has `json_len` bytes, or all if the header does not say.
pub(super) fn parse(
    model: &str,
    version: &str,
    json_len: Option<usize>,
    mut body: Bytes,
) -> Result<(InferRequest, Formats), Failure> {
    let json_len = json_len.unwrap_or(body.len());
    if json_len > body.len() {
        return Err(failure(format!(
            "Inference-Header-Content-Length is {json_len}, and the body has {} bytes",
            body.len()
        )));
    }
    let json = body.split_to(json_len);
    let mut binary = body;
    let message: Message<'_> = serde_json::from_slice(&json)
        .map_err(|error| failure(format!("failed to parse the request JSON buffer: {error}")))?;
    let mut parameters = message.parameters;
    let mut formats = Formats {
        binary: parameters.take_bool("the request", "binary_data_output")?.unwrap_or(false),
        named: Vec::new(),
    };
    let inputs = message
        .inputs
        .into_iter()
        .map(|tensor| input(tensor, &mut binary))
        .collect::<Result<_, _>>()?;
    if binary.has_remaining() {
        return Err(failure(format!(
            "unexpected additional input data: {} bytes after the last binary tensor",
            binary.len()
        )));
    }
    let outputs = message
        .outputs
        .into_iter()
        .map(|tensor| output(tensor, &mut formats))
        .collect::<Result<_, _>>()?;
    let request = InferRequest {
        model_name: model.to_owned(),
        model_version: version.to_owned(),
        id: message.id,
        parameters: parameters.rest("the request")?,
        inputs,
        outputs,
    };
    Ok((request, formats))
}

fn input(tensor: InputTensor<'_>, binary: &mut Bytes) -> Result<InputMessage, Failure> {
    let InputTensor { name, datatype, shape, mut parameters, data } = tensor;
    let owner = format!("input '{name}'");
    let shared = parameters.shared(&owner)?;
    let binary_len = parameters.take_size(&owner, "binary_data_size")?;
    let payload = match (shared, binary_len, data) {
        (Some(shared), None, None) => Payload::Shared(shared),
        (None, Some(len), None) => {
            let len =
                usize::try_from(len).ok().filter(|&len| len <= binary.len()).ok_or_else(|| {
                    failure(format!(
                        "{owner} has binary_data_size {len}, and {} bytes of binary data are left",
                        binary.len()
                    ))
                })?;
            Payload::Inline(binary.split_to(len))
        }
        (None, None, Some(data)) => {
            let known: DataType =
                datatype.parse().map_err(|error| failure(format!("{owner}: {error}")))?;
            let bytes = data::parse(known, data).map_err(|error| {
                failure(format!("failed to parse the data of {owner} as {known}: {error}"))
            })?;
            Payload::Inline(bytes.into())
        }
        (None, None, None) => {
            return Err(failure(format!(
                "{owner} has no data; expected 'data', or the parameter 'binary_data_size' or 'shared_memory_region'"
            )));
        }
        _ => {
            return Err(failure(format!(
                "{owner} has data in more than one place; expected one of 'data', and the parameters 'binary_data_size' and 'shared_memory_region'"
            )));
        }
    };
    let parameters = parameters.rest(&owner)?;
    Ok(InputMessage { name, datatype, shape, payload, parameters })
}

fn output(tensor: OutputTensor, formats: &mut Formats) -> Result<WantedMessage, Failure> {
    let OutputTensor { name, mut parameters } = tensor;
    let owner = format!("output '{name}'");
    let shared = parameters.shared(&owner)?;
    if let Some(binary) = parameters.take_bool(&owner, "binary_data")? {
        if shared.is_some() && binary {
            return Err(failure(format!(
                "{owner} cannot have both 'binary_data' and 'shared_memory_region'"
            )));
        }
        formats.named.push((name.clone(), binary));
    }
    let parameters = parameters.rest(&owner)?;
    Ok(WantedMessage { name, shared, parameters })
}

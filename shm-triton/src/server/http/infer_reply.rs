//! Writing the answer to an inference request: JSON, and the binary data after it.

use super::data;
use super::error::{Failure, failure};
use super::infer_request::Formats;
use crate::datatype::DataType;
use crate::wire::{InferResponse, OutputMessage};
use bytes::Bytes;
use serde::Serialize;

/// The body of an answer.
pub(super) struct Reply {
    pub body: Bytes,
    /// Where the JSON ends, if binary data follows.
    pub json_len: Option<usize>,
}

#[derive(Serialize)]
struct Message<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    id: &'a str,
    model_name: &'a str,
    model_version: &'a str,
    outputs: Vec<Tensor<'a>>,
}

#[derive(Serialize)]
struct Tensor<'a> {
    name: &'a str,
    datatype: &'a str,
    shape: &'a [i64],
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<BinarySize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<data::Array<'a>>,
}

#[derive(Serialize)]
struct BinarySize {
    binary_data_size: usize,
}

pub(super) fn write(response: &InferResponse, formats: &Formats) -> Result<Reply, Failure> {
    let mut binary: Vec<&Bytes> = Vec::new();
    let outputs = response
        .outputs
        .iter()
        .map(|output| tensor(output, formats, &mut binary))
        .collect::<Result<_, _>>()?;
    let message = Message {
        id: &response.id,
        model_name: &response.model_name,
        model_version: &response.model_version,
        outputs,
    };
    let mut body = Vec::with_capacity(256);
    serde_json::to_writer(&mut body, &message).map_err(|error| failure(error.to_string()))?;
    if binary.is_empty() {
        return Ok(Reply { body: body.into(), json_len: None });
    }
    let json_len = body.len();
    body.reserve_exact(binary.iter().map(|bytes| bytes.len()).sum());
    for bytes in binary {
        body.extend_from_slice(bytes);
    }
    Ok(Reply { body: body.into(), json_len: Some(json_len) })
}

fn tensor<'a>(
    output: &'a OutputMessage,
    formats: &Formats,
    binary: &mut Vec<&'a Bytes>,
) -> Result<Tensor<'a>, Failure> {
    let mut tensor = Tensor {
        name: &output.name,
        datatype: &output.datatype,
        shape: &output.shape,
        parameters: None,
        data: None,
    };
    match &output.data {
        None => {}
        Some(bytes) if formats.is_binary(&output.name) => {
            tensor.parameters = Some(BinarySize { binary_data_size: bytes.len() });
            binary.push(bytes);
        }
        Some(bytes) => {
            let datatype: DataType = output
                .datatype
                .parse()
                .map_err(|error| failure(format!("output '{}': {error}", output.name)))?;
            tensor.data = Some(data::Array { output: &output.name, datatype, bytes });
        }
    }
    Ok(tensor)
}

//! Requests as HTTP/1.1 messages.

use super::connection::Connection;
use crate::address::Socket;
use crate::transport::{Prepared, Request};
use crate::wire::{
    InferRequest, InputMessage, Parameter, Parameters, Payload, SharedBytes, WantedMessage,
};
use bytes::Bytes;
use serde::Serialize;
use serde::ser::{SerializeMap, SerializeSeq, Serializer};
use std::io::Write;

/// Inline tensors up to this length are copied behind the JSON, so that one system call sends both.
const SHORT: usize = 32 * 1024;

/// Requests up to this length are kept as they were sent, to be sent again.
const KEPT: usize = 8 * 1024;

/// What was asked, as far as the reply depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Live,
    Ready,
    Metadata,
    ModelReady,
    ModelMetadata,
    ModelConfig,
    Statistics,
    Regions,
    Change,
    Infer,
}

/// Writes the request into the connection's buffers.
pub(super) fn compose(connection: &mut Connection, to: &Socket, request: Request<'_>) {
    let get = |connection: &mut Connection, asked, path: &[Part<'_>]| {
        let (out, _) = connection.compose(asked);
        head(out, "GET", path, to);
        out.extend_from_slice(b"\r\n");
    };
    let post = |connection: &mut Connection, path: &[Part<'_>], body: &[u8]| {
        let (out, _) = connection.compose(Asked::Change);
        head(out, "POST", path, to);
        write!(out, "Content-Length: {}\r\n\r\n", body.len()).expect("memory");
        out.extend_from_slice(body);
    };
    use Part::{Name, Text};
    match request {
        Request::Infer(infer) => compose_infer(connection, to, infer),
        Request::ServerLive => get(connection, Asked::Live, &[Text("/v2/health/live")]),
        Request::ServerReady => get(connection, Asked::Ready, &[Text("/v2/health/ready")]),
        Request::ServerMetadata => get(connection, Asked::Metadata, &[Text("/v2")]),
        Request::ModelReady(name, version) => {
            get(connection, Asked::ModelReady, &model(name, version, "/ready"));
        }
        Request::ModelMetadata(name, version) => {
            get(connection, Asked::ModelMetadata, &model(name, version, ""));
        }
        Request::ModelConfig(name, version) => {
            get(connection, Asked::ModelConfig, &model(name, version, "/config"));
        }
        Request::Statistics("", _) => {
            get(connection, Asked::Statistics, &[Text("/v2/models/stats")]);
        }
        Request::Statistics(name, version) => {
            get(connection, Asked::Statistics, &model(name, version, "/stats"));
        }
        Request::RegionStatus("") => {
            get(connection, Asked::Regions, &[Text("/v2/systemsharedmemory/status")]);
        }
        Request::RegionStatus(name) => {
            let path = [Text("/v2/systemsharedmemory/region/"), Name(name), Text("/status")];
            get(connection, Asked::Regions, &path);
        }
        Request::Register { name, key, offset, byte_size } => {
            let body = serde_json::json!({ "key": key, "offset": offset, "byte_size": byte_size });
            let path = [Text("/v2/systemsharedmemory/region/"), Name(name), Text("/register")];
            post(connection, &path, body.to_string().as_bytes());
        }
        Request::Unregister(name) => {
            let path = [Text("/v2/systemsharedmemory/region/"), Name(name), Text("/unregister")];
            post(connection, &path, b"");
        }
    }
}

/// A part of a path: as it stands, or a name to be escaped.
enum Part<'a> {
    Text(&'a str),
    Name(&'a str),
}

fn model<'a>(name: &'a str, version: &'a str, what: &'a str) -> Vec<Part<'a>> {
    let mut path = vec![Part::Text("/v2/models/"), Part::Name(name)];
    if !version.is_empty() {
        path.extend([Part::Text("/versions/"), Part::Name(version)]);
    }
    path.push(Part::Text(what));
    path
}

fn head(out: &mut Vec<u8>, method: &str, path: &[Part<'_>], to: &Socket) {
    out.extend_from_slice(method.as_bytes());
    out.push(b' ');
    for part in path {
        match part {
            Part::Text(text) => out.extend_from_slice(text.as_bytes()),
            Part::Name(name) => escape(out, name),
        }
    }
    out.extend_from_slice(b" HTTP/1.1\r\nHost: ");
    match to {
        Socket::Tcp(host, port) if host.contains(':') => write!(out, "[{host}]:{port}"),
        Socket::Tcp(host, port) => write!(out, "{host}:{port}"),
        Socket::Unix(_) => write!(out, "localhost"),
    }
    .expect("memory");
    out.extend_from_slice(b"\r\n");
}

/// Escapes what may not stand in a segment of a path (RFC 3986, section 2.3).
fn escape(out: &mut Vec<u8>, name: &str) {
    for &byte in name.as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte),
            _ => write!(out, "%{byte:02X}").expect("memory"),
        }
    }
}

fn compose_infer(connection: &mut Connection, to: &Socket, prepared: &Prepared) {
    let (out, tail) = connection.compose(Asked::Infer);
    if let Some(encoded) = prepared.encoded.get() {
        return out.extend_from_slice(encoded);
    }
    write_infer(out, tail, to, &prepared.message);
    if tail.is_empty() && out.len() <= KEPT {
        // Somebody else may have been faster, with the same.
        let _ = prepared.encoded.set(Bytes::copy_from_slice(out));
    }
}

fn write_infer(out: &mut Vec<u8>, tail: &mut Vec<Bytes>, to: &Socket, request: &InferRequest) {
    head(out, "POST", &model(&request.model_name, &request.model_version, "/infer"), to);
    // The length stands in front of what it measures: room for it is left, and filled in after.
    out.extend_from_slice(b"Content-Length: ");
    let length_at = out.len();
    out.extend_from_slice(b"                    \r\n");
    let inline = request.inputs.iter().filter_map(|input| match &input.payload {
        Payload::Inline(bytes) => Some(bytes),
        Payload::Shared(_) => None,
    });
    let has_inline = inline.clone().next().is_some();
    let json_length_at = has_inline.then(|| {
        out.extend_from_slice(b"Inference-Header-Content-Length: ");
        let at = out.len();
        out.extend_from_slice(b"                    \r\n");
        at
    });
    out.extend_from_slice(b"\r\n");
    let json_at = out.len();
    serde_json::to_writer(&mut *out, &Body(request)).expect("strings and numbers");
    let json_len = out.len() - json_at;
    let mut body_len = json_len;
    for bytes in inline {
        body_len += bytes.len();
        // Once one is long, all that follow go behind it, in order.
        if tail.is_empty() && bytes.len() <= SHORT {
            out.extend_from_slice(bytes);
        } else {
            tail.push(Bytes::clone(bytes));
        }
    }
    put_number(out, length_at, body_len);
    if let Some(at) = json_length_at {
        put_number(out, at, json_len);
    }
}

fn put_number(out: &mut [u8], at: usize, number: usize) {
    let digits = number.to_string();
    out[at..at + digits.len()].copy_from_slice(digits.as_bytes());
}

/// The JSON of an inference request.
struct Body<'a>(&'a InferRequest);

impl Serialize for Body<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let request = self.0;
        let mut map = serializer.serialize_map(None)?;
        if !request.id.is_empty() {
            map.serialize_entry("id", &request.id)?;
        }
        if !request.parameters.is_empty() || request.outputs.is_empty() {
            let binary = request.outputs.is_empty();
            map.serialize_entry(
                "parameters",
                &Values { parameters: &request.parameters, own: Own::Request { binary } },
            )?;
        }
        map.serialize_entry(
            "inputs",
            &Seq(&request.inputs, |input: &InputMessage| Tensor {
                name: &input.name,
                kind: Some((&input.datatype, &input.shape)),
                values: Values {
                    parameters: &input.parameters,
                    own: match &input.payload {
                        Payload::Shared(shared) => Own::Shared(shared),
                        Payload::Inline(bytes) => Own::Binary(bytes.len()),
                    },
                },
            }),
        )?;
        if !request.outputs.is_empty() {
            map.serialize_entry(
                "outputs",
                &Seq(&request.outputs, |output: &WantedMessage| Tensor {
                    name: &output.name,
                    kind: None,
                    values: Values {
                        parameters: &output.parameters,
                        own: output.shared.as_ref().map_or(Own::BinaryOutput, Own::Shared),
                    },
                }),
            )?;
        }
        map.end()
    }
}

struct Seq<'a, T>(&'a [T], fn(&'a T) -> Tensor<'a>);

impl<T> Serialize for Seq<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut seq = serializer.serialize_seq(Some(self.0.len()))?;
        for item in self.0 {
            seq.serialize_element(&(self.1)(item))?;
        }
        seq.end()
    }
}

struct Tensor<'a> {
    name: &'a str,
    kind: Option<(&'a str, &'a [i64])>,
    values: Values<'a>,
}

impl Serialize for Tensor<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", self.name)?;
        if let Some((datatype, shape)) = self.kind {
            map.serialize_entry("datatype", datatype)?;
            map.serialize_entry("shape", shape)?;
        }
        map.serialize_entry("parameters", &self.values)?;
        map.end()
    }
}

/// Parameters: the caller's, and those of the protocol.
struct Values<'a> {
    parameters: &'a Parameters,
    own: Own<'a>,
}

enum Own<'a> {
    Request { binary: bool },
    Shared(&'a SharedBytes),
    Binary(usize),
    BinaryOutput,
}

impl Serialize for Values<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in self.parameters {
            match value {
                Parameter::Bool(value) => map.serialize_entry(name, value)?,
                Parameter::Int(value) => map.serialize_entry(name, value)?,
                Parameter::Float(value) => map.serialize_entry(name, value)?,
                Parameter::Text(value) => map.serialize_entry(name, value)?,
            }
        }
        match self.own {
            Own::Request { binary: true } => map.serialize_entry("binary_data_output", &true)?,
            Own::Request { binary: false } => {}
            Own::Shared(shared) => {
                map.serialize_entry("shared_memory_region", &shared.region)?;
                map.serialize_entry("shared_memory_byte_size", &shared.byte_size)?;
                if shared.offset != 0 {
                    map.serialize_entry("shared_memory_offset", &shared.offset)?;
                }
            }
            Own::Binary(len) => map.serialize_entry("binary_data_size", &len)?,
            Own::BinaryOutput => map.serialize_entry("binary_data", &true)?,
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped() {
        let mut out = Vec::new();
        escape(&mut out, "a b/ü~");
        assert_eq!(out, b"a%20b%2F%C3%BC~");
    }
}

//! A request as bytes, and what its answer must be.

use crate::transport::{Reply, Request};
use crate::wire::{Code, ModelMetadata, ModelStatistics, ServerMetadata};
use crate::wire::{grpc, proto};
use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

/// Protocol buffers end here, and with them the servers.
const MAX_MESSAGE: usize = i32::MAX as usize;
/// Raw contents up to this size are copied behind the message by who asks; larger ones only into the
/// connection's buffer.
const SMALL: usize = 16 << 10;
/// Field of the raw contents in an inference request.
const RAW_INPUTS: u32 = 7;

/// One request, encoded.
#[derive(Debug)]
pub(super) struct Question {
    pub method: &'static str,
    pub message: Encoded,
    pub expected: Expected,
}

/// An encoded message in parts that follow each other.
#[derive(Debug)]
pub(super) struct Encoded {
    parts: Vec<Bytes>,
}

/// Which reply a request has.
#[derive(Debug)]
pub(super) enum Expected {
    /// With the names of the outputs that go to shared memory.
    Infer(Vec<String>),
    Yes,
    ServerMetadata,
    ModelMetadata,
    ModelConfig,
    Statistics,
    Regions,
    Nothing,
}

impl Question {
    /// Encodes a request. One that no server may get is answered with the refusal.
    pub(super) fn of(request: Request<'_>) -> Result<Question, Reply> {
        let model = |name: &str, version: &str| {
            plain(&proto::NameVersion { name: name.into(), version: version.into() })
        };
        let region = |name: &str| plain(&proto::Name { name: name.into() });
        let nothing = || plain(&proto::NoFields {});
        let (method, message, expected) = match request {
            Request::Infer(prepared) => {
                let request = &prepared.message;
                let (message, raw) = grpc::infer_request(request);
                let shared = request.outputs.iter().filter(|output| output.shared.is_some());
                let shared = shared.map(|output| output.name.clone()).collect();
                ("ModelInfer", with_raw_inputs(&message, raw), Expected::Infer(shared))
            }
            Request::ServerLive => ("ServerLive", nothing(), Expected::Yes),
            Request::ServerReady => ("ServerReady", nothing(), Expected::Yes),
            Request::ServerMetadata => ("ServerMetadata", nothing(), Expected::ServerMetadata),
            Request::ModelReady(name, version) => {
                ("ModelReady", model(name, version), Expected::Yes)
            }
            Request::ModelMetadata(name, version) => {
                ("ModelMetadata", model(name, version), Expected::ModelMetadata)
            }
            Request::ModelConfig(name, version) => {
                ("ModelConfig", model(name, version), Expected::ModelConfig)
            }
            Request::Statistics(name, version) => {
                ("ModelStatistics", model(name, version), Expected::Statistics)
            }
            Request::RegionStatus(name) => {
                ("SystemSharedMemoryStatus", region(name), Expected::Regions)
            }
            Request::Register { name, key, offset, byte_size } => {
                let message =
                    proto::Region { name: name.into(), key: key.into(), offset, byte_size };
                ("SystemSharedMemoryRegister", plain(&message), Expected::Nothing)
            }
            Request::Unregister(name) => {
                ("SystemSharedMemoryUnregister", region(one_region(name)?), Expected::Nothing)
            }
        };
        if message.len() > MAX_MESSAGE {
            return Err(refused(format!(
                "the request has {} bytes; a message has at most {MAX_MESSAGE}: put its inputs into shared memory",
                message.len()
            )));
        }
        Ok(Question { method, message, expected })
    }
}

/// An empty name would free the regions of every client of the server.
fn one_region(name: &str) -> Result<&str, Reply> {
    if name.is_empty() {
        return Err(refused(
            "the region's name is empty, which means all regions; name one".to_owned(),
        ));
    }
    Ok(name)
}

fn refused(message: String) -> Reply {
    Reply::Refused { code: Code::InvalidArgument, message }
}

fn plain(message: &impl Message) -> Encoded {
    Encoded { parts: vec![Bytes::from(message.encode_to_vec())] }
}

/// The message with its last field appended: protocol buffers may be put together from pieces.
fn with_raw_inputs(message: &proto::InferRequest, raw: Vec<Bytes>) -> Encoded {
    let header = |bytes: &Bytes| key_len(RAW_INPUTS) + encoded_len_varint(bytes.len() as u64);
    let small = |bytes: &Bytes| if bytes.len() <= SMALL { bytes.len() } else { 0 };
    let room: usize = raw.iter().map(|bytes| header(bytes) + small(bytes)).sum();
    let mut buffer = BytesMut::with_capacity(message.encoded_len() + room);
    message.encode_raw(&mut buffer);
    let mut parts = Vec::new();
    for bytes in raw {
        encode_key(RAW_INPUTS, WireType::LengthDelimited, &mut buffer);
        encode_varint(bytes.len() as u64, &mut buffer);
        if bytes.len() <= SMALL {
            buffer.put_slice(&bytes);
        } else {
            parts.push(buffer.split().freeze());
            parts.push(bytes);
        }
    }
    if !buffer.is_empty() || parts.is_empty() {
        parts.push(buffer.freeze());
    }
    Encoded { parts }
}

impl Encoded {
    pub(super) fn len(&self) -> usize {
        self.parts.iter().map(Bytes::len).sum()
    }

    pub(super) fn parts(&self) -> impl Iterator<Item = &Bytes> {
        self.parts.iter()
    }
}

impl Expected {
    /// What the message of the answer says.
    pub(super) fn reply(&self, message: Bytes) -> Reply {
        self.decode(message).unwrap_or_else(Reply::Malformed)
    }

    fn decode(&self, message: Bytes) -> Result<Reply, String> {
        Ok(match self {
            Expected::Infer(shared) => {
                let in_region = |name: &str| shared.iter().any(|shared| shared == name);
                Reply::Infer(grpc::infer_response(decode(message)?, in_region)?)
            }
            Expected::Yes => Reply::Yes(decode::<proto::Live>(message)?.ok),
            Expected::ServerMetadata => {
                Reply::ServerMetadata(ServerMetadata::from(decode::<proto::ServerMetadata>(
                    message,
                )?))
            }
            Expected::ModelMetadata => {
                Reply::ModelMetadata(ModelMetadata::from(decode::<proto::ModelMetadata>(message)?))
            }
            Expected::ModelConfig => {
                Reply::ModelConfig(grpc::model_configuration(decode(message)?)?)
            }
            Expected::Statistics => {
                let models = decode::<proto::Statistics>(message)?.models;
                Reply::Statistics(models.into_iter().map(ModelStatistics::from).collect())
            }
            Expected::Regions => Reply::Regions(grpc::region_statuses(decode(message)?)),
            Expected::Nothing => {
                decode::<proto::NoFields>(message)?;
                Reply::Done
            }
        })
    }
}

fn decode<M: Message + Default>(message: Bytes) -> Result<M, String> {
    M::decode(message).map_err(|error| error.to_string())
}

//! Replies as bodies of frames.
//!
//! Upholds invariant 2: a body is decoded whole or refused, and its descriptors are closed then.

use super::super::failure::Failure;
use super::super::limits::Limits;
use super::cbor::{CborReader, CborWriter};
use super::decode::{DecodeError, decode_plain};
use super::encode::encode_plain;
use super::header::Header;
use super::kind;
use super::message::{Answer, Message, Payload, Received, Reply, Welcome};
use super::record;
use std::os::fd::OwnedFd;

impl Reply {
    /// As a frame. An [`Reply::Info`] that is not plain data becomes the failure that says so.
    pub fn encode(&self) -> Message {
        let mut writer = CborWriter::new();
        match self {
            Reply::Welcome(welcome) => write_welcome(&mut writer, welcome),
            Reply::Pong | Reply::Stopping => {}
            Reply::Info(value) => {
                writer.array(1);
                if let Err(failure) = encode_plain(value, &mut writer) {
                    return failed(&failure);
                }
            }
            Reply::Answer(answer) => return answered(answer),
            Reply::Submitted(task) => {
                writer.array(1).u64(*task);
            }
            Reply::Task(task) => record::write_task(&mut writer, task),
            Reply::Tasks(tasks) => {
                writer.array(1).array(tasks.len() as u64);
                tasks.iter().for_each(|task| record::write_task(&mut writer, task));
            }
            Reply::Cancelled(cancelled) => {
                writer.array(1).bool(*cancelled);
            }
            Reply::Released(released) => {
                writer.array(1).array(released.len() as u64);
                for &released in released {
                    writer.bool(released);
                }
            }
            Reply::Object(object) => {
                writer.array(1).optional(object.as_ref(), record::write_object);
            }
            Reply::Invalidated(count) => {
                writer.array(1).u64(*count);
            }
            Reply::Failed(failure) => return failed(failure),
        }
        Message { kind: self.kind(), body: writer.into_bytes(), value: None }
    }

    /// From a frame.
    ///
    /// # Errors
    /// If the body is not one of the kind that the header says.
    pub fn decode(
        header: &Header,
        body: &[u8],
        descriptors: Vec<OwnedFd>,
    ) -> Result<Received, DecodeError> {
        record::allowed(header.kind, &descriptors)?;
        let mut reader = CborReader::new(body);
        let read = &mut reader;
        let reply = match header.kind {
            kind::WELCOME => Reply::Welcome(read_welcome(read)?),
            kind::PONG => Reply::Pong,
            kind::INFO => {
                one(read)?;
                Reply::Info(decode_plain(read, &Limits::default())?)
            }
            kind::ANSWER => {
                read.array_of("answer", 2)?;
                let lease = read.optional("lease", CborReader::integer)?;
                let object = read.optional("object", CborReader::integer)?;
                let value = Payload { body: read.rest().to_vec(), descriptors };
                return Ok(Received::Answer { value, lease, object });
            }
            kind::SUBMITTED => {
                one(read)?;
                Reply::Submitted(read.integer("task")?)
            }
            kind::TASK_STATE => Reply::Task(record::read_task(read)?),
            kind::TASK_LIST => {
                one(read)?;
                let count = read.array("tasks")?;
                let tasks: Result<_, _> = (0..count).map(|_| record::read_task(read)).collect();
                Reply::Tasks(tasks?)
            }
            kind::CANCELLED => {
                one(read)?;
                Reply::Cancelled(read.bool("cancelled")?)
            }
            kind::RELEASED => {
                one(read)?;
                let count = read.array("released")?;
                let released: Result<_, _> = (0..count).map(|_| read.bool("released")).collect();
                Reply::Released(released?)
            }
            kind::OBJECT_STATE => {
                one(read)?;
                Reply::Object(read.optional("object", |read, _| record::read_object(read))?)
            }
            kind::INVALIDATED => {
                one(read)?;
                Reply::Invalidated(read.integer("invalidated")?)
            }
            kind::FAILED => Reply::Failed(record::read_failure(read)?),
            kind::STOPPING => Reply::Stopping,
            other => return Err(DecodeError::new("kind", "a reply", record::kind_text(other))),
        };
        reader.finish("reply")?;
        Ok(Received::Reply(reply))
    }

    /// The kind of its frame.
    pub fn kind(&self) -> u16 {
        match self {
            Reply::Welcome(_) => kind::WELCOME,
            Reply::Pong => kind::PONG,
            Reply::Info(_) => kind::INFO,
            Reply::Answer(_) => kind::ANSWER,
            Reply::Submitted(_) => kind::SUBMITTED,
            Reply::Task(_) => kind::TASK_STATE,
            Reply::Tasks(_) => kind::TASK_LIST,
            Reply::Cancelled(_) => kind::CANCELLED,
            Reply::Released(_) => kind::RELEASED,
            Reply::Object(_) => kind::OBJECT_STATE,
            Reply::Invalidated(_) => kind::INVALIDATED,
            Reply::Failed(_) => kind::FAILED,
            Reply::Stopping => kind::STOPPING,
        }
    }
}

fn answered(answer: &Answer) -> Message {
    let mut writer = CborWriter::new();
    let write = |writer: &mut CborWriter, id| {
        writer.u64(id);
    };
    writer.array(2).optional(answer.lease, write).optional(answer.object, write);
    Message { kind: kind::ANSWER, body: writer.into_bytes(), value: Some(answer.value.clone()) }
}

fn failed(failure: &Failure) -> Message {
    let mut writer = CborWriter::new();
    record::write_failure(&mut writer, failure);
    Message { kind: kind::FAILED, body: writer.into_bytes(), value: None }
}

/// The array around a message's only field.
fn one(read: &mut CborReader<'_>) -> Result<(), DecodeError> {
    read.array_of("reply", 1)
}

fn write_welcome(writer: &mut CborWriter, welcome: &Welcome) {
    writer.array(7).u64(welcome.version.into()).bytes(&welcome.server).u64(welcome.pid.into());
    writer.bytes(&welcome.process).u64(welcome.body_limit.into());
    writer.u64(welcome.in_flight_limit.into()).bool(welcome.opaque);
}

fn read_welcome(read: &mut CborReader<'_>) -> Result<Welcome, DecodeError> {
    read.array_of("welcome", 7)?;
    Ok(Welcome {
        version: read.integer("welcome version")?,
        server: read.bytes_of("welcome server")?,
        pid: read.integer("welcome pid")?,
        process: read.bytes_of("welcome process")?,
        body_limit: read.integer("welcome body limit")?,
        in_flight_limit: read.integer("welcome in-flight limit")?,
        opaque: read.bool("welcome opaque")?,
    })
}

//! Requests as bodies of frames.
//!
//! Upholds invariant 2: a body is decoded whole or refused, and its descriptors are closed then.

use super::cbor::{CborReader, CborWriter};
use super::decode::DecodeError;
use super::encode::EncodedValue;
use super::header::Header;
use super::kind;
use super::message::{ArgumentsOf, Hello, Message, Payload, Request};
use super::record;
use std::os::fd::OwnedFd;

impl Request {
    /// As a frame. A call, submission or invalidation is made by [`Request::encode_with`].
    ///
    /// # Panics
    /// If it carries descriptors: received arguments are not for sending.
    pub fn encode(&self) -> Message {
        let mut writer = CborWriter::new();
        match self {
            Request::Hello(hello) => {
                writer.array(4).array(2).u64(hello.versions.0.into()).u64(hello.versions.1.into());
                writer.u64(hello.pid.into()).bytes(&hello.process).str(&hello.name);
            }
            Request::Ping | Request::ServerInfo | Request::Endpoints => {}
            Request::Call { endpoint, arguments }
            | Request::Submit { endpoint, arguments }
            | Request::InvalidateCall { endpoint, arguments } => {
                assert!(arguments.descriptors.is_empty(), "encode the arguments to send them");
                writer.array(1).str(endpoint).raw(&arguments.body);
            }
            Request::Task(id)
            | Request::TaskResult(id)
            | Request::WaitTask(id)
            | Request::CancelTask(id)
            | Request::Acquire(id)
            | Request::Object(id)
            | Request::Cancel(id) => {
                writer.array(1).u64(*id);
            }
            Request::Tasks(state) => {
                writer.array(1).optional(*state, |writer, state| {
                    writer.u64(state.code().into());
                });
            }
            Request::Release(leases) => {
                writer.array(1).array(leases.len() as u64);
                for &lease in leases {
                    writer.u64(lease);
                }
            }
            Request::InvalidateEndpoint(endpoint) => {
                writer.array(1).str(endpoint);
            }
        }
        Message { kind: self.kind(), body: writer.into_bytes(), value: None }
    }

    /// A call, submission or invalidation with arguments that are encoded already.
    pub fn encode_with(request: ArgumentsOf, endpoint: &str, arguments: EncodedValue) -> Message {
        let kind = match request {
            ArgumentsOf::Call => kind::CALL,
            ArgumentsOf::Submit => kind::SUBMIT,
            ArgumentsOf::InvalidateCall => kind::INVALIDATE_CALL,
        };
        let mut writer = CborWriter::new();
        writer.array(1).str(endpoint);
        Message { kind, body: writer.into_bytes(), value: Some(arguments) }
    }

    /// From a frame.
    ///
    /// # Errors
    /// If the body is not one of the kind that the header says; the connection may go on.
    pub fn decode(
        header: &Header,
        body: &[u8],
        descriptors: Vec<OwnedFd>,
    ) -> Result<Request, DecodeError> {
        record::allowed(header.kind, &descriptors)?;
        let mut reader = CborReader::new(body);
        let read = &mut reader;
        let request = match header.kind {
            kind::HELLO => Request::Hello(hello(read)?),
            kind::PING => Request::Ping,
            kind::SERVER_INFO => Request::ServerInfo,
            kind::ENDPOINTS => Request::Endpoints,
            kind::CALL | kind::SUBMIT | kind::INVALIDATE_CALL => {
                read.array_of("request", 1)?;
                let endpoint = read.text("endpoint")?.to_owned();
                let arguments = Payload { body: read.rest().to_vec(), descriptors };
                return Ok(match header.kind {
                    kind::CALL => Request::Call { endpoint, arguments },
                    kind::SUBMIT => Request::Submit { endpoint, arguments },
                    _ => Request::InvalidateCall { endpoint, arguments },
                });
            }
            kind::TASK => Request::Task(id(read, "task")?),
            kind::TASK_RESULT => Request::TaskResult(id(read, "task")?),
            kind::WAIT_TASK => Request::WaitTask(id(read, "task")?),
            kind::CANCEL_TASK => Request::CancelTask(id(read, "task")?),
            kind::TASKS => {
                read.array_of("request", 1)?;
                Request::Tasks(read.optional("state", record::task_state)?)
            }
            kind::RELEASE => {
                read.array_of("request", 1)?;
                let count = read.array("leases")?;
                let leases: Result<_, _> = (0..count).map(|_| read.integer("lease")).collect();
                Request::Release(leases?)
            }
            kind::ACQUIRE => Request::Acquire(id(read, "object")?),
            kind::OBJECT => Request::Object(id(read, "object")?),
            kind::INVALIDATE_ENDPOINT => {
                read.array_of("request", 1)?;
                Request::InvalidateEndpoint(read.text("endpoint")?.to_owned())
            }
            kind::CANCEL => Request::Cancel(id(read, "request")?),
            other => {
                return Err(DecodeError::new("kind", "a request", record::kind_text(other)));
            }
        };
        reader.finish("request")?;
        Ok(request)
    }

    /// The kind of its frame.
    pub fn kind(&self) -> u16 {
        match self {
            Request::Hello(_) => kind::HELLO,
            Request::Ping => kind::PING,
            Request::ServerInfo => kind::SERVER_INFO,
            Request::Endpoints => kind::ENDPOINTS,
            Request::Call { .. } => kind::CALL,
            Request::Submit { .. } => kind::SUBMIT,
            Request::Task(_) => kind::TASK,
            Request::TaskResult(_) => kind::TASK_RESULT,
            Request::WaitTask(_) => kind::WAIT_TASK,
            Request::CancelTask(_) => kind::CANCEL_TASK,
            Request::Tasks(_) => kind::TASKS,
            Request::Release(_) => kind::RELEASE,
            Request::Acquire(_) => kind::ACQUIRE,
            Request::Object(_) => kind::OBJECT,
            Request::InvalidateCall { .. } => kind::INVALIDATE_CALL,
            Request::InvalidateEndpoint(_) => kind::INVALIDATE_ENDPOINT,
            Request::Cancel(_) => kind::CANCEL,
        }
    }
}

fn hello(read: &mut CborReader<'_>) -> Result<Hello, DecodeError> {
    read.array_of("hello", 4)?;
    read.array_of("hello versions", 2)?;
    Ok(Hello {
        versions: (read.integer("hello versions")?, read.integer("hello versions")?),
        pid: read.integer("hello pid")?,
        process: read.bytes_of("hello process")?,
        name: read.text("hello name")?.to_owned(),
    })
}

fn id(read: &mut CborReader<'_>, field: &'static str) -> Result<u64, DecodeError> {
    read.array_of("request", 1)?;
    read.integer(field)
}

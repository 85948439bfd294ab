//! Calls from the server's own process.
//!
//! They are carried out like those of clients, by the same service, so that they find what clients had
//! built, and the other way round.

use super::super::failure::{Failure, FailureKind};
use super::super::limits::Limits;
use super::super::memory::Access;
use super::super::service::{Caller, ConnectionId};
use super::super::tensor::Storage;
use super::super::value::{Arguments, Value};
use super::super::wire::{EncodedValue, Reply, Request, decode_value};
use super::event_loop::{EventLoop, now};
use crossbeam_channel::Sender;
use std::io;
use std::os::fd::OwnedFd;

/// The request number of a local caller, who asks one thing only.
const REQUEST: u64 = 1;

impl EventLoop {
    pub(super) fn call_locally(
        &mut self,
        caller: ConnectionId,
        endpoint: &str,
        arguments: Arguments,
        answer: Sender<Reply>,
    ) {
        self.local.insert(caller, answer);
        let caller = Caller { connection: caller, request: REQUEST };
        self.service.call(caller, endpoint, arguments, now(), &mut self.effects);
    }

    /// Forgets what is cached of an endpoint, for these arguments or for all.
    pub(super) fn invalidate_locally(
        &mut self,
        caller: ConnectionId,
        endpoint: &str,
        arguments: Option<Arguments>,
        answer: Sender<Reply>,
    ) {
        self.local.insert(caller, answer);
        let caller = Caller { connection: caller, request: REQUEST };
        match arguments {
            Some(arguments) => {
                let effects = &mut self.effects;
                self.service.invalidate_call(caller, endpoint, arguments, now(), effects);
            }
            None => {
                let request = Request::InvalidateEndpoint(endpoint.to_owned());
                self.service.request(caller, request, now(), &mut self.effects);
            }
        }
    }
}

/// The value of an answer. Its tensors lie in the very memory that clients map.
pub(super) fn value_of(reply: Reply, limits: &Limits) -> Result<Value, Failure> {
    match reply {
        Reply::Answer(answer) => {
            let descriptors = descriptors_of(&answer.value)?;
            decode_value(&answer.value.body, descriptors, limits, Access::Read)
                .map_err(|error| Failure::new(FailureKind::Value, error.to_string()))
        }
        other => Err(unexpected(other)),
    }
}

/// How many results were forgotten.
pub(super) fn forgotten(reply: Reply) -> Result<u64, Failure> {
    match reply {
        Reply::Invalidated(count) => Ok(count),
        other => Err(unexpected(other)),
    }
}

fn unexpected(reply: Reply) -> Failure {
    match reply {
        Reply::Failed(failure) => failure,
        other => {
            Failure::new(FailureKind::Protocol, format!("an answer to something else: {other:?}"))
        }
    }
}

fn descriptors_of(encoded: &EncodedValue) -> Result<Vec<OwnedFd>, Failure> {
    let no_more = |error: io::Error| {
        let text = format!("no descriptor for a storage: {error}; raise RLIMIT_NOFILE");
        Failure::new(FailureKind::Capability, text)
    };
    let mut descriptors = Vec::new();
    for storage in encoded.storages.iter() {
        let descriptor = match storage {
            Storage::Host(memory) => Some(memory.descriptor()),
            Storage::Device(memory) => memory.passage()?.1,
        };
        if let Some(descriptor) = descriptor {
            descriptors.push(descriptor.try_clone_to_owned().map_err(no_more)?);
        }
    }
    Ok(descriptors)
}

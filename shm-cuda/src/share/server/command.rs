//! What threads of the server's own process ask the event loop.

use super::super::endpoint::Endpoint;
use super::super::failure::Failure;
use super::super::service::{ConnectionId, Stop};
use super::super::value::{Arguments, Value};
use super::super::wire::Reply;
use super::Counters;
use crossbeam_channel::Sender;
use std::time::Instant;

/// One thing to be done. Those that are answered have a channel of their own for it.
pub(super) enum Command {
    Register(Box<Endpoint>, Sender<Result<(), Failure>>),
    Call {
        caller: ConnectionId,
        endpoint: String,
        arguments: Arguments,
        answer: Sender<Reply>,
    },
    InvalidateCall {
        caller: ConnectionId,
        endpoint: String,
        arguments: Arguments,
        answer: Sender<Reply>,
    },
    InvalidateEndpoint {
        caller: ConnectionId,
        endpoint: String,
        answer: Sender<Reply>,
    },
    /// The caller does not wait any more.
    GiveUp(ConnectionId),
    Counters(Sender<Counters>),
    Info(Sender<Value>),
    Stop {
        how: Stop,
        until: Instant,
    },
}

/// What a server that has ended says about itself.
#[derive(Clone, Debug)]
pub(super) struct Report {
    pub(super) counters: Counters,
    pub(super) info: Value,
}

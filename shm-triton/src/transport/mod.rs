//! Carrying one request to the server and its reply back.
//!
//! Upholds invariant 3: only the server's own answer ends a request. Who waits may stop waiting; the
//! request stays open, and what it holds is given back by whoever is told of its end.

#[cfg(feature = "grpc")]
mod grpc;
mod http;

#[cfg(feature = "grpc")]
pub(crate) use grpc::{GrpcTarget, GrpcTransport};
pub(crate) use http::HttpTransport;

use crate::wire::{
    Code, InferRequest, InferResponse, ModelConfiguration, ModelMetadata, ModelStatistics,
    RegionStatus, ServerMetadata,
};
use bytes::Bytes;
use shm_core::Deadline;
use std::fmt;
use std::sync::OnceLock;
use std::time::Duration;

/// An inference request, and what the transport made of it the last time it was sent.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub message: InferRequest,
    /// As the one transport of a client encodes it, if that does not depend on anything else.
    pub encoded: OnceLock<Bytes>,
}

impl Prepared {
    pub(crate) fn new(message: InferRequest) -> Prepared {
        Prepared { message, encoded: OnceLock::new() }
    }
}

/// What is asked of a server.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Request<'a> {
    Infer(&'a Prepared),
    ServerLive,
    ServerReady,
    ServerMetadata,
    /// Model, version (may be empty).
    ModelReady(&'a str, &'a str),
    ModelMetadata(&'a str, &'a str),
    ModelConfig(&'a str, &'a str),
    /// An empty name asks for all models.
    Statistics(&'a str, &'a str),
    /// An empty name asks for all regions.
    RegionStatus(&'a str),
    Register {
        name: &'a str,
        key: &'a str,
        offset: u64,
        byte_size: u64,
    },
    /// One region, never all: an empty name is refused by the client.
    Unregister(&'a str),
}

/// What a server answered.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Infer(InferResponse),
    /// Of the health requests.
    Yes(bool),
    ServerMetadata(ServerMetadata),
    ModelMetadata(ModelMetadata),
    ModelConfig(ModelConfiguration),
    Statistics(Vec<ModelStatistics>),
    Regions(Vec<RegionStatus>),
    /// Of register and unregister.
    Done,
    /// The server's own error. The request has ended.
    Refused {
        code: Code,
        message: String,
    },
    /// The request has ended, with bytes that are no reply.
    Malformed(String),
}

/// The reply will never come.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", if *.sent { "the connection was lost before the reply" } else { "the server cannot be reached" })]
pub(crate) struct Lost {
    /// False if the server cannot have seen any of the request.
    pub sent: bool,
    pub source: std::io::Error,
}

/// Told once how a request ended, on whatever thread learns of it. Must not block.
pub(crate) type Ending = Box<dyn FnOnce(Result<Reply, Lost>) + Send>;

/// How a blocking call ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    Answered(Reply),
    Lost(Lost),
    /// The deadline has passed; the request stays open, and the ending that `late` made will be told.
    Late,
}

/// How long a caller waits, and what may end its wait.
#[derive(Clone, Copy)]
pub(crate) struct Patience<'a> {
    pub deadline: Deadline,
    /// Asked now and then while waiting; true ends the wait.
    pub interrupt: Option<&'a (dyn Fn() -> bool + Send + Sync)>,
}

/// Who can be interrupted looks up this often.
const LOOK_UP: Duration = Duration::from_millis(50);

/// The longest sleep of who waits for ever.
const LONGEST: Duration = Duration::from_secs(3600);

impl Patience<'_> {
    pub(crate) fn until(deadline: Deadline) -> Patience<'static> {
        Patience { deadline, interrupt: None }
    }

    /// True once the wait is over.
    pub(crate) fn is_over(&self) -> bool {
        self.deadline.has_passed() || self.interrupt.is_some_and(|interrupt| interrupt())
    }

    /// True if the wait was over before anything was sent, which is a deadline that was too short and no
    /// word about the server.
    pub(crate) fn ended_unsent(&self, lost: &Lost) -> bool {
        !lost.sent && lost.source.kind() == std::io::ErrorKind::TimedOut && self.is_over()
    }

    /// How long to sleep before asking again.
    pub(crate) fn nap(&self) -> Duration {
        self.slice(if self.interrupt.is_some() { LOOK_UP } else { LONGEST })
    }

    /// Time left, but at most `cap`.
    pub(crate) fn slice(&self, cap: Duration) -> Duration {
        self.deadline.remaining().map_or(cap, |left| left.min(cap))
    }
}

impl fmt::Debug for Patience<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Patience").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

/// One way to talk to a server. Whoever drops it, having ended its threads, tells all open requests that
/// they are lost.
pub(crate) trait Transport: fmt::Debug + Send + Sync {
    /// Sends the request and waits for the reply for as long as `patience` lasts. Only if that ends
    /// first is `late` called, once, for who is to be told instead. Never sets a deadline on the
    /// server's side.
    fn call(
        &self,
        request: Request<'_>,
        patience: &Patience<'_>,
        late: &mut dyn FnMut() -> Ending,
    ) -> Outcome;

    /// Sends the request without waiting. `ending` may be told before this returns.
    fn start(&self, request: Request<'_>, ending: Ending);

    /// Runs `then` once, after `delay`, on a thread of the transport's. Dropped unrun if the transport
    /// ends first.
    fn after(&self, delay: Duration, then: Box<dyn FnOnce() + Send>);

    /// Requests that were sent and not answered.
    fn in_flight(&self) -> usize;
}

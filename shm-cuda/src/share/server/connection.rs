//! One client, as the event loop sees it.
//!
//! Upholds invariants 2 and 5: nothing is taken from a client that does not say first who it is, and one
//! that does not read its answers is not asked for more questions.

use super::super::failure::{Failure, FailureKind};
use super::super::limits::Limits;
use super::super::unshared::Unshared;
use super::super::wire::{Channel, ChannelError, Frame, Hello, Message, Reply, VERSION};
use super::peer::Peer;
use rustix::event::epoll::EventFlags;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

/// Bytes of answers that wait to be read by a client; above it, nothing more is read from it.
const ENOUGH_QUEUED: usize = 1 << 20;
/// Bytes of answers at which a client is given up, so many having been asked for at once.
const MOST_QUEUED: usize = 256 << 20;

/// A connection and what is known about it.
#[derive(Debug)]
pub(super) struct Connection {
    line: Line,
    limits: Limits,
    /// True once it said who it is.
    pub(super) is_known: bool,
    /// True while frames may lie in the channel that were not looked at, so that no event tells of them.
    pub(super) is_unfinished: bool,
    /// True while it is on the list of those that have something to be written.
    pub(super) is_unflushed: bool,
    interest: EventFlags,
}

/// Who says nothing costs no memory for what could be said.
#[derive(Debug)]
enum Line {
    Silent(Unshared),
    Open(Box<Channel>),
    /// It could not be opened.
    Closed,
}

impl Connection {
    pub(super) fn new(socket: OwnedFd, limits: Limits) -> Connection {
        Connection {
            line: Line::Silent(UnixStream::from(socket).into()),
            limits,
            is_known: false,
            is_unfinished: false,
            is_unflushed: false,
            interest: EventFlags::IN | EventFlags::RDHUP,
        }
    }

    /// Reads what there is, once.
    pub(super) fn fill(&mut self) -> Result<usize, ChannelError> {
        self.channel()?.fill()
    }

    pub(super) fn next_frame(&mut self) -> Result<Option<Frame>, ChannelError> {
        self.channel()?.next_frame()
    }

    /// Queues an answer, or says why it cannot be sent.
    pub(super) fn push(&mut self, request: u64, message: Message) -> Result<(), Failure> {
        let channel = self.channel();
        channel.map_err(|error| broken(&error))?.push(request, message)
    }

    /// Queues a failure, which always fits.
    pub(super) fn push_failure(&mut self, request: u64, failure: Failure) {
        // If it does not, the limits allow no answer at all: there is nobody to tell.
        let _ = self.push(request, Reply::Failed(failure).encode());
    }

    pub(super) fn flush(&mut self) -> Result<bool, ChannelError> {
        match &mut self.line {
            Line::Open(channel) => channel.flush(),
            Line::Silent(_) => Ok(true),
            Line::Closed => Err(ChannelError::Closed),
        }
    }

    /// True if it has to read some of its answers before it may ask for more.
    pub(super) fn is_full(&self) -> bool {
        self.queued() > ENOUGH_QUEUED
    }

    /// True if it asked for more than can be kept for it.
    pub(super) fn is_beyond_bound(&self) -> bool {
        self.queued() > MOST_QUEUED
    }

    pub(super) fn has_queued(&self) -> bool {
        self.queued() > 0
    }

    /// What to wait for from now on, if that is something else than so far.
    pub(super) fn new_interest(&mut self) -> Option<EventFlags> {
        let mut wanted = EventFlags::empty();
        if !self.is_full() {
            wanted |= EventFlags::IN | EventFlags::RDHUP;
        }
        if self.has_queued() {
            wanted |= EventFlags::OUT;
        }
        let is_new = wanted != self.interest;
        self.interest = wanted;
        is_new.then_some(wanted)
    }

    pub(super) fn interest(&self) -> EventFlags {
        self.interest
    }

    /// Tells why, as far as that goes without waiting. Dropping the connection closes it.
    pub(super) fn refuse(&mut self, request: u64, failure: Failure) {
        self.push_failure(request, failure);
        let _ = self.flush();
    }

    /// The socket, while there is one.
    pub(super) fn socket(&self) -> Option<&UnixStream> {
        match &self.line {
            Line::Silent(socket) => Some(socket),
            Line::Open(channel) => Some(channel.socket()),
            Line::Closed => None,
        }
    }

    fn queued(&self) -> usize {
        match &self.line {
            Line::Open(channel) => channel.queued(),
            Line::Silent(_) | Line::Closed => 0,
        }
    }

    fn channel(&mut self) -> Result<&mut Channel, ChannelError> {
        if let Line::Silent(_) = self.line
            && let Line::Silent(socket) = std::mem::replace(&mut self.line, Line::Closed)
        {
            let opened = Channel::over(socket, self.limits).map_err(ChannelError::System)?;
            self.line = Line::Open(Box::new(opened));
        }
        match &mut self.line {
            Line::Open(channel) => Ok(channel),
            Line::Silent(_) | Line::Closed => Err(ChannelError::Closed),
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // A forked child may have the socket too; the client is to see its end all the same.
        if let Some(socket) = self.socket() {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

/// The version to speak with a client, or why there is none.
pub(super) fn negotiate(hello: &Hello) -> Result<u16, Failure> {
    let (lowest, highest) = hello.versions;
    if (lowest..=highest).contains(&VERSION) {
        return Ok(VERSION);
    }
    let text = format!(
        "client '{}' speaks versions {lowest} to {highest} of the protocol, this server speaks {VERSION}; \
         use releases of the same version",
        hello.name
    );
    Err(Failure::new(FailureKind::Protocol, text)
        .with("field", "versions")
        .with("expected", VERSION)
        .with("found", format!("{lowest}..={highest}")))
}

/// Why a user is not let in.
pub(super) fn not_admitted(peer: Peer) -> Failure {
    let text = format!(
        "user {} (process {}) may not use this server; name it in `allow_users` if it may",
        peer.user, peer.pid
    );
    Failure::new(FailureKind::Permission, text).with("user", peer.user)
}

/// Why one connection more is refused.
pub(super) fn no_room(limit: usize) -> Failure {
    let text = format!("all {limit} connections are in use; try later, or raise `connections`");
    Failure::new(FailureKind::Busy, text).with("limit", limit)
}

/// What is wrong with a channel, for its client.
pub(super) fn broken(error: &impl std::fmt::Display) -> Failure {
    Failure::new(FailureKind::Protocol, format!("{error}; the connection is closed"))
}

//! The socket of a client, with one half for whoever reads and one for whoever writes.
//!
//! Upholds invariant 5: nothing here waits but [`await_events`], which takes a deadline. A thread that
//! sends is never held up by one that takes answers in.

use super::super::limits::Limits;
use super::super::unshared::Unshared;
use super::super::wire::Channel;
use super::watch::Watch;
use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::Shutdown;
use shm_core::Deadline;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

/// A connection as descriptors of one socket.
pub(super) struct Line {
    pub(super) socket: Arc<Unshared>,
    /// Only used to take in, by whoever holds the baton.
    pub(super) reader: Mutex<Channel>,
    /// Only used to send.
    pub(super) writer: Mutex<Channel>,
    pub(super) watch: Watch,
    /// What the server takes.
    pub(super) limits: Limits,
}

impl Line {
    pub(super) fn new(socket: Unshared, reader: Channel, limits: Limits) -> io::Result<Line> {
        let writer = Channel::over(socket.try_clone()?, limits)?;
        let watch = Watch::new(&socket)?;
        let (reader, writer) = (Mutex::new(reader), Mutex::new(writer));
        Ok(Line { socket: Arc::new(socket), reader, writer, watch, limits })
    }

    /// Ends the connection for everybody who has a descriptor of it, and wakes whoever polls it.
    pub(super) fn hang_up(&self) {
        // It may have ended by itself.
        let _ = rustix::net::shutdown(&*self.socket, Shutdown::Both);
    }
}

/// Waits until the socket has one of `events`, or has ended, or time is up, or a signal came.
pub(super) fn await_events(socket: impl AsFd, events: PollFlags, deadline: Deadline) {
    let timeout = deadline.remaining().map(timespec);
    let mut polled = [PollFd::new(&socket, events)];
    // What went wrong is found out by whoever reads or writes next.
    let _ = rustix::event::poll(&mut polled, timeout.as_ref());
}

fn timespec(duration: Duration) -> Timespec {
    // `poll` refuses what its clock cannot hold; a day is as good as more, for every wait looks again.
    let duration = duration.min(Duration::from_secs(86_400));
    Timespec::try_from(duration).unwrap_or(Timespec { tv_sec: 86_400, tv_nsec: 0 })
}

//! A thread that looks after requests nobody waits for: those that are awaited asynchronously, and those
//! whose caller has given up while the server may still write. It also keeps time.
//!
//! Upholds invariants 5 (asleep unless something happens) and 10 (it belongs to the transport, which ends it).

use super::connection::Connection;
use super::{Shared, finish};
use crate::transport::{Ending, Lost};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use parking_lot::Mutex;
use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Instant;

const WAKE: Token = Token(0);

/// What is left at the attendant's door.
#[derive(Default)]
pub(super) struct Inbox {
    exchanges: Vec<(Connection, Ending)>,
    timers: Vec<Timer>,
    ended: bool,
}

/// The attendant's door.
pub(super) struct Attendant {
    inbox: Arc<Mutex<Inbox>>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
}

impl Attendant {
    pub(super) fn start(shared: &Arc<Shared>) -> io::Result<Attendant> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        let inbox = Arc::new(Mutex::new(Inbox::default()));
        let round = Round {
            poll,
            inbox: inbox.clone(),
            shared: shared.clone(),
            open: HashMap::new(),
            next: 1,
            timers: BinaryHeap::new(),
        };
        let thread = thread::Builder::new().name("shm-triton".into()).spawn(|| round.run())?;
        Ok(Attendant { inbox, waker, thread: Some(thread) })
    }

    /// Leaves an open request to the attendant.
    pub(super) fn look_after(&self, connection: Connection, ending: Ending) {
        self.inbox.lock().exchanges.push((connection, ending));
        let _ = self.waker.wake();
    }

    pub(super) fn at(&self, due: Instant, then: Box<dyn FnOnce() + Send>) {
        self.inbox.lock().timers.push(Timer { due, then });
        let _ = self.waker.wake();
    }
}

impl Drop for Attendant {
    /// Ends the thread, which tells whoever still waits that the request is lost.
    fn drop(&mut self) {
        self.inbox.lock().ended = true;
        let _ = self.waker.wake();
        let Some(thread) = self.thread.take() else { return };
        // The last owner may be an ending that runs on that very thread.
        if thread.thread().id() != thread::current().id() {
            let _ = thread.join();
        }
    }
}

impl std::fmt::Debug for Attendant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attendant").finish_non_exhaustive()
    }
}

/// The thread's own state.
struct Round {
    poll: Poll,
    inbox: Arc<Mutex<Inbox>>,
    shared: Arc<Shared>,
    open: HashMap<Token, (Connection, Ending)>,
    next: usize,
    timers: BinaryHeap<Timer>,
}

impl Round {
    fn run(mut self) {
        let mut events = Events::with_capacity(256);
        while self.take_in() {
            let timeout =
                self.timers.peek().map(|timer| timer.due.saturating_duration_since(Instant::now()));
            match self.poll.poll(&mut events, timeout) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // Without a working poll nothing will ever be heard again.
                Err(_) => break,
            }
            for event in &events {
                self.attend(event.token());
            }
            self.ring();
        }
        for (_, (_, ending)) in self.open.drain() {
            self.shared.ended();
            ending(Err(Lost { sent: true, source: io::ErrorKind::ConnectionAborted.into() }));
        }
    }

    /// Fetches what was left at the door; false once the transport has ended.
    fn take_in(&mut self) -> bool {
        let (exchanges, ended) = {
            let mut inbox = self.inbox.lock();
            self.timers.extend(inbox.timers.drain(..));
            (std::mem::take(&mut inbox.exchanges), inbox.ended)
        };
        for (connection, ending) in exchanges {
            let token = Token(self.next);
            self.next += 1;
            let fd = connection.as_fd().as_raw_fd();
            let interest = Interest::READABLE | Interest::WRITABLE;
            let registered = self.poll.registry().register(&mut SourceFd(&fd), token, interest);
            self.open.insert(token, (connection, ending));
            if registered.is_err() {
                self.end(token, Err(io::ErrorKind::OutOfMemory.into()));
            }
            // What came before it was registered is an event now.
        }
        !ended
    }

    fn attend(&mut self, token: Token) {
        let Some((connection, _)) = self.open.get_mut(&token) else { return };
        let pushed = connection.push();
        match connection.pull() {
            Ok(Some(reply)) => self.end(token, Ok(reply)),
            Ok(None) => {
                if let Err(error) = pushed {
                    self.end(token, Err(error));
                }
            }
            Err(error) => self.end(token, Err(error)),
        }
    }

    fn end(&mut self, token: Token, how: io::Result<(super::connection::Raw, bool)>) {
        let Some((connection, ending)) = self.open.remove(&token) else { return };
        let fd = connection.as_fd().as_raw_fd();
        let _ = self.poll.registry().deregister(&mut SourceFd(&fd));
        self.shared.ended();
        ending(finish(&self.shared, connection, how));
    }

    fn ring(&mut self) {
        let now = Instant::now();
        while self.timers.peek().is_some_and(|timer| timer.due <= now) {
            if let Some(timer) = self.timers.pop() {
                (timer.then)();
            }
        }
    }
}

struct Timer {
    due: Instant,
    then: Box<dyn FnOnce() + Send>,
}

impl PartialEq for Timer {
    fn eq(&self, other: &Timer) -> bool {
        self.due == other.due
    }
}

impl Eq for Timer {}

impl PartialOrd for Timer {
    fn partial_cmp(&self, other: &Timer) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Timer {
    /// The heap gives the greatest first, and the soonest is wanted.
    fn cmp(&self, other: &Timer) -> Ordering {
        other.due.cmp(&self.due)
    }
}

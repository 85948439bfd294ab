//! HTTP/1.1 over connections that are kept: one request at a time on each, sent and received by the thread
//! that wants the reply.
//!
//! Upholds invariants 3 (giving up a wait gives up nothing else) and 5.

mod attendant;
mod connection;
mod decode;
mod encode;
#[cfg(test)]
mod tests;

use super::{Ending, Lost, Outcome, Patience, Reply, Request, Transport};
use crate::address::Socket;
use attendant::Attendant;
use connection::{Connection, Raw};
use parking_lot::Mutex;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Connecting on one machine takes microseconds; what takes longer does not listen.
const CONNECT: Duration = Duration::from_secs(1);

/// Idle connections that are kept.
const MAX_IDLE: usize = 64;

/// The transport.
#[derive(Debug)]
pub(crate) struct HttpTransport {
    shared: Arc<Shared>,
    attendant: Mutex<Option<Attendant>>,
}

/// What the callers and the attendant share.
#[derive(Debug)]
struct Shared {
    to: Socket,
    idle: Mutex<Vec<Connection>>,
    in_flight: AtomicUsize,
    max_reply: usize,
}

impl HttpTransport {
    /// A transport to `to`; nothing is connected yet.
    pub(crate) fn new(to: Socket, max_reply: usize) -> HttpTransport {
        let shared =
            Shared { to, idle: Mutex::new(Vec::new()), in_flight: AtomicUsize::new(0), max_reply };
        HttpTransport { shared: Arc::new(shared), attendant: Mutex::new(None) }
    }

    /// Does `this` with the attendant, which is started if need be.
    fn with_attendant<R>(&self, this: impl FnOnce(&Attendant) -> R) -> io::Result<R> {
        let mut attendant = self.attendant.lock();
        match &*attendant {
            Some(attendant) => Ok(this(attendant)),
            None => Ok(this(attendant.insert(Attendant::start(&self.shared)?))),
        }
    }

    /// Leaves the open request of `connection` to the attendant.
    fn leave(&self, connection: Connection, ending: Ending) {
        // Moved into the closure, so that it is not lost when there is no attendant.
        let mut left = Some((connection, ending));
        let done = self.with_attendant(|attendant| {
            if let Some((connection, ending)) = left.take() {
                attendant.look_after(connection, ending);
            }
        });
        if let (Err(source), Some((connection, ending))) = (done, left) {
            self.shared.ended();
            ending(Err(Lost { sent: !connection.is_unsent(), source }));
        }
    }
}

impl Transport for HttpTransport {
    fn call(
        &self,
        request: Request<'_>,
        patience: &Patience<'_>,
        late: &mut dyn FnMut() -> Ending,
    ) -> Outcome {
        let given_up = || {
            io::Error::new(io::ErrorKind::TimedOut, "the deadline passed before anything was sent")
        };
        if patience.is_over() {
            late()(Err(Lost { sent: false, source: given_up() }));
            return Outcome::Late;
        }
        let mut connection = match self.shared.connection(patience.slice(CONNECT)) {
            Ok(connection) => connection,
            Err(error) if error.kind() == io::ErrorKind::TimedOut && patience.is_over() => {
                late()(Err(Lost { sent: false, source: error }));
                return Outcome::Late;
            }
            Err(source) => return Outcome::Lost(Lost { sent: false, source }),
        };
        encode::compose(&mut connection, &self.shared.to, request);
        self.shared.in_flight.fetch_add(1, Ordering::Relaxed);
        loop {
            // A reply may come before all is sent, and is looked for even if sending failed.
            let pushed = connection.push();
            let come = match (&pushed, patience.interrupt) {
                (Ok(true), None) => connection.await_reply(patience.deadline.remaining()),
                _ => connection.wait(patience.nap()).and_then(|()| connection.pull()),
            };
            let ended = match come {
                Ok(Some(reply)) => Some(Ok(reply)),
                Ok(None) => pushed.err().map(Err),
                Err(error) => Some(Err(error)),
            };
            if let Some(how) = ended {
                self.shared.ended();
                return match finish(&self.shared, connection, how) {
                    Ok(reply) => Outcome::Answered(reply),
                    Err(lost) => Outcome::Lost(lost),
                };
            }
            if patience.is_over() {
                self.leave(connection, late());
                return Outcome::Late;
            }
        }
    }

    fn start(&self, request: Request<'_>, ending: Ending) {
        let mut connection = match self.shared.connection(CONNECT) {
            Ok(connection) => connection,
            Err(source) => return ending(Err(Lost { sent: false, source })),
        };
        encode::compose(&mut connection, &self.shared.to, request);
        self.shared.in_flight.fetch_add(1, Ordering::Relaxed);
        // On its way before the attendant has woken up; what fails here fails there again.
        let _ = connection.push();
        self.leave(connection, ending);
    }

    fn after(&self, delay: Duration, then: Box<dyn FnOnce() + Send>) {
        let due = Instant::now() + delay;
        // Without a thread there is no clock to run it by, and it is dropped.
        let _ = self.with_attendant(|attendant| attendant.at(due, then));
    }

    fn in_flight(&self) -> usize {
        self.shared.in_flight.load(Ordering::Relaxed)
    }
}

impl Shared {
    /// A connection that was kept, or a new one.
    fn connection(&self, within: Duration) -> io::Result<Connection> {
        loop {
            let Some(kept) = self.idle.lock().pop() else {
                return Connection::open(&self.to, within, self.max_reply);
            };
            if kept.is_fresh() {
                return Ok(kept);
            }
        }
    }

    fn ended(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The reply of an exchange that has ended; its connection is kept if it can be.
fn finish(
    shared: &Shared,
    connection: Connection,
    how: io::Result<(Raw, bool)>,
) -> Result<Reply, Lost> {
    match how {
        Ok((raw, reusable)) => {
            let asked = connection.asked;
            if reusable {
                let mut idle = shared.idle.lock();
                if idle.len() < MAX_IDLE {
                    idle.push(connection);
                }
            }
            Ok(decode::reply(asked, &raw))
        }
        Err(source) => Err(Lost { sent: !connection.is_unsent(), source }),
    }
}

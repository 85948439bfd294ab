//! The end of a request, handed to whoever is to be told: a caller that waits, or an ending.

use crate::transport::{Ending, Lost, Outcome, Patience, Reply};
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts one open request for as long as it lives.
#[derive(Debug)]
pub(super) struct Tally(Arc<AtomicUsize>);

impl Tally {
    pub(super) fn new(open: &Arc<AtomicUsize>) -> Tally {
        open.fetch_add(1, Ordering::Relaxed);
        Tally(Arc::clone(open))
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A request under way. Dropped, it is told to be lost.
pub(super) struct Open {
    to: Option<To>,
    sent: bool,
}

enum To {
    Ending(Ending, Tally),
    Caller(Arc<Exchange>),
}

impl Open {
    /// A request that `ending` is told of.
    pub(super) fn new(ending: Ending, tally: Tally) -> Open {
        Open { to: Some(To::Ending(ending, tally)), sent: false }
    }

    /// A request that a caller waits for.
    pub(super) fn awaited(tally: Tally) -> (Open, Arc<Exchange>) {
        let exchange = Arc::new(Exchange {
            state: Mutex::new(State { phase: Phase::Queued, tally: Some(tally) }),
            changed: Condvar::new(),
        });
        (Open { to: Some(To::Caller(Arc::clone(&exchange))), sent: false }, exchange)
    }

    /// Says that the request is about to be sent. False if its caller has withdrawn it.
    pub(super) fn sending(&mut self) -> bool {
        self.sent = match &self.to {
            Some(To::Caller(exchange)) => exchange.sending(),
            _ => true,
        };
        self.sent
    }

    pub(super) fn end(mut self, result: Result<Reply, Lost>) {
        self.tell(result);
    }

    fn tell(&mut self, result: Result<Reply, Lost>) {
        match self.to.take() {
            Some(To::Ending(ending, tally)) => {
                drop(tally);
                ending(result);
            }
            Some(To::Caller(exchange)) => exchange.end(result),
            None => {}
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if self.to.is_some() {
            let source =
                io::Error::new(io::ErrorKind::ConnectionAborted, "the transport was closed");
            self.tell(Err(Lost { sent: self.sent, source }));
        }
    }
}

/// What a waiting caller and the transport's thread share.
pub(super) struct Exchange {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    phase: Phase,
    tally: Option<Tally>,
}

enum Phase {
    /// Not yet sent: a caller whose deadline passes takes the request back.
    Queued,
    /// The server may have it.
    Sent,
    /// The caller has left; this is told instead.
    Late(Ending),
    Ended(Result<Reply, Lost>),
    /// Everybody knows.
    Over,
}

impl Exchange {
    /// Waits for the end. A deadline that passes before the request was sent takes it back.
    pub(super) fn wait(
        &self,
        patience: &Patience<'_>,
        late: &mut dyn FnMut() -> Ending,
    ) -> Outcome {
        let mut state = self.state.lock();
        loop {
            match std::mem::replace(&mut state.phase, Phase::Over) {
                Phase::Ended(Ok(reply)) => return Outcome::Answered(reply),
                Phase::Ended(Err(lost)) => return Outcome::Lost(lost),
                phase => state.phase = phase,
            }
            // Asked unlocked, as it is not known what this does.
            if MutexGuard::unlocked(&mut state, || patience.is_over()) {
                break;
            }
            if matches!(state.phase, Phase::Queued | Phase::Sent) {
                self.changed.wait_for(&mut state, patience.nap());
            }
        }
        if matches!(state.phase, Phase::Queued) {
            state.phase = Phase::Over;
            state.tally = None;
            let source = io::Error::new(
                io::ErrorKind::TimedOut,
                "the deadline passed before the request was sent",
            );
            return Outcome::Lost(Lost { sent: false, source });
        }
        // Unlocked, as it is not known what this does.
        drop(state);
        let ending = late();
        let mut state = self.state.lock();
        match std::mem::replace(&mut state.phase, Phase::Over) {
            Phase::Ended(result) => {
                drop(state);
                ending(result);
            }
            _ => state.phase = Phase::Late(ending),
        }
        Outcome::Late
    }

    fn sending(&self) -> bool {
        let mut state = self.state.lock();
        let queued = matches!(state.phase, Phase::Queued);
        if queued {
            state.phase = Phase::Sent;
        }
        queued
    }

    fn end(&self, result: Result<Reply, Lost>) {
        let mut state = self.state.lock();
        state.tally = None;
        match std::mem::replace(&mut state.phase, Phase::Over) {
            Phase::Queued | Phase::Sent => {
                state.phase = Phase::Ended(result);
                drop(state);
                self.changed.notify_one();
            }
            Phase::Late(ending) => {
                drop(state);
                ending(result);
            }
            ended @ (Phase::Ended(_) | Phase::Over) => state.phase = ended,
        }
    }
}

//! A request in flight that a future waits for.
//!
//! Upholds invariant 3: dropping the future, or its deadline, gives up the wait and nothing else; what the
//! request holds comes back when it ends.

use crate::alarm::Sleeper;
use crate::hub::{Counts, Hub};
use crate::lent::Lent;
use crate::transport::{Lost, Prepared, Reply, Request};
use parking_lot::Mutex;
use shm_core::Deadline;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

/// How a request ended whose slot came back.
pub(crate) type Landed = (Lent, Result<Reply, Lost>);

/// Gives back what an ended request had, which nobody waits for any more.
pub(crate) fn settle(lent: Lent, how: Result<Reply, Lost>) {
    let hub = lent.generation.hub.clone();
    if let Err(Lost { sent: true, .. }) = how {
        Counts::add(&hub.counts.lost);
        // Before the slot goes back, so that nobody gets it.
        lent.generation.retire_unanswered();
    }
    drop(lent);
}

/// A request in flight.
pub(crate) struct Flight {
    state: Arc<State>,
    deadline: Deadline,
}

#[derive(Default)]
struct State {
    slot: Mutex<Slot>,
}

#[derive(Default)]
struct Slot {
    landed: Option<Landed>,
    waker: Option<Waker>,
    abandoned: bool,
}

impl Flight {
    /// Sends the request. The future gives `None` once the deadline has passed.
    pub(crate) fn begin(hub: &Hub, request: &Prepared, lent: Lent, deadline: Deadline) -> Flight {
        let state = Arc::new(State::default());
        let arrived = state.clone();
        hub.transport
            .start(Request::Infer(request), Box::new(move |how| arrived.land((lent, how))));
        if let Some(remaining) = deadline.remaining() {
            let weak: Weak<State> = Arc::downgrade(&state);
            hub.alarms.set(&hub.transport, Instant::now() + remaining, weak);
        }
        Flight { state, deadline }
    }
}

impl State {
    fn land(&self, landed: Landed) {
        let mut slot = self.slot.lock();
        if slot.abandoned {
            drop(slot);
            return settle(landed.0, landed.1);
        }
        slot.landed = Some(landed);
        let waker = slot.waker.take();
        drop(slot);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Sleeper for State {
    fn wake(&self) {
        if let Some(waker) = self.slot.lock().waker.take() {
            waker.wake();
        }
    }
}

impl Future for Flight {
    type Output = Option<Landed>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Landed>> {
        let mut slot = self.state.slot.lock();
        if let Some(landed) = slot.landed.take() {
            return Poll::Ready(Some(landed));
        }
        if self.deadline.has_passed() {
            slot.abandoned = true;
            return Poll::Ready(None);
        }
        slot.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let mut slot = self.state.slot.lock();
        slot.abandoned = true;
        let landed = slot.landed.take();
        drop(slot);
        if let Some((lent, how)) = landed {
            settle(lent, how);
        }
    }
}

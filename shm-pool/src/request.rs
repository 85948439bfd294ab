//! A place in the line.
//!
//! Upholds invariant 5: it costs nothing while nobody naps on it, and is given up on drop.

use crate::error::LendError;
use crate::grant::Waiting;
use crate::lent::Slot;
use crate::policy::{Cancel, Listening};
use crate::pool::Core;
use crate::storage::{Host, Storage};
use shm_core::fork_generation;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A place in the line for memory, for those who wait in turns (between looks at signals, or on behalf
/// of an event loop). Made by [`Pool::request`](crate::Pool::request); dropping it gives the place up.
#[derive(Debug)]
pub struct Request<S: Storage = Host> {
    core: Arc<Core<S>>,
    waiting: Waiting,
    bytes: usize,
    born: u64,
    since: Instant,
}

impl<S: Storage> Request<S> {
    pub(crate) fn new(core: &Arc<Core<S>>, waiting: Waiting, bytes: usize) -> Request<S> {
        let (born, since) = (fork_generation(), Instant::now());
        Request { core: core.clone(), waiting, bytes, born, since }
    }

    /// Waits for at most `longest`, asleep at most once: whatever ends the sleep, a signal too, ends
    /// the call. `None` if there is nothing yet.
    ///
    /// # Errors
    /// [`LendError::Retired`].
    pub fn nap(&mut self, longest: Duration) -> Result<Option<Slot<S>>, LendError> {
        if self.core.ledger.is_retired() {
            return Err(LendError::Retired { name: self.core.name() });
        }
        let granted = self.core.ledger.nap(&mut self.waiting, longest);
        Ok(granted.map(|grant| Slot::new(&self.core, grant, self.bytes)))
    }

    /// Takes back the oldest publication that nobody has begun to read, if there is no room for this
    /// request: what [`Policy::DropOldestUnread`](crate::Policy) does between naps. Those in front get
    /// it first. True if one was taken back.
    pub fn make_room(&self) -> bool {
        self.core.ledger.make_room(&self.waiting)
    }

    /// How long this place has been kept.
    pub fn waited(&self) -> Duration {
        self.since.elapsed()
    }

    /// Ends the nap in progress when `cancel` is cancelled.
    pub(crate) fn listen_to(&self, cancel: &Cancel) -> Listening
    where
        S: Storage,
    {
        let core = self.core.clone();
        // The place is not known before the first nap; waking everybody once is harmless.
        cancel.listen(Box::new(move || core.ledger.wake_everybody()))
    }
}

impl<S: Storage> Drop for Request<S> {
    fn drop(&mut self) {
        // In a forked child the place is still the parent's.
        if self.born == fork_generation() {
            self.core.ledger.stop_waiting(&mut self.waiting);
        }
    }
}

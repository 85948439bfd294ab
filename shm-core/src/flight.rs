//! Frames that are announced before they are complete: somebody else carries them out, in the order
//! in which they were announced, and tells nobody when.
//!
//! Upholds invariants 1 (what a dead writer announced is taken back) and 5 (who waits sleeps until
//! something is announced, and takes short naps only from then on).
//!
//! ```text
//!   announced = 9   latest = 7        frames 8 and 9 are in flight
//!
//!   writer:  announced := 9, ring          device:  begin, payload, finish (no ring)
//!   waiter for a frame above 7:  announced > 7 → short naps, else arm, look again, sleep
//! ```
//!
//! Whoever completes a frame may be unable to ring. So the ring comes with the announcement, after the
//! store that it tells of, and a waiter that finds its frame announced does not sleep on the event
//! any more. When the writer is found dead or gives up, `announced` goes back to the newest frame; until
//! the next writer has done so, a waiter that found it dead ([`Belief`]) sleeps on the event again, and
//! believes what is announced as soon as somebody rings.

use crate::event::Event;
use crate::sync::{AtomicU64, Mutation, Ordering, mutated};

/// The word that counts what was announced.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flight<'a> {
    pub(crate) announced: &'a AtomicU64,
}

impl Flight<'_> {
    /// Count of the newest frame announced, as the word says; anything, if somebody damaged it.
    #[inline]
    pub(crate) fn announced(&self) -> u64 {
        // SYNC: none needed; what a frame holds is told by its cell. That a waiter cannot miss this word
        // follows from the event's own ordering.
        self.announced.load(Ordering::Relaxed)
    }

    /// Announces frame `count`. The caller holds the writer lock, and rings the event afterwards.
    #[inline]
    pub(crate) fn announce(&self, count: u64) {
        self.announced.store(count, Ordering::Relaxed);
    }

    /// Nothing is in flight: `newest` is the newest frame complete and announced. The caller holds the
    /// writer lock and knows that nobody carries out anything any more.
    pub(crate) fn settle(&self, newest: u64) {
        self.announced.store(newest, Ordering::Relaxed);
    }

    /// True if a frame above `count` was announced.
    #[inline]
    pub(crate) fn is_above(&self, count: u64) -> bool {
        self.announced() > count
    }
}

/// What one waiter believes of what was announced.
#[derive(Debug, Default)]
pub(crate) struct Belief {
    /// The epoch of the event at which the writer was found dead. A count would not do: the next
    /// writer announces the same one again.
    abandoned: Option<u32>,
}

impl Belief {
    /// True if a frame above `count` is announced, by a writer that was not found dead.
    #[inline]
    pub(crate) fn is_in_flight(&self, flight: Flight<'_>, event: Event<'_>, count: u64) -> bool {
        flight.is_above(count) && self.abandoned != Some(event.epoch())
    }

    /// Asks whether the writer is dead, and if so believes nothing that was announced until somebody
    /// rings. Returns the answer.
    pub(crate) fn doubt(&mut self, event: Event<'_>, is_dead: impl FnOnce() -> bool) -> bool {
        // Read before asking: who rings after this is a writer that lives.
        let before = event.epoch();
        let dead = is_dead();
        let epoch = if mutated(Mutation::DoubtLate) { event.epoch() } else { before };
        if dead {
            self.abandoned = Some(epoch);
        }
        dead
    }
}

#[cfg(all(test, loom))]
mod tests;

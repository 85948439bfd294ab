//! What those who wait for a queue, or for an entry of a store, sleep on.
//!
//! ```text
//!   word:  63 ........ 32 | 31 ......... 0
//!          armed          | epoch (futex)
//! ```
//!
//! * A **waiter** adds itself to the armed ones, looks once more, and sleeps while the epoch is the
//!   one it found.
//! * A **ringer** looks for armed waiters *after* it has changed what they wait for. There is nobody
//!   most of the time, which costs it one load. Otherwise one exchange takes a waiter (or all of them)
//!   off and moves the epoch on, and one system call wakes as many.
//!
//! Between "I am armed" and "is there anything", and between "there is something" and "is anybody
//! armed", there is a full fence, so at least one of the two sees the other. There are always at least
//! as many armed as asleep and not yet called: a waiter that was woken arms anew before it sleeps
//! again, and takes itself off only if it was never called. Too many armed cost a system call each.
//!
//! A waiter that is killed after it was called has swallowed the call, and so has one that was called
//! just as its time was up: the others look for themselves every 50 ms. Upholds invariants 1 and 5.

use crate::sync::{AtomicU64, Mutation, Ordering, fence, fence_after_exchange, mutated};

const ONE_ARMED: u64 = 1 << 32;

/// Wakes those who sleep on a word.
pub(crate) trait Unpark {
    /// Wakes up to `count` of those who sleep on `word`.
    fn unpark(&self, word: &AtomicU64, count: u32);
}

/// Who is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// As many as there is now for one.
    One,
    /// Everybody: it is not known whom it concerns.
    All,
}

/// The word of one condition.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bell<'a> {
    pub(crate) word: &'a AtomicU64,
}

/// A waiter that may go to sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) struct Armed {
    /// What the low half has to be for it to sleep.
    pub(crate) epoch: u32,
}

impl Bell<'_> {
    /// Says that the condition may have become true. Call right after the exchange that made it so.
    #[inline]
    pub(crate) fn ring(&self, kernel: &(impl Unpark + ?Sized), call: Call) {
        if !mutated(Mutation::RingFence) {
            // SYNC: bell. Pairs with the fence in `arm`.
            fence_after_exchange();
        }
        // SYNC: none; the fence orders it, and the exchange below acquires.
        if self.word.load(Ordering::Relaxed) >= ONE_ARMED {
            self.call(kernel, call);
        }
    }

    /// Takes the caller on the list. Look once more before going to sleep.
    #[inline]
    pub(crate) fn arm(&self) -> Armed {
        // SYNC: bell. Acquire: what was changed before this epoch is seen.
        let before = self.word.fetch_add(ONE_ARMED, Ordering::AcqRel);
        if !mutated(Mutation::WaitFence) {
            // SYNC: bell. Pairs with the fence in `ring`.
            fence(Ordering::SeqCst);
        }
        Armed { epoch: before as u32 }
    }

    /// Takes a caller that was not woken off the list, unless somebody has been called since.
    pub(crate) fn disarm(&self, armed: Armed) {
        let mut word = self.word.load(Ordering::Relaxed);
        while word as u32 == armed.epoch && word >= ONE_ARMED {
            let fewer = word - ONE_ARMED;
            match self.word.compare_exchange(word, fewer, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => word = now,
            }
        }
    }

    #[cold]
    fn call(&self, kernel: &(impl Unpark + ?Sized), call: Call) {
        let mut word = self.word.load(Ordering::Relaxed);
        while word >= ONE_ARMED {
            let left = match call {
                Call::One => (word >> 32) - 1,
                Call::All => 0,
            };
            let step = if mutated(Mutation::EpochStill) { 0 } else { 1 };
            let next = left << 32 | u64::from((word as u32).wrapping_add(step));
            // SYNC: bell. Taking off and moving on is one step: whoever is armed afterwards has seen
            // the change, and whoever was armed before does not fall asleep any more.
            match self.word.compare_exchange(word, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => {
                    return kernel.unpark(self.word, if call == Call::One { 1 } else { EVERYBODY });
                }
                Err(now) => word = now,
            }
        }
    }
}

/// What the system takes for all.
const EVERYBODY: u32 = u32::MAX >> 1;

#[cfg(all(test, loom))]
mod tests;

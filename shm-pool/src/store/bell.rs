//! Waking those who wait for entries, for next to nothing while nobody does.
//!
//! ```text
//!   word:   63 ........ 32 | 31 ......... 1 | 0
//!           (overflow)     | times rung     | armed
//! ```
//!
//! Who waits arms the bell, looks, and sleeps while the word is what it was when armed. Who commits
//! looks at the word and, if it is armed, moves it on, which disarms it, and wakes everybody. A waiter
//! that was killed leaves the bell armed: the next commit rings it for nobody, once. Upholds
//! invariants 1 and 5; a waiter looks for itself now and then as well.

use crate::sync::{AtomicU64, Mutation, Ordering, fence, fence_after_exchange, mutated};

/// The word that waiters sleep on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bell<'a> {
    pub(crate) word: &'a AtomicU64,
}

impl Bell<'_> {
    /// Arms it; returns what to sleep on. Look afterwards.
    pub(crate) fn arm(&self) -> u32 {
        let found = self.word.fetch_or(1, Ordering::AcqRel);
        if !mutated(Mutation::BellFence) {
            // SYNC: bell. Who commits sees it armed, or the look afterwards sees the entry.
            fence(Ordering::SeqCst);
        }
        (found | 1) as u32
    }

    /// True if there is somebody to wake. Commit before, by an exchange.
    #[inline]
    pub(crate) fn ring(&self) -> bool {
        if !mutated(Mutation::BellFence) {
            // SYNC: bell. Pairs with the fence of who arms.
            fence_after_exchange();
        }
        let found = self.word.load(Ordering::Relaxed);
        // If the exchange fails, another one who commits rings, or somebody armed it who looks now.
        found & 1 == 1
            && self
                .word
                .compare_exchange(found, found + 1, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
    }
}

#[cfg(all(test, loom))]
mod tests;

//! A lock that costs one atomic exchange, and whose holder is believed only while the kernel vouches
//! for it.
//!
//! Upholds invariants 1 and 3. The word says *who* holds the lock; that the holder lives is proven
//! by a byte lock that only it has, which the kernel drops when it dies (see [`crate::os`]). Nobody
//! asks the kernel unless the lock is taken.
//!
//! ```text
//!            try_take: 0 → me                        the kernel has no lock on the holder's byte
//!   free ───────────────────▶ held by `me` ─────────────────────────────────┐
//!    ▲                            │                                         ▼
//!    └────────────────────────────┘                         try_take_over: dead → me
//!            give_back: → 0
//! ```
//!
//! An identity is handed out once in the life of a segment, so a word that names a dead holder never
//! names anybody else later: of two who want to take over, one exchange succeeds. Of two who share
//! an identity (threads of one handle), the second finds the word taken and its own identity alive.

use crate::sync::{AtomicU64, Mutation, Ordering, mutated};

/// Nobody holds the lock.
const FREE: u64 = 0;

/// The word of one lock, zero at first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LockWord<'a> {
    pub(crate) word: &'a AtomicU64,
}

impl LockWord<'_> {
    /// Takes the lock for `me` (not 0), or tells who has it.
    #[inline]
    pub(crate) fn try_take(&self, me: u64) -> Result<(), u64> {
        self.exchange(FREE, me)
    }

    /// Takes the lock away from a holder that was found dead; fails if somebody else was faster.
    pub(crate) fn try_take_over(&self, dead: u64, me: u64) -> Result<(), u64> {
        if mutated(Mutation::TakeOverBlindly) {
            self.word.store(me, Ordering::Relaxed);
            return Ok(());
        }
        self.exchange(dead, me)
    }

    /// Lets go. Only the holder may.
    #[inline]
    pub(crate) fn give_back(&self) {
        let order = match mutated(Mutation::GiveBackRelaxed) {
            true => Ordering::Relaxed,
            false => Ordering::Release,
        };
        // SYNC: lock. Pairs with the Acquire exchange of the next holder.
        self.word.store(FREE, order);
    }

    /// Who holds the lock, as the word says.
    pub(crate) fn holder(&self) -> Option<u64> {
        // SYNC: none needed; whoever acts on the answer exchanges the word.
        Some(self.word.load(Ordering::Relaxed)).filter(|&holder| holder != FREE)
    }

    #[inline]
    fn exchange(&self, from: u64, me: u64) -> Result<(), u64> {
        let order = match mutated(Mutation::TakeRelaxed) {
            true => Ordering::Relaxed,
            false => Ordering::Acquire,
        };
        // SYNC: lock. Pairs with the Release store of the previous holder; of a dead one, every
        // store came before its byte was found unlocked.
        self.word.compare_exchange(from, me, order, Ordering::Relaxed).map(drop)
    }
}

#[cfg(all(test, loom))]
mod tests;

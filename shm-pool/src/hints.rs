//! Where free slots may be found: a tree of bits, one per slot, sixty-four to a word.
//!
//! ```text
//!   level 2            [ 1 0 ]                    a set bit says: nothing free below, or the slot is
//!   level 1   [ 1 1 1 … 1 ] [ 0 1 … ]             taken. All zero is all free, as in fresh pages.
//!   level 0   one bit per slot
//! ```
//!
//! Only hints: whether a slot is free is what its state word says. A bit that is clear by mistake
//! costs a look; one that is set by mistake hides a slot, and can be left behind only by a process
//! that was killed between two instructions, which [`reap`](crate::reap) repairs with
//! [`Hints::put_back`]. So taking and giving back are a few atomic operations, whatever the size of
//! the pool, and nobody can be handed a slot twice because of them. Upholds invariants 1 and 2.

use crate::sync::{AtomicU64, Mutation, Ordering, fence_after_exchange, mutated};

/// Bits of a word that are used; models do with two.
const BITS: usize = if cfg!(loom) { 2 } else { 64 };
/// Levels that 2^24 slots need.
const MAX_LEVELS: usize = 4;

/// How many words each level has, from the leaves up to the single word at the top.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HintShape {
    slots: usize,
    levels: usize,
    words: [usize; MAX_LEVELS],
    starts: [usize; MAX_LEVELS],
}

impl HintShape {
    pub(crate) fn new(slots: usize) -> HintShape {
        let (mut words, mut starts) = ([0; MAX_LEVELS], [0; MAX_LEVELS]);
        let (mut below, mut start, mut levels) = (slots, 0, 0);
        while levels < MAX_LEVELS {
            words[levels] = below.div_ceil(BITS).max(1);
            starts[levels] = start;
            start += words[levels];
            below = words[levels];
            levels += 1;
            if below == 1 {
                break;
            }
        }
        HintShape { slots, levels, words, starts }
    }

    /// Words of all levels.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.words.iter().sum()
    }

    /// Bits of a word that stand for nothing.
    #[inline]
    fn beyond(&self, level: usize, word: usize) -> u64 {
        let bits = if level == 0 { self.slots } else { self.words[level - 1] };
        match bits.saturating_sub(word * BITS).min(BITS) {
            64 => 0,
            used => u64::MAX << used,
        }
    }
}

/// The tree over its words.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hints<'a> {
    pub(crate) shape: &'a HintShape,
    pub(crate) words: &'a [AtomicU64],
}

impl Hints<'_> {
    /// Takes the lowest slot that seems free off the tree; `None` if none does.
    #[inline]
    pub(crate) fn take(&self) -> Option<usize> {
        // Each turn that finds a full word marks it as such above, so this ends; the bound is for
        // words that somebody keeps scribbling over.
        for _ in 0..self.shape.len() + BITS {
            let mut at = 0;
            let mut level = self.shape.levels - 1;
            let free = loop {
                let word = self.full_bits(level, at);
                if word == u64::MAX {
                    break None;
                }
                let bit = (!word).trailing_zeros() as usize;
                if level == 0 {
                    break Some((at, bit));
                }
                at = at * BITS + bit;
                level -= 1;
            };
            match free {
                Some((word, bit)) => {
                    if self.take_bit(word, bit) {
                        return Some(word * BITS + bit);
                    }
                }
                None if level == self.shape.levels - 1 => return None,
                None => self.mark_full(level, at),
            }
        }
        None
    }

    /// As [`Hints::take`], looking at every leaf: for who is about to sleep if there is none.
    pub(crate) fn take_thoroughly(&self) -> Option<usize> {
        for word in 0..self.shape.words[0] {
            loop {
                let found = self.full_bits(0, word);
                if found == u64::MAX {
                    break;
                }
                let bit = (!found).trailing_zeros() as usize;
                if self.take_bit(word, bit) {
                    return Some(word * BITS + bit);
                }
            }
        }
        None
    }

    /// Gives a free slot back, right after the exchange that made it free. Doing it twice does no harm.
    #[inline]
    pub(crate) fn put(&self, slot: usize) {
        if !mutated(Mutation::PutUnfenced) {
            // SYNC: hints. Pairs with the fence of `take_bit`: whoever takes the hint after this look
            // sees the slot free.
            fence_after_exchange();
        }
        // Who lends the same slot again and again has not taken its hint: nothing to write then.
        if self.word(0, slot / BITS).load(Ordering::Acquire) & 1 << (slot % BITS) != 0 {
            self.clear_upwards(0, slot);
        }
    }

    /// Says that there is something free below bit `below` of a level, on all levels above that say
    /// otherwise.
    #[inline]
    fn clear_upwards(&self, from: usize, below: usize) {
        let (mut at, mut bit) = (below / BITS, below % BITS);
        for level in from..self.shape.levels {
            // SYNC: hints. Release: the slot's state is free before the hint; Acquire for the level
            // above, see `mark_full`.
            let before = self.word(level, at).fetch_and(!(1 << bit), Ordering::AcqRel);
            if before | self.shape.beyond(level, at) != u64::MAX {
                return;
            }
            (at, bit) = (at / BITS, at % BITS);
        }
    }

    /// As [`Hints::put`], whatever the bits on the way up say: after somebody was killed.
    pub(crate) fn put_back(&self, slot: usize) {
        let (mut at, mut bit) = (slot / BITS, slot % BITS);
        let mut changed = false;
        for level in 0..self.shape.levels {
            let word = self.word(level, at);
            // Below a bit that was set it takes an exchange to know what the word above says: see
            // `mark_full`.
            if changed || word.load(Ordering::Acquire) & 1 << bit != 0 {
                let before = word.fetch_and(!(1 << bit), Ordering::AcqRel);
                changed |= before & 1 << bit != 0;
            }
            (at, bit) = (at / BITS, at % BITS);
        }
    }

    #[inline]
    fn take_bit(&self, word: usize, bit: usize) -> bool {
        // SYNC: hints. Acquire pairs with `put`: the state that is looked at next is that new.
        let before = self.word(0, word).fetch_or(1 << bit, Ordering::AcqRel);
        if before | 1 << bit | self.shape.beyond(0, word) == u64::MAX {
            self.mark_full(0, word);
        }
        if !mutated(Mutation::PutUnfenced) {
            // SYNC: hints. See `put`.
            fence_after_exchange();
        }
        before & 1 << bit == 0
    }

    /// Tells the levels above that a word is full, unless it is not any more.
    #[cold]
    fn mark_full(&self, level: usize, word: usize) {
        let (mut level, mut at) = (level, word);
        while level + 1 < self.shape.levels {
            let (parent, bit) = (at / BITS, 1 << (at % BITS));
            // SYNC: hints. Whoever frees a slot below clears this bit by an exchange of the same
            // word: either it comes later and clears it, or it came first and is seen here.
            self.word(level + 1, parent).fetch_or(bit, Ordering::AcqRel);
            if !mutated(Mutation::FullUnchecked) && self.full_bits(level, at) != u64::MAX {
                // Somebody may have found the parent full by this bit, and marked it as such.
                if mutated(Mutation::UnmarkOnce) {
                    self.word(level + 1, parent).fetch_and(!bit, Ordering::AcqRel);
                } else {
                    self.clear_upwards(level + 1, at);
                }
                return;
            }
            if self.full_bits(level + 1, parent) != u64::MAX {
                return;
            }
            (level, at) = (level + 1, parent);
        }
    }

    #[inline]
    fn full_bits(&self, level: usize, word: usize) -> u64 {
        // SYNC: hints. Acquire for the second look of `mark_full`.
        self.word(level, word).load(Ordering::Acquire) | self.shape.beyond(level, word)
    }

    #[inline]
    fn word(&self, level: usize, word: usize) -> &AtomicU64 {
        &self.words[self.shape.starts[level] + word]
    }
}

#[cfg(all(test, not(loom)))]
mod order;
#[cfg(all(test, loom))]
mod tests;

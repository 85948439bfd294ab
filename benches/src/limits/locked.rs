//! Locked read-modify-writes of words that nobody else wants: what any protocol between processes
//! pays for each step that must not be torn or lost.

use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_utils::CachePadded;

/// The lines that the steps go round, as a protocol's do: a head, a slot, a count.
const LINES: usize = 4;

/// A few words, each on a line of its own.
#[derive(Debug, Default)]
pub struct Locked {
    words: [CachePadded<AtomicU64>; LINES],
    turn: u64,
}

impl Locked {
    /// Exchanges a word for its successor, `count` times.
    #[inline]
    pub fn steps(&mut self, count: u64) {
        self.turn += 1;
        for step in 0..count {
            let word = &self.words[step as usize % LINES];
            let expected = word.load(Ordering::Relaxed);
            let next = expected + self.turn;
            // Nobody else knows the word, so this always succeeds.
            let _ = word.compare_exchange(expected, next, Ordering::AcqRel, Ordering::Relaxed);
        }
    }
}

/// Words with a bit for each who has to acknowledge, each on a line of its own.
#[derive(Debug)]
pub struct PendingBits(Vec<CachePadded<AtomicU64>>);

impl PendingBits {
    /// So many words, all bits set.
    pub fn new(words: usize) -> PendingBits {
        PendingBits((0..words).map(|_| CachePadded::new(AtomicU64::new(u64::MAX))).collect())
    }

    /// Clears one bit of every word.
    #[inline]
    pub fn clear(&self, bit: u32) {
        for word in &self.0 {
            word.fetch_and(!(1 << bit), Ordering::AcqRel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_changes_its_word() {
        let mut locked = Locked::default();
        locked.steps(6);
        locked.steps(4);
        let words: Vec<u64> =
            locked.words.iter().map(|word| word.load(Ordering::Relaxed)).collect();
        assert_eq!(words, [1 + 1 + 2, 1 + 1 + 2, 1 + 2, 1 + 2]);
    }

    #[test]
    fn a_cleared_bit_is_clear_in_every_word() {
        let bits = PendingBits::new(3);
        bits.clear(5);
        bits.clear(5);
        for word in &bits.0 {
            assert_eq!(word.load(Ordering::Relaxed), u64::MAX - 32);
        }
    }
}

//! The slots that this handle lent last: most likely those that it lends next.
//!
//! Whoever lends one slot at a time, or two in turn, gets the same ones again and again. Trying the
//! last but one first, without a look at the tree of hints, saves both sides the tree's cache line, which would go back and forth between
//! them with every lend and every release. It is a guess: the slot is claimed like any other, and who
//! guesses wrong a few times in a row stops guessing for a while. Upholds invariant 1, as it adds nothing
//! to what is shared.

use crate::sync::{AtomicU64, Ordering};

/// So many wrong guesses end the guessing.
const WRONG: u64 = 4;
/// For so many lends.
const PAUSE: u64 = 256;

/// What this handle is used to.
#[derive(Debug, Default)]
pub(crate) struct Habit {
    /// The last two slots, each + 1: the last one in the high half.
    last: AtomicU64,
    /// Wrong guesses in a row; from `WRONG` on, lends of the pause.
    wrong: AtomicU64,
}

impl Habit {
    /// The slot to try first.
    #[inline]
    pub(crate) fn guess(&self) -> Option<usize> {
        let wrong = self.wrong.load(Ordering::Relaxed);
        if wrong >= WRONG {
            let next = if wrong >= WRONG + PAUSE { 0 } else { wrong + 1 };
            self.wrong.store(next, Ordering::Relaxed);
            return None;
        }
        (self.last.load(Ordering::Relaxed) as u32 as usize).checked_sub(1)
    }

    /// The guess was right.
    #[inline]
    pub(crate) fn right(&self) {
        if self.wrong.load(Ordering::Relaxed) != 0 {
            self.wrong.store(0, Ordering::Relaxed);
        }
    }

    /// The guess was wrong.
    #[inline]
    pub(crate) fn wrong(&self) {
        // Threads that lose a count of each other's guess a little longer.
        self.wrong.store(self.wrong.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// This one was lent.
    #[inline]
    pub(crate) fn lent(&self, slot: usize) {
        let before = self.last.load(Ordering::Relaxed) >> 32;
        self.last.store((slot as u64 + 1) << 32 | before, Ordering::Relaxed);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn wrong_guesses_end_the_guessing_for_a_while() {
        let habit = Habit::default();
        assert_eq!(habit.guess(), None);
        habit.lent(7);
        assert_eq!(habit.guess(), None);
        habit.lent(8);
        for _ in 0..WRONG {
            assert_eq!(habit.guess(), Some(7));
            habit.wrong();
        }
        let pause = (0..).take_while(|_| habit.guess().is_none()).count() as u64;
        assert_eq!(pause, PAUSE + 1);
        habit.right();
        assert_eq!(habit.guess(), Some(7));
    }
}

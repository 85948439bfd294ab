//! The cells of those who wait in line, and the marks that say which of them are taken.
//!
//! ```text
//!   cell:   63 ......... 30 | 29 ..... 10 | 9 ...... 0      a set mark says that somebody may be in
//!           number          | need        | member + 1      the cell; no mark, no waiter to wake
//!
//!   waiter:   takes a cell ─▶ marks it ─▶ reads its count ─▶ fence ─▶ looks for room ─▶ sleeps
//!   releaser: makes room ─▶ fence ─▶ looks for marks ─▶ counts up, wakes
//! ```
//!
//! So one of the two sees the other. Whoever leaves takes its mark off after emptying the cell, and
//! puts it back if somebody else sits there by then; who sat down meanwhile may have been overlooked,
//! so whoever leaves wakes the next. Upholds invariants 1 and 5.

use crate::sync::{AtomicU64, Mutation, Ordering, fence, mutated};

/// Words of a cell.
const CELL: usize = 8;

mod field {
    pub(super) const WORD: usize = 0;
    pub(super) const COUNT: usize = 1;
    /// The waiter of this cell, if it was passed because it did not take what it could have.
    pub(super) const PASSED: usize = 2;
    /// How often the waiter of this cell has looked: it does so every 50 ms, unless it is stopped.
    pub(super) const SEEN: usize = 3;
}

/// What is in a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waiter(u64);

impl Waiter {
    pub(crate) fn new(number: u64, need: usize, member: u16) -> Waiter {
        Waiter((number << 30) | (need as u64 & 0xF_FFFF) << 10 | (u64::from(member) + 1))
    }
    fn is_nobody(self) -> bool {
        self.0 & 0x3FF == 0
    }
    fn number(self) -> u64 {
        self.0 >> 30
    }
    pub(crate) fn need(self) -> u64 {
        self.0 >> 10 & 0xF_FFFF
    }
    pub(crate) fn member(self) -> usize {
        (self.0 & 0x3FF) as usize - 1
    }
    /// Numbers may wrap around.
    pub(crate) fn is_before(self, other: Waiter) -> bool {
        let ahead = other.number().wrapping_sub(self.number()) & ((1 << 34) - 1);
        ahead != 0 && ahead < 1 << 33
    }
}

/// The words of a line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiters<'a> {
    /// Eight words each.
    pub(crate) cells: &'a [AtomicU64],
    /// One bit per cell.
    pub(crate) marks: &'a [AtomicU64],
}

impl<'a> Waiters<'a> {
    /// Whether anybody may be in the line.
    #[inline]
    pub(crate) fn is_anybody(&self) -> bool {
        self.marks.iter().any(|word| word.load(Ordering::Relaxed) != 0)
    }

    /// Takes a cell that is empty; `None` if there is none. The next step is
    /// [`Waiters::announce`].
    pub(crate) fn sit_down(&self, waiter: Waiter) -> Option<usize> {
        (0..self.cells.len() / CELL).find(|cell| {
            let word = &self.cells[cell * CELL + field::WORD];
            word.load(Ordering::Relaxed) == 0
                && word.compare_exchange(0, waiter.0, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        })
    }

    /// Lets others know of the waiter in a cell.
    pub(crate) fn announce(&self, cell: usize) {
        let (marks, bit) = self.mark(cell);
        marks.fetch_or(bit, Ordering::AcqRel);
    }

    /// Empties a cell, if that waiter is in it. Call [`Waiters::wake_first`] afterwards, if there is
    /// anybody.
    pub(crate) fn stand_up(&self, cell: usize, waiter: Waiter) {
        let word = &self.cells[cell * CELL + field::WORD];
        if word.compare_exchange(waiter.0, 0, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            return;
        }
        let (marks, bit) = self.mark(cell);
        loop {
            marks.fetch_and(!bit, Ordering::AcqRel);
            // SYNC: line. Who is first afterwards sees this one gone, or is seen by it.
            fence(Ordering::SeqCst);
            // Somebody may have sat down and set the mark in between.
            if word.load(Ordering::Acquire) == 0 {
                return;
            }
            marks.fetch_or(bit, Ordering::AcqRel);
            // And may have stood up since: whoever is the last to look takes it off.
            if word.load(Ordering::Acquire) != 0 || mutated(Mutation::MarkOnce) {
                return;
            }
        }
    }

    /// Everybody who is marked, also those who were passed.
    pub(crate) fn all(self) -> impl Iterator<Item = (usize, Waiter)> + 'a {
        self.even_unmarked().filter(move |(cell, _)| {
            let (marks, bit) = self.mark(*cell);
            marks.load(Ordering::Acquire) & bit != 0
        })
    }

    /// Everybody, also those who were killed before they were marked.
    pub(crate) fn even_unmarked(self) -> impl Iterator<Item = (usize, Waiter)> + 'a {
        (0..self.cells.len() / CELL)
            .map(move |cell| {
                let word = &self.cells[cell * CELL + field::WORD];
                (cell, Waiter(word.load(Ordering::Acquire)))
            })
            .filter(|(_, waiter)| !waiter.is_nobody())
    }

    /// Those who are waited for.
    pub(crate) fn in_turn(self) -> impl Iterator<Item = (usize, Waiter)> + 'a {
        self.all().filter(move |(cell, waiter)| {
            self.cells[cell * CELL + field::PASSED].load(Ordering::Relaxed) != waiter.0
        })
    }

    /// Does not wait for a waiter until it shows up again.
    pub(crate) fn pass(&self, cell: usize, waiter: Waiter) {
        self.cells[cell * CELL + field::PASSED].store(waiter.0, Ordering::Relaxed);
    }

    /// How often the waiter of a cell has looked.
    pub(crate) fn seen(&self, cell: usize) -> u64 {
        self.cells[cell * CELL + field::SEEN].load(Ordering::Relaxed)
    }

    /// Shows up again.
    pub(crate) fn show_up(&self, cell: usize) {
        self.cells[cell * CELL + field::SEEN].fetch_add(1, Ordering::Relaxed);
        let passed = &self.cells[cell * CELL + field::PASSED];
        if passed.load(Ordering::Relaxed) != 0 {
            // SYNC: line. `before_looking` has the fence.
            passed.store(0, Ordering::Relaxed);
        }
    }

    /// Wakes the first of those who need the same, for each need.
    pub(crate) fn wake_first(&self, wake: impl Fn(&AtomicU64)) {
        let mut first: Vec<(usize, Waiter)> = Vec::new();
        for (cell, waiter) in self.in_turn() {
            match first.iter_mut().find(|(_, other)| other.need() == waiter.need()) {
                Some(found) if waiter.is_before(found.1) => *found = (cell, waiter),
                Some(_) => {}
                None => first.push((cell, waiter)),
            }
        }
        for (cell, _) in first {
            self.count_up(cell, &wake);
        }
    }

    /// Wakes whoever is in a cell.
    pub(crate) fn count_up(&self, cell: usize, wake: impl Fn(&AtomicU64)) {
        let count = self.count(cell);
        // SYNC: line. Release: what there is to see comes before the count.
        count.fetch_add(1, Ordering::AcqRel);
        wake(count);
    }

    /// What a waiter in a cell sleeps on.
    pub(crate) fn count(&self, cell: usize) -> &'a AtomicU64 {
        &self.cells[cell * CELL + field::COUNT]
    }

    /// The count of a cell. To be asked for before each look for room: who has counted up since is
    /// seen when going to sleep, and who finds no reason to is seen by the look.
    pub(crate) fn before_looking(&self, cell: usize) -> u64 {
        // SYNC: line. Acquire pairs with `count_up`.
        let count = self.count(cell).load(Ordering::Acquire);
        if !mutated(Mutation::WaitFence) {
            // SYNC: line. Whoever makes room afterwards sees this waiter, and sees those gone that
            // this waiter knows to be gone; or this waiter's look comes after there was room.
            fence(Ordering::SeqCst);
        }
        count
    }

    fn mark(&self, cell: usize) -> (&'a AtomicU64, u64) {
        (&self.marks[cell / 64], 1 << (cell % 64))
    }
}

#[cfg(all(test, loom))]
mod tests;

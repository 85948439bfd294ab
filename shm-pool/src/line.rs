//! The line of producers that wait for memory.
//!
//! Whoever waits has a cell with its number, what it needs, and a word to sleep on. Those who need the
//! same (all, in a pool of slots) are served in the order of their numbers; in a chunk pool the first
//! of all also keeps a window of granules from being given to others, so that small requests cannot
//! starve a large one.
//!
//! ```text
//!   cell:   63 ......... 30 | 29 ..... 10 | 9 ...... 0      a set bit in `IN_LINE` says that the cell
//!           number          | need        | member + 1      may be taken
//! ```
//!
//! A release wakes the first in line, and whoever leaves the line wakes the next. Nobody depends on
//! that: a waiter looks for itself every 50 ms, passes those who are dead, and overtakes one that is
//! stopped while there is room. Upholds invariants 1, 3 and 5.

use crate::fault;
use crate::layout::{Kind, LINE, at};
use crate::ledger::Ledger;
use crate::member::MemberWord;
use crate::sync::{AtomicU64, Mutation, Ordering, fence, mutated};
use core::ops::Range;
use std::time::Duration;

/// How long a waiter sleeps at most before it looks for itself.
pub(crate) const RECHECK: Duration = Duration::from_millis(50);

/// Words of a cell.
mod field {
    pub(super) const WORD: usize = 0;
    pub(super) const FUTEX: usize = 1;
    /// The waiter of this cell, if it was passed because it did not take what it could have.
    pub(super) const PASSED: usize = 2;
}

/// What is in a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waiter(u64);

impl Waiter {
    fn new(number: u64, need: usize, member: u16) -> Waiter {
        Waiter((number << 30) | (need as u64 & 0xF_FFFF) << 10 | (u64::from(member) + 1))
    }
    fn is_nobody(self) -> bool {
        self.0 & 0x3FF == 0
    }
    fn number(self) -> u64 {
        self.0 >> 30
    }
    fn need(self) -> u64 {
        self.0 >> 10 & 0xF_FFFF
    }
    fn member(self) -> usize {
        (self.0 & 0x3FF) as usize - 1
    }
    /// Numbers may wrap around.
    fn is_before(self, other: Waiter) -> bool {
        let ahead = other.number().wrapping_sub(self.number()) & ((1 << 34) - 1);
        ahead != 0 && ahead < 1 << 33
    }
}

/// A place in the line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    cell: usize,
    waiter: Waiter,
}

impl Ledger {
    /// Whether anybody is in the line.
    #[inline]
    pub(crate) fn somebody_waits(&self) -> bool {
        self.in_line().iter().any(|word| word.load(Ordering::Relaxed) != 0)
    }

    /// Whether somebody who needs the same is in the line.
    pub(crate) fn somebody_waits_for(&self, need: usize) -> bool {
        self.waiters().any(|(_, waiter)| waiter.need() == need as u64)
    }

    /// Joins the end of the line; `None` if all cells are taken.
    pub(crate) fn enter_line(&self, need: usize, member: u16) -> Option<Place> {
        let number = self.word(at::NEXT_IN_LINE).fetch_add(1, Ordering::Relaxed);
        let waiter = Waiter::new(number, need, member);
        for cell in 0..LINE {
            let word = &self.line_cell(cell)[field::WORD];
            if word.load(Ordering::Relaxed) == 0
                && word.compare_exchange(0, waiter.0, Ordering::AcqRel, Ordering::Relaxed).is_ok()
            {
                let (mask, bit) = self.line_bit(cell);
                mask.fetch_or(bit, Ordering::AcqRel);
                fault::hit("line.entered");
                if !mutated(Mutation::WaitFence) {
                    // SYNC: line. Whoever gives a slot back afterwards sees this waiter, or this
                    // waiter's look comes after the slot was given back.
                    fence(Ordering::SeqCst);
                }
                return Some(Place { cell, waiter });
            }
        }
        None
    }

    /// Leaves the line, and lets the next one look.
    pub(crate) fn leave_line(&self, place: Place) {
        fault::hit("line.served");
        self.empty_cell(place.cell, place.waiter);
        fault::hit("line.left");
        if self.somebody_waits() {
            self.wake_line();
        }
    }

    /// Takes the waiters of dead members off the line.
    pub(crate) fn leave_the_line(&self, dead: &[(usize, MemberWord)]) {
        for (cell, waiter) in self.waiters() {
            let is_dead = dead.iter().any(|(member, incarnation)| {
                *member == waiter.member() && self.member_word(*member) == *incarnation
            });
            if is_dead {
                self.empty_cell(cell, waiter);
            }
        }
        if !self.somebody_waits() {
            self.word(at::KEPT).store(0, Ordering::Relaxed);
        }
    }

    /// What those who came earlier and stand in the way need: all of them in a pool of slots; in a
    /// chunk pool those who need the same, and the first of all.
    pub(crate) fn needs_ahead(&self, place: Place) -> Vec<usize> {
        let mine = place.waiter;
        let ahead: Vec<Waiter> =
            self.waiters().map(|(_, other)| other).filter(|other| other.is_before(mine)).collect();
        let first = ahead.iter().copied().reduce(|a, b| if b.is_before(a) { b } else { a });
        let needs = ahead.into_iter().filter(|other| other.need() == mine.need()).chain(first);
        needs.map(|waiter| waiter.need() as usize).collect()
    }

    /// Passes everybody who came earlier: they are not waited for until they show up again.
    pub(crate) fn pass_those_ahead(&self, place: Place) {
        for (cell, other) in self.waiters().filter(|(_, other)| other.is_before(place.waiter)) {
            self.line_cell(cell)[field::PASSED].store(other.0, Ordering::Relaxed);
        }
    }

    /// Shows up again.
    pub(crate) fn show_up(&self, place: Place) {
        let passed = &self.line_cell(place.cell)[field::PASSED];
        if passed.load(Ordering::Relaxed) != 0 {
            passed.store(0, Ordering::Relaxed);
        }
    }

    /// Whether nobody who needs the same came earlier.
    pub(crate) fn is_first(&self, place: Place) -> bool {
        let mine = place.waiter;
        !self.waiters().any(|(_, other)| other.need() == mine.need() && other.is_before(mine))
    }

    /// Whether nobody at all came earlier.
    pub(crate) fn is_first_of_all(&self, place: Place) -> bool {
        !self.waiters().any(|(_, other)| other.is_before(place.waiter))
    }

    /// Wakes those who may be served next.
    #[cold]
    pub(crate) fn wake_line(&self) {
        let mut first: Vec<(usize, Waiter)> = Vec::new();
        for (cell, waiter) in self.waiters() {
            match first.iter_mut().find(|(_, other)| other.need() == waiter.need()) {
                Some(found) if waiter.is_before(found.1) => *found = (cell, waiter),
                Some(_) => {}
                None => first.push((cell, waiter)),
            }
        }
        for (cell, _) in first {
            let futex = &self.line_cell(cell)[field::FUTEX];
            futex.fetch_add(1, Ordering::AcqRel);
            self.segment.unpark(futex, 1);
        }
    }

    /// What a waiter hands to [`Ledger::sleep_in_line`]: take it before looking for room.
    pub(crate) fn wake_count(&self, place: Place) -> u32 {
        self.line_cell(place.cell)[field::FUTEX].load(Ordering::Acquire) as u32
    }

    /// Sleeps until woken since `count` was taken, or for `longest`.
    pub(crate) fn sleep_in_line(&self, place: Place, count: u32, longest: Duration) {
        let futex = &self.line_cell(place.cell)[field::FUTEX];
        self.segment.park(futex, count, longest);
    }

    /// Wakes everybody in the line, for one who is to give up.
    pub(crate) fn wake_everybody(&self) {
        for (cell, _) in self.waiters() {
            let futex = &self.line_cell(cell)[field::FUTEX];
            futex.fetch_add(1, Ordering::AcqRel);
            self.segment.unpark(futex, u32::MAX >> 1);
        }
    }

    /// The granules that are kept for the first in line.
    pub(crate) fn kept(&self) -> Range<usize> {
        if self.layout.kind == Kind::Slots {
            return 0..0;
        }
        let word = self.counter(at::KEPT);
        let (start, len) = ((word >> 32) as usize, word as u32 as usize);
        let end = start.saturating_add(len).min(self.layout.granules);
        start.min(end)..end
    }

    /// Keeps the window of `need` granules that is nearest to being free, for the first in line.
    pub(crate) fn keep(&self, need: usize) {
        if self.kept().len() == need {
            return;
        }
        let start = self.arena().emptiest(need).unwrap_or(0);
        self.word(at::KEPT).store((start as u64) << 32 | need as u64, Ordering::Relaxed);
    }

    /// Keeps nothing any more.
    pub(crate) fn keep_nothing(&self) {
        self.word(at::KEPT).store(0, Ordering::Relaxed);
    }

    fn empty_cell(&self, cell: usize, waiter: Waiter) {
        let word = &self.line_cell(cell)[field::WORD];
        if word.compare_exchange(waiter.0, 0, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            return;
        }
        let (mask, bit) = self.line_bit(cell);
        mask.fetch_and(!bit, Ordering::AcqRel);
        // Somebody may have taken the cell, and set the bit, in between.
        if word.load(Ordering::Acquire) != 0 {
            mask.fetch_or(bit, Ordering::AcqRel);
        }
    }

    fn waiters(&self) -> impl Iterator<Item = (usize, Waiter)> + '_ {
        (0..LINE)
            .filter(|cell| {
                let (mask, bit) = self.line_bit(*cell);
                mask.load(Ordering::Acquire) & bit != 0
            })
            .filter_map(|cell| {
                let words = self.line_cell(cell);
                let waiter = Waiter(words[field::WORD].load(Ordering::Acquire));
                let passed = words[field::PASSED].load(Ordering::Relaxed) == waiter.0;
                (!waiter.is_nobody() && !passed).then_some((cell, waiter))
            })
    }

    #[inline]
    fn in_line(&self) -> &[AtomicU64] {
        self.range(at::IN_LINE, LINE / 64)
    }

    fn line_bit(&self, cell: usize) -> (&AtomicU64, u64) {
        (&self.in_line()[cell / 64], 1 << (cell % 64))
    }
}

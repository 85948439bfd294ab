//! The line of producers that wait for memory.
//!
//! Whoever waits has a cell with its number, what it needs, and a word to sleep on. Those who need the
//! same (all, in a pool of slots) are served in the order of their numbers; in a chunk pool the first
//! of all also keeps a window of granules from being given to others, so that small requests cannot
//! starve a large one.
//!
//! A release wakes the first in line, and whoever leaves the line wakes the next. Nobody depends on
//! that: a waiter looks for itself every 50 ms, passes those who are dead, and overtakes one that is
//! stopped while there is room. Upholds invariants 1, 3 and 5.

use crate::fault;
use crate::layout::{Kind, LINE, at};
use crate::ledger::Ledger;
use crate::member::MemberWord;
use crate::sync::Ordering;
use crate::waiters::{Waiter, Waiters};
use core::ops::Range;
use std::time::{Duration, Instant};

/// How long a waiter sleeps at most before it looks for itself.
pub(crate) const RECHECK: Duration = Duration::from_millis(50);

/// A place in the line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    cell: usize,
    waiter: Waiter,
}

/// Somebody who came earlier, and since when it was not seen to look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watched {
    cell: usize,
    waiter: Waiter,
    seen: u64,
    since: Instant,
}

impl Ledger {
    /// Whether anybody is in the line.
    #[inline]
    pub(crate) fn somebody_waits(&self) -> bool {
        self.waiters().is_anybody()
    }

    /// Whether somebody who needs the same is in the line.
    pub(crate) fn somebody_waits_for(&self, need: usize) -> bool {
        self.waiters().in_turn().any(|(_, waiter)| waiter.need() == need as u64)
    }

    /// Joins the end of the line; `None` if all cells are taken.
    pub(crate) fn enter_line(&self, need: usize, member: u16) -> Option<Place> {
        let number = self.word(at::NEXT_IN_LINE).fetch_add(1, Ordering::Relaxed);
        let waiter = Waiter::new(number, need, member);
        let cell = self.waiters().sit_down(waiter)?;
        self.waiters().announce(cell);
        fault::hit("line.entered");
        Some(Place { cell, waiter })
    }

    /// Leaves the line, and lets the next one look.
    pub(crate) fn leave_line(&self, place: Place) {
        fault::hit("line.served");
        self.waiters().stand_up(place.cell, place.waiter);
        fault::hit("line.left");
        if self.somebody_waits() {
            self.wake_line();
        }
    }

    /// Takes the waiters of dead members off the line.
    pub(crate) fn leave_the_line(&self, dead: &[(usize, MemberWord)]) {
        for (cell, waiter) in self.waiters().even_unmarked() {
            let is_dead = dead.iter().any(|(member, incarnation)| {
                *member == waiter.member() && self.member_word(*member) == *incarnation
            });
            if is_dead {
                self.waiters().stand_up(cell, waiter);
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
        let ahead: Vec<Waiter> = self.ahead_of(place).map(|(_, other)| other).collect();
        let first = ahead.iter().copied().reduce(|a, b| if b.is_before(a) { b } else { a });
        let needs = ahead.into_iter().filter(|other| other.need() == mine.need()).chain(first);
        needs.map(|waiter| waiter.need() as usize).collect()
    }

    /// Passes those who came earlier and have not looked for as long as `silence`. True if there were
    /// any. `watched` is the caller's memory of them.
    pub(crate) fn pass_the_silent(
        &self,
        place: Place,
        watched: &mut Vec<Watched>,
        silence: Duration,
    ) -> bool {
        let now = Instant::now();
        let mut passed = false;
        *watched = self
            .ahead_of(place)
            .map(|(cell, waiter)| {
                let seen = self.waiters().seen(cell);
                let known = watched
                    .iter()
                    .find(|known| (known.cell, known.waiter, known.seen) == (cell, waiter, seen));
                Watched { cell, waiter, seen, since: known.map_or(now, |known| known.since) }
            })
            .filter(|watched| {
                let silent = now.duration_since(watched.since) >= silence;
                if silent {
                    self.waiters().pass(watched.cell, watched.waiter);
                    passed = true;
                }
                !silent
            })
            .collect();
        passed
    }

    /// Passes everybody who came earlier: they are not waited for until they show up again.
    pub(crate) fn pass_those_ahead(&self, place: Place) {
        for (cell, other) in self.ahead_of(place) {
            self.waiters().pass(cell, other);
        }
    }

    /// Shows up again.
    pub(crate) fn show_up(&self, place: Place) {
        self.waiters().show_up(place.cell);
    }

    /// Whether nobody who needs the same came earlier.
    pub(crate) fn is_first(&self, place: Place) -> bool {
        !self.ahead_of(place).any(|(_, other)| other.need() == place.waiter.need())
    }

    /// Whether nobody at all came earlier.
    pub(crate) fn is_first_of_all(&self, place: Place) -> bool {
        self.ahead_of(place).next().is_none()
    }

    /// Wakes those who may be served next.
    #[cold]
    pub(crate) fn wake_line(&self) {
        self.waiters().wake_first(|count| self.segment.unpark(count, 1));
    }

    /// What a waiter hands to [`Ledger::sleep_in_line`]: take it before looking for room.
    pub(crate) fn wake_count(&self, place: Place) -> u32 {
        self.waiters().before_looking(place.cell) as u32
    }

    /// Sleeps until woken since `count` was taken, or for `longest`.
    pub(crate) fn sleep_in_line(&self, place: Place, count: u32, longest: Duration) {
        self.segment.park(self.waiters().count(place.cell), count, longest);
    }

    /// Wakes everybody in the line, for one who is to give up.
    pub(crate) fn wake_everybody(&self) {
        for (cell, _) in self.waiters().all() {
            self.waiters().count_up(cell, |count| self.segment.unpark(count, u32::MAX >> 1));
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

    fn ahead_of(&self, place: Place) -> impl Iterator<Item = (usize, Waiter)> + '_ {
        self.waiters().in_turn().filter(move |(_, other)| other.is_before(place.waiter))
    }

    #[inline]
    fn waiters(&self) -> Waiters<'_> {
        let cells = self.range(self.layout.at_line, LINE * 8);
        Waiters { cells, marks: self.range(at::IN_LINE, LINE / 64) }
    }
}

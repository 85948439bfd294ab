//! Putting an entry and getting one: what happens to cells, slots and sleepers, in that order.
//!
//! Upholds invariants 1 (each step may be the last one of its process) and 2 (what a cell names is
//! looked at before anybody is told of it).

use crate::bell::Call;
use crate::fault;
use crate::ledger::{Ledger, record};
use crate::queue::cell::Entry;
use crate::queue::directory::field;
use crate::queue::found::Mode;
use crate::queue::ring::{Look, Ring, Trouble};
use crate::queue::upkeep::QueueShape;
use crate::queue::verdict::{self, Verdict};
use crate::reap::{short_of, unlink};
use crate::sync::Ordering;
use crate::word::SlotState;

/// How an attempt to get something ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Got {
    /// A slot, and its generation.
    Entry(usize, u64),
    Empty,
    /// There is something, for somebody else.
    Elsewhere,
}

impl Ledger {
    /// Puts an entry at the end of a queue. False if it is full.
    #[inline]
    pub(crate) fn put(
        &self,
        queue: &QueueShape,
        entry: Entry,
        for_anybody: bool,
    ) -> Result<bool, Trouble> {
        let ring = self.ring(queue);
        let put = match queue.mode {
            Mode::Work => ring.put(entry),
            Mode::Broadcast => ring.append(entry, || self.slowest(queue.entry)),
        }?;
        if !put {
            return Ok(false);
        }
        let one = for_anybody && queue.mode == Mode::Work;
        let call = if one { Call::One } else { Call::All };
        self.not_empty(queue.entry).ring(&self.segment, call);
        // After the fence in `ring`: whoever removes the queue finds the entry, or this sees it.
        match ring.is_alive() {
            true => Ok(true),
            false => Err(Trouble::Removed),
        }
    }

    /// Gets the next entry that is for `seat`.
    #[inline]
    pub(crate) fn get(&self, queue: &QueueShape, seat: usize) -> Result<Got, Trouble> {
        match queue.mode {
            Mode::Work => self.take(queue, seat),
            Mode::Broadcast => self.follow(queue, seat),
        }
    }

    #[inline]
    fn take(&self, queue: &QueueShape, seat: usize) -> Result<Got, Trouble> {
        let ring = self.ring(queue);
        // As many as there can be at once, and some more that come meanwhile.
        for _ in 0..=2 * queue.cells.cells() {
            let Some(offer) = ring.peek()? else { return Ok(Got::Empty) };
            let slot = offer.entry.slot;
            let found = match slot < self.layout.slots {
                true => verdict::claim(self.slot(slot), offer.entry, seat),
                false => Verdict::Stale,
            };
            let got = match found {
                Verdict::Elsewhere => return Ok(Got::Elsewhere),
                Verdict::Claimed(generation) => {
                    fault::hit("queue.claimed");
                    // Whoever takes it out: it is this seat's.
                    ring.take(offer);
                    fault::hit("queue.taken");
                    Some(generation)
                }
                Verdict::Addressed(generation) => ring.take(offer).then(|| {
                    fault::hit("queue.taken");
                    // Others may have been called for what is behind it, and have found this.
                    self.not_empty(queue.entry).ring(&self.segment, Call::All);
                    generation
                }),
                Verdict::Taken => {
                    ring.take(offer);
                    None
                }
                Verdict::Withdrawn(generation) => {
                    ring.take(offer);
                    let _ = self.release(slot, generation, seat);
                    None
                }
                Verdict::Stale => {
                    if ring.take(offer) {
                        self.note(queue, field::STALE, 1);
                    }
                    None
                }
            };
            self.not_full(queue.entry).ring(&self.segment, Call::One);
            if let Some(generation) = got {
                return Ok(Got::Entry(slot, generation));
            }
        }
        Ok(Got::Empty)
    }

    #[inline]
    fn follow(&self, queue: &QueueShape, seat: usize) -> Result<Got, Trouble> {
        let (ring, cursor) = (self.ring(queue), self.cursor(queue.entry, seat));
        for _ in 0..=2 * queue.cells.cells() {
            // SYNC: cursor. Acquire: its other threads are done with the cells before.
            let from = cursor.load(Ordering::Acquire);
            let (to, found) = match ring.look(from)? {
                Look::NotYet => return Ok(Got::Empty),
                Look::Lapped(to) => (to, None),
                Look::Item(found) => (from + 1, Some(found)),
            };
            let mine = found
                .filter(|found| found.slot < self.layout.slots)
                .and_then(|found| verdict::is_for(self.slot(found.slot), found, seat));
            if !Ring::step(cursor, from, to) {
                continue;
            }
            fault::hit("queue.taken");
            self.not_full(queue.entry).ring(&self.segment, Call::One);
            match (found, mine) {
                (Some(found), Some(generation)) => return Ok(Got::Entry(found.slot, generation)),
                (Some(_), None) => self.note(queue, field::STALE, 1),
                (None, _) => self.note(queue, field::MISSED, to - from),
            }
        }
        Ok(Got::Empty)
    }

    fn note(&self, queue: &QueueShape, field: usize, by: u64) {
        self.queue(queue.entry)[field].fetch_add(by, Ordering::Relaxed);
    }

    /// How many slots a publication has.
    #[inline]
    pub(crate) fn parts_of(&self, slot: usize) -> u32 {
        let next = self.record(slot)[record::NEXT].load(Ordering::Relaxed);
        if next == 0 { 1 } else { self.count_parts(next) }
    }

    #[cold]
    fn count_parts(&self, mut next: u64) -> u32 {
        let mut parts = 1;
        // A damaged chain ends at the latest when every slot was met.
        while parts < self.layout.slots {
            let Some((part, short)) = unlink(next).filter(|(part, _)| *part < self.layout.slots)
            else {
                break;
            };
            let state = self.slot(part).load();
            if !state.is(SlotState::Linked) || short_of(state.generation()) != short {
                break;
            }
            parts += 1;
            next = self.record(part)[record::NEXT].load(Ordering::Relaxed);
        }
        parts as u32
    }
}

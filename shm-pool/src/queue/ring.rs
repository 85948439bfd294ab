//! The order of the tickets: cells that are put into and taken out of by one exchange each.
//!
//! ```text
//!   work:       empty(p) ──put──▶ full(lap of p) ──take──▶ empty(p + cells)
//!   broadcast:  empty(p) ──append──▶ full(lap of p) ──append, one lap later──▶ full(lap of p + cells)
//! ```
//!
//! The exchange of the cell is the whole commit. `head` and `tail` are hints: they are moved on after
//! the exchange, by whoever finds that they lag, so a process that stops or dies in between costs the
//! others one exchange and nothing else. A hint never runs ahead of its cells, which is why a position
//! is filled only after all positions before it, and taken only after all before it were taken.
//!
//! In a broadcast queue nobody empties cells. Every consumer has a cursor of its own, the position
//! that it looks at next; a cell is written again when all cursors have passed it.
//!
//! Cells and hints are used again when the queue was removed and another one got them. A position that
//! was read while the queue was still there is no position of any other queue, and neither is an empty
//! cell's word, so what a process does that was stopped in between changes nothing in the next queue.
//!
//! Upholds invariants 1 (every step can be the last one of its process), 2 (a word that does not belong
//! to its cell is [`Damaged`](Trouble::Damaged), and loops are bounded) and 5.

use crate::queue::cell::{CellShape, Content, Entry, POSITIONS};
use crate::sync::{AtomicU64, Mutation, Ordering, mutated};

/// Each failed turn is another process's success. So many in a row do not happen; words that are
/// scribbled over could.
const TURNS: usize = if cfg!(loom) { 16 } else { 1 << 16 };

/// The words of one queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ring<'a> {
    /// Says whether there still is such a queue.
    pub(crate) life: &'a AtomicU64,
    /// What `life` is for as long as there is.
    pub(crate) alive: u64,
    pub(crate) shape: CellShape,
    pub(crate) cells: &'a [AtomicU64],
    /// The next position to be taken; of work queues only.
    pub(crate) head: &'a AtomicU64,
    /// The next position to be filled.
    pub(crate) tail: &'a AtomicU64,
}

/// Why a queue cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// There is no such queue any more.
    Removed,
    /// A word that nobody who follows the protocol has written: its field, and its value.
    Damaged(&'static str, u64),
}

/// Something at the head of a work queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    pub(crate) position: u64,
    pub(crate) entry: Entry,
    word: u64,
}

/// What a consumer of a broadcast queue finds at its cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Look {
    Item(Entry),
    /// Nothing was put there yet.
    NotYet,
    /// That position is gone; go on at this one.
    Lapped(u64),
}

impl<'a> Ring<'a> {
    /// Puts an entry at the end of a work queue. False if it is full.
    #[inline]
    pub(crate) fn put(&self, entry: Entry) -> Result<bool, Trouble> {
        self.fill(entry, |_, content| match content {
            Content::Awaiting => Room::Yes,
            Content::Before => Room::No,
            _ => Room::Unclear,
        })
    }

    /// Puts an entry at the end of a broadcast queue. `slowest` is the least cursor of those who are
    /// present, if anybody is. False if it is full.
    #[inline]
    pub(crate) fn append(
        &self,
        entry: Entry,
        slowest: impl Fn() -> Option<u64>,
    ) -> Result<bool, Trouble> {
        self.fill(entry, |tail, content| match content {
            // Cursors only grow, and who comes now begins at the tail: a yes stays one.
            Content::Awaiting | Content::Before => match slowest() {
                Some(slowest)
                    if tail >= slowest.saturating_add(self.shape.cells())
                        && !mutated(Mutation::SlowestUnchecked) =>
                {
                    Room::No
                }
                _ => Room::Yes,
            },
            _ => Room::Unclear,
        })
    }

    #[inline]
    fn fill(&self, entry: Entry, room: impl Fn(u64, Content) -> Room) -> Result<bool, Trouble> {
        for _ in 0..TURNS {
            let tail = self.position_in(self.tail, "tail")?;
            let cell = self.cell(tail);
            // SYNC: cell. Acquire: an empty cell's taker is done with it.
            let word = cell.load(Ordering::Acquire);
            let content = match self.shape.read(word, tail) {
                Content::Past if mutated(Mutation::AnyLap) => Content::Awaiting,
                content => content,
            };
            if matches!(content, Content::Holding(_)) {
                // Somebody has filled it and not got further.
                self.advance(self.tail, tail);
                continue;
            }
            let room = room(tail, content);
            // What the word is to a position that is not the tail any more decides nothing.
            if self.tail.load(Ordering::Acquire) != tail && !mutated(Mutation::AnyLap) {
                continue;
            }
            match room {
                Room::No => return Ok(false),
                Room::Unclear if content == Content::Past => self.advance(self.tail, tail),
                Room::Unclear => return Err(self.damaged("cell", word)),
                Room::Yes => {
                    let release = match mutated(Mutation::PutRelaxed) {
                        true => Ordering::Relaxed,
                        false => Ordering::AcqRel,
                    };
                    let full = self.shape.full(tail, entry);
                    // SYNC: cell. Release: the slot was published before.
                    if cell.compare_exchange(word, full, release, Ordering::Relaxed).is_ok() {
                        #[cfg(not(loom))]
                        crate::fault::hit("queue.put");
                        self.advance(self.tail, tail);
                        return Ok(true);
                    }
                }
            }
        }
        Err(self.damaged("tail", self.tail.load(Ordering::Relaxed)))
    }

    /// What is at the head of a work queue, left where it is.
    #[inline]
    pub(crate) fn peek(&self) -> Result<Option<Offer>, Trouble> {
        for _ in 0..TURNS {
            let head = self.position_in(self.head, "head")?;
            // SYNC: cell. Acquire: the slot was published before the entry was put.
            let word = self.cell(head).load(Ordering::Acquire);
            match self.shape.read(word, head) {
                // No other position is awaited by the same word, so nothing was put at the head.
                Content::Awaiting => return Ok(None),
                Content::Past => self.advance(self.head, head),
                // A lap that has come round again looks the same: not if the head is still there.
                _ if self.head.load(Ordering::Acquire) != head => {}
                Content::Holding(entry) => {
                    return Ok(Some(Offer { position: head, entry, word }));
                }
                Content::Before | Content::Other => return Err(self.damaged("cell", word)),
            }
        }
        Err(self.damaged("head", self.head.load(Ordering::Relaxed)))
    }

    /// Takes an offer out of a work queue. True if this call did, false if somebody else has.
    #[inline]
    pub(crate) fn take(&self, offer: Offer) -> bool {
        let empty = CellShape::empty(offer.position + self.shape.cells());
        let taken = self
            .cell(offer.position)
            .compare_exchange(offer.word, empty, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok();
        self.advance(self.head, offer.position);
        taken
    }

    /// What a consumer of a broadcast queue finds at `cursor`.
    #[inline]
    pub(crate) fn look(&self, cursor: u64) -> Result<Look, Trouble> {
        if cursor >= POSITIONS {
            return Err(Trouble::Damaged("cursor", cursor));
        }
        for _ in 0..TURNS {
            // SYNC: cell. Acquire: the slot was published before the entry was put.
            let word = self.cell(cursor).load(Ordering::Acquire);
            // After the cell: the tail tells apart laps that look the same.
            let tail = self.position_in(self.tail, "tail")?;
            let behind = tail.saturating_sub(cursor);
            if behind > self.shape.cells() {
                return Ok(Look::Lapped(tail - self.shape.cells()));
            }
            match self.shape.read(word, cursor) {
                Content::Holding(entry) => return Ok(Look::Item(entry)),
                Content::Awaiting | Content::Before if behind == 0 => return Ok(Look::NotYet),
                // It was put between the two looks.
                Content::Awaiting | Content::Before => {}
                // Somebody has filled the position one lap later and not got further, or this is a
                // position from before the queue was made.
                Content::Past => return Ok(Look::Lapped(cursor + 1)),
                Content::Other => return Err(self.damaged("cell", word)),
            }
        }
        Err(self.damaged("tail", self.tail.load(Ordering::Relaxed)))
    }

    /// Moves a consumer's cursor. True if this call did: what is there is the caller's.
    #[inline]
    pub(crate) fn step(cursor: &AtomicU64, from: u64, to: u64) -> bool {
        // SYNC: cursor. Release: the cell was read before it may be written again.
        cursor.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Makes the ring one that carries positions from `base` on. Nobody else knows it yet.
    pub(crate) fn prepare(&self, base: u64) {
        let order = match mutated(Mutation::PrepareRelaxed) {
            true => Ordering::Relaxed,
            false => Ordering::AcqRel,
        };
        // SYNC: cell, hint. Release: who finds a word of this queue finds that the one before is gone.
        // Exchanges, because somebody may be late with one: a store would come after it as well, but
        // loom does not know that.
        for position in base..base + self.shape.cells() {
            self.cell(position).swap(CellShape::empty(position), order);
        }
        self.head.swap(base, order);
        self.tail.swap(base, order);
    }

    /// What the cells hold for the positions from `from` on, oldest first, as far as one look at each
    /// can tell.
    pub(crate) fn entries(&self, from: u64) -> impl Iterator<Item = (u64, Entry)> + 'a {
        let ring = *self;
        // One more than there are cells: a hint may lag by one.
        let end = from.saturating_add(ring.shape.cells()).saturating_add(1);
        (from..end).filter_map(move |position| {
            let word = ring.cell(position).load(Ordering::Acquire);
            match ring.shape.read(word, position) {
                Content::Holding(entry) => Some((position, entry)),
                _ => None,
            }
        })
    }

    #[inline]
    fn cell(&self, position: u64) -> &'a AtomicU64 {
        &self.cells[self.shape.cell_of(position)]
    }

    /// A position of this queue.
    #[inline]
    fn position_in(&self, hint: &AtomicU64, field: &'static str) -> Result<u64, Trouble> {
        // SYNC: hint. Acquire: the cells up to it are seen.
        let position = hint.load(Ordering::Acquire);
        // After the hint: what was there before the queue was removed was the queue's.
        if !self.is_alive() && !mutated(Mutation::AnyLife) {
            return Err(Trouble::Removed);
        }
        match position {
            position if position < POSITIONS => Ok(position),
            found => Err(Trouble::Damaged(field, found)),
        }
    }

    /// What a word is that does not belong where it is: another queue's, or nobody's.
    #[cold]
    fn damaged(&self, field: &'static str, found: u64) -> Trouble {
        match self.is_alive() {
            true => Trouble::Damaged(field, found),
            false => Trouble::Removed,
        }
    }

    /// Whether there still is such a queue.
    #[inline]
    pub(crate) fn is_alive(&self) -> bool {
        self.life.load(Ordering::Acquire) == self.alive
    }

    #[inline]
    fn advance(&self, hint: &AtomicU64, from: u64) {
        // SYNC: hint. Release: whoever reads the hint sees the cells up to it.
        let _ = hint.compare_exchange(from, from + 1, Ordering::AcqRel, Ordering::Relaxed);
    }
}

/// Whether the cell at the tail may be filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    Yes,
    No,
    Unclear,
}

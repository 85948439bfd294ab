//! The seqlock of one frame cell, and the hand-over of the newest cell.
//!
//! Upholds invariants 1 (a writer that dies mid-frame costs nobody the previous frame),
//! 4 (readers issue no store) and 7 (unwritten data never becomes readable).
//!
//! ```text
//!  latest = 7          cell 0      cell 1      cell 2          K = 3, count n lives in cell n mod K
//!  ───────────▶      ┌────────┐  ┌────────┐  ┌────────┐
//!                    │ seq 14 │  │ seq 16 │  │ seq 17 │   2n + 2: frame n is complete
//!                    │ n = 6  │  │ n = 7  │  │ (n = 8)│   2n + 1: frame n is being written
//!                    └────────┘  └────────┘  └────────┘
//! ```
//!
//! | step | writer (holds the writer lock)             | reader                                   |
//! |------|--------------------------------------------|------------------------------------------|
//! | 1    | pick cell `(latest + 1) mod K`             | `n = latest` (Acquire)                   |
//! | 2    | `seq` := 2n + 1, then fence(Release)       | `seq` of cell `n mod K` (Acquire)        |
//! | 3    | header fields and payload (Relaxed)        | not 2n + 2: overwritten, start again     |
//! | 4    | `seq` := 2n + 2 (Release)                  | header fields and payload (Relaxed)      |
//! | 5    | `latest` := n (Release)                    | fence(Acquire), `seq` still 2n + 2       |
//!
//! The sequence follows from the count, so it says *which* frame a cell holds, and each complete value
//! is stored once in the life of a stream (an unfinished one again, when a frame that was given up or
//! lost with its writer is written anew; no reader accepts it). And a publish loads no line that
//! readers have: such a load would fetch the line back from a reader's cache before every frame.
//!
//! The fences are those of H.-J. Boehm, "Can seqlocks get along with programming language memory
//! models?", MSPC 2012: the release fence keeps payload stores below the odd mark, the acquire
//! fence keeps payload loads above the second look. A writer that stops anywhere in 2-4 leaves
//! `latest` where it was; the next writer takes the same cell again. One that stopped between 4
//! and 5 has completed its frame: [`Ring::recover`] hands it over.
//!
//! A device that carries out a frame in the writer's place is given the same stores as a list
//! ([`Ring::beginning`], [`Ring::completion`]), because it cannot run this code.

use crate::sync::{AtomicU64, Mutation, Ordering, fence, mutated};

/// What one frame carries besides its payload. 64 bytes, one cache line, all words atomic.
#[repr(C, align(64))]
#[derive(Debug, Default)]
pub(crate) struct Cell {
    pub(crate) sequence: AtomicU64,
    pub(crate) frame_id: AtomicU64,
    pub(crate) written_mono_ns: AtomicU64,
    pub(crate) written_wall_ns: AtomicU64,
    pub(crate) acquired_wall_ns: AtomicU64,
    pub(crate) byte_len: AtomicU64,
    pub(crate) reserved: [AtomicU64; 2],
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Cell>() == 64 && align_of::<Cell>() == 64);

/// A private copy of a cell's header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CellHeader {
    pub(crate) count: u64,
    pub(crate) frame_id: u64,
    pub(crate) written_mono_ns: u64,
    pub(crate) written_wall_ns: u64,
    pub(crate) acquired_wall_ns: u64,
    pub(crate) byte_len: u64,
}

/// Where the K cells lie: a slice in the models, a strided run of a mapping in the product.
pub(crate) trait Cells {
    fn len(&self) -> usize;
    fn cell(&self, index: usize) -> &Cell;
}

impl Cells for &[Cell] {
    fn len(&self) -> usize {
        <[Cell]>::len(self)
    }
    fn cell(&self, index: usize) -> &Cell {
        &self[index]
    }
}

/// The K cells of a stream and the word that names the newest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ring<'a, C> {
    pub(crate) latest: &'a AtomicU64,
    pub(crate) cells: C,
}

/// A cell that is being written: unreadable until [`Ring::seal`]. A writer that gives up leaves it so,
/// and writes the same frame again.
#[derive(Debug)]
#[must_use = "a cell stays unreadable until it is sealed"]
pub(crate) struct Writing {
    pub(crate) index: usize,
    pub(crate) count: u64,
}

/// A cell that was stable when looked at; good for nothing until [`Ring::validate`] says so.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    pub(crate) index: usize,
    pub(crate) header: CellHeader,
    sequence: u64,
}

/// One store of a frame that is carried out elsewhere.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Store<'a> {
    pub(crate) word: &'a AtomicU64,
    pub(crate) value: u64,
}

/// What the sequence of a cell says while frame `count` is being written.
#[inline]
const fn unfinished(count: u64) -> u64 {
    count.wrapping_mul(2).wrapping_add(1)
}

/// What the sequence of a cell says once it holds frame `count`.
#[inline]
const fn complete(count: u64) -> u64 {
    count.wrapping_mul(2).wrapping_add(2)
}

/// What a first look at a frame found.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub(crate) enum Look {
    /// The cell was stable and held the wanted frame.
    Stable(Stamp),
    /// The frame was overwritten, or is being overwritten, since `latest` was read.
    Overwritten,
}

impl<C: Cells> Ring<'_, C> {
    /// Count of the newest complete frame; 0 before the first.
    #[inline]
    pub(crate) fn newest(&self) -> u64 {
        // SYNC: hand-over. Pairs with the Release store in `hand_over`.
        self.latest.load(Ordering::Acquire)
    }

    #[inline]
    fn index_of(&self, count: u64) -> usize {
        (count % self.cells.len() as u64) as usize
    }

    /// Marks the cell of frame `count` as being written. The caller holds the writer lock.
    #[inline]
    pub(crate) fn begin(&self, count: u64) -> Writing {
        let index = match mutated(Mutation::ReuseLatest) {
            true => self.index_of(count - 1),
            false => self.index_of(count),
        };
        self.cells.cell(index).sequence.store(unfinished(count), Ordering::Relaxed);
        // SYNC: odd mark. Pairs with the Acquire fence in `validate`: a reader that sees any store
        // below this line also sees the odd mark when it looks again.
        if !mutated(Mutation::OddFence) {
            fence(Ordering::Release);
        }
        Writing { index, count }
    }

    /// The cell of frame `count`, untouched: for a frame that is carried out elsewhere.
    pub(crate) fn reserve(&self, count: u64) -> Writing {
        Writing { index: self.index_of(count), count }
    }

    /// What [`begin`](Self::begin) stores. A release fence, or whatever does its work on a device,
    /// belongs between it and the payload.
    pub(crate) fn beginning(&self, writing: &Writing) -> [Store<'_>; 1] {
        let value = match mutated(Mutation::OddMark) {
            true => complete(writing.count.wrapping_sub(self.cells.len() as u64)),
            false => unfinished(writing.count),
        };
        [Store { word: &self.cells.cell(writing.index).sequence, value }]
    }

    /// What [`seal`](Self::seal) and [`hand_over`](Self::hand_over) store, in that order. A release
    /// fence, or whatever does its work on a device, belongs before each of the last two.
    pub(crate) fn completion(&self, writing: &Writing, header: &CellHeader) -> [Store<'_>; 7] {
        let cell = self.cells.cell(writing.index);
        let mut stores = [
            Store { word: &cell.frame_id, value: header.frame_id },
            Store { word: &cell.written_mono_ns, value: header.written_mono_ns },
            Store { word: &cell.written_wall_ns, value: header.written_wall_ns },
            Store { word: &cell.acquired_wall_ns, value: header.acquired_wall_ns },
            Store { word: &cell.byte_len, value: header.byte_len },
            Store { word: &cell.sequence, value: complete(writing.count) },
            Store { word: self.latest, value: writing.count },
        ];
        if mutated(Mutation::LatestFirst) {
            stores.swap(5, 6);
        }
        stores
    }

    /// First half of publishing: the cell is stable, but not yet the newest.
    #[inline]
    pub(crate) fn seal(&self, writing: &Writing, header: CellHeader) {
        let cell = self.cells.cell(writing.index);
        cell.frame_id.store(header.frame_id, Ordering::Relaxed);
        cell.written_mono_ns.store(header.written_mono_ns, Ordering::Relaxed);
        cell.written_wall_ns.store(header.written_wall_ns, Ordering::Relaxed);
        cell.acquired_wall_ns.store(header.acquired_wall_ns, Ordering::Relaxed);
        cell.byte_len.store(header.byte_len, Ordering::Relaxed);
        let order = match mutated(Mutation::EvenRelease) {
            true => Ordering::Relaxed,
            false => Ordering::Release,
        };
        // SYNC: even mark. Pairs with the Acquire load in `look`.
        cell.sequence.store(complete(writing.count), order);
    }

    /// Second half of publishing: the frame is the newest.
    #[inline]
    pub(crate) fn hand_over(&self, count: u64) {
        let order = match mutated(Mutation::LatestRelease) {
            true => Ordering::Relaxed,
            false => Ordering::Release,
        };
        // SYNC: hand-over. Pairs with the Acquire load in `newest`.
        self.latest.store(count, order);
    }

    /// What a new writer does first: a frame that its dead predecessor completed, but had no time
    /// to hand over, is handed over now. Returns the count of the newest frame.
    pub(crate) fn recover(&self) -> u64 {
        let newest = self.newest();
        let next = newest.wrapping_add(1);
        let cell = self.cells.cell(self.index_of(next));
        // SYNC: even mark. Pairs with the Release store in `seal`.
        if cell.sequence.load(Ordering::Acquire) != complete(next) {
            return newest;
        }
        self.hand_over(next);
        next
    }

    /// First look at frame `count` (not 0).
    #[inline]
    pub(crate) fn look(&self, count: u64) -> Look {
        let index = self.index_of(count);
        let cell = self.cells.cell(index);
        // SYNC: even mark. Pairs with the Release store in `seal`.
        let sequence = cell.sequence.load(Ordering::Acquire);
        let header = CellHeader {
            count,
            frame_id: cell.frame_id.load(Ordering::Relaxed),
            written_mono_ns: cell.written_mono_ns.load(Ordering::Relaxed),
            written_wall_ns: cell.written_wall_ns.load(Ordering::Relaxed),
            acquired_wall_ns: cell.acquired_wall_ns.load(Ordering::Relaxed),
            byte_len: cell.byte_len.load(Ordering::Relaxed),
        };
        let wanted = match mutated(Mutation::CountCheck) {
            true => sequence.is_multiple_of(2),
            false => sequence == complete(count),
        };
        if !wanted {
            return Look::Overwritten;
        }
        Look::Stable(Stamp { index, header, sequence })
    }

    /// Second look: true when everything read since `look` belongs to that one frame.
    #[inline]
    pub(crate) fn validate(&self, stamp: &Stamp) -> bool {
        // SYNC: odd mark. Pairs with the Release fence in `begin`.
        if !mutated(Mutation::ValidateFence) {
            fence(Ordering::Acquire);
        }
        self.cells.cell(stamp.index).sequence.load(Ordering::Relaxed) == stamp.sequence
    }
}

#[cfg(all(test, loom))]
mod tests;

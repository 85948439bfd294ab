//! Which slot has which key: two buckets per key, and one winner per key.
//!
//! ```text
//!   cell:   63 .... 48 | 47 ....... 10 | 9 ......... 2 | 1 0       0 is empty
//!           slot + 1   | generation    | fingerprint   | phase     1 tentative, 2 established
//! ```
//!
//! A key has two buckets of eight cells, one cache line each, named by its 128-bit hash; of a cell that
//! carries the key's fingerprint, the entry is looked at, so a lookup touches two lines of the index
//! and, as a rule, one entry. Nothing is ever moved.
//!
//! To insert, a worker that has a slot writes the hash into its entry, puts a *tentative* cell into
//! one of the buckets, and then looks at both buckets:
//!
//! | it finds, for the same key | it                                                                 |
//! |----------------------------|--------------------------------------------------------------------|
//! | an established cell        | withdraws                                                          |
//! | a tentative cell before    | withdraws                                                          |
//! | a tentative cell behind    | takes that one away: its owner finds out when it wants to establish |
//!
//! and then establishes its own by an exchange that fails if it was taken away. Of two workers that
//! insert one key at the least one sees the other, so at most one establishes; and the one whose cell
//! comes first withdraws only if somebody has established, so of several that live one does. Beating
//! every other tentative cell instead would let two beat each other.
//!
//! A cell is believed only as far as its slot goes: a cell whose slot is free, or in another generation,
//! is garbage that a killed worker left, and anybody may use it. Upholds invariants 1, 2 and 7.

use crate::slot::SlotWords;
use crate::sync::{AtomicU64, Mutation, Ordering, fence_after_exchange, mutated};
use crate::word::{SlotState, StateWord};
use core::ops::Range;

/// Cells of a bucket.
pub(crate) const BUCKET: usize = 8;

const SLOT: u32 = 48;
const GENERATION_BITS: u32 = 38;
const TENTATIVE: u64 = 1;
const ESTABLISHED: u64 = 2;

/// The hash of a key.
pub(crate) type Hash = [u64; 2];

/// Where the slots and the hashes of the entries are.
pub(crate) trait Entries {
    /// The words of a slot, if there is such a slot.
    fn words(&self, slot: usize) -> Option<SlotWords<'_>>;
    /// The two words of its entry's hash, if there is such a slot.
    fn hash(&self, slot: usize) -> Option<[&AtomicU64; 2]>;
}

/// A cell, as loaded or to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cell(pub(crate) u64);

impl Cell {
    fn new(slot: usize, generation: u64, hash: Hash, phase: u64) -> Cell {
        let generation = generation & ((1 << GENERATION_BITS) - 1);
        Cell((slot as u64 + 1) << SLOT | generation << 10 | fingerprint(hash) << 2 | phase)
    }
    /// `None` for an empty cell.
    pub(crate) fn slot(self) -> Option<usize> {
        ((self.0 >> SLOT) as usize).checked_sub(1)
    }
    fn is_of(self, generation: u64) -> bool {
        (self.0 >> 10 ^ generation) & ((1 << GENERATION_BITS) - 1) == 0
    }
    fn has_fingerprint(self, hash: Hash) -> bool {
        self.0 >> 2 & 0xFF == fingerprint(hash)
    }
    pub(crate) fn is_established(self) -> bool {
        self.0 & 3 == ESTABLISHED
    }
    pub(crate) fn established(self) -> Cell {
        Cell(self.0 & !3 | ESTABLISHED)
    }
}

fn fingerprint(hash: Hash) -> u64 {
    hash[1] >> 56
}

/// A cell and where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spot {
    pub(crate) at: usize,
    pub(crate) cell: Cell,
}

/// An entry that has a key, as it was when it was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) spot: Spot,
    pub(crate) slot: usize,
    pub(crate) state: StateWord,
}

/// How establishing ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Outcome {
    /// The key leads to the caller's slot.
    Established,
    /// Somebody else has the key, or is about to: that slot, if it was seen. The caller's cell is gone.
    Beaten(Option<Found>),
}

/// What a cell means for a key.
enum Standing {
    Garbage,
    Other,
    Same(Found),
}

/// The index.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Index<'a, E> {
    pub(crate) cells: &'a [AtomicU64],
    pub(crate) entries: &'a E,
}

impl<E: Entries> Index<'_, E> {
    /// Writes the hash of the key that a slot is going to have. The caller is filling the slot.
    pub(crate) fn name(&self, slot: usize, hash: Hash) {
        for (word, half) in self.entries.hash(slot).into_iter().flatten().zip(hash) {
            // SYNC: hash. Release: whoever reads it also sees the generation that it is of.
            word.store(half, Ordering::Release);
        }
    }

    /// The entry of a key: the established one, else one that is about to be.
    pub(crate) fn find(&self, hash: Hash) -> Option<Found> {
        let mut tentative = None;
        for at in self.spots(hash) {
            // SYNC: cell. Acquire: what was done to the slot and its hash before it was inserted.
            let cell = Cell(self.cells[at].load(Ordering::Acquire));
            if cell.0 == 0 || !cell.has_fingerprint(hash) {
                continue;
            }
            if let Standing::Same(found) = self.judge(Spot { at, cell }, hash) {
                match cell.is_established() {
                    true => return Some(found),
                    false => tentative = Some(found),
                }
            }
        }
        tentative
    }

    /// Puts a tentative cell into one of the buckets; `None` if both are full.
    pub(crate) fn place(&self, slot: usize, generation: u64, hash: Hash) -> Option<Spot> {
        let cell = Cell::new(slot, generation, hash, TENTATIVE);
        let [first, second] = buckets(self.cells.len(), hash);
        // The emptier one, so that full ones stay rare.
        let (fuller, emptier) = match self.used(&first) > self.used(&second) {
            true => (first, second),
            false => (second, first),
        };
        for at in emptier.chain(fuller) {
            let found = Cell(self.cells[at].load(Ordering::Acquire));
            if self.is_usable(Spot { at, cell: found }, hash) && self.exchange(at, found, cell) {
                return Some(Spot { at, cell });
            }
        }
        None
    }

    fn used(&self, bucket: &Range<usize>) -> usize {
        let used = |cell: &&AtomicU64| cell.load(Ordering::Relaxed) != 0;
        self.cells[bucket.clone()].iter().filter(used).count()
    }

    fn is_usable(&self, spot: Spot, hash: Hash) -> bool {
        spot.cell.0 == 0 || matches!(self.judge(spot, hash), Standing::Garbage)
    }

    /// Establishes a tentative cell, if nobody else has the key.
    pub(crate) fn establish(&self, own: Spot, hash: Hash) -> Outcome {
        if !mutated(Mutation::EstablishFence) {
            // SYNC: index. Of two that insert one key, at least one sees the other.
            fence_after_exchange();
        }
        for at in self.spots(hash).filter(|&at| at != own.at) {
            if let Some(winner) = self.contend(at, own, hash) {
                if !mutated(Mutation::KeepTentative) {
                    self.clear(own);
                }
                return Outcome::Beaten(Some(winner));
            }
        }
        match self.exchange(own.at, own.cell, own.cell.established()) {
            true => Outcome::Established,
            false => Outcome::Beaten(None),
        }
    }

    /// Looks at another cell; the entry to withdraw for, if there is one in it.
    fn contend(&self, at: usize, own: Spot, hash: Hash) -> Option<Found> {
        // Each turn but the last one meets a cell that has changed.
        loop {
            let cell = Cell(self.cells[at].load(Ordering::Acquire));
            let Standing::Same(found) = self.judge(Spot { at, cell }, hash) else { return None };
            let comes_first = at < own.at && !mutated(Mutation::BeatEverybody);
            if cell.is_established() || comes_first {
                return Some(found);
            }
            if mutated(Mutation::SpareTentative) || self.clear(found.spot) {
                return None;
            }
        }
    }

    /// Empties a cell, unless it has changed.
    pub(crate) fn clear(&self, spot: Spot) -> bool {
        self.exchange(spot.at, spot.cell, Cell(0))
    }

    /// Empties the established cell of an entry. `hint` is where it may be.
    pub(crate) fn remove(&self, slot: usize, generation: u64, hash: Hash, hint: u64) {
        let cell = Cell::new(slot, generation, hash, ESTABLISHED);
        let hinted = usize::try_from(hint).ok().filter(|&at| at < self.cells.len());
        if !hinted.is_some_and(|at| self.clear(Spot { at, cell })) {
            for at in self.spots(hash) {
                self.clear(Spot { at, cell });
            }
        }
    }

    /// Whether an established cell leads to that generation of a slot.
    pub(crate) fn leads_to(&self, slot: usize, generation: u64) -> bool {
        let Some(hash) = self.entries.hash(slot) else { return false };
        let hash = hash.map(|word| word.load(Ordering::Acquire));
        let cell = Cell::new(slot, generation, hash, ESTABLISHED);
        self.spots(hash).any(|at| self.cells[at].load(Ordering::Acquire) == cell.0)
    }

    /// The slots that the cells of both buckets lead to.
    pub(crate) fn neighbours(&self, hash: Hash) -> impl Iterator<Item = usize> {
        self.spots(hash).filter_map(|at| {
            let slot = Cell(self.cells[at].load(Ordering::Acquire)).slot()?;
            self.entries.words(slot).map(|_| slot)
        })
    }

    /// The cells of both buckets, in the order of which comes first.
    fn spots(&self, hash: Hash) -> impl Iterator<Item = usize> + use<E> {
        let [first, second] = buckets(self.cells.len(), hash);
        first.chain(second)
    }

    fn judge(&self, spot: Spot, hash: Hash) -> Standing {
        let leads_to = |slot| Some((slot, self.entries.words(slot)?, self.entries.hash(slot)?));
        let Some((slot, words, named)) = spot.cell.slot().and_then(leads_to) else {
            return if spot.cell.0 == 0 { Standing::Other } else { Standing::Garbage };
        };
        // SYNC: hash. Acquire, before the state: a hash of a later generation shows with the state.
        let same = spot.cell.has_fingerprint(hash)
            && named.iter().zip(hash).all(|(word, half)| word.load(Ordering::Acquire) == half);
        let state = words.load();
        let lives = matches!(
            state.state(),
            Some(SlotState::Filling | SlotState::Stored | SlotState::Evicting)
        );
        match lives && spot.cell.is_of(state.generation()) {
            false => Standing::Garbage,
            true if same => Standing::Same(Found { spot, slot, state }),
            true => Standing::Other,
        }
    }

    fn exchange(&self, at: usize, from: Cell, to: Cell) -> bool {
        // SYNC: cell. Release: the hash and the slot come before the cell.
        self.cells[at].compare_exchange(from.0, to.0, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }
}

/// The two buckets of a key in an index of `cells` cells, the first one first.
pub(crate) fn buckets(cells: usize, hash: Hash) -> [Range<usize>; 2] {
    let count = (cells / BUCKET).max(1);
    let among = |half: u64| ((u128::from(half) * count as u128) >> 64) as usize;
    let (first, mut second) = (among(hash[0]), among(hash[1].rotate_left(16)));
    if first == second {
        second = if first + 1 == count { 0 } else { first + 1 };
    }
    let bucket = |number: usize| number * BUCKET..((number + 1) * BUCKET).min(cells);
    match count {
        // Only in models, which have a few cells in all.
        1 => [0..cells, 0..0],
        _ => [bucket(first.min(second)), bucket(first.max(second))],
    }
}

#[cfg(all(test, loom))]
mod tests;

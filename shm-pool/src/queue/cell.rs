//! What one word of a queue says.
//!
//! ```text
//!   empty:  0 | 62 ................................. 0        full:  1 | 62 .... | .... 30 | 29 .. 0
//!               the position that it waits for                           lap     | slot    | short
//! ```
//!
//! A position is one place in the order of all tickets that a queue ever carries, and the cell of
//! position `p` is cell `p % cells`. An empty cell names its position in full, so no word of an empty
//! cell ever comes again; a full one names as much of its lap (`p / cells`) as there is room for beside
//! the slot and the generation's low bits: at least 9 bits, 21 in a pool of 4096 slots. Upholds
//! invariant 2: any 64 bits are a word, and what they name is compared before it is used.

/// Bits of a generation that a cell has room for.
pub(crate) const SHORT_BITS: u32 = 30;
/// Positions are below this. At ten million tickets a second that takes fourteen thousand years.
pub(crate) const POSITIONS: u64 = 1 << 62;

const FULL: u64 = 1 << 63;

/// Names a publication inside a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) slot: usize,
    /// The generation's low bits.
    pub(crate) short: u64,
}

impl Entry {
    pub(crate) fn new(slot: usize, generation: u64) -> Entry {
        Entry { slot, short: short_of(generation) }
    }
}

/// The low bits of a generation.
pub(crate) fn short_of(generation: u64) -> u64 {
    generation & ((1 << SHORT_BITS) - 1)
}

/// What a cell's word is, seen from one position of that cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// Empty, for that position.
    Awaiting,
    /// What was put there.
    Holding(Entry),
    /// What was put there one lap before.
    Before,
    /// Empty or full for a later position: what was put there is gone.
    Past,
    /// Nothing that belongs there.
    Other,
}

/// How words are read in one queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CellShape {
    cells: u64,
    entry_bits: u32,
}

impl CellShape {
    /// `cells` cells, for tickets of a pool with `slots` slots.
    pub(crate) fn new(cells: usize, slots: usize) -> CellShape {
        debug_assert!(cells > 0 && slots > 0 && slots <= 1 << 24);
        let index_bits = usize::BITS - slots.saturating_sub(1).leading_zeros();
        CellShape { cells: cells as u64, entry_bits: SHORT_BITS + index_bits }
    }

    #[inline]
    pub(crate) fn cells(self) -> u64 {
        self.cells
    }

    /// Which cell a position has.
    #[inline]
    pub(crate) fn cell_of(self, position: u64) -> usize {
        (position % self.cells) as usize
    }

    /// The word of a cell that waits for `position`.
    #[inline]
    pub(crate) fn empty(position: u64) -> u64 {
        position & !FULL
    }

    /// The word of a cell with `entry` at `position`.
    #[inline]
    pub(crate) fn full(self, position: u64, entry: Entry) -> u64 {
        let entry = (entry.slot as u64) << SHORT_BITS | entry.short;
        FULL | self.lap(position) << self.entry_bits | entry
    }

    /// What a word is to a position.
    #[inline]
    pub(crate) fn read(self, word: u64, position: u64) -> Content {
        if word & FULL == 0 {
            return match word.cmp(&position) {
                core::cmp::Ordering::Equal => Content::Awaiting,
                core::cmp::Ordering::Greater => Content::Past,
                core::cmp::Ordering::Less => Content::Other,
            };
        }
        let mask = self.lap_mask();
        let lap = (word & !FULL) >> self.entry_bits;
        match lap.wrapping_sub(self.lap(position)) & mask {
            0 => Content::Holding(self.entry(word)),
            1 => Content::Past,
            behind if behind == mask => Content::Before,
            _ => Content::Other,
        }
    }

    /// What the word of a full cell names.
    #[inline]
    pub(crate) fn entry(self, word: u64) -> Entry {
        let slot = (word & ((1 << self.entry_bits) - 1)) >> SHORT_BITS;
        Entry { slot: slot as usize, short: short_of(word) }
    }

    #[inline]
    fn lap(self, position: u64) -> u64 {
        (position / self.cells) & self.lap_mask()
    }

    #[inline]
    fn lap_mask(self) -> u64 {
        (1 << (63 - self.entry_bits)) - 1
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_word_says_what_was_put_where(
            cells in 1_usize..5000,
            slots in 1_usize..=1 << 24,
            position in 0..POSITIONS,
            slot in 0_usize..1 << 24,
            generation in 0_u64..1 << 48,
        ) {
            let (shape, lap) = (CellShape::new(cells, slots), cells as u64);
            let position = position.max(lap);
            let entry = Entry::new(slot % slots, generation);
            let word = shape.full(position, entry);
            prop_assert_eq!(shape.read(word, position), Content::Holding(entry));
            prop_assert_eq!(shape.read(word, position + lap), Content::Before);
            prop_assert_eq!(shape.read(word, position - lap), Content::Past);
            prop_assert_eq!(shape.read(word, position + 2 * lap), Content::Other);
            let word = CellShape::empty(position);
            prop_assert_eq!(shape.read(word, position), Content::Awaiting);
            prop_assert_eq!(shape.read(word, position - lap), Content::Past);
            prop_assert_eq!(shape.read(word, position + lap), Content::Other);
        }

        #[test]
        fn any_word_is_read(word: u64, position in 0..POSITIONS, cells in 1_usize..100) {
            let shape = CellShape::new(cells, 1 << 24);
            if let Content::Holding(entry) = shape.read(word, position) {
                prop_assert_eq!(shape.full(position, entry), word);
            }
        }
    }
}

//! Allocators over runs of free bytes, in plain memory: split on taking, joined on giving back.
//!
//! Best fit over exact bytes is how the peer places its chunks. The other fits and roundings are
//! there to compare placements quickly.

use std::collections::BTreeMap;

use anyhow::Result;

use super::trace::Arena;

/// Which free run a request is cut from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// The shortest that is long enough; the lowest of several.
    Best,
    /// The lowest that is long enough.
    First,
    /// As `First` for what reaches a size, and from the high end for what is smaller: small pieces
    /// then do not cut up the room of large ones.
    Ends {
        /// The size from which on a request counts as large.
        large: usize,
    },
}

/// What a request is rounded up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// A multiple of this many bytes; 1 leaves every size as it is.
    Multiple(usize),
    /// One of four steps between two powers of two.
    FourSteps,
}

impl Rounding {
    fn of(self, bytes: usize) -> usize {
        match self {
            Rounding::Multiple(granule) => bytes.next_multiple_of(granule),
            Rounding::FourSteps => {
                let octave = bytes.next_power_of_two() / 2;
                bytes.next_multiple_of((octave / 4).max(1))
            }
        }
    }
}

/// The free runs of an arena.
#[derive(Clone, Debug)]
pub struct FreeRuns {
    fit: Fit,
    rounding: Rounding,
    /// Their lengths, by where they begin. No two of them touch.
    free: BTreeMap<usize, usize>,
}

/// A run that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Where it begins.
    pub offset: usize,
    /// Its length, rounding included.
    pub len: usize,
}

impl FreeRuns {
    /// One free run as long as the arena.
    pub fn new(capacity: usize, fit: Fit, rounding: Rounding) -> FreeRuns {
        FreeRuns { fit, rounding, free: BTreeMap::from([(0, capacity)]) }
    }

    /// Cuts a run from a free one, if one is long enough.
    pub fn cut(&mut self, bytes: usize) -> Option<Run> {
        let len = self.rounding.of(bytes);
        let (start, free) = self.choose(len)?;
        self.free.remove(&start);
        let at_the_high_end = matches!(self.fit, Fit::Ends { large } if len < large);
        let (offset, rest) =
            if at_the_high_end { (start + free - len, start) } else { (start, start + len) };
        if free > len {
            self.free.insert(rest, free - len);
        }
        Some(Run { offset, len })
    }

    /// Takes a run back and joins it with free neighbours.
    pub fn join(&mut self, run: Run) {
        let Run { mut offset, mut len } = run;
        if let Some((&before, &its_len)) = self.free.range(..offset).next_back()
            && before + its_len == offset
        {
            self.free.remove(&before);
            (offset, len) = (before, len + its_len);
        }
        if let Some(its_len) = self.free.remove(&(offset + len)) {
            len += its_len;
        }
        self.free.insert(offset, len);
    }

    fn choose(&self, len: usize) -> Option<(usize, usize)> {
        let mut fitting =
            self.free.iter().map(|(start, free)| (*start, *free)).filter(|(_, free)| *free >= len);
        match self.fit {
            Fit::Best => fitting.min_by_key(|(_, free)| *free),
            Fit::Ends { large } if len < large => fitting.next_back(),
            Fit::First | Fit::Ends { .. } => fitting.next(),
        }
    }
}

impl Arena for FreeRuns {
    type Piece = Run;

    fn take(&mut self, bytes: usize) -> Result<Option<Run>> {
        Ok(self.cut(bytes))
    }

    fn occupied(&self, piece: &Run) -> usize {
        piece.len
    }

    fn give_back(&mut self, piece: Run) -> Result<()> {
        self.join(piece);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::trace::{Shape, drive, trace};
    use super::*;

    const EXACT: Rounding = Rounding::Multiple(1);

    /// An arena of 100 bytes with holes of 20, 10 and 30 bytes at 10, 40 and 60.
    fn with_holes(fit: Fit) -> FreeRuns {
        let mut runs = FreeRuns::new(100, fit, EXACT);
        runs.free = BTreeMap::from([(10, 20), (40, 10), (60, 30)]);
        runs
    }

    #[test]
    fn best_fit_takes_the_tightest_and_first_fit_the_lowest_hole() {
        assert_eq!(with_holes(Fit::Best).cut(8), Some(Run { offset: 40, len: 8 }));
        assert_eq!(with_holes(Fit::First).cut(8), Some(Run { offset: 10, len: 8 }));
        assert_eq!(with_holes(Fit::Best).cut(31), None, "60 bytes are free, but not together");
    }

    #[test]
    fn small_pieces_come_from_the_high_end_and_large_ones_from_the_low() {
        let mut runs = with_holes(Fit::Ends { large: 15 });
        assert_eq!(runs.cut(8), Some(Run { offset: 82, len: 8 }));
        assert_eq!(runs.cut(15), Some(Run { offset: 10, len: 15 }));
        assert_eq!(runs.free, BTreeMap::from([(25, 5), (40, 10), (60, 22)]));
    }

    #[test]
    fn neighbours_are_joined_on_both_sides() {
        let mut runs = with_holes(Fit::Best);
        runs.join(Run { offset: 30, len: 10 });
        assert_eq!(runs.free, BTreeMap::from([(10, 40), (60, 30)]));
        runs.join(Run { offset: 90, len: 10 });
        runs.join(Run { offset: 0, len: 5 });
        assert_eq!(runs.free, BTreeMap::from([(0, 5), (10, 40), (60, 40)]));
    }

    #[test]
    fn requests_are_rounded_as_told() {
        assert_eq!(Rounding::Multiple(64).of(65), 128);
        for (bytes, rounded) in [(1, 1), (16, 16), (17, 20), (21, 24), (29, 32), (33, 40)] {
            assert_eq!(Rounding::FourSteps.of(bytes), rounded, "{bytes}");
        }
        let mut runs = FreeRuns::new(128, Fit::Best, Rounding::Multiple(64));
        let run = runs.cut(65).unwrap();
        assert_eq!((runs.occupied(&run), runs.cut(1)), (128, None));
    }

    #[test]
    fn pieces_never_overlap_and_all_bytes_come_back() {
        let shape = Shape { capacity: 1 << 20, smallest: 2000, largest: 130_000, fill: 0.9 };
        for fit in [Fit::Best, Fit::First, Fit::Ends { large: 30_000 }] {
            let mut checked = Checked {
                runs: FreeRuns::new(shape.capacity, fit, Rounding::Multiple(256)),
                taken: BTreeMap::new(),
            };
            let outcome = drive(&mut checked, &shape, &trace(&shape, 3000, 5)).unwrap();
            assert!(outcome.refused < outcome.requests / 2, "{fit:?}: {outcome:?}");
            assert_eq!(checked.runs.free, BTreeMap::from([(0, shape.capacity)]), "{fit:?}");
        }
    }

    struct Checked {
        runs: FreeRuns,
        taken: BTreeMap<usize, usize>,
    }

    impl Arena for Checked {
        type Piece = Run;

        fn take(&mut self, bytes: usize) -> Result<Option<Run>> {
            let piece = self.runs.cut(bytes);
            if let Some(Run { offset, len }) = piece {
                assert!(len >= bytes && offset + len <= 1 << 20);
                let below = self.taken.range(..offset + len).next_back();
                assert!(below.is_none_or(|(start, len)| start + len <= offset));
                self.taken.insert(offset, len);
            } else {
                let longest = self.runs.free.values().copied().max().unwrap_or(0);
                assert!(longest < bytes.next_multiple_of(256), "refused with {longest} together");
            }
            Ok(piece)
        }

        fn occupied(&self, piece: &Run) -> usize {
            piece.len
        }

        fn give_back(&mut self, piece: Run) -> Result<()> {
            assert_eq!(self.taken.remove(&piece.offset), Some(piece.len));
            self.runs.join(piece);
            Ok(())
        }
    }
}

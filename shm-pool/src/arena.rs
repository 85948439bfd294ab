//! Contiguous runs of granules: how a chunk pool finds memory of any size.
//!
//! ```text
//!   granule words    [ 0 | 7.3 | 7.3 | 7.3 | 0 | 0 | 2.9 | 2.9 | 0 ]     0 is free, 7.3 is slot 7 in
//!                          └─ slot 7 ────┘         └ slot 2 ─┘           its third generation
//! ```
//!
//! A granule is claimed by exchanging 0 for the claimant's tag, slot and generation, and freed by
//! exchanging that very tag for 0. So a run can be claimed granule by granule without a lock (whoever
//! meets somebody else's granule gives back what it has), anybody may finish freeing what a dead
//! process has not, and nobody who comes late can free what belongs to the next tenant. Upholds
//! invariants 1 and 2.

use crate::sync::{AtomicU64, Mutation, Ordering, mutated};
use core::ops::Range;

/// Slots of a chunk pool are below this.
pub(crate) const MAX_CHUNKS: usize = 0xFFFF;

/// The granules of a pool.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arena<'a> {
    pub(crate) granules: &'a [AtomicU64],
    /// From here on nothing was ever claimed, as far as is known: a hint.
    pub(crate) frontier: usize,
}

/// What a claimed granule holds.
#[inline]
pub(crate) fn tag(slot: usize, generation: u64) -> u64 {
    (slot as u64 + 1) << 48 | generation
}

/// Slot and generation of a tag; `None` for a free granule.
#[inline]
pub(crate) fn tenant(tag: u64) -> Option<(usize, u64)> {
    let slot = (tag >> 48) as usize;
    (slot != 0).then(|| (slot - 1, tag & ((1 << 48) - 1)))
}

/// What is free, at one look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extents {
    pub(crate) free: usize,
    pub(crate) largest: usize,
}

impl Arena<'_> {
    /// The start of the free run that fits `need` granules best, leaving out those of `avoid`.
    /// `length` tells how many granules the chunk of a tag has, so that its granules are skipped; a
    /// wrong answer costs an opportunity and nothing else.
    pub(crate) fn find(
        &self,
        need: usize,
        avoid: Range<usize>,
        length: impl Fn(u64) -> usize,
    ) -> Option<usize> {
        let mut best: Option<(usize, usize)> = None;
        let mut consider = |part: Range<usize>| {
            let len = part.end.saturating_sub(part.start);
            if len >= need && best.is_none_or(|(found, _)| len < found) {
                best = Some((len, part.start));
            }
        };
        self.free_runs(length, |run| match avoid.is_empty() {
            true => consider(run),
            false => {
                consider(run.start..run.end.min(avoid.start));
                consider(run.start.max(avoid.end)..run.end);
            }
        });
        best.map(|(_, start)| start)
    }

    /// Whether there would be room for all of `needs`, one put after the other where [`Arena::find`]
    /// puts it, if the runs of `held` were free too.
    pub(crate) fn packs(
        &self,
        needs: &[usize],
        held: impl Iterator<Item = Range<usize>>,
        length: impl Fn(u64) -> usize,
    ) -> bool {
        let mut free: Vec<Range<usize>> = held.collect();
        self.free_runs(length, |run| free.push(run));
        free.sort_unstable_by_key(|run| run.start);
        free.dedup_by(|next, run| {
            let joined = next.start <= run.end;
            if joined {
                run.end = run.end.max(next.end);
            }
            joined
        });
        needs.iter().all(|need| {
            let roomy = free.iter_mut().filter(|run| run.len() >= *need);
            roomy.min_by_key(|run| run.len()).map(|run| run.start += need).is_some()
        })
    }

    /// The window of `need` granules that is nearest to being free.
    pub(crate) fn emptiest(&self, need: usize) -> Option<usize> {
        if need == 0 || need > self.granules.len() {
            return None;
        }
        let taken = |at: usize| usize::from(self.load(at) != 0);
        let mut used: usize = (0..need).map(taken).sum();
        let mut best = (used, 0);
        for start in 1..=self.granules.len() - need {
            used = (used + taken(start + need - 1)).saturating_sub(taken(start - 1));
            best = best.min((used, start));
        }
        Some(best.1)
    }

    /// Whether a run is all that is free where it lies, so that no other would fit better.
    pub(crate) fn is_hole(&self, run: &Range<usize>) -> bool {
        let taken = |at: usize| self.granules.get(at).is_none_or(|_| self.load(at) != 0);
        (run.start == 0 || taken(run.start - 1)) && taken(run.end)
    }

    /// Claims a run, all of it or nothing. False if somebody else has a granule of it.
    pub(crate) fn claim(&self, run: Range<usize>, tag: u64) -> bool {
        let Some(granules) = self.granules.get(run.clone()) else { return false };
        let order = match mutated(Mutation::ClaimRelaxed) {
            true => Ordering::Relaxed,
            false => Ordering::AcqRel,
        };
        for (taken, granule) in granules.iter().enumerate() {
            // SYNC: granule. Acquire: the tenant before is done with its bytes.
            if granule.compare_exchange(0, tag, order, Ordering::Relaxed).is_err() {
                self.clear(run.start..run.start + taken, tag);
                return false;
            }
        }
        true
    }

    /// Frees the granules of a run that still carry the tag; returns how many did.
    pub(crate) fn clear(&self, run: Range<usize>, tag: u64) -> usize {
        let mut freed = 0;
        for granule in self.granules.get(run).unwrap_or(&[]) {
            if mutated(Mutation::ClearBlindly) {
                granule.store(0, Ordering::Release);
            }
            if granule.load(Ordering::Relaxed) == tag {
                // SYNC: granule. Release, for the next tenant.
                let outcome = granule.compare_exchange(tag, 0, Ordering::AcqRel, Ordering::Relaxed);
                freed += usize::from(outcome.is_ok());
            }
        }
        freed
    }

    /// Whether the whole run carries the tag.
    pub(crate) fn is_owned(&self, run: Range<usize>, tag: u64) -> bool {
        self.granules
            .get(run)
            .is_some_and(|granules| granules.iter().all(|word| word.load(Ordering::Relaxed) == tag))
    }

    /// What is free.
    pub(crate) fn extents(&self, length: impl Fn(u64) -> usize) -> Extents {
        let mut extents = Extents::default();
        self.free_runs(length, |run| {
            extents.free += run.len();
            extents.largest = extents.largest.max(run.len());
        });
        extents
    }

    fn free_runs(&self, length: impl Fn(u64) -> usize, mut each: impl FnMut(Range<usize>)) {
        let (mut at, end) = (0, self.granules.len());
        let frontier = self.frontier.min(end);
        while at < end {
            if at >= frontier {
                return each(at..end);
            }
            match self.load(at) {
                0 => {
                    let start = at;
                    while at < frontier && self.load(at) == 0 {
                        at += 1;
                    }
                    if at >= frontier {
                        at = end;
                    }
                    each(start..at);
                }
                tag => at = at.saturating_add(self.tail(at, tag, length(tag))),
            }
        }
    }

    /// How many granules of one tenant lie from `at` on: as many as it says, if the last of them is
    /// its own; one otherwise.
    fn tail(&self, at: usize, tag: u64, length: usize) -> usize {
        match at.checked_add(length) {
            Some(end) if length > 1 && end <= self.granules.len() && self.load(end - 1) == tag => {
                length
            }
            _ => 1,
        }
    }

    #[inline]
    fn load(&self, at: usize) -> u64 {
        // SYNC: none; a claim looks again by exchange.
        self.granules[at].load(Ordering::Relaxed)
    }
}

/// Runs that came free a moment ago, by length: what is asked for next is most likely what was given
/// back last, and then nothing needs to be searched. Only hints: a run is claimed like any other, and
/// one whose neighbours have come free as well is left to the search.
///
/// ```text
///   bucket of a length:   [ start.len | start.len | 0 | … ]   eight words
/// ```
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recent<'a> {
    pub(crate) words: &'a [AtomicU64],
}

const WAYS: usize = 8;

impl Recent<'_> {
    /// Notes a run that is free.
    pub(crate) fn put(&self, run: Range<usize>) {
        let Some(bucket) = self.bucket(run.len()) else { return };
        let word = (run.start as u64) << 32 | run.len() as u64;
        let free = bucket.iter().find(|slot| slot.load(Ordering::Relaxed) == 0);
        free.unwrap_or(&bucket[run.start % WAYS]).store(word, Ordering::Relaxed);
    }

    /// Takes a run of that length that may be free, outside of `avoid`.
    pub(crate) fn take(&self, len: usize, avoid: &Range<usize>) -> Option<Range<usize>> {
        self.bucket(len)?.iter().find_map(|slot| {
            let word = slot.load(Ordering::Relaxed);
            let start = (word >> 32) as usize;
            let run = start..start.saturating_add(len);
            let free =
                word as u32 as usize == len && (run.end <= avoid.start || run.start >= avoid.end);
            (free && slot.compare_exchange(word, 0, Ordering::Relaxed, Ordering::Relaxed).is_ok())
                .then_some(run)
        })
    }

    fn bucket(&self, len: usize) -> Option<&[AtomicU64]> {
        let buckets = self.words.len() / WAYS;
        // Multiplying spreads classes that are multiples of one another.
        let bucket = (len.wrapping_mul(0x9E37_79B9) >> 8) % buckets.max(1);
        self.words.get(bucket * WAYS..(bucket + 1) * WAYS)
    }
}

#[cfg(all(test, not(loom)))]
mod placement;
#[cfg(all(test, loom))]
mod tests;

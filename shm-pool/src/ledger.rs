//! The control area of one pool, as words with names.
//!
//! Upholds invariants 2 (there are only atomics here, and offsets from the private layout), 6 (the
//! ledger owns its mapping) and 11 (the one place that turns the mapping into references).

use crate::arena::{Arena, Recent};
use crate::habit::Habit;
use crate::hints::Hints;
use crate::layout::{Layout, QUEUES, RECENT, at};
use crate::member::Membership;
use crate::slot::SlotWords;
use crate::sync::{AtomicU64, Ordering};
use core::ops::Range;
use core::ptr::NonNull;
use core::sync::atomic::AtomicBool;
use shm_core::segment::Segment;

/// Words of a slot's record; the lanes follow.
pub(crate) mod record {
    pub(crate) const STATE: usize = 0;
    /// First granule and number of granules, 32 bits each.
    pub(crate) const RUN: usize = 1;
    /// Bytes that were asked for.
    pub(crate) const BYTE_LEN: usize = 2;
    /// When the slot was lent, milliseconds of the monotonic clock, and in the low 24 bits the process
    /// id of the producer; for reports.
    pub(crate) const SINCE: usize = 3;
    /// The next part of a batch, as a tag, and in a part the first one.
    pub(crate) const NEXT: usize = 4;
    /// The number of the lend in the life of the pool.
    pub(crate) const ORDER: usize = 5;
    pub(crate) const LANES: usize = 6;
}

/// One handle's view of one pool's bookkeeping.
#[derive(Debug)]
pub(crate) struct Ledger {
    // The mapping below outlives everything that points into it: declared last.
    pub(crate) membership: Membership,
    pub(crate) habit: Habit,
    words: NonNull<[AtomicU64]>,
    pub(crate) layout: Layout,
    nameless: AtomicBool,
    /// See [`Storage::WORKS_ON`](crate::Storage::WORKS_ON).
    pub(crate) works_on: bool,
    pub(crate) segment: Segment,
}

// SAFETY: `words` points into the mapping that `segment` (Send) owns, and consists of atomics.
unsafe impl Send for Ledger {}
// SAFETY: as above; sharing is what atomics are for.
unsafe impl Sync for Ledger {}

impl Ledger {
    /// The ledger of a segment whose geometry gave `layout`.
    pub(crate) fn new(segment: Segment, layout: Layout, works_on: bool) -> Ledger {
        // SAFETY: pools are opened with full or attached access, so the area is writable.
        let words = unsafe { segment.control(0, layout.control_len / 8) };
        let words = NonNull::from(words);
        let (membership, nameless) = (Membership::default(), AtomicBool::new(false));
        let habit = Habit::default();
        Ledger { membership, habit, words, layout, nameless, works_on, segment }
    }

    #[inline]
    fn words(&self) -> &[AtomicU64] {
        // SAFETY: taken from `segment` in `new`, which keeps the pages mapped for as long as `self`.
        unsafe { self.words.as_ref() }
    }

    /// `count` words from byte `offset` on.
    #[inline]
    pub(crate) fn range(&self, offset: usize, count: usize) -> &[AtomicU64] {
        &self.words()[offset / 8..offset / 8 + count]
    }

    /// The word at byte `offset`, see [`at`].
    #[inline]
    pub(crate) fn word(&self, offset: usize) -> &AtomicU64 {
        &self.words()[offset / 8]
    }

    /// Adds to a counter.
    #[inline]
    pub(crate) fn count(&self, offset: usize, by: u64) {
        self.word(offset).fetch_add(by, Ordering::Relaxed);
    }

    /// What a counter stands at.
    #[inline]
    pub(crate) fn counter(&self, offset: usize) -> u64 {
        self.word(offset).load(Ordering::Relaxed)
    }

    /// All words of a slot.
    ///
    /// # Panics
    /// If there is no such slot.
    #[inline]
    pub(crate) fn record(&self, slot: usize) -> &[AtomicU64] {
        assert!(slot < self.layout.slots, "slot {slot} of {}", self.layout.slots);
        let offset = self.layout.at_slots + slot * self.layout.slot_stride;
        self.range(offset, self.layout.slot_stride / 8)
    }

    /// The words that decide about a slot.
    #[inline]
    pub(crate) fn slot(&self, slot: usize) -> SlotWords<'_> {
        let record = self.record(slot);
        let lanes = &record[record::LANES..record::LANES + self.layout.lanes];
        SlotWords { state: &record[record::STATE], lanes }
    }

    /// Where free slots may be found.
    #[inline]
    pub(crate) fn hints(&self) -> Hints<'_> {
        let shape = &self.layout.hints;
        Hints { shape, words: self.range(self.layout.at_hints, shape.len()) }
    }

    /// The granules of a chunk pool; none in a pool of slots.
    pub(crate) fn arena(&self) -> Arena<'_> {
        let granules = self.range(self.layout.at_granules, self.layout.granules);
        Arena { granules, frontier: self.counter(at::FRONTIER) as usize }
    }

    /// Runs that came free a moment ago.
    pub(crate) fn recent(&self) -> Recent<'_> {
        Recent { words: self.range(self.layout.at_recent, RECENT) }
    }

    /// The eight words of a member's entry.
    pub(crate) fn member(&self, member: usize) -> &[AtomicU64] {
        self.range(self.layout.at_members + member * 64, 8)
    }

    /// The eight words of a seat's entry.
    pub(crate) fn seat(&self, seat: usize) -> &[AtomicU64] {
        self.range(self.layout.at_seats + seat * 64, 8)
    }

    /// Who is present, one word per lane.
    #[inline]
    pub(crate) fn audience(&self) -> &[AtomicU64] {
        self.range(self.layout.at_audience, self.layout.lanes)
    }

    /// The words of a queue's entry.
    pub(crate) fn queue(&self, queue: usize) -> &[AtomicU64] {
        assert!(queue < QUEUES, "queue {queue} of {QUEUES}");
        self.range(self.layout.at_queues + queue * 1024, 128)
    }

    /// The cells of all queues.
    pub(crate) fn queue_cells(&self) -> &[AtomicU64] {
        self.range(self.layout.at_cells, self.layout.queue_cells)
    }

    /// The cells of a store's index.
    pub(crate) fn index(&self) -> &[AtomicU64] {
        self.range(self.layout.at_index, self.layout.index_cells)
    }

    /// The eight words that a store keeps for a slot.
    pub(crate) fn entry(&self, slot: usize) -> &[AtomicU64] {
        assert!(self.layout.entries && slot < self.layout.slots, "no entry {slot}");
        self.range(self.layout.at_entries + slot * 64, 8)
    }

    /// The granules of a slot, as far as its record can be believed.
    pub(crate) fn run(&self, slot: usize) -> Range<usize> {
        let word = self.record(slot)[record::RUN].load(Ordering::Relaxed);
        let (start, len) = ((word >> 32) as usize, word as u32 as usize);
        let end = start.saturating_add(len).min(self.layout.granules);
        start.min(end)..end
    }

    /// Sets the granules of a slot that the caller is filling.
    pub(crate) fn set_run(&self, slot: usize, run: Range<usize>) {
        let word = (run.start as u64) << 32 | run.len() as u64;
        self.record(slot)[record::RUN].store(word, Ordering::Relaxed);
    }

    /// True once the pool was unlinked, as far as this handle knows.
    #[inline]
    pub(crate) fn is_retired(&self) -> bool {
        self.segment.is_retired() || self.nameless.load(Ordering::Relaxed)
    }

    /// Asks the system whether the file still has a name: for waiters, in case it was removed by
    /// something that tells nobody.
    pub(crate) fn look_for_name(&self) {
        if !self.segment.is_linked() {
            self.nameless.store(true, Ordering::Relaxed);
        }
    }

    /// Notes how many slots and bytes have been in use at once.
    #[inline]
    pub(crate) fn note_high_water(&self, offset: usize, now: u64) {
        if self.counter(offset) < now {
            self.word(offset).fetch_max(now, Ordering::Relaxed);
        }
    }

    /// Names that the header shows for the counters, and where they lie.
    pub(crate) fn counters() -> Vec<shm_core::segment::CounterSpec> {
        use shm_core::segment::{CounterSpec, Place};
        [
            ("lent", "slot", at::LENT),
            ("freed", "slot", at::FREED),
            ("in_use", "slot", at::IN_USE),
            ("in_use_bytes", "byte", at::IN_USE_BYTES),
            ("high_water", "slot", at::HIGH_WATER),
            ("high_water_bytes", "byte", at::HIGH_WATER_BYTES),
            ("waits", "wait", at::WAITS),
            ("refused", "lend", at::REFUSED),
            ("refused_fragmented", "lend", at::FRAGMENTED),
            ("stale", "ticket", at::STALE),
            ("late", "ack", at::LATE),
            ("dropped", "slot", at::DROPPED),
            ("overdue", "slot", at::OVERDUE),
            ("reclaimed", "slot", at::RECLAIMED),
            ("quarantined", "slot", at::QUARANTINED),
            ("evicted", "entry", at::EVICTED),
            ("hits", "entry", at::HITS),
            ("misses", "entry", at::MISSES),
        ]
        .map(|(name, unit, offset)| CounterSpec { name, unit, place: Place::Control(offset) })
        .into()
    }
}

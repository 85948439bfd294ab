//! The words that say how far the device is, on pages of the pool's segment that it reaches.
//!
//! ```text
//!   0           one page   dense, 8 bytes per slot              records, 8 bytes * (1 + seats)
//!  ├───────────┼──────┬─────────┬───────┬───────┼───────┬──────┬──────┬─────┬───────┬──────┬──┄
//!  │ counters  │ work │ settled │ owner │ place │ ready │ gate │ gate │  …  │ ready │ gate │
//!  └───────────┴──────┴─────────┴───────┴───────┴───────┴──────┴──────┴─────┴───────┴──────┴──┄
//! ```
//!
//! Upholds invariant 2: offsets come from the pool's checked geometry, and any word may hold anything.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering, fence};
use shm_pool::{Member, Pool};

use super::arena::DeviceArena;

const PAGE: usize = 4096;
/// Words of the dense part, per slot.
const DENSE: usize = 4;

/// Counters of the whole pool.
#[derive(Clone, Copy, Debug)]
pub(super) enum Counter {
    HostFallbacks = 0,
    ReleasedWaits = 1,
    ProducerGone = 2,
    /// Slots from this one on were never lent.
    Used = 3,
}

/// Bytes for a pool of that shape, in whole pages.
pub(super) fn len(slots: usize, seats: usize) -> usize {
    (PAGE + slots * (DENSE + 1 + seats) * 8).next_multiple_of(PAGE)
}

/// The companion of one mapping of one pool: an address, valid for as long as that mapping.
///
/// Whoever has one also has the pool; the tasks that are in flight have the address only, and are
/// waited for before the pool is let go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Companion {
    words: NonNull<AtomicU64>,
    slots: usize,
    seats: usize,
}

// SAFETY: the address of atomics, which is what it is for; see above for how long it is valid.
unsafe impl Send for Companion {}
// SAFETY: as above.
unsafe impl Sync for Companion {}

/// What a slot is at, as far as the device goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// The bytes are there.
    Ready,
    /// They are on their way, from that producer.
    Pending(Member),
    /// The slot is used for something else.
    Another,
}

impl Companion {
    pub(super) fn of(pool: &Pool<DeviceArena>) -> Companion {
        let (address, bytes) = pool.companion();
        let (slots, seats) = (pool.slots(), pool.seats());
        assert!(bytes >= len(slots, seats), "the storage asked for as much");
        let words = NonNull::new(address.cast()).expect("a mapping is not at 0");
        Companion { words, slots, seats }
    }

    /// The pages, for registering.
    pub(super) fn pages(&self) -> (*mut u8, usize) {
        (self.words.as_ptr().cast(), len(self.slots, self.seats))
    }

    fn word(&self, index: usize) -> &AtomicU64 {
        assert!(index * 8 < len(self.slots, self.seats), "word {index}");
        // SAFETY: in bounds by the line above, of pages that are mapped for as long as the value is
        // used, by its contract; any bytes are an atomic.
        unsafe { self.words.add(index).as_ref() }
    }

    fn dense(&self, row: usize, slot: usize) -> &AtomicU64 {
        assert!(slot < self.slots, "slot {slot} of {}", self.slots);
        self.word(PAGE / 8 + row * self.slots + slot)
    }

    fn work(&self, slot: usize) -> &AtomicU64 {
        self.dense(0, slot)
    }

    pub(super) fn settled(&self, slot: usize) -> &AtomicU64 {
        self.dense(1, slot)
    }

    fn owner(&self, slot: usize) -> &AtomicU64 {
        self.dense(2, slot)
    }

    fn place(&self, slot: usize) -> &AtomicU64 {
        self.dense(3, slot)
    }

    pub(super) fn ready(&self, slot: usize) -> &AtomicU64 {
        assert!(slot < self.slots, "slot {slot} of {}", self.slots);
        self.word(PAGE / 8 + DENSE * self.slots + slot * (1 + self.seats))
    }

    pub(super) fn gate(&self, slot: usize, seat: usize) -> &AtomicU64 {
        assert!(slot < self.slots && seat < self.seats, "seat {seat} of {}", self.seats);
        self.word(PAGE / 8 + DENSE * self.slots + slot * (1 + self.seats) + 1 + seat)
    }

    pub(super) fn count(&self, counter: Counter) {
        self.word(counter as usize).fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn counter(&self, counter: Counter) -> u64 {
        self.word(counter as usize).load(Ordering::Relaxed)
    }

    pub(super) fn slots(&self) -> usize {
        self.slots
    }

    pub(super) fn seats(&self) -> usize {
        self.seats
    }

    /// Notes that `producer` may queue work for this use of the slot, whose memory is at `offset`.
    pub(super) fn note_work(
        &self,
        slot: usize,
        generation: u64,
        producer: Member,
        (offset, len): (usize, usize),
    ) {
        self.place(slot).store(place(offset, len), Ordering::Relaxed);
        self.owner(slot).store(producer.to_bits(), Ordering::Relaxed);
        self.word(Counter::Used as usize).fetch_max(slot as u64 + 1, Ordering::Relaxed);
        self.work(slot).store(generation, Ordering::Release);
    }

    /// Notes that nothing of this use of the slot is going on any more.
    pub(super) fn note_settled(&self, slot: usize, generation: u64) {
        self.settled(slot).fetch_max(generation, Ordering::AcqRel);
    }

    /// How far this use of the slot is.
    pub(super) fn progress(&self, slot: usize, generation: u64) -> Progress {
        // Acquire: the bytes, where the host reads them, and the acknowledgement come after.
        if self.ready(slot).load(Ordering::Acquire) == generation {
            return Progress::Ready;
        }
        match self.work(slot).load(Ordering::Acquire) {
            work if work == generation => {
                Progress::Pending(Member::from_bits(self.owner(slot).load(Ordering::Relaxed)))
            }
            _ => Progress::Another,
        }
    }

    /// Whose work may still be going on in a slot.
    fn unsettled(&self, slot: usize) -> Option<Member> {
        let work = self.work(slot).load(Ordering::Acquire);
        let settled = self.settled(slot).load(Ordering::Acquire);
        (work > settled).then(|| Member::from_bits(self.owner(slot).load(Ordering::Relaxed)))
    }

    /// Whose work may still be going on in memory that was just lent as `slot`.
    pub(super) fn workers_at(
        &self,
        slot: usize,
        chunks: bool,
        (offset, len): (usize, usize),
    ) -> Option<Member> {
        // The slot's own record is about to be written over, so it counts wherever its memory was.
        let own = self.unsettled(slot);
        if own.is_some() || !chunks {
            return own;
        }
        let wanted = place(offset, len);
        let used = (self.counter(Counter::Used) as usize).min(self.slots);
        (0..used).filter(|&other| other != slot).find_map(|other| {
            let worker = self.unsettled(other)?;
            overlap(self.place(other).load(Ordering::Relaxed), wanted).then_some(worker)
        })
    }

    /// True if work of `producer` is going on anywhere.
    pub(super) fn has_work_of(&self, producer: Member) -> bool {
        let used = (self.counter(Counter::Used) as usize).min(self.slots);
        (0..used).any(|slot| self.unsettled(slot) == Some(producer))
    }

    /// Everything that a publication stores, in order; the same that the device stores in its place.
    pub(super) fn announce(&self, slot: usize, generation: u64, seats: u64) {
        // Release: what was done before this is there for whoever sees it.
        fence(Ordering::Release);
        self.ready(slot).fetch_max(generation, Ordering::AcqRel);
        for seat in (0..self.seats).filter(|seat| seats >> seat & 1 == 1) {
            self.open_gate(slot, seat, generation);
        }
        self.note_settled(slot, generation);
    }

    /// Lets a seat's stream go on.
    pub(super) fn open_gate(&self, slot: usize, seat: usize, generation: u64) {
        self.gate(slot, seat).fetch_max(generation, Ordering::AcqRel);
    }
}

/// Memory in units of 512 bytes: where it begins, and how much.
fn place(offset: usize, len: usize) -> u64 {
    const UNIT: usize = 512;
    ((offset / UNIT) as u64) << 32 | len.div_ceil(UNIT) as u64 & 0xFFFF_FFFF
}

fn overlap(one: u64, other: u64) -> bool {
    let ends = |place: u64| (place >> 32, (place >> 32) + (place & 0xFFFF_FFFF));
    let ((start, end), (from, to)) = (ends(one), ends(other));
    start < to && from < end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_overlap_if_they_share_a_byte() {
        let at = |offset: usize, len| place(offset * 512, len);
        assert!(overlap(at(0, 513), at(1, 1)));
        assert!(!overlap(at(0, 512), at(1, 1)));
        assert!(overlap(at(5, 5120), at(0, 512 * 6)));
        assert!(!overlap(at(5, 5120), at(0, 512 * 5)));
    }

    #[test]
    fn a_pool_of_sixteen_thousand_chunks_needs_two_megabytes() {
        assert_eq!(len(16 << 10, 8) % PAGE, 0);
        assert!(len(16 << 10, 8) <= 2 << 20);
    }
}

//! What a pool is doing, in numbers and names.
//!
//! Upholds invariant 3 in the negative: age is reported and never acted upon.

use crate::consumer::Consumer;
use crate::error::{LendError, RevokeError, SlotHolder};
use crate::fault;
use crate::layout::{Kind, at};
use crate::ledger::{Ledger, record};
use crate::pool::Pool;
use crate::seat::Phase;
use crate::storage::Storage;
use crate::sync::Ordering;
use crate::ticket::Ticket;
use crate::word::{LaneWord, SEATS_PER_LANE, SlotState};
use shm_core::clock;
use std::time::Duration;

/// How many holders an error names.
const NAMED: usize = 8;

/// The state of a pool at one look, and what happened since it was created.
///
/// `free + filling + shared + linked + draining + quarantined + stored + evicting` is the number of
/// slots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStats {
    /// True if chunks of any size are lent.
    pub chunks: bool,
    /// Slots of the pool; of a chunk pool, how many chunks there can be.
    pub slots: usize,
    /// Slots that are nobody's.
    pub free: usize,
    /// Slots that producers fill.
    pub filling: usize,
    /// Publications that are waited for.
    pub shared: usize,
    /// Parts of batches, without the first ones.
    pub linked: usize,
    /// Slots on their way to free.
    pub draining: usize,
    /// Slots that were revoked, or have used up their generations.
    pub quarantined: usize,
    /// Entries of a store.
    pub stored: usize,
    /// Entries that are being taken out of a store.
    pub evicting: usize,
    /// Bytes of the storage.
    pub capacity: u64,
    /// Bytes that can be lent, in as many pieces as they lie in.
    pub free_bytes: u64,
    /// Bytes of the largest piece that can be lent.
    pub largest_free: u64,
    /// Bytes that are lent beyond what was asked for.
    pub wasted_bytes: u64,
    /// The most slots that were in use at once.
    pub high_water: u64,
    /// The most bytes of a chunk pool that were in use at once.
    pub high_water_bytes: u64,
    /// Producers that had to wait.
    pub waits: u64,
    /// Producers that got nothing.
    pub refused: u64,
    /// Of these, those for whom enough bytes were free, but not in one piece.
    pub refused_fragmented: u64,
    /// Tickets that were redeemed too late.
    pub stale: u64,
    /// Releases of what was not held any more.
    pub late: u64,
    /// Publications that were taken back unread.
    pub dropped: u64,
    /// Slots that have been in somebody's hands for longer than the pool's overdue age, right now.
    pub overdue: usize,
    /// Slots that dead processes held, and that were given back.
    pub reclaimed: u64,
    /// Consumers that are present.
    pub consumers: usize,
    /// Entries that were taken out of a store to make room.
    pub evicted: u64,
    /// Keys that a store had when they were asked for.
    pub hits: u64,
    /// Keys that it had not.
    pub misses: u64,
}

impl PoolStats {
    /// Slots that are not free.
    pub fn in_use(&self) -> usize {
        self.slots - self.free
    }

    /// Which part of the free bytes cannot be lent in one piece, from 0 to 1. Always 0 for slots of one
    /// size, each of which is as good as another.
    pub fn fragmentation(&self) -> f64 {
        match self.free_bytes {
            free if free == 0 || !self.chunks => 0.0,
            free => 1.0 - self.largest_free as f64 / free as f64,
        }
    }
}

/// What a pool is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolInfo {
    /// The name exactly as the owner gave it.
    pub name: String,
    /// Random id.
    pub instance: [u8; 16],
    /// True if chunks of any size are lent.
    pub chunks: bool,
    /// Number of slots.
    pub slots: usize,
    /// The most bytes that can be lent at once.
    pub slot_size: usize,
    /// The unit of a chunk pool, in bytes; 0 in a pool of slots.
    pub granule: usize,
    /// Bytes of the storage.
    pub capacity: usize,
    /// Slots begin at multiples of this many bytes.
    pub alignment: usize,
    /// Consumers that are expected.
    pub expected_consumers: usize,
    /// Seats.
    pub seats: usize,
    /// Process id of the owner, as seen in its own pid namespace.
    pub owner_pid: u32,
    /// When the pool was created, nanoseconds since 1970 UTC.
    pub created_wall_ns: u64,
    /// Whether the owner lives.
    pub has_owner: bool,
    /// True once the name was taken away.
    pub is_retired: bool,
    /// Consumers that are present.
    pub consumers: Vec<ConsumerInfo>,
    /// Bytes of shared memory in all.
    pub segment_len: usize,
}

/// A consumer that is present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsumerInfo {
    /// Its seat.
    pub seat: usize,
    /// Its process, as seen in its own pid namespace.
    pub pid: u32,
    /// When it joined, nanoseconds of the monotonic clock.
    pub since_mono_ns: u64,
}

/// A slot that has been in somebody's hands for long. Nothing is taken from them: they may be slow, or
/// stopped, but they live.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Overdue {
    /// The slot.
    pub slot: usize,
    /// What it is at.
    pub state: SlotState,
    /// How long it has been lent.
    pub held_for: Duration,
    /// Process id of the producer.
    pub producer_pid: u32,
    /// Seats that have not released it, one bit each.
    pub waiting_for: u64,
    /// Of these, the seats that have begun to read, one bit each.
    pub held_by: u64,
}

/// How revoking ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Revoked {
    /// Nobody held it: the slot is free.
    Freed,
    /// Seats hold it, one bit each; the slot is quarantined until they release it or die.
    Quarantined {
        /// Who holds it.
        held_by: u64,
    },
}

impl<S: Storage> Pool<S> {
    /// Counts everything. Looks at every slot, so it takes a while on a large pool.
    pub fn stats(&self) -> PoolStats {
        self.ledger().stats()
    }

    /// What the pool is.
    pub fn describe(&self) -> PoolInfo {
        let ledger = self.ledger();
        let layout = &ledger.layout;
        PoolInfo {
            name: self.name().to_owned(),
            instance: self.instance(),
            chunks: layout.kind == Kind::Chunks,
            slots: layout.slots,
            slot_size: layout.slot_size,
            granule: layout.granule,
            capacity: layout.capacity,
            alignment: layout.alignment,
            expected_consumers: layout.expected,
            seats: ledger.seats(),
            owner_pid: ledger.segment.creator_pid(),
            created_wall_ns: ledger.segment.created_wall_ns(),
            has_owner: self.has_owner(),
            is_retired: self.is_retired(),
            consumers: ledger.consumers(),
            segment_len: ledger.segment.total_len(),
        }
    }

    /// Slots that have been in somebody's hands for longer than the pool's overdue age, oldest first.
    pub fn overdue(&self) -> Vec<Overdue> {
        self.ledger().overdue()
    }

    /// Takes a publication out of circulation: nobody redeems it any more. A slot that somebody holds
    /// is not used again before every holder has released it or died, so nothing is taken from anybody.
    ///
    /// # Errors
    /// [`RevokeError`] if the ticket is stale or of another pool.
    pub fn revoke(&self, ticket: &Ticket) -> Result<Revoked, RevokeError> {
        Ok(self.ledger().revoke(ticket)?)
    }

    pub(crate) fn note_refusal(&self, need: usize) -> u64 {
        self.ledger().note_refusal(need)
    }
}

impl Ledger {
    pub(crate) fn stats(&self) -> PoolStats {
        let layout = &self.layout;
        let chunks = layout.kind == Kind::Chunks;
        let mut stats = PoolStats { chunks, slots: layout.slots, ..PoolStats::default() };
        stats.capacity = layout.capacity as u64;
        for slot in 0..layout.slots {
            let state = self.slot(slot).load().state().unwrap_or(SlotState::Quarantined);
            let count = match state {
                SlotState::Free => &mut stats.free,
                SlotState::Filling => &mut stats.filling,
                SlotState::Shared => &mut stats.shared,
                SlotState::Linked => &mut stats.linked,
                SlotState::Draining => &mut stats.draining,
                SlotState::Quarantined => &mut stats.quarantined,
                SlotState::Stored => &mut stats.stored,
                SlotState::Evicting => &mut stats.evicting,
            };
            *count += 1;
            if state != SlotState::Free {
                let has = match layout.kind {
                    Kind::Slots => layout.slot_size,
                    Kind::Chunks => self.run(slot).len() * layout.granule,
                };
                stats.wasted_bytes += has.saturating_sub(self.byte_len_of(slot)) as u64;
            }
        }
        let (free, largest) = self.free_bytes();
        (stats.free_bytes, stats.largest_free) = (free, largest);
        stats.high_water = self.counter(at::HIGH_WATER);
        stats.high_water_bytes = self.counter(at::HIGH_WATER_BYTES);
        stats.waits = self.counter(at::WAITS);
        stats.refused = self.counter(at::REFUSED);
        stats.refused_fragmented = self.counter(at::FRAGMENTED);
        stats.stale = self.counter(at::STALE);
        stats.late = self.counter(at::LATE);
        stats.dropped = self.counter(at::DROPPED);
        stats.reclaimed = self.counter(at::RECLAIMED);
        stats.evicted = self.counter(at::EVICTED);
        stats.hits = self.counter(at::HITS);
        stats.misses = self.counter(at::MISSES);
        stats.consumers = self.consumers().len();
        stats.overdue = self.overdue().len();
        // What the header shows to tools that know nothing of pools.
        self.word(at::IN_USE).store(stats.in_use() as u64, Ordering::Relaxed);
        self.word(at::OVERDUE).store(stats.overdue as u64, Ordering::Relaxed);
        self.word(at::QUARANTINED).store(stats.quarantined as u64, Ordering::Relaxed);
        stats
    }

    fn free_bytes(&self) -> (u64, u64) {
        match self.layout.kind {
            Kind::Slots => {
                let free = (0..self.layout.slots)
                    .filter(|slot| self.slot(*slot).load().is(SlotState::Free))
                    .count() as u64;
                let size = self.layout.slot_size as u64;
                (free * size, if free > 0 { size } else { 0 })
            }
            Kind::Chunks => {
                let extents = self.arena().extents(|tag| self.length_of(tag));
                let granule = self.layout.granule as u64;
                (extents.free as u64 * granule, extents.largest as u64 * granule)
            }
        }
    }

    /// Counts a refusal; returns the bytes that are free.
    pub(crate) fn note_refusal(&self, need: usize) -> u64 {
        self.count(at::REFUSED, 1);
        if self.layout.kind == Kind::Slots && !self.somebody_waits() {
            return 0;
        }
        let (free, largest) = self.free_bytes();
        let needed = (need.max(1) * self.layout.granule) as u64;
        if self.layout.kind == Kind::Chunks && free >= needed && largest < needed {
            self.count(at::FRAGMENTED, 1);
        }
        free
    }

    pub(crate) fn consumers(&self) -> Vec<ConsumerInfo> {
        (0..self.seats())
            .map(|seat| (seat, self.seat_word(seat)))
            .filter(|(_, word)| word.phase() == Phase::Live)
            .map(|(seat, word)| ConsumerInfo {
                seat,
                pid: self.member_pid(word.member() % crate::member::MEMBERS),
                since_mono_ns: self.seat_since(seat),
            })
            .collect()
    }

    pub(crate) fn overdue(&self) -> Vec<Overdue> {
        let mut overdue: Vec<Overdue> =
            (0..self.layout.slots).filter_map(|slot| self.overdue_slot(slot)).collect();
        overdue.sort_unstable_by_key(|overdue| core::cmp::Reverse(overdue.held_for));
        overdue
    }

    fn overdue_slot(&self, slot: usize) -> Option<Overdue> {
        let state = self.slot(slot).load();
        let named = state.state()?;
        let lent = matches!(
            named,
            SlotState::Filling | SlotState::Shared | SlotState::Draining | SlotState::Quarantined
        );
        let held_for = self.held_for(slot);
        if !lent || (held_for.as_nanos() as u64) < self.layout.overdue_ns {
            return None;
        }
        let (waiting_for, held_by) = self.flags(slot, state.generation());
        let producer_pid = self.producer_pid(slot);
        Some(Overdue { slot, state: named, held_for, producer_pid, waiting_for, held_by })
    }

    pub(crate) fn held_for(&self, slot: usize) -> Duration {
        let since = self.record(slot)[record::SINCE].load(Ordering::Relaxed) >> 24;
        Duration::from_millis((clock::coarse_ns() / 1_000_000).saturating_sub(since))
    }

    /// Process id of the producer of a slot.
    pub(crate) fn producer_pid(&self, slot: usize) -> u32 {
        (self.record(slot)[record::SINCE].load(Ordering::Relaxed) & 0xFF_FFFF) as u32
    }

    /// Seats that have not released a generation of a slot, and of these the ones that hold it.
    pub(crate) fn flags(&self, slot: usize, generation: u64) -> (u64, u64) {
        let (mut waiting_for, mut held_by) = (0, 0);
        for (index, lane) in self.slot(slot).lanes.iter().enumerate() {
            let word = LaneWord(lane.load(Ordering::Acquire));
            if word.generation() == generation {
                let shift = index * SEATS_PER_LANE;
                waiting_for |= u64::from(word.pending() | word.held()) << shift;
                held_by |= u64::from(word.held()) << shift;
            }
        }
        (waiting_for, held_by)
    }

    /// Who has had slots for longest, oldest first, as far as the first `slots` tell.
    pub(crate) fn longest_held(&self, slots: usize) -> Vec<SlotHolder> {
        let mut holders = Vec::new();
        for slot in 0..self.layout.slots.min(slots) {
            let state = self.slot(slot).load();
            let held_for = self.held_for(slot);
            match state.state() {
                Some(SlotState::Filling) => {
                    let pid = self.member_pid(usize::from(state.party()) % 256);
                    holders.push(SlotHolder { pid, seat: None, slot, held_for });
                }
                Some(SlotState::Shared | SlotState::Quarantined) => {
                    let (waiting_for, _) = self.flags(slot, state.generation());
                    for seat in (0..64).filter(|seat| waiting_for & 1 << seat != 0) {
                        let member = self.seat_word(seat).member();
                        let pid = self.member_pid(member % 256);
                        holders.push(SlotHolder { pid, seat: Some(seat), slot, held_for });
                    }
                }
                _ => {}
            }
        }
        holders.sort_by_key(|holder| core::cmp::Reverse(holder.held_for));
        holders.truncate(NAMED);
        holders
    }

    fn revoke(&self, ticket: &Ticket) -> Result<Revoked, crate::error::RedeemError> {
        use crate::error::RedeemError;
        let name = || self.segment.name().to_owned();
        let (slot, slots) = (ticket.index as usize, self.layout.slots);
        if ticket.instance != self.segment.instance() {
            return Err(RedeemError::Foreign { name: name() });
        }
        if slot >= slots {
            return Err(RedeemError::NoSlot { name: name(), slot, slots });
        }
        let (words, generation) = (self.slot(slot), ticket.generation);
        if let Err(found) = words.quarantine(generation) {
            let state = found.state().unwrap_or(SlotState::Quarantined);
            let (name, found) = (name(), found.generation());
            return Err(RedeemError::Stale { name, slot, generation, state, found });
        }
        fault::hit("revoke.marked");
        self.count(at::QUARANTINED, 1);
        words.clear_unread(generation);
        let drain = self.needs_draining(slot);
        if words.free_if_done(generation, 0, drain) {
            self.finish(slot, generation, drain);
            return Ok(Revoked::Freed);
        }
        // Its last holder may have freed it in the meantime.
        if words.is_unread_and_unheld(generation) {
            return Ok(Revoked::Freed);
        }
        Ok(Revoked::Quarantined { held_by: self.flags(slot, generation).1 })
    }
}

impl<S: Storage> Consumer<S> {
    /// Slots that wait for this consumer to redeem or to release them.
    pub fn pending(&self) -> usize {
        let seated = self.seated();
        let (ledger, bit) = (&seated.core.ledger, 1 << seated.seat);
        (0..ledger.layout.slots)
            .filter(|slot| {
                let state = ledger.slot(*slot).load();
                state.is(SlotState::Shared) && ledger.flags(*slot, state.generation()).0 & bit != 0
            })
            .count()
    }
}

impl LendError {
    /// Who has had slots for longest, if the pool was full.
    pub fn holders(&self) -> &[SlotHolder] {
        match self {
            LendError::Full { holders, .. } | LendError::Timeout { holders, .. } => holders,
            _ => &[],
        }
    }
}

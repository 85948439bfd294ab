//! Where everything lies in a pool's control area.
//!
//! ```text
//!   control area (every attached process may write it)                     payload (producers only)
//!  ┌──────────┬─────────┬───────┬──────────┬───────┬───────┬──────────┬───────┬───────┐ ┌─────────┐
//!  │ counters │ members │ seats │ audience │ line  │ hints │ slots    │ gran- │ store │ │ slot 0  │
//!  │ and      │ 256     │ 64    │ 8 words  │ 128   │ tree  │ 64 or    │ ules  │ index │ │ slot 1  │
//!  │ words    │ entries │       │          │ cells │       │ 128 each │ queues│       │ │ …       │
//!  └──────────┴─────────┴───────┴──────────┴───────┴───────┴──────────┴───────┴───────┘ └─────────┘
//! ```
//!
//! All of it begins as zeroes, which is a pool where everything is free. Upholds invariant 2: the
//! geometry is copied and checked once; offsets come from the copy, never from the segment.

use crate::config::MAX_GRANULES;
use crate::hints::HintShape;
use crate::member::MEMBERS;
use crate::seat::MAX_SEATS;
use crate::word::SEATS_PER_LANE;
use bytemuck::{Pod, Zeroable};
use shm_core::OpenError;
use shm_core::segment::Segment;

/// What the segments of this crate say they are.
pub(crate) const POOL_KIND: &str = "pool";

/// Cells of the line of waiting producers.
pub(crate) const LINE: usize = 128;
/// Queues of a pool.
pub(crate) const QUEUES: usize = 16;

/// Words for runs that came free a moment ago.
pub(crate) const RECENT: usize = 512;

const ENTRY: usize = 64;
const QUEUE_LEN: usize = 1024;
/// Cells of the index per slot of a store.
const INDEX_PER_SLOT: usize = 4;

/// How a pool lends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Kind {
    /// Slots of one size.
    Slots = 0,
    /// Runs of granules.
    Chunks = 1,
}

/// The immutable description of a pool.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub(crate) struct Geometry {
    pub(crate) version: u32,
    pub(crate) kind: u32,
    pub(crate) slots: u64,
    pub(crate) slot_size: u64,
    pub(crate) granules: u64,
    pub(crate) granule: u64,
    pub(crate) capacity: u64,
    pub(crate) alignment: u64,
    pub(crate) expected: u32,
    /// 1 if the slots are entries of a store.
    pub(crate) entries: u32,
    pub(crate) queue_cells: u64,
    pub(crate) overdue_ns: u64,
    /// How long an entry of a store is believed; 0 is for ever.
    pub(crate) ttl_ns: u64,
    pub(crate) reserved: [u64; 3],
}

const _: () = assert!(size_of::<Geometry>() == 112);

impl Geometry {
    pub(crate) const VERSION: u32 = 1;
}

/// Words at the start of the control area. Those that every lend changes have lines of their own.
pub(crate) mod at {
    /// Slots that were ever lent; it numbers the lends.
    pub(crate) const LENT: usize = 0;
    /// Slots that came free.
    pub(crate) const FREED: usize = 512;
    pub(crate) const HIGH_WATER: usize = 64;
    pub(crate) const HIGH_WATER_BYTES: usize = 72;
    pub(crate) const WAITS: usize = 80;
    pub(crate) const REFUSED: usize = 88;
    pub(crate) const STALE: usize = 96;
    pub(crate) const DROPPED: usize = 104;
    pub(crate) const RECLAIMED: usize = 112;
    pub(crate) const QUARANTINED: usize = 120;
    pub(crate) const OVERDUE: usize = 128;
    pub(crate) const FRAGMENTED: usize = 136;
    pub(crate) const EVICTED: usize = 144;
    pub(crate) const HITS: usize = 152;
    pub(crate) const MISSES: usize = 160;
    pub(crate) const LATE: usize = 168;
    /// Slots that were not free when somebody last counted.
    pub(crate) const IN_USE: usize = 176;
    /// Bytes of granules that are not free, right now.
    pub(crate) const IN_USE_BYTES: usize = 184;
    /// The number of the next one in the line.
    pub(crate) const NEXT_IN_LINE: usize = 192;
    /// Which cells of the line may be taken: two words.
    pub(crate) const IN_LINE: usize = 256;
    /// The run of granules that is kept for the first in the line.
    pub(crate) const KEPT: usize = 320;
    /// The end of what was ever claimed, in granules.
    pub(crate) const FRONTIER: usize = 328;
    /// Entries of members from this one on were never used.
    pub(crate) const MEMBERS_USED: usize = 336;
    /// What store waiters sleep on.
    pub(crate) const COMMITS: usize = 384;
    /// Monotonic clock of the last sweep, for pacing.
    pub(crate) const LAST_REAP: usize = 448;
    pub(crate) const END: usize = 640;
}

/// Offsets of one pool, from a geometry that was checked.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) kind: Kind,
    pub(crate) slots: usize,
    pub(crate) slot_size: usize,
    pub(crate) granules: usize,
    pub(crate) granule: usize,
    pub(crate) capacity: usize,
    pub(crate) alignment: usize,
    pub(crate) expected: usize,
    pub(crate) lanes: usize,
    pub(crate) entries: bool,
    pub(crate) overdue_ns: u64,
    pub(crate) ttl_ns: u64,
    pub(crate) queue_cells: usize,
    pub(crate) hints: HintShape,
    pub(crate) index_cells: usize,
    pub(crate) at_members: usize,
    pub(crate) at_seats: usize,
    pub(crate) at_audience: usize,
    pub(crate) at_line: usize,
    pub(crate) at_hints: usize,
    pub(crate) at_slots: usize,
    pub(crate) slot_stride: usize,
    pub(crate) at_granules: usize,
    pub(crate) at_recent: usize,
    pub(crate) at_queues: usize,
    pub(crate) at_cells: usize,
    pub(crate) at_index: usize,
    pub(crate) at_entries: usize,
    pub(crate) control_len: usize,
}

/// A field of a geometry that cannot be, as `(field, expected, found)`.
type Wrong = (&'static str, String, u64);

impl Layout {
    /// Checks a geometry and computes every offset.
    pub(crate) fn new(geometry: &Geometry) -> Result<Layout, Wrong> {
        let wrong = |field, expected: String, found| Err((field, expected, found));
        if geometry.version != Geometry::VERSION {
            return wrong("version", Geometry::VERSION.to_string(), geometry.version.into());
        }
        let kind = match geometry.kind {
            0 => Kind::Slots,
            1 => Kind::Chunks,
            found => return wrong("kind", "0 or 1".into(), found.into()),
        };
        let most = match kind {
            Kind::Slots => crate::config::MAX_SLOTS,
            Kind::Chunks => crate::arena::MAX_CHUNKS,
        };
        let range = |field, found: u64, least: u64, most: u64| match found {
            found if (least..=most).contains(&found) => Ok(found as usize),
            found => Err((field, format!("{least}..={most}"), found)),
        };
        let slots = range("slots", geometry.slots, 1, most as u64)?;
        let alignment = range("alignment", geometry.alignment, 256, 1 << 21)?;
        if !alignment.is_power_of_two() {
            return wrong("alignment", "a power of two".into(), geometry.alignment);
        }
        let capacity = range("capacity", geometry.capacity, 1, isize::MAX as u64)?;
        let slot_size = range("slot_size", geometry.slot_size, 1, geometry.capacity)?;
        let (granules, granule) = match kind {
            Kind::Slots => {
                let whole = slot_size.checked_mul(slots);
                if whole != Some(capacity) || !slot_size.is_multiple_of(alignment) {
                    return wrong("slot_size", format!("{}", capacity / slots), geometry.slot_size);
                }
                (0, 0)
            }
            Kind::Chunks => {
                let granule = range("granule", geometry.granule, 4096, 1 << 40)?;
                let granules = range("granules", geometry.granules, 1, MAX_GRANULES as u64)?;
                if !granule.is_power_of_two() || granule.checked_mul(granules) != Some(capacity) {
                    return wrong("granule", format!("{}", capacity / granules), geometry.granule);
                }
                (granules, granule)
            }
        };
        let expected = range("expected", geometry.expected.into(), 1, MAX_SEATS as u64)?;
        let entries = range("entries", geometry.entries.into(), 0, 1)? == 1;
        let queue_cells = range("queue_cells", geometry.queue_cells, 0, 1 << 20)?;
        // Workers of a store take seats too, as many as there are.
        let lanes = if entries { MAX_SEATS } else { expected }.div_ceil(SEATS_PER_LANE);
        let slot_stride = if lanes <= 2 { 64 } else { 128 };
        let index_cells =
            if entries { (slots * INDEX_PER_SLOT).next_power_of_two().max(64) } else { 0 };
        let hints = HintShape::new(slots);
        let mut end = at::END;
        let mut place = |len: usize| {
            let start = end;
            end = (start + len).next_multiple_of(128);
            start
        };
        Ok(Layout {
            kind,
            slots,
            slot_size,
            granules,
            granule,
            capacity,
            alignment,
            expected,
            lanes,
            entries,
            overdue_ns: geometry.overdue_ns,
            ttl_ns: geometry.ttl_ns,
            queue_cells,
            index_cells,
            at_members: place(MEMBERS * ENTRY),
            at_seats: place(MAX_SEATS * ENTRY),
            at_audience: place(MAX_SEATS / SEATS_PER_LANE * 8),
            at_line: place(LINE * ENTRY),
            at_hints: place(hints.len() * 8),
            at_slots: place(slots * slot_stride),
            slot_stride,
            at_granules: place(granules * 8),
            at_recent: place(RECENT * 8),
            at_queues: place(QUEUES * QUEUE_LEN),
            at_cells: place(queue_cells * 8),
            at_index: place(index_cells * 8),
            at_entries: place(if entries { slots * ENTRY } else { 0 }),
            hints,
            control_len: end,
        })
    }

    /// Checks what a segment says about itself.
    pub(crate) fn of(segment: &Segment, payload: bool) -> Result<Layout, OpenError> {
        let corrupt = |(field, expected, found): Wrong| {
            OpenError::corrupt(segment.name(), field, expected, found)
        };
        let bytes = segment.geometry();
        if bytes.len() < size_of::<Geometry>() {
            let (expected, found) = (format!("{} bytes", size_of::<Geometry>()), bytes.len());
            return Err(corrupt(("geometry", expected, found as u64)));
        }
        let geometry: Geometry = bytemuck::pod_read_unaligned(&bytes[..size_of::<Geometry>()]);
        let layout = Layout::new(&geometry).map_err(corrupt)?;
        if segment.control_len() < layout.control_len {
            let expected = format!("at least {}", layout.control_len);
            return Err(corrupt(("control_len", expected, segment.control_len() as u64)));
        }
        if payload && segment.payload_len() != layout.capacity {
            let expected = layout.capacity.to_string();
            return Err(corrupt(("payload_len", expected, segment.payload_len() as u64)));
        }
        Ok(layout)
    }

    /// How many granules a chunk of `bytes` gets: thirty-two steps per octave, exact when it is huge.
    #[inline]
    pub(crate) fn granules_for(&self, bytes: usize) -> usize {
        let exact = bytes.div_ceil(self.granule).max(1);
        if exact > self.granules / 8 { exact } else { class_of(exact) }
    }
}

/// The class of a length: itself up to 64, then 66, 68, … 128, 132, … that is not below it.
///
/// Coarser classes make chunks more interchangeable, and yet worse to place: in a simulated gigabyte
/// kept 90 % full with 2 to 130 MiB, 4 steps per octave refused 7.0 % of the requests, 8 steps 6.1 %,
/// 16 steps 5.7 %, 32 steps 5.4 %, no classes 5.3 %.
#[inline]
pub(crate) fn class_of(granules: usize) -> usize {
    if granules <= 2 * STEPS {
        return granules.max(1);
    }
    let step = 1 << ((granules - 1).ilog2() - STEPS.ilog2());
    granules.next_multiple_of(step)
}

/// Classes per octave.
const STEPS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_waste_at_most_a_thirty_third() {
        let mut classes = Vec::new();
        for granules in 1..10_000 {
            let class = class_of(granules);
            assert!(class >= granules && (class - granules) * 33 <= class, "{granules} in {class}");
            assert_eq!(class_of(class), class);
            if classes.last() != Some(&class) {
                classes.push(class);
            }
        }
        assert_eq!(classes[60..68], [61, 62, 63, 64, 66, 68, 70, 72]);
    }
}

#[cfg(test)]
mod hostile;

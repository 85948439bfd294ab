//! Named runs of shared pages that describe themselves.
//!
//! ```text
//!  0          fixed_len     hot_offset       payload_offset             control_offset
//!  ├───────────────┬────────────┬──────────────────┬────────────────────────┬─────────────────────┐
//!  │ header, name, │            │ retired flag,    │                        │ wake-up words,      │
//!  │ geometry,     │            │ counters, cells, │ payload                │ participants        │
//!  │ counter table │            │ small payloads   │                        │ (a page of its own) │
//!  ├───────────────┴────────────┴──────────────────┴────────────────────────┼─────────────────────┤
//!  │ readers: read-only                                                     │ readers: writable   │
//!  └────────────────────────────────────────────────────────────────────────┴─────────────────────┘
//! ```
//!
//! A kind of segment of one's own is a [`SegmentSpec`], words in the control area
//! ([`Segment::control`]) that every attached process may change, and bytes of payload that only
//! handles with full access may write. Who is alive is told by bytes that the kernel locks
//! ([`Segment::try_hold`]); who waits sleeps on a word ([`Segment::park`]).
//!
//! The payload follows directly, and the one page that readers may write comes last: a segment costs
//! its payload and about two pages.
//!
//! Upholds invariants 1, 2, 4, 6 and 9. On Linux a segment is built as a draft under a name that
//! nobody opens, and gets its own name, in one step, when it is complete: openers see nothing or a
//! finished segment. The magic number is stored last all the same, so that the rule "no magic, not
//! ready" holds on every platform and for every half-born file.

mod counter;
mod create;
mod error;
mod gc;
mod header;
mod info;
mod kind;
mod open;
mod participants;
#[cfg(any(feature = "testing", not(target_os = "linux")))]
mod portable;
mod unlink;

pub use counter::CounterValue;
pub use error::{CreateError, OpenError, UnlinkError};
pub use gc::{GcReport, gc, remove_drafts};
pub use info::{Holder, Role, SegmentInfo, list, stat};
pub use kind::{HOLDABLE, Held};
pub use unlink::{unlink, unlink_unused};

pub use counter::{CounterSpec, Place};
pub use create::{Lifetime, SegmentSpec};

pub use crate::os::Access;

use crate::event::Event;
use crate::lock_word::LockWord;
use crate::name::SegmentName;
use crate::os::{Backing, Region, generation};
use crate::sync::{AtomicU64, Ordering};
use header::SegmentHeader;
use participants::Participation;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of the control page that belong to the segment layer; the kind's own words follow.
pub(crate) const CONTROL_LEN: usize = 4096;

/// Payloads begin at a multiple of a cache line.
pub(crate) const PAYLOAD_ALIGN: usize = 64;

/// Bytes of the hot part that belong to the segment layer.
pub(crate) const HOT_LEN: usize = 64;

/// States of the name, as the word at [`offset::RETIRED`] tells them.
const LIVE: u64 = 0;
const RETIRED: u64 = 1;
const RETIRING: u64 = 2;

/// Offsets inside the hot part and the control page that all kinds share.
mod offset {
    pub(super) const RETIRED: usize = 0;
    pub(super) const WRITER: usize = 40;
    pub(super) const IDENTITIES: usize = 48;
    pub(super) const WAKE: usize = 0;
    pub(super) const WAKE_CHAIN: usize = 8;
    pub(super) const LOCK: usize = 64;
    pub(super) const LOCK_CHAIN: usize = 72;
    /// Room for the portable wake-up, see `os::portable`.
    #[cfg(any(feature = "testing", not(target_os = "linux")))]
    pub(super) const PORTABLE: usize = 128;
    pub(super) const PARTICIPANTS: usize = 1024;
}

/// One handle on one segment: the pages, the locks that die with the process, and sleep.
#[derive(Debug)]
pub struct Segment {
    // Participation lets go of its byte before the locks, and the region before the descriptor.
    participation: Option<Participation>,
    name: String,
    header: SegmentHeader,
    geometry: Vec<u8>,
    metadata: Vec<u8>,
    access: Access,
    region: Region,
    backing: Arc<dyn Backing>,
    /// The process id, which the system is asked for once per process.
    pid: AtomicU64,
    /// What the creator holds from the start.
    hold: Option<Held>,
}

impl Segment {
    /// A handle over parts that were checked or just made; it takes part at once.
    fn assemble(
        name: &SegmentName,
        header: SegmentHeader,
        fixed: &[u8],
        access: Access,
        region: Region,
        backing: Arc<dyn Backing>,
    ) -> Segment {
        let mut segment = Segment {
            participation: None,
            name: name.text().to_owned(),
            geometry: SegmentHeader::slice(fixed, header.geometry).to_vec(),
            metadata: SegmentHeader::slice(fixed, header.metadata).to_vec(),
            header,
            access,
            region,
            backing,
            pid: AtomicU64::new(0),
            hold: None,
        };
        segment.take_part();
        segment
    }

    /// The name as the creator gave it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The kind's own immutable description.
    pub fn geometry(&self) -> &[u8] {
        &self.geometry
    }

    /// The creator's own immutable bytes.
    pub fn metadata(&self) -> &[u8] {
        &self.metadata
    }

    /// Random id: two segments that ever had the same name differ in it.
    #[inline]
    pub fn instance(&self) -> [u8; 16] {
        self.header.instance
    }

    /// Process id of the creator.
    pub fn creator_pid(&self) -> u32 {
        self.header.creator_pid
    }

    /// True if the segment asked to live only as long as somebody is attached.
    pub fn is_temporary(&self) -> bool {
        self.header.lifetime == Lifetime::Attached as u32
    }

    /// What this handle may write.
    #[inline]
    pub fn access(&self) -> Access {
        self.access
    }

    /// Length of the file.
    pub fn total_len(&self) -> usize {
        self.region.len()
    }

    /// A word of the hot part.
    #[inline]
    pub(crate) fn hot(&self, offset: usize) -> &AtomicU64 {
        self.region.word64(self.header.hot_offset as usize + offset)
    }

    /// The pages.
    #[inline]
    pub(crate) fn region(&self) -> &Region {
        &self.region
    }

    /// Where the hot part begins.
    #[inline]
    pub(crate) fn hot_offset(&self) -> usize {
        self.header.hot_offset as usize
    }

    /// Where the payload begins in the file.
    #[inline]
    pub fn payload_offset(&self) -> usize {
        self.header.payload_offset as usize
    }

    /// Page size of the system that it was made on.
    pub(crate) fn page_size(&self) -> usize {
        self.header.page_size as usize
    }

    pub(crate) fn hot_len(&self) -> usize {
        self.header.hot_len as usize
    }

    /// Bytes of payload.
    #[inline]
    pub fn payload_len(&self) -> usize {
        self.header.payload_len as usize
    }

    pub(crate) fn backing(&self) -> &dyn Backing {
        &*self.backing
    }

    /// The event that data waiters sleep on.
    pub(crate) fn wake_event(&self) -> Event<'_> {
        self.event(offset::WAKE, offset::WAKE_CHAIN)
    }

    /// The event that waiters for the writer lock sleep on.
    pub(crate) fn lock_event(&self) -> Event<'_> {
        self.event(offset::LOCK, offset::LOCK_CHAIN)
    }

    fn event(&self, word: usize, chain: usize) -> Event<'_> {
        let control = self.header.control_offset as usize;
        Event {
            word: self.region.word64(control + word),
            chain: self.region.word32(control + chain),
        }
    }

    /// The word that says who holds the writer lock.
    #[inline]
    pub(crate) fn writer_lock(&self) -> LockWord<'_> {
        LockWord { word: self.hot(offset::WRITER) }
    }

    /// The identity under which this handle takes locks. Full access only.
    #[inline]
    pub(crate) fn identity(&self) -> std::io::Result<u64> {
        let draw = || self.hot(offset::IDENTITIES).fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        self.backing.locks().identity(draw)
    }

    /// This process, for reports.
    #[inline]
    pub fn pid(&self) -> u32 {
        // The generation tells a forked child that the remembered one is its parent's.
        let tag = (generation() + 1) << 32;
        let known = self.pid.load(Ordering::Relaxed);
        if known & !u64::from(u32::MAX) == tag {
            return known as u32;
        }
        let pid = std::process::id();
        self.pid.store(tag | u64::from(pid), Ordering::Relaxed);
        pid
    }

    /// How long a sleeper may stay asleep after a wake-up was lost to a killed peer.
    pub(crate) fn recheck(&self) -> Duration {
        match self.access {
            // It cannot arm a wake-up, so it looks: 200 times a second cost less than 0.1 %.
            Access::ReadOnly => Duration::from_millis(5),
            Access::Full | Access::Attached => self.backing.recheck(),
        }
    }

    /// True once the name was taken away or given to another segment.
    #[inline]
    pub fn is_retired(&self) -> bool {
        match self.hot(offset::RETIRED).load(Ordering::Acquire) {
            LIVE => false,
            state => self.is_retired_in(state),
        }
    }

    /// While somebody is taking the name away, and for ever if it was killed doing so, the file
    /// itself knows whether it still has one.
    #[cold]
    fn is_retired_in(&self, state: u64) -> bool {
        state != RETIRING || !self.backing.is_linked()
    }

    /// Says that the name is about to be taken away.
    pub(crate) fn begin_retiring(&self) {
        self.hot(offset::RETIRED).store(RETIRING, Ordering::Release);
    }

    /// Says whether the name was taken away, and wakes everyone if it was.
    pub(crate) fn end_retiring(&self, taken: bool) {
        let state = if taken { RETIRED } else { LIVE };
        self.hot(offset::RETIRED).store(state, Ordering::Release);
        if taken {
            self.wake_event().ring_all(self.backing().parker());
            self.lock_event().ring_all(self.backing().parker());
        }
    }

    /// Who takes part, as far as this handle's own record goes.
    pub(crate) fn set_role(&self, role: Role) {
        if let Some(participation) = &self.participation {
            participation.set_role(&self.region, role);
        }
    }
}

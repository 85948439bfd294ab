//! Named points at which a test can kill, stop or delay the calling process; nothing without the
//! feature `testing`. See [`shm_core::fault`](https://docs.rs/shm-core).

#[cfg(feature = "testing")]
pub(crate) use shm_core::fault::hit;

#[cfg(not(feature = "testing"))]
#[inline(always)]
pub(crate) fn hit(_point: &str) {}

/// Every point of this crate, for [`shm_core::fault::arm_in`].
#[cfg(feature = "testing")]
pub const POINTS: &[&str] = &[
    "seat.taken",
    "seat.leaving",
    "seat.cleared",
    "lend.hinted",
    "lend.claimed",
    "lend.granule",
    "lend.ready",
    "fill.half",
    "batch.linked",
    "batch.half",
    "publish.shared",
    "publish.done",
    "redeem.held",
    "release.cleared",
    "free.state",
    "free.drained",
    "free.hinted",
    "line.entered",
    "line.served",
    "line.left",
    "drop.cleared",
    "revoke.marked",
    "reap.half",
    "queue.put",
    "queue.claimed",
    "queue.taken",
    "store.tentative",
    "store.established",
    "store.committed",
    "store.pinned",
    "store.evicting",
    "store.unindexed",
];

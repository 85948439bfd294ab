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
    "cuda.create.allocated",
    "cuda.create.exported",
    "cuda.open.imported",
    "cuda.publish.announced",
    "cuda.publish.begun",
    "cuda.publish.copied",
    "cuda.publish.finished",
];

//! Named points at which a test can kill, stop or delay the calling process; nothing without the
//! feature `testing`. See [`shm_core::fault`](https://docs.rs/shm-core).

#[cfg(feature = "testing")]
pub(crate) use shm_core::fault::hit;

#[cfg(not(feature = "testing"))]
#[inline(always)]
pub(crate) fn hit(_point: &str) {}

/// Every point of the pools on devices and of the transport, for [`shm_core::fault::arm_in`].
#[cfg(feature = "testing")]
pub const POINTS: &[&str] = &[
    "cuda.pool.allocated",
    "cuda.pool.created",
    "cuda.pool.mapped",
    "cuda.pool.lent",
    "cuda.pool.noted",
    "cuda.pool.queued",
    "cuda.pool.announced",
    "cuda.pool.published",
    "cuda.pool.redeemed",
    "cuda.pool.watched",
    "cuda.pool.copying",
    "cuda.pool.acknowledging",
    "cuda.transport.wrapped",
    "cuda.transport.unwrapping",
];

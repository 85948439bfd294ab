//! What a pool on a device is doing, in numbers.

use super::companion::Counter;
use super::handle::DevicePool;
use super::publication::Publication;
use shm_pool::PoolStats;

/// The state of a pool at one look, and what happened since it was created, in all processes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DevicePoolStats {
    /// What every pool counts.
    pub pool: PoolStats,
    /// How this handle says that a publication is there.
    pub publication: Publication,
    /// How often something was done on the host because the device, or the driver, would not: handles
    /// whose device cannot store words, publications, waits and acknowledgements.
    pub host_fallbacks: u64,
    /// Streams that were let go on without what they waited for.
    pub released_waits: u64,
    /// Publications whose producer died before the bytes were there, once per consumer.
    pub producer_gone: u64,
}

impl DevicePoolStats {
    pub(super) fn of(pool: &DevicePool) -> DevicePoolStats {
        let companion = &pool.inner.reach.companion;
        DevicePoolStats {
            pool: pool.ledger().stats(),
            publication: pool.publication(),
            host_fallbacks: companion.counter(Counter::HostFallbacks),
            released_waits: companion.counter(Counter::ReleasedWaits),
            producer_gone: companion.counter(Counter::ProducerGone),
        }
    }
}

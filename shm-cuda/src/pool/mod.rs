//! Device memory that is lent between processes, acknowledged and recycled: pools on a device.
//!
//! The bookkeeping is shm-pool's, in host shared memory; what is lent lies in one device allocation, which is
//! exported once and imported once per process. What is new on a device is that nothing is there yet when
//! the call that puts it there returns. So each slot has words of its own, on pages that the device
//! reaches, and they change in the order of the work:
//!
//! ```text
//!   producer's stream  ──[ copy into the slot ]──[ ready := n, gates := n, settled := n ]──▶
//!                                                              │
//!   consumer's stream  ──[ wait: gate ≥ n ]◀───────────────────┘──[ copy out ]──[ acknowledge ]──▶
//!                              ▲                                                       │
//!                              └── watcher, if the producer dies or it takes too long   └─▶ the slot is free
//! ```
//!
//! | word             | who stores it                                 | says                                          |
//! |------------------|-----------------------------------------------|-----------------------------------------------|
//! | `ready`          | the producer's stream                         | the bytes of use `n` are there: exactly equal |
//! | `gate`, per seat | the producer's stream, the consumer's watcher | that seat's stream may go on: at least `n`    |
//! | `work`, `owner`  | the producer, when it is lent the slot        | work for use `n` may be going on              |
//! | `settled`        | the producer's stream, as the last            | nothing of use `n` is going on any more       |
//!
//! `n` is the generation of the slot, used once in the life of the pool, so all of them only ever grow.
//! Memory with work that is not settled, of a producer that is not gone, is not lent again, however it came
//! free: so nothing of an earlier use is ever stored late.
//!
//! ```no_run
//! use shm_cuda::pool::{DeviceConsumer, DevicePool};
//! use shm_cuda::{CudaStream, Device, DeviceBuffer};
//! use shm_pool::{Audience, Policy, PoolConfig, Wait};
//! use std::time::Duration;
//!
//! let device = Device::open(0)?;
//! let stream = CudaStream::new(&device)?;
//! let pool = DevicePool::create("features", &PoolConfig::chunks(1 << 30)?, &device)?;
//! let features = DeviceBuffer::new(&device, 1 << 20)?;
//! let mut slot = pool.lend(1 << 20, Wait::from(Duration::from_secs(1)), Policy::Block)?;
//! slot.copy_from(features.as_slice(), stream.as_ref())?;
//! let ticket = slot.publish(Audience::Everyone, stream.as_ref())?;     // at once, the copy is still going on
//!
//! // Usually in another process.
//! let consumer = DeviceConsumer::open("features", &device)?;
//! let mut lease = consumer.redeem_on(&ticket, stream.as_ref(), Duration::from_secs(1))?;
//! let own = DeviceBuffer::new(&device, lease.len())?;
//! lease.copy_to(own.as_slice(), stream.as_ref())?;
//! let outcome = lease.release_after(stream.as_ref());                  // when the copy is done, not before
//! stream.synchronize()?;
//! outcome.check()?;                                                    // the producer lived to the end
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Upholds invariants 1, 3, 5, 6, 7 and 8.

mod arena;
mod arrival;
mod companion;
mod consumer;
mod error;
#[cfg(feature = "testing")]
pub mod fault;
#[cfg(not(feature = "testing"))]
pub(crate) mod fault;
mod handle;
mod in_flight;
mod lease;
#[cfg(feature = "testing")]
pub mod mutate;
#[cfg(not(feature = "testing"))]
mod mutate;
mod naps;
mod publication;
mod slot;
mod stats;
mod watcher;

pub use arena::DeviceArena;
pub use arrival::Arrival;
pub use consumer::DeviceConsumer;
pub use error::{
    ArrivalError, CopyError, DeviceLendError, DevicePoolError, DevicePublishError, RedeemError,
};
pub use handle::DevicePool;
pub use lease::DeviceLease;
pub(crate) use lease::queue_copy;
pub use publication::Publication;
pub use slot::DeviceSlot;
pub use stats::DevicePoolStats;

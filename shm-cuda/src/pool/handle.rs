//! The pool as its users see it: making, opening, lending.
//!
//! Upholds invariants 1 (memory is not lent again while a producer's work on it may be going on, also if
//! that producer was killed), 6 (memory is not freed while another process has it) and 9.

use super::arena::DeviceArena;
use super::companion::{Companion, Counter};
use super::consumer::DeviceConsumer;
use super::error::{DeviceLendError, DevicePoolError};
use super::fault;
use super::mutate::{Mutation, mutated};
use super::naps::Naps;
use super::publication::{Publication, Reach};
use super::slot::DeviceSlot;
use super::stats::DevicePoolStats;
use crate::buffer::DeviceBuffer;
use crate::device::Device;
use crate::ipc;
use crate::memop::MemOps;
use crate::pinned::Registration;
use shm_core::Deadline;
use shm_pool::{LendError, Policy, Pool, PoolConfig, Slot, Storage, Wait};
use std::sync::Arc;

/// A handle on a pool of device memory: lend slots from it, take a seat as a consumer.
///
/// The process that created it owns the memory, which ends with that process. When the owner's last
/// handle goes, so does the name; the memory is freed once nobody has it mapped any more, which is looked
/// at whenever a pool is created or let go, and by [`ipc::collect`].
///
/// Streams that are given to a pool, its slots and its leases belong to [`DevicePool::device`].
/// Letting the last handle go waits for what was queued through it.
#[derive(Clone, Debug)]
pub struct DevicePool {
    pub(super) inner: Arc<Inner>,
}

/// What all users of one handle share.
#[derive(Debug)]
pub(super) struct Inner {
    // Unregistered before the mapping goes: declared first.
    pub(super) reach: Reach,
    pub(super) device: Device,
    pub(super) chunks: bool,
    pub(super) pool: Pool<DeviceArena>,
}

impl DevicePool {
    /// Creates a pool on `device`, everything free, and becomes its owner.
    ///
    /// # Errors
    /// [`DevicePoolError`]; nothing is left behind then.
    pub fn create(
        name: &str,
        config: &PoolConfig,
        device: &Device,
    ) -> Result<DevicePool, DevicePoolError> {
        DevicePool::create_with(name, config, device, Publication::StreamOrdered)
    }

    /// As [`DevicePool::create`], with [`Publication::HostFunction`] even where the device could do
    /// better.
    ///
    /// # Errors
    /// As for [`DevicePool::create`].
    pub fn create_with(
        name: &str,
        config: &PoolConfig,
        device: &Device,
        publication: Publication,
    ) -> Result<DevicePool, DevicePoolError> {
        ipc::collect();
        let buffer = DeviceBuffer::new(device, config.storage_len(DeviceArena::ALIGNMENT))?;
        fault::hit("cuda.pool.allocated");
        let pool = Pool::create_over(name, config, DeviceArena::own(buffer)?)?;
        fault::hit("cuda.pool.created");
        Ok(DevicePool::over(pool, device, publication))
    }

    /// Opens a pool for producing and consuming with `device`: the one its memory lies on, or another
    /// that has access to it.
    ///
    /// # Errors
    /// [`DevicePoolError::Ipc`] says why the memory cannot be reached; else [`DevicePoolError`].
    pub fn open(name: &str, device: &Device) -> Result<DevicePool, DevicePoolError> {
        DevicePool::open_with(name, device, Publication::StreamOrdered)
    }

    /// As [`DevicePool::open`], with [`Publication::HostFunction`] even where the device could do
    /// better.
    ///
    /// # Errors
    /// As for [`DevicePool::open`].
    pub fn open_with(
        name: &str,
        device: &Device,
        publication: Publication,
    ) -> Result<DevicePool, DevicePoolError> {
        let pool = Pool::<DeviceArena>::open_over(name)?;
        if !pool.has_owner() {
            return Err(DevicePoolError::OwnerGone { name: name.to_owned() });
        }
        pool.storage().map(device)?;
        fault::hit("cuda.pool.mapped");
        Ok(DevicePool::over(pool, device, publication))
    }

    fn over(pool: Pool<DeviceArena>, device: &Device, publication: Publication) -> DevicePool {
        let companion = Companion::of(&pool);
        let words = match publication {
            Publication::HostFunction => None,
            Publication::StreamOrdered => {
                let words = words_of(&pool, &companion, device);
                if words.is_none() {
                    companion.count(Counter::HostFallbacks);
                }
                words
            }
        };
        let reach = Reach::new(companion, device, words);
        let chunks = pool.describe().chunks;
        DevicePool { inner: Arc::new(Inner { reach, device: device.clone(), chunks, pool }) }
    }

    /// Lends a slot of at least `bytes` bytes, to be filled and published.
    ///
    /// # Errors
    /// [`DeviceLendError`].
    pub fn lend(
        &self,
        bytes: usize,
        wait: Wait,
        policy: Policy,
    ) -> Result<DeviceSlot, DeviceLendError> {
        let inner = &self.inner;
        let member = inner.pool.member().map_err(|source| {
            DeviceLendError::Pool(LendError::Io { name: self.name().to_owned(), source })
        })?;
        let lent = |slot| Ok(DeviceSlot::new(self, slot, member));
        let slot = inner.pool.lend(bytes, wait, policy)?;
        fault::hit("cuda.pool.lent");
        if inner.is_quiet(&slot) {
            return lent(slot);
        }
        let deadline = match (policy, wait) {
            (Policy::Fail, _) | (_, Wait::Try) => Deadline::NOW,
            (_, Wait::Until(deadline)) => deadline,
        };
        // Free, but the device may still be storing there: kept aside until it is done.
        let (mut aside, mut naps) = (vec![slot], Naps::new());
        loop {
            if let Some(quiet) = aside.iter().position(|slot| inner.is_quiet(slot)) {
                return lent(aside.swap_remove(quiet));
            }
            match inner.pool.try_lend(bytes, Policy::Fail) {
                Ok(Some(slot)) => aside.push(slot),
                Ok(None) if deadline.has_passed() => {
                    let (name, slots) = (self.name().to_owned(), aside.len());
                    return Err(DeviceLendError::Unsettled { name, bytes, slots });
                }
                Ok(None) => naps.nap(deadline),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Takes a seat: the lowest that is vacant and expected, else the lowest vacant one.
    ///
    /// # Errors
    /// [`DevicePoolError::Join`] if there is none.
    pub fn consumer(&self) -> Result<DeviceConsumer, DevicePoolError> {
        Ok(DeviceConsumer::new(self, self.inner.pool.consumer()?))
    }

    /// Takes that seat, such as the rank of a worker.
    ///
    /// # Errors
    /// [`DevicePoolError::Join`] names who has it.
    pub fn consumer_at(&self, seat: usize) -> Result<DeviceConsumer, DevicePoolError> {
        Ok(DeviceConsumer::new(self, self.inner.pool.consumer_at(seat)?))
    }

    /// Counts everything. Looks at every slot, so it takes a while on a large pool.
    pub fn stats(&self) -> DevicePoolStats {
        DevicePoolStats::of(self)
    }

    /// The bookkeeping: reaping, revoking, queues of tickets, reports. What it lends by itself are
    /// offsets, and nobody waits for the device then: lend with [`DevicePool::lend`].
    pub fn ledger(&self) -> &Pool<DeviceArena> {
        &self.inner.pool
    }

    /// The device that uses it.
    pub fn device(&self) -> &Device {
        &self.inner.device
    }

    /// The name exactly as the owner gave it.
    pub fn name(&self) -> &str {
        self.inner.pool.name()
    }

    /// How this handle says that a publication is there.
    pub fn publication(&self) -> Publication {
        self.inner.reach.publication()
    }
}

impl Inner {
    /// Whether nothing of an earlier use of a slot's memory is going on any more.
    fn is_quiet(&self, slot: &Slot<DeviceArena>) -> bool {
        let place = (slot.offset(), slot.capacity());
        let worker = || self.reach.companion.workers_at(slot.index(), self.chunks, place);
        // One that settles while it is asked about its process is asked again.
        mutated(Mutation::LendUnsettled)
            || worker().is_none_or(|member| !self.pool.is_member_alive(member))
    }

    pub(super) fn owner_is_gone(&self) -> bool {
        !self.pool.has_owner()
    }
}

/// The device's own reach into the words, if it has any.
fn words_of(
    pool: &Pool<DeviceArena>,
    companion: &Companion,
    device: &Device,
) -> Option<(MemOps, Registration)> {
    let ops = MemOps::of(device)?;
    let (address, len) = companion.pages();
    let owner = Arc::new(pool.clone());
    // SAFETY: whole pages of the pool's segment, which is opened with full access, mapped for as long as
    // any handle on the pool.
    let registration = unsafe { Registration::new(device, address, len, owner) };
    Some((ops, registration.ok()?))
}

impl Drop for Inner {
    fn drop(&mut self) {
        if !self.device.is_ours() {
            return;
        }
        let unfinished = || {
            let companion = &self.reach.companion;
            self.pool.member().is_ok_and(|member| companion.has_work_of(member))
        };
        if !self.reach.tasks().settle(&self.device, unfinished) {
            // The context is lost. Should a task run all the same, it finds its words.
            core::mem::forget(self.pool.clone());
        }
        let Some(buffer) = self.pool.storage().buffer().cloned() else { return };
        // Somebody may have taken the name away already.
        let _ = self.pool.unlink();
        let pool = self.pool.clone();
        ipc::bury(buffer, move || pool.others_attached() > 0);
    }
}

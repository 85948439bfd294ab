//! A consumer: a seat, and what can be redeemed from it.
//!
//! Upholds invariants 1 (a producer that died before its bytes were there is noticed), 5 (host and device
//! wait until a deadline) and 8 (a device that cannot wait is counted).

use super::arena::DeviceArena;
use super::arrival::{Arrival, Verdict};
use super::companion::{Counter, Progress};
use super::error::{DevicePoolError, RedeemError};
use super::fault;
use super::handle::DevicePool;
use super::in_flight::InFlight;
use super::lease::{Acknowledged, DeviceLease};
use super::mutate::{Mutation, mutated};
use super::naps::Naps;
use super::watcher::Watcher;
use crate::cuda_stream::StreamRef;
use crate::device::Device;
use shm_core::Deadline;
use shm_pool::{Consumer, Lease, Ticket};
use std::sync::Arc;

/// A consumer of a pool on a device: redeems tickets for leases.
///
/// Letting go of it and of its leases waits for the work that was queued through them. Streams that still
/// wait for a publication are let go on then, as if their time was up.
#[derive(Clone, Debug)]
pub struct DeviceConsumer {
    seat: Arc<Seat>,
}

/// What a consumer and its leases share.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) acknowledgements: InFlight<Vec<Acknowledged>>,
    watcher: Watcher,
    consumer: Consumer<DeviceArena>,
    pub(super) pool: DevicePool,
}

impl DeviceConsumer {
    /// Opens a pool for consuming with `device`, and takes a seat.
    ///
    /// # Errors
    /// [`DevicePoolError`].
    pub fn open(name: &str, device: &Device) -> Result<DeviceConsumer, DevicePoolError> {
        DevicePool::open(name, device)?.consumer()
    }

    pub(super) fn new(pool: &DevicePool, consumer: Consumer<DeviceArena>) -> DeviceConsumer {
        let watcher = Watcher::new(pool.inner.reach.companion, consumer.seat());
        let acknowledgements = InFlight::new();
        let pool = pool.clone();
        DeviceConsumer { seat: Arc::new(Seat { acknowledgements, watcher, consumer, pool }) }
    }

    /// Waits on the host until the bytes are there, and takes hold of them.
    ///
    /// # Errors
    /// [`RedeemError::NotReady`] once the deadline has passed: the ticket may be redeemed again;
    /// [`RedeemError::ProducerGone`]: they will never be there, and the ticket is used up. The rest as for
    /// pools in host memory.
    pub fn redeem(
        &self,
        ticket: &Ticket,
        deadline: impl Into<Deadline>,
    ) -> Result<DeviceLease, RedeemError> {
        self.wait_until_ready(ticket, deadline.into())?;
        let lease = self.hold(ticket)?;
        let verdict = Verdict::there(lease.index(), lease.generation());
        self.leased(lease, verdict)
    }

    /// Takes hold of a publication, and makes what is queued on `stream` from now on wait until its bytes
    /// are there. The host does not wait.
    ///
    /// If the producer dies before, or the deadline passes, the stream goes on without them:
    /// [`DeviceLease::check`] says so. A device that cannot wait is counted as a fallback in
    /// [`DevicePoolStats`](super::DevicePoolStats), and the host waits in its place.
    ///
    /// # Errors
    /// As for [`DeviceConsumer::redeem`].
    pub fn redeem_on(
        &self,
        ticket: &Ticket,
        stream: StreamRef<'_>,
        deadline: impl Into<Deadline>,
    ) -> Result<DeviceLease, RedeemError> {
        let deadline = deadline.into();
        if !matches!(self.progress(ticket), Some(Progress::Pending(_))) {
            return self.redeem(ticket, deadline);
        }
        let inner = &self.seat.pool.inner;
        if !inner.reach.can_wait() {
            inner.reach.companion.count(Counter::HostFallbacks);
            return self.redeem(ticket, deadline);
        }
        if inner.owner_is_gone() {
            return Err(RedeemError::OwnerGone { name: self.name() });
        }
        let lease = self.hold(ticket)?;
        let (slot, generation) = (lease.index(), lease.generation());
        let lease = self.leased(lease, Verdict::waiting(slot, generation))?;
        let verdict = &lease.arrival().verdict;
        // Watched before it waits: a stream that waits unwatched might wait for ever.
        self.seat
            .watcher
            .watch(&inner.pool, verdict, deadline)
            .map_err(|source| RedeemError::Watcher { name: self.name(), source })?;
        fault::hit("cuda.pool.watched");
        let queued = inner.reach.wait_at_gate(slot, self.seat(), generation, stream);
        match queued.expect("asked above") {
            Ok(()) => Ok(lease),
            Err(source) => {
                self.seat.watcher.forget(verdict);
                Err(RedeemError::Cuda(source))
            }
        }
    }

    /// Acknowledges a publication that is not needed, there or not.
    ///
    /// # Errors
    /// As for [`DeviceConsumer::redeem`], without the waiting.
    pub fn skip(&self, ticket: &Ticket) -> Result<(), RedeemError> {
        Ok(self.seat.consumer.skip(ticket)?)
    }

    /// The number under which publications wait for this consumer.
    pub fn seat(&self) -> usize {
        self.seat.consumer.seat()
    }

    /// The pool.
    pub fn pool(&self) -> &DevicePool {
        &self.seat.pool
    }

    fn name(&self) -> String {
        self.seat.pool.name().to_owned()
    }

    fn hold(&self, ticket: &Ticket) -> Result<Lease<DeviceArena>, RedeemError> {
        let lease = self.seat.consumer.redeem(ticket)?;
        fault::hit("cuda.pool.redeemed");
        Ok(lease)
    }

    fn leased(
        &self,
        lease: Lease<DeviceArena>,
        verdict: Verdict,
    ) -> Result<DeviceLease, RedeemError> {
        // Dropped on error, which acknowledges it: nothing was queued yet.
        match self.seat.pool.inner.owner_is_gone() {
            true => Err(RedeemError::OwnerGone { name: self.name() }),
            false => {
                let arrival = Arrival { verdict: Arc::new(verdict), seat: self.seat.clone() };
                Ok(DeviceLease::new(lease, arrival))
            }
        }
    }

    /// How far a ticket's publication is; `None` for one that is not of this pool.
    fn progress(&self, ticket: &Ticket) -> Option<Progress> {
        let inner = &self.seat.pool.inner;
        let companion = &inner.reach.companion;
        let slot = ticket.index as usize;
        let ours = ticket.instance == inner.pool.instance() && slot < companion.slots();
        ours.then(|| companion.progress(slot, ticket.generation))
    }

    /// Whatever is wrong with a ticket, taking hold of it will say.
    fn wait_until_ready(&self, ticket: &Ticket, deadline: Deadline) -> Result<(), RedeemError> {
        let inner = &self.seat.pool.inner;
        let slot = ticket.index as usize;
        let mut naps = Naps::new();
        while let Some(Progress::Pending(producer)) = self.progress(ticket) {
            let over = deadline.has_passed();
            if (over || naps.take_long()) && !inner.pool.is_member_alive(producer) {
                // It may have come while its producer's life was asked about.
                if self.progress(ticket) == Some(Progress::Ready)
                    || mutated(Mutation::BelieveTheDead)
                {
                    return Ok(());
                }
                inner.reach.companion.count(Counter::ProducerGone);
                // The slot comes back; if it cannot be redeemed there is nothing to give back.
                let _ = self.seat.consumer.skip(ticket);
                return Err(RedeemError::ProducerGone { name: self.name(), slot });
            }
            if over {
                return Err(RedeemError::NotReady { name: self.name(), slot });
            }
            naps.nap(deadline);
        }
        Ok(())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let device = self.pool.device();
        if !device.is_ours() {
            return;
        }
        // A stream that waits for a publication would keep the device from ever being done.
        self.watcher.close();
        if !self.acknowledgements.settle(device, || false) {
            // The context is lost: what was copied is copied, or never will be.
            self.acknowledgements.clear();
        }
    }
}

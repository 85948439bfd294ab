//! A publication in a consumer's hands.
//!
//! Upholds invariants 1 and 6: it is acknowledged when the work queued on it is done, and never before.

use super::arena::DeviceArena;
use super::arrival::{Arrival, Verdict};
use super::companion::{Companion, Counter};
use super::consumer::Seat;
use super::error::{ArrivalError, CopyError};
use super::fault;
use super::mutate::{Mutation, mutated};
use crate::buffer::DeviceSlice;
use crate::cuda_stream::{CudaStream, StreamRef};
use crate::device::Device;
use crate::driver::calls;
use crate::error::{CudaError, check};
use crate::event::Event;
use shm_pool::Lease;
use std::sync::Arc;

/// A consumer's hold on a publication: its memory is not used again before it is released.
///
/// Dropping it releases it once the copies queued through it are done. Work of the caller's own on
/// [`DeviceLease::slice`] is not known here: end it with [`DeviceLease::release_after`] on the stream of
/// that work.
#[derive(Debug)]
pub struct DeviceLease {
    /// Until it is released.
    lease: Option<Lease<DeviceArena>>,
    /// Copies that were queued: on which stream, and their ends where they could be marked.
    copies: Vec<(usize, Option<Event>)>,
    bytes: usize,
    offset: usize,
    arrival: Arrival,
}

impl DeviceLease {
    pub(super) fn new(lease: Lease<DeviceArena>, arrival: Arrival) -> DeviceLease {
        let (bytes, offset) = (lease.byte_len(), lease.offset());
        DeviceLease { lease: Some(lease), copies: Vec::new(), bytes, offset, arrival }
    }

    /// The memory, in place, for as long as the lease. It is not to be written.
    pub fn slice(&self) -> DeviceSlice<'_> {
        let inner = &self.arrival.seat.pool.inner;
        inner.pool.storage().slice(self.offset, self.bytes)
    }

    /// Queues a copy to `target`, which has to have the publication's length; on a stream of the pool's
    /// device, whichever device `target` lies on.
    ///
    /// # Errors
    /// [`CopyError::Length`]; [`CopyError::OwnerGone`] if the memory has ended with its process;
    /// [`CopyError::Cuda`] if the driver refuses.
    pub fn copy_to(
        &mut self,
        target: DeviceSlice<'_>,
        stream: StreamRef<'_>,
    ) -> Result<(), CopyError> {
        self.copy_part(0, target, stream)
    }

    /// Queues a copy of as many bytes as `target` has, from byte `start` on.
    ///
    /// # Errors
    /// [`CopyError::Range`] if they do not exist, else as for [`DeviceLease::copy_to`].
    pub fn copy_part(
        &mut self,
        start: usize,
        target: DeviceSlice<'_>,
        stream: StreamRef<'_>,
    ) -> Result<(), CopyError> {
        let range = start..start.saturating_add(target.len());
        if start == 0 && target.len() != self.bytes && range.end > self.bytes {
            return Err(CopyError::Length { expected: self.bytes, found: target.len() });
        }
        if range.end > self.bytes {
            return Err(CopyError::Range { range, bytes: self.bytes });
        }
        let inner = &self.arrival.seat.pool.inner;
        if inner.owner_is_gone() {
            return Err(CopyError::OwnerGone { name: inner.pool.name().to_owned() });
        }
        queue_copy(&inner.device, self.slice().slice(range), target, stream)?;
        fault::hit("cuda.pool.copying");
        let marked =
            Event::new(&inner.device).and_then(|event| event.record(stream).map(|()| event));
        self.copies.push((stream.as_raw(), marked.ok()));
        Ok(())
    }

    /// Tells whether the bytes were there when the stream went on; see [`Arrival::check`]. Always so after
    /// [`DeviceConsumer::redeem`](super::DeviceConsumer::redeem).
    ///
    /// # Errors
    /// As for [`Arrival::check`].
    pub fn check(&self) -> Result<(), ArrivalError> {
        self.arrival.check()
    }

    /// For asking after the lease was released.
    pub fn arrival(&self) -> &Arrival {
        &self.arrival
    }

    /// Acknowledges the publication once everything queued on `stream` so far is done, without waiting.
    /// A driver that refuses is counted as a fallback, and the host waits in its place.
    pub fn release_after(mut self, stream: StreamRef<'_>) -> Arrival {
        self.acknowledge_after(stream);
        self.arrival.clone()
    }

    /// As [`DeviceLease::release_after`] for several, which the device acknowledges by one call.
    pub fn release_all_after(
        leases: impl IntoIterator<Item = DeviceLease>,
        stream: StreamRef<'_>,
    ) -> Vec<Arrival> {
        // Each consumer has a table of its own.
        let (mut arrivals, mut groups) = (Vec::new(), Vec::<(Arc<Seat>, Vec<Acknowledged>)>::new());
        for mut lease in leases {
            arrivals.push(lease.arrival.clone());
            lease.join_copies(stream);
            let Some(taken) = lease.lease.take() else { continue };
            let seat = lease.arrival.seat.clone();
            let one = Acknowledged { lease: taken, verdict: lease.arrival.verdict.clone() };
            match groups.iter_mut().find(|(known, _)| Arc::ptr_eq(known, &seat)) {
                Some((_, group)) => group.push(one),
                None => groups.push((seat, vec![one])),
            }
        }
        for (seat, group) in groups {
            acknowledge_after(&seat, group, stream);
        }
        arrivals
    }

    /// Acknowledges the publication at once: for whoever has waited for all work on it.
    pub fn release(mut self) {
        drop(self.lease.take());
    }

    /// Number of the slot.
    pub fn index(&self) -> usize {
        self.arrival.verdict.slot
    }

    /// Which use of the slot this is.
    pub fn generation(&self) -> u64 {
        self.arrival.verdict.generation
    }

    /// Bytes of the publication.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Never true: nothing is published without bytes.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    fn acknowledge_after(&mut self, stream: StreamRef<'_>) {
        let _current = self.arrival.seat.pool.device().enter();
        self.join_copies(stream);
        let Some(lease) = self.lease.take() else { return };
        let verdict = self.arrival.verdict.clone();
        acknowledge_after(&self.arrival.seat, vec![Acknowledged { lease, verdict }], stream);
    }

    /// Makes `stream` wait for the copies that were queued on others.
    fn join_copies(&self, stream: StreamRef<'_>) {
        for (other, end) in &self.copies {
            if *other == stream.as_raw() && *other != StreamRef::PER_THREAD.as_raw() {
                continue;
            }
            let waits = end.as_ref().map(|end| stream.wait_for(end));
            if !matches!(waits, Some(Ok(()))) {
                // On an error the context is lost, and nothing is going on in it.
                let _ = self.arrival.seat.pool.device().synchronize();
            }
        }
    }

    fn copies_are_done(&self) -> bool {
        self.copies
            .iter()
            .all(|(_, end)| end.as_ref().is_some_and(|end| end.is_reached().unwrap_or(true)))
    }
}

/// A lease on its way back.
#[derive(Debug)]
pub(super) struct Acknowledged {
    lease: Lease<DeviceArena>,
    verdict: Arc<Verdict>,
}

impl Acknowledged {
    /// The stream has passed the wait and the work behind it.
    fn release(self, companion: &Companion) {
        self.verdict.conclude(companion);
        self.lease.release();
    }
}

fn acknowledge_after(seat: &Arc<Seat>, group: Vec<Acknowledged>, stream: StreamRef<'_>) {
    let inner = &seat.pool.inner;
    let companion = inner.reach.companion;
    let release = move |group: Vec<Acknowledged>| {
        group.into_iter().for_each(|one| one.release(&companion));
    };
    if mutated(Mutation::AcknowledgeEarly) {
        return release(group);
    }
    let landing = seat.acknowledgements.enter(group);
    let done = landing.clone();
    let acknowledge = move || {
        fault::hit("cuda.pool.acknowledging");
        done.land().map(release);
    };
    if stream.run_on_host(&inner.device, acknowledge).is_err() {
        companion.count(Counter::HostFallbacks);
        // If neither can be waited for, the context is lost and nothing is going on in it.
        let _ = stream.synchronize(&inner.device).or_else(|_| inner.device.synchronize());
        landing.land().map(release);
    }
}

/// Queues a copy on a stream of `device`, which a default stream is too only while that is current, also
/// where the target lies on another.
pub(crate) fn queue_copy(
    device: &Device,
    source: DeviceSlice<'_>,
    target: DeviceSlice<'_>,
    stream: StreamRef<'_>,
) -> Result<(), CudaError> {
    if target.device() == device {
        return target.copy_from(source, stream);
    }
    let _current = device.enter()?;
    // SAFETY: both ranges exist, by the contracts of their slices, and have the target's length.
    let queued = unsafe {
        calls::cuMemcpyAsync(target.address(), source.address(), target.len(), stream.raw())
    };
    check("cuMemcpyAsync", queued)
}

impl Drop for DeviceLease {
    fn drop(&mut self) {
        let device = self.arrival.seat.pool.device().clone();
        if self.lease.is_none() || !device.is_ours() {
            return;
        }
        if self.copies_are_done() {
            return drop(self.lease.take());
        }
        match CudaStream::new(&device) {
            // It is finished in the background after it is let go.
            Ok(stream) => self.acknowledge_after(stream.as_ref()),
            Err(_) => {
                // On an error the context is lost, and nothing is going on in it.
                let _ = device.synchronize();
                drop(self.lease.take());
            }
        }
    }
}

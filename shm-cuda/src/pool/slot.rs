//! A slot in its producer's hands.
//!
//! Upholds invariants 1 (it is given back when the work queued on it is done) and 7 (it is readable after
//! that work, in the order of the stream).

use super::arena::DeviceArena;
use super::error::{CopyError, DevicePublishError};
use super::fault;
use super::handle::DevicePool;
use crate::buffer::DeviceSlice;
use crate::cuda_stream::StreamRef;
use crate::error::CudaError;
use crate::event::Event;
use core::cell::Cell;
use core::ops::Range;
use shm_pool::{Audience, Member, Slot, Ticket};

/// A slot that was lent: fill it, then [publish](DeviceSlot::publish) it. Dropping it waits for what was
/// queued on it and gives it back, read by nobody.
#[derive(Debug)]
#[must_use = "dropping a slot publishes nothing"]
pub struct DeviceSlot {
    /// Until it is published.
    slot: Option<Slot<DeviceArena>>,
    /// Copies that were queued: on which stream, and their ends.
    copies: Vec<(usize, Event)>,
    /// Whether somebody else may have queued work on it.
    shown: Cell<bool>,
    bytes: usize,
    offset: usize,
    index: usize,
    generation: u64,
    pool: DevicePool,
}

impl DeviceSlot {
    pub(super) fn new(pool: &DevicePool, slot: Slot<DeviceArena>, member: Member) -> DeviceSlot {
        let (index, generation) = (slot.index(), slot.generation());
        let (bytes, offset) = (slot.byte_len(), slot.offset());
        let place = (offset, slot.capacity());
        pool.inner.reach.companion.note_work(index, generation, member, place);
        fault::hit("cuda.pool.noted");
        let (pool, copies, shown) = (pool.clone(), Vec::new(), Cell::new(false));
        DeviceSlot { slot: Some(slot), copies, shown, bytes, offset, index, generation, pool }
    }

    /// The memory, to be written by work of the caller's own. Publish it on the stream of that work, or
    /// on one that waits for it; [`DeviceSlot::abort_after`] gives it back in the same order.
    pub fn slice(&self) -> DeviceSlice<'_> {
        self.shown.set(true);
        self.memory()
    }

    /// Queues a copy of `source`, which has to have the slot's length.
    ///
    /// # Errors
    /// [`CopyError::Length`]; [`CopyError::Cuda`] if the driver refuses.
    pub fn copy_from(
        &mut self,
        source: DeviceSlice<'_>,
        stream: StreamRef<'_>,
    ) -> Result<(), CopyError> {
        self.copy_part(0..self.bytes, source, stream)
    }

    /// Queues a copy of `source` to those bytes of the slot.
    ///
    /// # Errors
    /// [`CopyError::Range`] if they do not exist, else as for [`DeviceSlot::copy_from`].
    pub fn copy_part(
        &mut self,
        range: Range<usize>,
        source: DeviceSlice<'_>,
        stream: StreamRef<'_>,
    ) -> Result<(), CopyError> {
        self.check(&range, source.len())?;
        self.memory().slice(range).copy_from(source, stream)?;
        fault::hit("cuda.pool.queued");
        self.note_copy(stream)?;
        Ok(())
    }

    /// Copies `data`, which has to have the slot's length, and waits until it has arrived.
    ///
    /// # Errors
    /// As for [`DeviceSlot::copy_from`].
    pub fn upload(&mut self, data: &[u8], stream: StreamRef<'_>) -> Result<(), CopyError> {
        self.upload_part(0..self.bytes, data, stream)
    }

    /// Copies `data` to those bytes of the slot, and waits until it has arrived.
    ///
    /// # Errors
    /// As for [`DeviceSlot::copy_part`].
    pub fn upload_part(
        &mut self,
        range: Range<usize>,
        data: &[u8],
        stream: StreamRef<'_>,
    ) -> Result<(), CopyError> {
        self.check(&range, data.len())?;
        Ok(self.memory().slice(range).upload(data, stream)?)
    }

    /// Makes the slot readable for `audience` once everything queued on it so far, and everything queued
    /// on `stream` so far, is done. Returns at once, with the ticket that it is redeemed with.
    ///
    /// # Errors
    /// [`DevicePublishError`]; the slot is given back then, read by nobody.
    pub fn publish(
        mut self,
        audience: Audience,
        stream: StreamRef<'_>,
    ) -> Result<Ticket, DevicePublishError> {
        let seats = match audience {
            Audience::Seats(named) => named,
            Audience::Everyone | Audience::Any => u64::MAX,
        };
        self.announce(seats, stream)?;
        fault::hit("cuda.pool.announced");
        let slot = self.slot.take().expect("there until it is published");
        // Given back if nobody is there to read it: not lent again before the words say settled.
        let ticket = slot.publish(audience)?;
        fault::hit("cuda.pool.published");
        Ok(ticket)
    }

    /// Gives the slot back, read by nobody, without waiting: its memory is lent again when everything
    /// queued on `stream` so far is done.
    ///
    /// # Errors
    /// What the driver refuses; then it was waited for.
    pub fn abort_after(mut self, stream: StreamRef<'_>) -> Result<(), CudaError> {
        self.announce(0, stream)?;
        drop(self.slot.take());
        Ok(())
    }

    /// Number of the slot.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Which use of the slot this is.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Bytes that were asked for.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Never true: no slot is lent for no bytes.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    fn memory(&self) -> DeviceSlice<'_> {
        self.pool.inner.pool.storage().slice(self.offset, self.bytes)
    }

    fn check(&self, range: &Range<usize>, found: usize) -> Result<(), CopyError> {
        if range.start > range.end || range.end > self.bytes {
            return Err(CopyError::Range { range: range.clone(), bytes: self.bytes });
        }
        match range.len() {
            expected if expected == found => Ok(()),
            expected => Err(CopyError::Length { expected, found }),
        }
    }

    fn note_copy(&mut self, stream: StreamRef<'_>) -> Result<(), CudaError> {
        // If the end cannot be marked, the whole device is waited for.
        let unmarked = self.shown.replace(true);
        let event = Event::new(self.pool.device())?;
        event.record(stream)?;
        self.copies.push((stream.as_raw(), event));
        self.shown.set(unmarked);
        Ok(())
    }

    fn announce(&mut self, seats: u64, stream: StreamRef<'_>) -> Result<(), CudaError> {
        let _current = self.pool.device().enter()?;
        for (other, end) in &self.copies {
            // The default stream of a thread has the same handle on each.
            if *other != stream.as_raw() || *other == StreamRef::PER_THREAD.as_raw() {
                stream.wait_for(end)?;
            }
        }
        self.pool.inner.reach.announce(self.index, self.generation, seats, stream)
    }
}

impl Drop for DeviceSlot {
    fn drop(&mut self) {
        let device = self.pool.device();
        let Some(slot) = self.slot.take().filter(|_| device.is_ours()) else { return };
        // An error means that the context is lost, and then nothing is going on any more either.
        let _ = match self.shown.get() {
            true => device.synchronize(),
            false => self.copies.iter().try_for_each(|(_, end)| end.synchronize()),
        };
        self.pool.inner.reach.companion.note_settled(self.index, self.generation);
        drop(slot);
    }
}

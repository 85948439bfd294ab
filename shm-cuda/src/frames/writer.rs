//! The one writer of a device stream.
//!
//! Upholds invariants 1 and 7: a frame becomes the newest when the device has come that far, and when
//! something fails, whatever is under way is waited for before its frames are taken back.

use super::Inner;
use super::error::{DeviceLockError, DevicePublishError};
use super::fault;
use super::loan::{DeviceFrameMut, DeviceLoan};
use super::mutate::{Mutation, left_out};
use super::publication::{Flight, Gate, Route};
use crate::buffer::DeviceSlice;
use crate::cuda_stream::StreamRef;
use crate::device::Device;
use crate::error::CudaError;
use crate::event::Event;
use shm_core::{Deadline, FrameTag, PublishError, Writer};
use std::sync::{Arc, Weak};

/// The right to publish, exclusive from [`DeviceStream::writer`](super::DeviceStream::writer) until
/// dropped.
///
/// Nothing but [`publish_host`](DeviceWriter::publish_host), [`settle`](DeviceWriter::settle), giving
/// back a loan and dropping waits for the device.
#[derive(Debug)]
pub struct DeviceWriter {
    // Unlocks when it is dropped, which is after `drop` has waited.
    host: Writer,
    gate: Gate,
    /// The end of the frame that was queued last.
    event: Event,
    /// Something was queued that has not been waited for.
    queued: bool,
    /// The loan that is out.
    lent: Option<Weak<()>>,
    route: Arc<Route>,
    inner: Arc<Inner>,
}

impl DeviceWriter {
    pub(super) fn lock(
        inner: Arc<Inner>,
        deadline: Deadline,
    ) -> Result<DeviceWriter, DeviceLockError> {
        let event = Event::new(&inner.device)
            .map_err(|source| DeviceLockError::Cuda { name: inner.name(), source })?;
        let route = inner.habit.route(&inner.device, &inner.stream);
        let host = inner.stream.writer(deadline)?;
        Ok(DeviceWriter { host, gate: Gate::new(), event, queued: false, lent: None, route, inner })
    }

    /// Publishes one frame: queues on `stream` everything that makes `data`, C-contiguous, the newest
    /// frame, after what is queued there. Returns its count.
    ///
    /// `data` is read in the order of `stream`: what is queued there later may change it.
    ///
    /// # Errors
    /// [`DevicePublishError::Publish`] if the length differs or the stream was unlinked or replaced;
    /// see [`DevicePublishError`] for the rest.
    pub fn publish(
        &mut self,
        data: DeviceSlice<'_>,
        stream: StreamRef<'_>,
    ) -> Result<u64, DevicePublishError> {
        self.publish_tagged(data, FrameTag::default(), stream)
    }

    /// As [`DeviceWriter::publish`], with the producer's own number and time of acquisition.
    ///
    /// # Errors
    /// As for [`DeviceWriter::publish`].
    pub fn publish_tagged(
        &mut self,
        data: DeviceSlice<'_>,
        tag: FrameTag,
        stream: StreamRef<'_>,
    ) -> Result<u64, DevicePublishError> {
        self.check_len(data.len())?;
        self.check_reach(data.device())?;
        self.carry_out(tag, stream, |cell| cell.copy_from(data, stream))
    }

    /// Publishes one frame from memory of the host, given as bytes. Returns when `data` has been read
    /// and may be changed, which is after everything that is queued on `stream`.
    ///
    /// # Errors
    /// As for [`DeviceWriter::publish`].
    pub fn publish_host(
        &mut self,
        data: &[u8],
        tag: FrameTag,
        stream: StreamRef<'_>,
    ) -> Result<u64, DevicePublishError> {
        self.check_len(data.len())?;
        let uploaded = Event::new(&self.inner.device);
        let uploaded = uploaded.map_err(|source| self.refused(source))?;
        let count = self.carry_out(tag, stream, |cell| {
            // SAFETY: `data` is borrowed until the copy is done: either the event after it is waited
            // for below, or a failure waits for everything on the device, or has ended it.
            unsafe { cell.upload_from(data.as_ptr(), stream)? };
            uploaded.record(stream)
        })?;
        match uploaded.synchronize() {
            Ok(()) => Ok(count),
            Err(source) => self.give_up_unless_there(count, source),
        }
    }

    /// Publishes a frame of zeroes.
    ///
    /// # Errors
    /// As for [`DeviceWriter::publish`].
    pub fn clear(&mut self, stream: StreamRef<'_>) -> Result<u64, DevicePublishError> {
        self.carry_out(FrameTag::default(), stream, |cell| cell.fill(0, stream))
    }

    /// Lends the next cell, for work that the caller queues on `stream` and that writes all of it. Its
    /// bytes are those of an old frame, or zero.
    ///
    /// Nobody sees the frame before [`DeviceFrameMut::commit`]; dropping it gives the cell back unseen.
    ///
    /// # Errors
    /// As for [`DeviceWriter::publish`].
    pub fn loan<'a>(
        &'a mut self,
        stream: StreamRef<'a>,
    ) -> Result<DeviceFrameMut<'a>, DevicePublishError> {
        let flight = self.open_frame(FrameTag::default(), stream)?;
        Ok(DeviceFrameMut::new(self, flight, stream))
    }

    /// Lends the next cell, for callers that cannot hold a borrow of this while it is filled, such as the
    /// bindings of another language. Where you can, use [`DeviceWriter::loan`].
    ///
    /// Until the loan is [committed](DeviceWriter::commit_loan) or
    /// [returned](DeviceWriter::return_loan) nothing else can be published; one that was dropped is
    /// taken back by whatever comes next, which then waits for all work on the device.
    ///
    /// # Errors
    /// As for [`DeviceWriter::publish`].
    pub fn lend(&mut self, stream: StreamRef<'_>) -> Result<DeviceLoan, DevicePublishError> {
        let flight = self.open_frame(FrameTag::default(), stream)?;
        let token = Arc::new(());
        self.lent = Some(Arc::downgrade(&token));
        Ok(DeviceLoan::new(self.inner.clone(), flight, token))
    }

    /// Publishes what work that is queued on `stream`, the queue that it was lent for, writes into the
    /// loan; returns the frame's count. Waits for earlier frames of this writer if `tag` says anything.
    ///
    /// # Errors
    /// [`PublishError::Loan`] as [`DevicePublishError::Publish`] if the loan is another writer's, or was
    /// taken back since because the device failed; otherwise as for [`DeviceWriter::publish`].
    pub fn commit_loan(
        &mut self,
        loan: DeviceLoan,
        tag: FrameTag,
        stream: StreamRef<'_>,
    ) -> Result<u64, DevicePublishError> {
        let flight = self.redeem(loan)?;
        self.commit(flight, tag, stream)
    }

    /// Takes a loan back unseen, and waits for what is queued on `stream`.
    ///
    /// # Errors
    /// [`PublishError::Loan`] as for [`DeviceWriter::commit_loan`].
    pub fn return_loan(
        &mut self,
        loan: DeviceLoan,
        stream: StreamRef<'_>,
    ) -> Result<(), DevicePublishError> {
        self.redeem(loan)?;
        self.abort_frame(stream);
        Ok(())
    }

    /// Waits until every frame that was queued is there.
    ///
    /// # Errors
    /// [`DevicePublishError::Cuda`] if the device failed before; frames in flight are taken back.
    pub fn settle(&mut self) -> Result<(), DevicePublishError> {
        if !self.queued {
            return Ok(());
        }
        match self.event.synchronize() {
            Ok(()) => {
                self.queued = self.lent.is_some();
                Ok(())
            }
            Err(source) => {
                let newest = self.inner.stream.announced();
                self.give_up_unless_there(newest, source).map(drop)
            }
        }
    }

    /// How many frames were queued that are not yet there.
    pub fn in_flight(&self) -> u64 {
        self.host.in_flight()
    }

    /// The device that this writer's work is done by.
    pub fn device(&self) -> &Device {
        &self.inner.device
    }

    /// The name of the stream.
    pub fn name(&self) -> &str {
        self.inner.stream.name()
    }

    pub(super) fn inner(&self) -> &Inner {
        &self.inner
    }

    /// Queues one frame whose payload `fill` queues.
    fn carry_out(
        &mut self,
        tag: FrameTag,
        stream: StreamRef<'_>,
        fill: impl FnOnce(DeviceSlice<'_>) -> Result<(), CudaError>,
    ) -> Result<u64, DevicePublishError> {
        let _current = self.inner.device.enter().map_err(|source| self.refused(source))?;
        let flight = self.open_frame(tag, stream)?;
        let cell = flight.cell();
        if left_out(Mutation::FinishAfterCopy) {
            let count = self.close_frame(flight, stream)?;
            let filled = fill(self.inner.cell(cell));
            return filled.map(|()| count).map_err(|source| self.give_up(source));
        }
        match fill(self.inner.cell(cell)) {
            Ok(()) => self.close_frame(flight, stream),
            Err(source) => Err(self.give_up(source)),
        }
    }

    /// Announces a frame and queues what comes before its payload.
    pub(super) fn open_frame(
        &mut self,
        tag: FrameTag,
        stream: StreamRef<'_>,
    ) -> Result<Flight, DevicePublishError> {
        self.take_back()?;
        if !self.inner.has_creator() {
            return Err(DevicePublishError::CreatorGone { name: self.inner.name() });
        }
        let earlier = self.host.in_flight() > 0;
        let mut flight = Flight::new(self.host.announce(tag)?);
        fault::hit("cuda.publish.announced");
        self.queued = true;
        let begun = match earlier && !left_out(Mutation::JoinQueues) {
            // Also on the same queue: a handle may stand for another queue than it did before.
            true => stream.wait_for(&self.event),
            false => Ok(()),
        };
        let means = (&*self.route, &self.inner.habit, &self.gate);
        match begun.and_then(|()| flight.begin(means, &self.inner.device, stream)) {
            Ok(()) => {
                fault::hit("cuda.publish.begun");
                Ok(flight)
            }
            Err(source) => Err(self.give_up(source)),
        }
    }

    /// Queues what comes after the payload: the mirror's copy, and what makes the frame the newest.
    pub(super) fn close_frame(
        &mut self,
        flight: Flight,
        stream: StreamRef<'_>,
    ) -> Result<u64, DevicePublishError> {
        let _current = self.inner.device.enter();
        let count = flight.count();
        let inner = &*self.inner;
        let mut queued = Ok(());
        if let Some(host) = inner.stream.host_cell(flight.cell()) {
            // SAFETY: as many writable bytes of the segment, which outlives the copy (dropping this
            // waits for it); the cell is marked as being written, so nobody believes them yet.
            queued = unsafe { inner.cell(flight.cell()).download_to(host, stream) };
        }
        fault::hit("cuda.publish.copied");
        let means = (&*self.route, &inner.habit, &self.gate);
        let queued = queued
            .and_then(|()| flight.finish(means, &inner.device, stream))
            .and_then(|()| self.event.record(stream));
        match queued {
            Ok(()) => {
                fault::hit("cuda.publish.finished");
                Ok(count)
            }
            Err(source) => self.give_up_unless_there(count, source),
        }
    }

    /// Queues what comes after the payload of a lent frame.
    pub(super) fn commit(
        &mut self,
        mut flight: Flight,
        tag: FrameTag,
        stream: StreamRef<'_>,
    ) -> Result<u64, DevicePublishError> {
        if tag != FrameTag::default() {
            flight = match self.retag(flight, tag) {
                Ok(flight) => flight,
                Err(error) => {
                    self.abort_frame(stream);
                    return Err(error);
                }
            };
        }
        self.close_frame(flight, stream)
    }

    /// Another announcement of the frame that was opened last, and nothing of which was queued but what
    /// comes before the payload, which is the same in both.
    fn retag(&mut self, flight: Flight, tag: FrameTag) -> Result<Flight, DevicePublishError> {
        if self.host.in_flight() > 1
            && let Err(source) = self.event.synchronize()
        {
            return Err(self.give_up(source));
        }
        self.host.withdraw();
        Ok(flight.replaced_by(self.host.announce(tag)?))
    }

    /// Gives back the frame that was opened last, after everything that is queued on `stream`.
    pub(super) fn abort_frame(&mut self, stream: StreamRef<'_>) {
        if !self.inner.device.is_ours() {
            return;
        }
        let done = self.event.record(stream).and_then(|()| self.event.synchronize());
        match done {
            Ok(()) => {
                self.host.withdraw();
                self.queued = false;
            }
            Err(source) => drop(self.give_up(source)),
        }
    }

    /// What is under way in a loan, if it is the one that is out.
    fn redeem(&mut self, loan: DeviceLoan) -> Result<Flight, DevicePublishError> {
        if self.lent.as_ref().is_some_and(|lent| loan.is(lent)) {
            self.lent = None;
            return Ok(loan.into_flight());
        }
        let (name, found) = (self.inner.name(), loan.count());
        let expected = self.inner.stream.announced() + u64::from(self.lent.is_none());
        Err(PublishError::Loan { name, expected, found }.into())
    }

    /// Refuses while a loan is out, and takes back one that was dropped.
    fn take_back(&mut self) -> Result<(), DevicePublishError> {
        let Some(lent) = &self.lent else { return Ok(()) };
        if lent.strong_count() > 0 {
            let (name, count) = (self.inner.name(), self.inner.stream.announced());
            return Err(DevicePublishError::Lent { name, count });
        }
        // Nobody knows on which queues there is work for it.
        match self.inner.device.synchronize() {
            Ok(()) => {
                self.host.withdraw();
                (self.lent, self.queued) = (None, false);
                Ok(())
            }
            Err(source) => Err(self.give_up(source)),
        }
    }

    /// As [`give_up`](Self::give_up), if that finds frame `count` missing: the device may have failed
    /// after it.
    fn give_up_unless_there(
        &mut self,
        count: u64,
        source: CudaError,
    ) -> Result<u64, DevicePublishError> {
        let error = self.give_up(source);
        if self.inner.stream.count() >= count { Ok(count) } else { Err(error) }
    }

    /// Ends what is under way, and takes back what will not be carried out.
    fn give_up(&mut self, source: CudaError) -> DevicePublishError {
        // Everything on the device, since what was queued last has no event. If that fails the context
        // is lost, and nothing goes on in it.
        let _ = self.inner.device.synchronize();
        self.gate.close();
        self.gate = Gate::new();
        self.host.withdraw();
        (self.lent, self.queued) = (None, false);
        self.refused(source)
    }

    /// With nothing in flight.
    fn refused(&self, source: CudaError) -> DevicePublishError {
        let count = self.inner.stream.announced() + 1;
        DevicePublishError::Cuda { name: self.inner.name(), count, source }
    }

    fn check_len(&self, found: usize) -> Result<(), DevicePublishError> {
        let desc = self.inner.stream.desc();
        let expected = desc.byte_len();
        if found == expected {
            return Ok(());
        }
        let (name, shape) = (self.inner.name(), desc.shape().to_vec());
        Err(PublishError::Length { name, shape, unit: "bytes", expected, found }.into())
    }

    fn check_reach(&self, theirs: &Device) -> Result<(), DevicePublishError> {
        let ours = &self.inner.device;
        if theirs == ours || ours.can_access(theirs) {
            return Ok(());
        }
        let (name, expected, found) = (self.inner.name(), ours.uuid(), theirs.uuid());
        Err(DevicePublishError::WrongDevice { name, expected, found })
    }
}

impl Drop for DeviceWriter {
    fn drop(&mut self) {
        // A forked child has neither the lock nor the device.
        if !self.inner.device.is_ours() {
            return;
        }
        // A failure has taken back what was in flight; there is nobody to tell. A loan that is still out
        // can never be committed.
        if self.lent.take().is_some() {
            let _ = self.inner.device.synchronize();
            self.gate.close();
            self.host.withdraw();
        } else {
            let _ = self.settle();
        }
    }
}

//! A cell of a device stream, lent for writing in place.
//!
//! Upholds invariant 7: its frame is unreadable until committed, and after a loan that is given back no
//! work is left that could still write to the cell.

use super::Inner;
use super::error::DevicePublishError;
use super::publication::Flight;
use super::writer::DeviceWriter;
use crate::buffer::DeviceSlice;
use crate::cuda_stream::StreamRef;
use shm_core::FrameTag;
use std::sync::{Arc, Weak};

/// The next cell, to be written by work that the caller queues on the queue that it was lent for.
///
/// ```no_run
/// # fn queue_a_kernel(_address: u64, _queue: shm_cuda::StreamRef<'_>) {}
/// # fn demo(writer: &mut shm_cuda::DeviceWriter, queue: &shm_cuda::CudaStream)
/// # -> Result<(), shm_cuda::DevicePublishError> {
/// let frame = writer.loan(queue.as_ref())?;
/// queue_a_kernel(frame.slice().address(), queue.as_ref());
/// frame.commit(shm_core::FrameTag::default())?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "dropping a loan publishes nothing"]
pub struct DeviceFrameMut<'a> {
    writer: &'a mut DeviceWriter,
    stream: StreamRef<'a>,
    flight: Option<Flight>,
    cell: usize,
}

impl<'a> DeviceFrameMut<'a> {
    pub(super) fn new(
        writer: &'a mut DeviceWriter,
        flight: Flight,
        stream: StreamRef<'a>,
    ) -> DeviceFrameMut<'a> {
        let cell = flight.cell();
        DeviceFrameMut { writer, stream, flight: Some(flight), cell }
    }

    /// The payload. Write to it only in the order of the queue that it was lent for.
    pub fn slice(&self) -> DeviceSlice<'_> {
        self.writer.inner().cell(self.cell)
    }

    /// The count that the frame has once it is there.
    pub fn count(&self) -> u64 {
        self.flight.as_ref().map_or(0, Flight::count)
    }

    /// Publishes the frame, after everything that is queued by now; returns its count. Waits for earlier
    /// frames of this writer if `tag` says anything.
    ///
    /// # Errors
    /// As for [`DeviceWriter::publish`].
    pub fn commit(mut self, tag: FrameTag) -> Result<u64, DevicePublishError> {
        match self.flight.take() {
            Some(flight) => self.writer.commit(flight, tag, self.stream),
            None => unreachable!("a frame in place is consumed by its commit"),
        }
    }
}

impl Drop for DeviceFrameMut<'_> {
    fn drop(&mut self) {
        if self.flight.take().is_some() {
            self.writer.abort_frame(self.stream);
        }
    }
}

/// The next cell, lent apart from its writer: see [`DeviceWriter::lend`]. It keeps the stream open.
#[derive(Debug)]
#[must_use = "dropping a loan publishes nothing"]
pub struct DeviceLoan {
    flight: Flight,
    /// The writer knows it by this, and whether it is still there.
    token: Arc<()>,
    inner: Arc<Inner>,
}

impl DeviceLoan {
    pub(super) fn new(inner: Arc<Inner>, flight: Flight, token: Arc<()>) -> DeviceLoan {
        DeviceLoan { flight, token, inner }
    }

    /// The payload. Write to it only in the order of the queue that it was lent for, and only while the
    /// writer that lent it is held.
    pub fn slice(&self) -> DeviceSlice<'_> {
        self.inner.cell(self.flight.cell())
    }

    /// The count that the frame has once it is there.
    pub fn count(&self) -> u64 {
        self.flight.count()
    }

    pub(super) fn is(&self, lent: &Weak<()>) -> bool {
        core::ptr::eq(lent.as_ptr(), Arc::as_ptr(&self.token))
    }

    pub(super) fn into_flight(self) -> Flight {
        self.flight
    }
}

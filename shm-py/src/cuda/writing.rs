//! Writes to device streams.
//!
//! Upholds invariants 1 and 7 through [`shm_cuda::DeviceWriter`]: a frame is the newest when the device
//! has it, whoever made its data and on whatever stream.

use crate::array::{self, ArrayForm, Bytes};
use crate::cuda::foreign::{Foreign, Source};
use crate::cuda::held::DeviceHeld;
use crate::cuda::pool::payload;
use crate::cuda::queue::Queue;
use crate::cuda::side::OnDevice;
use crate::cuda::{device::Lane, errors};
use crate::handle::{Attachment, SharedMemory};
use crate::lock::StreamLock;
use crate::writing::Tag;
use numpy::PyUntypedArray;
use pyo3::prelude::*;
use shm_core::FrameTag;
use shm_cuda::{CudaError, DevicePublishError, DeviceSlice};
use std::sync::Arc;

/// What is to be written.
pub(crate) enum Payload<'py> {
    /// Memory of a device, checked.
    Device {
        foreign: Foreign,
        lane: Arc<Lane>,
    },
    /// An array of the host, of the stream's shape, castable.
    Host(Bound<'py, PyUntypedArray>),
    Zeros,
}

/// When a write returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// The frame is there.
    Published,
    /// It is queued on the caller's stream.
    Queued,
}

impl OnDevice {
    /// What `value` is, if it is memory of a device; `queue` finds its data ready.
    pub(crate) fn device_payload<'py>(
        &self,
        value: &Bound<'py, PyAny>,
        form: &ArrayForm,
        queue: Queue,
    ) -> PyResult<Option<Payload<'py>>> {
        let py = value.py();
        let Some(source) = Source::of(value)? else { return Ok(None) };
        let lane = Lane::of(py, source.ordinal())?;
        let foreign = source.take(py, &self.side.lane.device, queue.get())?;
        foreign.layout.check_same(self.dtype(), &form.shape)?;
        foreign.layout.check_contiguous()?;
        Ok(Some(Payload::Device { foreign, lane }))
    }

    /// Queues one frame, and waits for it if that is wanted.
    pub(crate) fn publish(
        &self,
        py: Python<'_>,
        held: &mut DeviceHeld,
        form: &ArrayForm,
        payload: Payload<'_>,
        (tag, id, queue, until): (FrameTag, u64, Queue, Until),
    ) -> PyResult<()> {
        let failed = |error| errors::publish(py, error);
        let mut kept = None;
        match payload {
            Payload::Device { foreign, lane } => {
                let data = payload::bytes(&foreign, &lane);
                let writer = &mut held.writer;
                py.detach(|| writer.publish_tagged(data, tag, queue.get())).map_err(failed)?;
                kept = Some(foreign.owner);
            }
            Payload::Host(array) => {
                let frame = as_frame(py, form, array)?;
                upload(py, held, Bytes::of(&frame, form.byte_len), tag, queue).map_err(failed)?;
                held.queued(id, None);
                // The array may be changed as soon as this returns.
                return held.settle(py);
            }
            Payload::Zeros => {
                fill_in_place(py, held, tag, queue, |cell| cell.fill(0, queue.get()))
                    .map_err(failed)?;
            }
        }
        held.queued(id, kept);
        match until {
            Until::Published => held.settle(py),
            Until::Queued => Ok(()),
        }
    }
}

/// The array as the bytes of a frame.
fn as_frame<'py>(
    py: Python<'py>,
    form: &ArrayForm,
    array: Bound<'py, PyUntypedArray>,
) -> PyResult<Bound<'py, PyUntypedArray>> {
    if form.is_frame(&array) {
        return Ok(array);
    }
    let frame = form.empty(py)?;
    array::convert_into(&frame, &array)?;
    Ok(frame)
}

/// Queues a copy from host memory into the next cell. Whether or not it succeeds, what it has queued is
/// waited for before the bytes go: by the caller's settling, or by giving back the cell.
fn upload(
    py: Python<'_>,
    held: &mut DeviceHeld,
    bytes: Bytes,
    tag: FrameTag,
    queue: Queue,
) -> Result<(), DevicePublishError> {
    fill_in_place(py, held, tag, queue, |cell| {
        // SAFETY: as many bytes of an array that the caller keeps until the copy is done.
        unsafe { cell.upload_from(bytes.start(), queue.get()) }
    })
}

/// Publishes the next cell once `fill` has queued what is to be in it.
fn fill_in_place(
    py: Python<'_>,
    held: &mut DeviceHeld,
    tag: FrameTag,
    queue: Queue,
    fill: impl FnOnce(DeviceSlice<'_>) -> Result<(), CudaError> + Send,
) -> Result<(), DevicePublishError> {
    let name = held.writer.name().to_owned();
    py.detach(|| {
        let frame = held.writer.loan(queue.get())?;
        let count = frame.count();
        match fill(frame.slice()) {
            Ok(()) => frame.commit(tag).map(drop),
            Err(source) => Err(DevicePublishError::Cuda { name, count, source }),
        }
    })
}

impl SharedMemory {
    /// As an ordinary write, to a device: the lock is held by this thread.
    pub(crate) fn publish_on_device(
        &self,
        py: Python<'_>,
        attachment: &Attachment,
        lock: &StreamLock,
        payload: Payload<'_>,
        (tag, queue, until): (Tag, Queue, Until),
    ) -> PyResult<()> {
        let device = attachment.on_device("write to", &self.name)?;
        lock.with_device_writer(&self.name, &device.side, |held| {
            let id = tag.id_after(py, attachment, held.last_id())?;
            device.publish(py, held, &self.form, payload, (tag.with_id(id), id, queue, until))
        })
    }
}

//! Writes: one frame under the lock, copied in or filled in place.
//!
//! Upholds invariants 1 and 7: whatever goes wrong while a frame is being made, from a bad value to
//! an exception in a `with` block, the newest complete frame stays the newest.

use crate::array::{self, Bytes, shape_text};
use crate::casting::Casting;
use crate::cuda::{Payload, Queue, Until};
use crate::handle::{Attachment, SharedMemory};
use crate::lock::StreamLock;
use crate::reading::WORTH_RELEASING;
use crate::write_view::WriteView;
use crate::{errors, wait};
use numpy::{PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::{PyOverflowError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyInt;
use shm_core::{Deadline, FrameTag, ReadError, Writer};

/// What the caller says about a frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tag {
    pub(crate) frame_id: Option<u64>,
    pub(crate) acquired_ns: Option<u64>,
}

impl Tag {
    /// A frame without an id of its own keeps the one before, 0 at first.
    pub(crate) fn resolve(self, py: Python<'_>, attachment: &Attachment) -> PyResult<FrameTag> {
        Ok(self.with_id(self.id_after(py, attachment, None)?))
    }

    /// The frame's id; `queued` is that of a frame before it that nobody sees yet.
    pub(crate) fn id_after(
        self,
        py: Python<'_>,
        attachment: &Attachment,
        queued: Option<u64>,
    ) -> PyResult<u64> {
        match self.frame_id.or(queued) {
            Some(id) => Ok(id),
            None => match attachment.observer.peek() {
                Ok(info) => Ok(info.frame_id),
                Err(ReadError::Empty { .. }) => Ok(0),
                Err(error) => Err(errors::read(py, error)),
            },
        }
    }

    pub(crate) fn with_id(self, id: u64) -> FrameTag {
        FrameTag::id(id).acquired_ns(self.acquired_ns.unwrap_or(0))
    }
}

impl SharedMemory {
    /// `value` as an array that may be written: right shape, and castable.
    fn source<'py>(
        &self,
        value: &Bound<'py, PyAny>,
        casting: Casting,
    ) -> PyResult<Bound<'py, PyUntypedArray>> {
        let py = value.py();
        let array = match value.cast::<PyUntypedArray>() {
            Ok(array) => array.clone(),
            Err(_) => self.source_of_other(value, casting)?,
        };
        if array.shape() != self.form.shape {
            return Err(PyValueError::new_err(format!(
                "expected shape {}, got {}",
                shape_text(&self.form.shape),
                shape_text(array.shape())
            )));
        }
        if !self.form.has_dtype(&array) {
            casting.check(&array.dtype(), self.form.descr.bind(py))?;
        }
        Ok(array)
    }

    /// Lists, scalars, and whatever else `numpy.asarray` understands. Python's integers have no dtype:
    /// they fit if their values do.
    fn source_of_other<'py>(
        &self,
        value: &Bound<'py, PyAny>,
        casting: Casting,
    ) -> PyResult<Bound<'py, PyUntypedArray>> {
        let py = value.py();
        let found = array::as_array(value, None)?;
        let to = self.form.descr.bind(py);
        let mut has_dtype = false;
        for attribute in ["dtype", "__array__", "__array_interface__", "__dlpack__"] {
            has_dtype = has_dtype || value.hasattr(attribute)?;
        }
        let integers = |kind: u8| matches!(kind, b'i' | b'u');
        use numpy::PyArrayDescrMethods;
        let by_value = !has_dtype
            && casting == Casting::SameKind
            && (integers(found.dtype().kind()) || holds_integers(&found)?)
            && integers(to.kind());
        if !by_value {
            return Ok(found);
        }
        let fitting = array::as_array(value, Some(to))?;
        let same = py.import("numpy")?.call_method1("array_equal", (&found, &fitting))?;
        match same.is_truthy()? {
            true => Ok(fitting),
            false => Err(PyOverflowError::new_err(format!(
                "an integer of the value does not fit dtype {to}; pass casting='unsafe' to wrap it"
            ))),
        }
    }

    /// Publishes `source` through a writer that this thread holds.
    #[inline]
    fn publish(
        &self,
        py: Python<'_>,
        attachment: &Attachment,
        writer: &mut Writer,
        source: &Bound<'_, PyUntypedArray>,
        tag: Tag,
    ) -> PyResult<()> {
        let tag = tag.resolve(py, attachment)?;
        let failed = |error| errors::publish(py, error);
        if self.form.is_frame(source) {
            let bytes = Bytes::of(source, self.form.byte_len);
            // SAFETY: `source` is alive through this call, contiguous, and one frame long; the cell is
            // this writer's.
            let fill = move |payload: *mut u8| unsafe { bytes.give(payload) };
            return match bytes.len() >= WORTH_RELEASING {
                true => py.detach(|| writer.publish_with(tag, fill)),
                false => writer.publish_with(tag, fill),
            }
            .map(drop)
            .map_err(failed);
        }
        let loan = writer.lend().map_err(failed)?;
        let base = array::Mapping::of(py, &attachment.stream)?;
        // SAFETY: the cell is this writer's until the commit, and `base` owns the mapping.
        let cell = unsafe { self.form.over(py, loan.as_mut_ptr(), true, base) }?;
        array::convert_into(&cell, source)?;
        writer.commit_loan(loan, tag).map(drop).map_err(failed)
    }

    /// What to write, and on which queue, if the frames are on a device.
    fn for_device<'py>(
        &self,
        attachment: &Attachment,
        value: &Bound<'py, PyAny>,
        casting: Casting,
        stream: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Option<(Payload<'py>, Queue)>> {
        let given = self.queue_argument(attachment, stream)?;
        let Some(device) = &attachment.device else { return Ok(None) };
        let queue = device.queue(given);
        // An array is what it is; others may offer both kinds of memory.
        if value.cast::<PyUntypedArray>().is_err()
            && let Some(payload) = device.device_payload(value, &self.form, queue)?
        {
            return Ok(Some((payload, queue)));
        }
        Ok(Some((Payload::Host(self.source(value, casting)?), queue)))
    }

    fn casting_or_own(&self, casting: Option<&str>) -> PyResult<Casting> {
        casting.map_or(Ok(self.casting), Casting::parse)
    }
}

/// True for integers that no dtype has room for, which NumPy keeps as objects.
fn holds_integers(array: &Bound<'_, PyUntypedArray>) -> PyResult<bool> {
    use numpy::PyArrayDescrMethods;
    if array.dtype().kind() != b'O' {
        return Ok(false);
    }
    let mut elements = array.getattr("flat")?.try_iter()?;
    elements.try_fold(true, |all, element| Ok(all && element?.is_instance_of::<PyInt>()))
}

/// Takes the lock for the time of one call.
#[inline]
pub(crate) fn with_lock<R>(
    py: Python<'_>,
    attachment: &Attachment,
    lock: &StreamLock,
    timeout: Option<f64>,
    work: impl FnOnce() -> PyResult<R>,
) -> PyResult<R> {
    let deadline = match timeout {
        None => Deadline::NEVER,
        some => wait::deadline(some)?,
    };
    lock.acquire(py, attachment.side(), deadline, || attachment.is_closing())?;
    let outcome = work();
    lock.release()?;
    outcome
}

/// The lock is held by this thread, or an error that names the call.
fn require_lock(lock: &StreamLock, call: &str) -> PyResult<()> {
    match lock.depth() {
        0 => Err(PyRuntimeError::new_err(format!(
            "{call} requires an active 'with handle.locked()' block of this thread"
        ))),
        _ => Ok(()),
    }
}

#[pymethods]
impl SharedMemory {
    /// Publishes one frame: takes the lock, copies `value` in, lets go. `value` is anything that
    /// numpy.asarray understands, of exactly the stream's shape, in any memory layout.
    ///
    /// `frame_id` is the producer's own number, 0 to 2**64 - 1; None keeps the one before.
    /// `acquired_ns` says when the data was acquired, nanoseconds since 1970 UTC. `casting` is one of
    /// numpy's rules ('no', 'equiv', 'safe', 'same_kind', 'unsafe'); None means the handle's.
    /// `timeout` bounds the wait for the lock, in seconds; None waits for ever.
    ///
    /// On a device, `value` may also be a DeviceTensor or any object with `__dlpack__` or
    /// `__cuda_array_interface__` in device memory: of exactly the stream's dtype, C-contiguous, and
    /// copied on the device, once its producer's data is ready. `stream` is the caller's stream of
    /// work, after whose work so far the value is read: its handle, or an object with
    /// `__cuda_stream__()`, `cuda_stream` (PyTorch) or `ptr` (CuPy); None is one of the handle's own.
    /// The call returns when the frame is there.
    ///
    /// Raises ValueError for a wrong shape, or a device tensor that is not C-contiguous (pass what its
    /// .contiguous() gives) or on a device that cannot be reached, TypeError for a cast that the rule forbids, OverflowError
    /// for an integer that does not fit, TimeoutError naming the holder of the lock, StaleStreamError,
    /// PermissionError, RuntimeError inside an open write_view; the stream is then as before.
    #[pyo3(signature = (
        value, *, frame_id = None, acquired_ns = None, casting = None, timeout = None, stream = None
    ))]
    #[expect(clippy::too_many_arguments, reason = "Python's keywords")]
    fn write(
        &self,
        py: Python<'_>,
        value: &Bound<'_, PyAny>,
        frame_id: Option<u64>,
        acquired_ns: Option<u64>,
        casting: Option<&str>,
        timeout: Option<f64>,
        stream: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let (attachment, lock) = self.writable(py, "write to")?;
        let casting = self.casting_or_own(casting)?;
        let tag = Tag { frame_id, acquired_ns };
        if let Some((payload, queue)) = self.for_device(&attachment, value, casting, stream)? {
            return with_lock(py, &attachment, &lock, timeout, || {
                let how = (tag, queue, Until::Published);
                self.publish_on_device(py, &attachment, &lock, payload, how)
            });
        }
        let source = self.source(value, casting)?;
        with_lock(py, &attachment, &lock, timeout, || {
            lock.with_writer(&self.name, |writer| {
                self.publish(py, &attachment, writer, &source, tag)
            })
        })
    }

    /// As write(), inside `with handle.locked()`: for several frames, or to read and write as one.
    /// With `stream=`, a frame that comes from device memory is only queued on it: it is there when the
    /// device has come that far, and at the latest when the lock is released, which waits for that.
    ///
    /// Raises RuntimeError without the lock; else as write() does.
    #[pyo3(signature = (
        value, *, frame_id = None, acquired_ns = None, casting = None, stream = None
    ))]
    fn write_locked(
        &self,
        py: Python<'_>,
        value: &Bound<'_, PyAny>,
        frame_id: Option<u64>,
        acquired_ns: Option<u64>,
        casting: Option<&str>,
        stream: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let (attachment, lock) = self.writable(py, "write to")?;
        require_lock(&lock, "write_locked")?;
        let casting = self.casting_or_own(casting)?;
        let tag = Tag { frame_id, acquired_ns };
        if let Some((payload, queue)) = self.for_device(&attachment, value, casting, stream)? {
            let until = if stream.is_some() { Until::Queued } else { Until::Published };
            return self.publish_on_device(py, &attachment, &lock, payload, (tag, queue, until));
        }
        let source = self.source(value, casting)?;
        lock.with_writer(&self.name, |writer| self.publish(py, &attachment, writer, &source, tag))
    }

    /// A `with` block that fills the next frame in place, without a copy: it takes the lock and yields
    /// a writable array over shared memory, whose contents are those of an older frame, or zero.
    /// Leaving the block publishes; leaving it with an exception publishes nothing, and the newest
    /// frame stays. Afterwards the array is read-only. `timeout`, `frame_id` and `acquired_ns` are as
    /// for write().
    ///
    /// On a device it yields a DeviceTensor over the next frame, to be written by whatever is queued on
    /// `stream`, as for write(). Without `stream`, any stream of the device will do: leaving the block
    /// waits for all of its work.
    ///
    /// Raises RuntimeError if one is open in this thread already; else as write() does.
    #[pyo3(signature = (*, timeout = None, frame_id = None, acquired_ns = None, stream = None))]
    fn write_view(
        slf: Py<Self>,
        py: Python<'_>,
        timeout: Option<f64>,
        frame_id: Option<u64>,
        acquired_ns: Option<u64>,
        stream: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<WriteView> {
        let (attachment, _) = slf.get().writable(py, "write to")?;
        let queue = slf.get().queue_argument(&attachment, stream)?;
        let deadline = wait::deadline(timeout)?;
        Ok(WriteView::new(slf, Some(deadline), Tag { frame_id, acquired_ns }, queue))
    }

    /// As write_view(), inside `with handle.locked()`.
    ///
    /// Raises RuntimeError without the lock, on entering the block; else as write_view() does.
    #[pyo3(signature = (*, frame_id = None, acquired_ns = None, stream = None))]
    fn write_view_locked(
        slf: Py<Self>,
        py: Python<'_>,
        frame_id: Option<u64>,
        acquired_ns: Option<u64>,
        stream: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<WriteView> {
        let (attachment, lock) = slf.get().writable(py, "write to")?;
        require_lock(&lock, "write_view_locked")?;
        let queue = slf.get().queue_argument(&attachment, stream)?;
        drop((attachment, lock));
        Ok(WriteView::new(slf, None, Tag { frame_id, acquired_ns }, queue))
    }

    /// Publishes a frame of zeros. `timeout` bounds the wait for the lock, in seconds.
    ///
    /// Raises as write() does.
    #[pyo3(signature = (*, timeout = None))]
    fn clear(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<()> {
        let (attachment, lock) = self.writable(py, "clear")?;
        let tag = Tag { frame_id: None, acquired_ns: None };
        if let Some(device) = &attachment.device {
            let how = (tag, device.queue(None), Until::Published);
            return with_lock(py, &attachment, &lock, timeout, || {
                self.publish_on_device(py, &attachment, &lock, Payload::Zeros, how)
            });
        }
        with_lock(py, &attachment, &lock, timeout, || {
            lock.with_writer(&self.name, |writer| {
                let tag = tag.resolve(py, &attachment)?;
                let zeroed = writer.clear_tagged(tag);
                zeroed.map(drop).map_err(|error| errors::publish(py, error))
            })
        })
    }
}

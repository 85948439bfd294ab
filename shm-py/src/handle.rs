//! The class `SharedMemory`: what a handle is, and how long it lives.
//!
//! Upholds invariant 6: closing lets go of the handle's share in the mapping; arrays and views have
//! shares of their own.

use crate::array::ArrayForm;
use crate::casting::Casting;
use crate::cuda::{DeviceWish, Facts, Kept, OnDevice, Side, side_of};
use crate::errors;
use crate::interpreter;
use crate::lock::StreamLock;
use crate::notifier::Notifier;
use crate::recycling::Shelf;
use crate::{dtype, wait};
use parking_lot::{Mutex, RwLock};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use shm_core::{Reader, Stream, fork_generation};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A handle on a named stream of arrays in shared memory; made by create() and open().
///
/// One process writes, any number of processes read the newest complete frame. A frame is a C-ordered
/// array of the stream's dtype and shape. A peer may be killed at any moment: complete frames stay
/// readable, locks are free again. Handles may be used from several threads, survive fork, and pickle
/// (as a name to reopen). close() ends the handle, unlink() the stream; leaving a `with` block closes.
///
/// Every call on a closed handle raises RuntimeError; name, shape, dtype, size, owner, readonly,
/// casting, instance_id and the GPU attributes stay readable. Calls that change the stream raise PermissionError
/// on a read-only handle and StaleStreamError once the stream was unlinked or replaced.
#[pyclass(frozen, weakref, module = "shm_py")]
pub(crate) struct SharedMemory {
    pub(crate) name: String,
    pub(crate) form: ArrayForm,
    pub(crate) shape: Py<PyTuple>,
    /// Which of the streams that ever had the name this is.
    pub(crate) instance: [u8; 16],
    pub(crate) owner: bool,
    pub(crate) readonly: bool,
    pub(crate) casting: Casting,
    auto_unlink: bool,
    attachment: RwLock<Option<Arc<Attachment>>>,
    pub(crate) place: Place,
    pub(crate) facts: Facts,
    held: Mutex<HeldLevels>,
    /// Of the handle that created a stream on a device, once it is closed.
    kept: Kept,
}

/// What a handle has until it is closed.
#[derive(Debug)]
pub(crate) struct Attachment {
    pub(crate) stream: Stream,
    /// Where the frames are read and written, for a handle with a device.
    pub(crate) device: Option<OnDevice>,
    /// For one read at a time; a second one makes a reader of its own.
    pub(crate) reader: Mutex<Reader>,
    /// For waits and looks, any number at a time.
    pub(crate) observer: Reader,
    /// `None` on a read-only handle.
    pub(crate) lock: Option<Arc<StreamLock>>,
    pub(crate) shelf: Arc<Shelf>,
    pub(crate) notifier: Notifier,
    closing: AtomicBool,
}

/// How far a handle has read.
#[derive(Debug)]
pub(crate) struct Place {
    seen: AtomicU64,
    missed: AtomicU64,
    total_missed: AtomicU64,
}

/// Lock levels that were taken through one handle.
#[derive(Debug, Default)]
struct HeldLevels {
    generation: u64,
    levels: u32,
}

/// What the caller asked for besides the stream itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HandleOptions {
    pub(crate) owner: bool,
    pub(crate) readonly: bool,
    pub(crate) auto_unlink: bool,
    pub(crate) casting: Casting,
}

impl SharedMemory {
    /// A handle on `stream`; a writable one shares its mapping and lock with the process's others.
    pub(crate) fn new(
        py: Python<'_>,
        stream: Stream,
        device: Option<DeviceWish>,
        options: HandleOptions,
    ) -> PyResult<SharedMemory> {
        let HandleOptions { owner, readonly, auto_unlink, casting } = options;
        let lock = (!readonly).then(|| StreamLock::of(stream.clone()));
        let stream = lock.as_ref().map_or(stream, |lock| lock.stream().clone());
        let device = match device {
            Some(wish) => Some(OnDevice::new(py, side_of(py, &stream, lock.as_deref(), wish)?)?),
            None => None,
        };
        let facts = match &device {
            Some(device) => Facts::with_device(&stream, &device.side.lane.device)?,
            None => Facts::of(&stream)?,
        };
        let desc = stream.desc();
        let form = ArrayForm {
            descr: dtype::to_numpy(py, desc.dtype())?.unbind(),
            shape: desc.shape().to_vec(),
            byte_len: desc.byte_len(),
        };
        let shape = PyTuple::new(py, desc.shape())?.unbind();
        let place = Place {
            seen: stream.count().into(),
            missed: AtomicU64::new(0),
            total_missed: AtomicU64::new(0),
        };
        let (name, instance) = (stream.name().to_owned(), stream.instance());
        let attachment = Attachment {
            reader: Mutex::new(stream.reader()),
            observer: stream.reader(),
            notifier: Notifier::new(stream.clone()),
            device,
            stream,
            lock,
            shelf: Arc::default(),
            closing: AtomicBool::new(false),
        };
        Ok(SharedMemory {
            name,
            form,
            shape,
            instance,
            owner,
            readonly,
            casting,
            auto_unlink,
            attachment: RwLock::new(Some(Arc::new(attachment))),
            place,
            facts,
            held: Mutex::default(),
            kept: Kept::default(),
        })
    }

    /// The attachment, or the error of a closed handle.
    #[inline]
    pub(crate) fn attached(&self, py: Python<'_>, operation: &str) -> PyResult<Arc<Attachment>> {
        let attachment = self.attachment.read().clone();
        attachment.ok_or_else(|| errors::closed(py, operation, &self.name))
    }

    /// The attachment and the lock of a handle that may write.
    #[inline]
    pub(crate) fn writable(
        &self,
        py: Python<'_>,
        operation: &str,
    ) -> PyResult<(Arc<Attachment>, Arc<StreamLock>)> {
        let attachment = self.attached(py, operation)?;
        match &attachment.lock {
            Some(lock) => {
                let lock = lock.clone();
                Ok((attachment, lock))
            }
            None => Err(errors::read_only(py, operation, &self.name)),
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.attachment.read().is_none()
    }

    /// Remembers that a level of the lock was taken (or given back) through this handle.
    pub(crate) fn note_level(&self, taken: bool) {
        let mut held = self.held.lock();
        let generation = fork_generation();
        if held.generation != generation {
            *held = HeldLevels { generation, levels: 0 };
        }
        held.levels = if taken { held.levels + 1 } else { held.levels.saturating_sub(1) };
    }

    fn held_levels(&self) -> u32 {
        let held = self.held.lock();
        if held.generation == fork_generation() { held.levels } else { 0 }
    }

    pub(crate) fn detach_from_stream(&self, py: Python<'_>) -> PyResult<()> {
        let Some(attachment) = self.attachment.read().clone() else { return Ok(()) };
        let levels = self.held_levels();
        if let Some(lock) = &attachment.lock
            && levels > 0
        {
            if lock.is_held_by_other_thread() {
                return Err(PyRuntimeError::new_err(format!(
                    "cannot close shared memory {} while another thread owns its lock",
                    errors::quoted(&self.name)
                )));
            }
            lock.release_orphaned(levels);
            *self.held.lock() = HeldLevels::default();
        }
        attachment.closing.store(true, Ordering::Release);
        if self.owner
            && let Some(side) = attachment.side()
        {
            self.kept.keep(side.clone());
        }
        *self.attachment.write() = None;
        attachment.notifier.close(py, &self.name);
        drop_detached(py, attachment);
        Ok(())
    }
}

/// The last share unmaps, which takes milliseconds for a large stream.
fn drop_detached(py: Python<'_>, attachment: Arc<Attachment>) {
    if Arc::strong_count(&attachment) == 1 {
        py.detach(|| drop(attachment));
    }
}

impl Attachment {
    /// True once the handle is being closed: waits end.
    #[inline]
    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// The device of the handle.
    #[inline]
    pub(crate) fn side(&self) -> Option<&Arc<Side>> {
        self.device.as_ref().map(|device| &device.side)
    }

    /// What the handle has on its device, or the error of a handle without one.
    pub(crate) fn on_device(&self, operation: &str, name: &str) -> PyResult<&OnDevice> {
        self.device.as_ref().ok_or_else(|| errors::needs_device(operation, name))
    }
}

impl Place {
    /// Notes a frame that was read; returns how many were skipped.
    #[inline]
    pub(crate) fn note(&self, count: u64) -> u64 {
        let seen = self.seen.swap(count, Ordering::Relaxed);
        let missed = count.saturating_sub(seen).saturating_sub(1);
        self.missed.store(missed, Ordering::Relaxed);
        if missed > 0 {
            self.total_missed.fetch_add(missed, Ordering::Relaxed);
        }
        missed
    }

    pub(crate) fn seen(&self) -> u64 {
        self.seen.load(Ordering::Relaxed)
    }

    pub(crate) fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }

    pub(crate) fn total_missed(&self) -> u64 {
        self.total_missed.load(Ordering::Relaxed)
    }
}

#[pymethods]
impl SharedMemory {
    /// Ends this handle; the stream stays. Closing twice is fine. Waits in other threads end with
    /// RuntimeError; arrays and views that were handed out stay valid. The frames of a stream on a
    /// device stay for as long as this object, if it is the one that create() returned, or until it
    /// is unlinked. `timeout` (seconds) is accepted for compatibility: nothing has to be waited for.
    ///
    /// Raises RuntimeError if another thread holds the lock through this handle, ValueError for a
    /// bad timeout.
    #[pyo3(signature = (*, timeout = 5.0))]
    fn close(&self, py: Python<'_>, timeout: f64) -> PyResult<()> {
        wait::deadline(Some(timeout))?;
        self.detach_from_stream(py)
    }

    /// Closes this handle and takes the stream's name away; others keep their mappings and are told
    /// (StaleStreamError). A stream that was unlinked before is no error.
    ///
    /// Raises StaleStreamError, and removes nothing, if the name belongs to a newer stream;
    /// PermissionError on a read-only handle; RuntimeError as close() does.
    fn unlink(&self, py: Python<'_>) -> PyResult<()> {
        if self.readonly {
            return Err(errors::read_only(py, "unlink", &self.name));
        }
        let attachment = self.attachment.read().clone();
        self.detach_from_stream(py)?;
        self.kept.let_go(py);
        match attachment {
            Some(attachment) => {
                let outcome = crate::discovery::unlink_stream(py, &attachment.stream);
                drop_detached(py, attachment);
                outcome
            }
            None => crate::discovery::unlink_instance(py, &self.name, self.instance),
        }
    }

    /// The same as unlink().
    fn delete(&self, py: Python<'_>) -> PyResult<()> {
        self.unlink(py)
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    #[pyo3(signature = (exc_type, exc, tb))]
    fn __exit__(
        &self,
        py: Python<'_>,
        exc_type: &Bound<'_, PyAny>,
        exc: &Bound<'_, PyAny>,
        tb: &Bound<'_, PyAny>,
    ) -> PyResult<bool> {
        let _ = (exc_type, exc, tb);
        if !self.auto_unlink {
            self.detach_from_stream(py)?;
            return Ok(false);
        }
        match self.unlink(py) {
            // Somebody else has the name by now, so this stream is gone, as it should be.
            Err(error) if error.is_instance_of::<errors::StaleStreamError>(py) => {}
            outcome => outcome?,
        }
        Ok(false)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!(
            "SharedMemory(name={}, shape={}, dtype='{}', gpu_device={})",
            errors::quoted(&self.name),
            self.shape.bind(py).repr()?,
            self.form.descr.bind(py),
            self.facts.device_name(py).map_or("None".to_owned(), |name| format!("'{name}'")),
        ))
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let attachment = self.attached(py, "pickle")?;
        let reopen = py.import("shm_py._native")?.getattr("_reopen")?;
        let arguments =
            (&self.name, self.readonly, self.casting.name(), attachment.device.is_some());
        let arguments = arguments.into_pyobject(py)?;
        (reopen, arguments).into_pyobject(py)
    }
}

impl Drop for SharedMemory {
    fn drop(&mut self) {
        let Some(attachment) = self.attachment.get_mut().take() else { return };
        let levels = self.held_levels();
        if let Some(lock) = attachment.lock.as_ref().filter(|_| levels > 0) {
            lock.release_orphaned(levels);
        }
        attachment.closing.store(true, Ordering::Release);
        let mut attachment = Some(attachment);
        interpreter::visit(|py| {
            if let Some(attachment) = attachment.take() {
                attachment.notifier.leave(py, &self.name);
                drop_detached(py, attachment);
            }
        });
        // Still there: the interpreter is going away, and a thread that wants it cannot be joined.
        core::mem::forget(attachment);
    }
}

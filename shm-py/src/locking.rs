//! The lock as Python programs take it.

use crate::handle::SharedMemory;
use crate::wait;
use pyo3::prelude::*;
use shm_core::Deadline;

/// A `with` block that holds a stream's lock; made by SharedMemory.locked().
#[pyclass(frozen, module = "shm_py._native")]
pub(crate) struct Locked {
    handle: Py<SharedMemory>,
    timeout: Option<f64>,
}

impl SharedMemory {
    fn take_level(&self, py: Python<'_>, deadline: Deadline) -> PyResult<()> {
        let (attachment, lock) = self.writable(py, "acquire the lock of")?;
        lock.acquire(py, attachment.side(), deadline, || attachment.is_closing())?;
        self.note_level(true);
        Ok(())
    }

    fn give_level_back(&self, py: Python<'_>) -> PyResult<()> {
        let (_, lock) = self.writable(py, "release")?;
        let before = lock.depth();
        let outcome = lock.release();
        // It is given back even if a frame that was in flight has failed.
        if lock.depth() < before {
            self.note_level(false);
        }
        outcome
    }
}

#[pymethods]
impl SharedMemory {
    /// Takes the stream's lock against all other threads and processes, or one more level of it: it is
    /// one per stream and process, whichever handle it is taken through. The kernel releases it when
    /// this process dies. While it is held nobody else can publish; reads go on. `timeout` in
    /// seconds, None waits for ever; `poll_interval` is accepted for compatibility.
    ///
    /// Raises TimeoutError naming the holder, StaleStreamError, PermissionError on a read-only handle.
    #[pyo3(signature = (*, timeout = None, poll_interval = 1e-3))]
    fn acquire(&self, py: Python<'_>, timeout: Option<f64>, poll_interval: f64) -> PyResult<()> {
        wait::check_poll_interval(poll_interval)?;
        self.take_level(py, wait::deadline(timeout)?)
    }

    /// Gives one level of the lock back.
    ///
    /// Raises RuntimeError if it is unlocked, or held by another thread.
    fn release(&self, py: Python<'_>) -> PyResult<()> {
        self.give_level_back(py)
    }

    /// A `with` block that holds the lock; yields this handle. Arguments and errors are those of
    /// acquire(), when the block is entered.
    #[pyo3(signature = (*, timeout = None, poll_interval = 1e-3))]
    fn locked(
        slf: Py<Self>,
        py: Python<'_>,
        timeout: Option<f64>,
        poll_interval: f64,
    ) -> PyResult<Locked> {
        wait::check_poll_interval(poll_interval)?;
        wait::deadline(timeout)?;
        slf.get().writable(py, "acquire the lock of")?;
        Ok(Locked { handle: slf, timeout })
    }

    /// How many levels of the lock the calling thread holds; 0 for none.
    ///
    /// Raises RuntimeError on a closed handle.
    #[getter]
    fn lock_depth(&self, py: Python<'_>) -> PyResult<u32> {
        let attachment = self.attached(py, "look at the lock of")?;
        Ok(attachment.lock.as_ref().map_or(0, |lock| lock.depth()))
    }
}

#[pymethods]
impl Locked {
    fn __enter__(&self, py: Python<'_>) -> PyResult<Py<SharedMemory>> {
        self.handle.get().take_level(py, wait::deadline(self.timeout)?)?;
        Ok(self.handle.clone_ref(py))
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
        let handle = self.handle.get();
        // A handle that was closed or unlinked inside the block has given the lock back itself.
        if !handle.is_closed() {
            handle.give_level_back(py)?;
        }
        Ok(false)
    }
}

//! Other worlds: asyncio and DLPack.

use crate::handle::SharedMemory;
use crate::{errors, wait};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

#[pymethods]
impl SharedMemory {
    /// As read_new(), awaited: resolves when a frame is published after this call. The event loop goes
    /// on meanwhile, and nothing polls; cancelling works as usual.
    ///
    /// Raises as read_new() does, when awaited.
    #[pyo3(signature = (*, timeout = None, safe = true, poll_interval = 1e-5, out = None))]
    fn read_new_async<'py>(
        slf: Bound<'py, Self>,
        timeout: Option<f64>,
        safe: bool,
        poll_interval: f64,
        out: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        wait::check_poll_interval(poll_interval)?;
        if !safe {
            return Err(PyValueError::new_err(
                "safe=False needs the lock, which no task can hold while it awaits; leave it out",
            ));
        }
        let after = slf.get().attached(py, "read from")?.observer.count();
        coroutine(slf, "read", (after, timeout, out))
    }

    /// As read_after(), awaited.
    ///
    /// Raises as read_after() does, when awaited.
    #[pyo3(signature = (after, *, timeout = None, out = None))]
    fn read_after_async<'py>(
        slf: Bound<'py, Self>,
        after: &Bound<'py, PyAny>,
        timeout: Option<f64>,
        out: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        coroutine(slf, "read", (wait::count(after)?, timeout, out))
    }

    /// As read_after_publication(), awaited.
    ///
    /// Raises as read_after() does, when awaited.
    #[pyo3(signature = (after, *, timeout = None, out = None))]
    fn read_after_publication_async<'py>(
        slf: Bound<'py, Self>,
        after: &Bound<'py, PyAny>,
        timeout: Option<f64>,
        out: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        coroutine(slf, "read_publication", (wait::count(after)?, timeout, out))
    }

    /// As wait_for_count(), awaited.
    ///
    /// Raises as wait_for_count() does, when awaited.
    #[pyo3(signature = (*, after, timeout = None))]
    fn wait_for_count_async<'py>(
        slf: Bound<'py, Self>,
        after: &Bound<'py, PyAny>,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let after = wait::count(after)?;
        wait::deadline(timeout)?;
        slf.get().attached(py, "wait for a write on")?;
        py.import("shm_py._asyncio")?.getattr("wait")?.call1((slf, after, timeout))
    }

    /// Settles `future` in `event_loop` once the count is above `after`.
    fn _notify(
        &self,
        py: Python<'_>,
        after: u64,
        event_loop: Py<PyAny>,
        future: Py<PyAny>,
    ) -> PyResult<()> {
        let attachment = self.attached(py, "wait for a write on")?;
        attachment.notifier.notify(py, after, event_loop, future)?;
        match attachment.is_closing() {
            // Closed in between: nobody else would say so.
            true => Err(errors::closed_while_waiting(&self.name)),
            false => Ok(()),
        }
    }

    /// Drops what waits for `future`.
    fn _forget(&self, py: Python<'_>, future: &Bound<'_, PyAny>) {
        if let Ok(attachment) = self.attached(py, "forget a wait on") {
            attachment.notifier.forget(future);
        }
    }

    /// A DLPack capsule of the newest frame: a snapshot, so later frames do not change it. Keywords
    /// are those of numpy.ndarray.__dlpack__.
    ///
    /// Raises as read() does; BufferError for a dtype that DLPack does not know.
    #[pyo3(signature = (*, stream = None, **kwargs))]
    fn __dlpack__<'py>(
        slf: &Bound<'py, Self>,
        stream: Option<&Bound<'py, PyAny>>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        slf.get().attached(py, "export")?;
        let keywords = PyDict::new(py);
        keywords.set_item("stream", stream)?;
        if let Some(kwargs) = kwargs {
            keywords.update(kwargs.as_mapping())?;
        }
        slf.call_method0("read")?.call_method("__dlpack__", (), Some(&keywords))
    }

    /// (1, 0), host memory, or (2, N) for a handle with CUDA device N.
    ///
    /// Raises RuntimeError on a closed handle.
    fn __dlpack_device__(&self, py: Python<'_>) -> PyResult<(i32, usize)> {
        let attachment = self.attached(py, "export")?;
        Ok(attachment.side().map_or((1, 0), |side| (2, side.lane.device.ordinal())))
    }
}

type Arguments<'a, 'py> = (u64, Option<f64>, Option<&'a Bound<'py, PyAny>>);

fn coroutine<'py>(
    handle: Bound<'py, SharedMemory>,
    function: &str,
    (after, timeout, out): Arguments<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = handle.py();
    wait::deadline(timeout)?;
    let attachment = handle.get().attached(py, "read from")?;
    if let Some(out) = out {
        handle.get().check_out(&attachment, out)?;
    }
    py.import("shm_py._asyncio")?.getattr(function)?.call1((handle, after, timeout, out))
}

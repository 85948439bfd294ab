//! Streams of work of other libraries, as `stream=` arguments.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBool;
use shm_cuda::{CudaStream, StreamRef};

/// A stream of the caller's; whoever passed it keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Queue {
    handle: usize,
}

impl Queue {
    /// Reads `stream=`: a handle, or an object that has one by a name that libraries use.
    pub(crate) fn parse(given: Option<&Bound<'_, PyAny>>) -> PyResult<Option<Queue>> {
        let Some(given) = given.filter(|given| !given.is_none()) else { return Ok(None) };
        let handle = handle_of(given)?;
        let refused = || {
            PyValueError::new_err(format!(
                "stream is {handle}; expected the handle of a CUDA stream: from 0 on"
            ))
        };
        let handle = handle.extract::<usize>().map_err(|_| refused())?;
        Ok(Some(Queue { handle }))
    }

    /// As producers announce it; 1 and 2 are the default streams.
    pub(crate) fn from_handle(handle: usize) -> Queue {
        Queue { handle }
    }

    /// One of this package's own, which the caller keeps.
    pub(crate) fn of(stream: &CudaStream) -> Queue {
        Queue::from_handle(stream.as_ref().as_raw())
    }

    pub(crate) fn get(self) -> StreamRef<'static> {
        // SAFETY: the caller's promise, which the documentation of every `stream=` states: it exists,
        // and is not destroyed while the call goes on or what it has queued is in flight.
        unsafe { StreamRef::from_raw(self.handle) }
    }
}

/// Handles of numbers are themselves.
fn handle_of<'py>(given: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    if given.hasattr("__index__")? && !given.is_instance_of::<PyBool>() {
        return Ok(given.clone());
    }
    // The protocol's own name first; then those of PyTorch and of CuPy.
    if given.hasattr("__cuda_stream__")? {
        let told = given.call_method0("__cuda_stream__")?;
        return match told.extract::<(usize, Bound<'py, PyAny>)>() {
            Ok((_version, handle)) => Ok(handle),
            Err(_) => Ok(told),
        };
    }
    for name in ["cuda_stream", "ptr"] {
        if given.hasattr(name)? {
            return given.getattr(name);
        }
    }
    Err(PyTypeError::new_err(format!(
        "stream is {}; expected the handle of a CUDA stream, or an object with __cuda_stream__(), \
         cuda_stream or ptr",
        given.get_type()
    )))
}

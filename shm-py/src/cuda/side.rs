//! A device stream as this process has it, and as one handle uses it.
//!
//! Upholds invariants 6 and 10: whatever a device refuses is told in the words of the other streams.

use crate::cuda::device::Lane;
use crate::cuda::errors;
use crate::cuda::queue::Queue;
use crate::errors as host;
use numpy::PyUntypedArray;
use parking_lot::Mutex;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use shm_core::{Stream, fork_generation};
use shm_cuda::{CudaStream, DeviceReader, DeviceStream, Placement};
use std::fmt;
use std::sync::Arc;

/// A stream on a device; one for all handles of the process.
#[derive(Debug)]
pub(crate) struct Side {
    pub(crate) stream: DeviceStream,
    pub(crate) lane: Arc<Lane>,
    generation: u64,
}

/// What a handle has of it.
pub(crate) struct OnDevice {
    pub(crate) side: Arc<Side>,
    /// The handle's own queue of work.
    queue: CudaStream,
    /// For one read at a time; a second one makes a reader of its own.
    pub(crate) reader: Mutex<DeviceReader>,
    /// Made when it is first asked for.
    pub(crate) pinned: PyOnceLock<Py<PyUntypedArray>>,
}

impl Side {
    pub(crate) fn new(stream: DeviceStream, lane: Arc<Lane>) -> Arc<Side> {
        Arc::new(Side { stream, lane, generation: fork_generation() })
    }

    /// Opens the device stream that `stream` is the part in shared memory of.
    pub(crate) fn open(py: Python<'_>, stream: &Stream, lane: Arc<Lane>) -> PyResult<Arc<Side>> {
        let opened = py.detach(|| DeviceStream::open(stream.name(), &lane.device));
        let opened = opened.map_err(|error| errors::open(py, error))?;
        if opened.host().instance() != stream.instance() {
            return Err(host::stale(py, stream.name()));
        }
        Ok(Side::new(opened, lane))
    }

    /// False in a forked child of the process that opened it.
    pub(crate) fn is_ours(&self) -> bool {
        self.generation == fork_generation()
    }
}

impl fmt::Debug for OnDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnDevice").field("side", &self.side).finish_non_exhaustive()
    }
}

impl OnDevice {
    pub(crate) fn new(py: Python<'_>, side: Arc<Side>) -> PyResult<OnDevice> {
        let queue = py.detach(|| CudaStream::new(&side.lane.device)).map_err(errors::cuda)?;
        let reader = Mutex::new(side.stream.reader());
        Ok(OnDevice { side, queue, reader, pinned: PyOnceLock::new() })
    }

    /// The caller's queue, or the handle's own.
    pub(crate) fn queue(&self, given: Option<Queue>) -> Queue {
        given.unwrap_or_else(|| Queue::of(&self.queue))
    }
}

/// Where the frames of `stream` are; `None` for a stream in shared memory.
pub(crate) fn placement(stream: &Stream) -> PyResult<Option<Placement>> {
    let Some(descriptor) = stream.external() else { return Ok(None) };
    match Placement::from_bytes(descriptor) {
        Ok(placement) => Ok(Some(placement)),
        Err(error) => {
            Err(PyValueError::new_err(format!("shared memory {:?}: {error}", stream.name())))
        }
    }
}

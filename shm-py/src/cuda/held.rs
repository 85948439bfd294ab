//! The right to publish frames of a device stream, while a thread has it.
//!
//! Upholds invariant 6: the memory that queued work reads is kept until that work is done.

use crate::cuda::errors;
use crate::cuda::side::Side;
use crate::interpreter;
use pyo3::prelude::*;
use shm_core::Deadline;
use shm_cuda::{DeviceLockError, DeviceWriter};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// A writer, and what its frames in flight need.
pub(crate) struct DeviceHeld {
    pub(crate) writer: DeviceWriter,
    side: Arc<Side>,
    /// The id of the frame that was queued last.
    last_id: Option<u64>,
    /// Sources of frames that may be in flight.
    kept: Vec<Arc<dyn Any + Send + Sync>>,
}

impl DeviceHeld {
    pub(crate) fn lock(
        side: &Arc<Side>,
        deadline: Deadline,
    ) -> Result<DeviceHeld, DeviceLockError> {
        let writer = side.stream.writer(deadline)?;
        Ok(DeviceHeld { writer, side: side.clone(), last_id: None, kept: Vec::new() })
    }

    pub(crate) fn is_on(&self, side: &Arc<Side>) -> bool {
        Arc::ptr_eq(&self.side, side)
    }

    /// The id that a frame without one of its own has, if frames were queued that nobody sees yet.
    pub(crate) fn last_id(&self) -> Option<u64> {
        self.last_id
    }

    /// Notes a frame that was queued, and what it is copied from.
    pub(crate) fn queued(&mut self, id: u64, source: Option<Arc<dyn Any + Send + Sync>>) {
        self.last_id = Some(id);
        self.kept.extend(source);
    }

    /// Waits until all frames are there.
    pub(crate) fn settle(&mut self, py: Python<'_>) -> PyResult<()> {
        let settled = py.detach(|| self.writer.settle());
        self.kept.clear();
        settled.map_err(|error| errors::publish(py, error))
    }
}

impl Drop for DeviceHeld {
    fn drop(&mut self) {
        // What queued work reads stays until it is done.
        let mut writer = Some(&mut self.writer);
        interpreter::visit(|py| {
            if let Some(writer) = writer.take() {
                let _ = py.detach(|| writer.settle());
            }
        });
        if let Some(writer) = writer.take() {
            let _ = writer.settle();
        }
    }
}

impl fmt::Debug for DeviceHeld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceHeld").field("writer", &self.writer).finish_non_exhaustive()
    }
}

//! The frames of a device stream, which outlive the closing of the handle that created it.
//!
//! Upholds invariant 6: they are nobody's temporary, so they stay until the stream is unlinked through
//! that handle, or the handle is gone.

use crate::cuda::side::Side;
use crate::interpreter;
use parking_lot::Mutex;
use pyo3::prelude::*;
use std::sync::Arc;

/// What a closed handle still keeps. A stream in host memory needs nothing of it: there, the system
/// keeps the frames.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    side: Mutex<Option<Arc<Side>>>,
}

impl Kept {
    /// Keeps the frames from now on.
    pub(crate) fn keep(&self, side: Arc<Side>) {
        *self.side.lock() = Some(side);
    }

    /// Keeps them no longer.
    pub(crate) fn let_go(&self, py: Python<'_>) {
        let side = self.side.lock().take();
        if side.is_some() {
            // Freeing waits for queued work of the device, whoever queued it.
            py.detach(|| drop(side));
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if self.side.get_mut().is_some() {
            interpreter::visit(|py| self.let_go(py));
        }
    }
}

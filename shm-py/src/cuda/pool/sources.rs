//! Memory that queued copies use, which is kept until they are done.
//!
//! Upholds invariant 6.

use crate::cuda::errors;
use crate::cuda::queue::Queue;
use crate::interpreter;
use parking_lot::Mutex;
use pyo3::prelude::*;
use shm_cuda::{Device, Event};
use std::any::Any;
use std::sync::Arc;

type Owner = Arc<dyn Any + Send + Sync>;

/// What copies in flight read or write, with their ends.
#[derive(Default)]
pub(crate) struct Sources {
    kept: Mutex<Vec<(Event, Owner)>>,
}

impl Sources {
    /// Keeps `owner` until what is queued on `queue` so far is done. If that cannot be marked, it is
    /// waited for.
    pub(crate) fn keep(
        &self,
        py: Python<'_>,
        device: &Device,
        queue: Queue,
        owner: Owner,
    ) -> PyResult<()> {
        let marked = Event::new(device).and_then(|end| end.record(queue.get()).map(|()| end));
        let outcome = match marked {
            Ok(end) => {
                self.kept.lock().push((end, owner));
                Ok(())
            }
            Err(_) => py.detach(|| queue.get().synchronize(device)).map_err(errors::cuda),
        };
        self.sweep(py);
        outcome
    }

    /// Lets go of what is done.
    pub(crate) fn sweep(&self, py: Python<'_>) {
        let is_done = |(end, _): &mut (Event, Owner)| end.is_reached().unwrap_or(true);
        let done: Vec<_> = self.kept.lock().extract_if(.., is_done).collect();
        if !done.is_empty() {
            // Freeing memory waits for queued work of the device, whoever queued it.
            py.detach(|| drop(done));
        }
    }

    fn settle(&self) {
        for (end, owner) in core::mem::take(&mut *self.kept.lock()) {
            // On an error the context is lost, and nothing is going on in it.
            let _ = end.synchronize();
            drop(owner);
        }
    }
}

impl Drop for Sources {
    fn drop(&mut self) {
        if self.kept.get_mut().is_empty() {
            return;
        }
        // With the interpreter released, if this thread has it.
        if interpreter::visit(|py| py.detach(|| self.settle())).is_none() {
            self.settle();
        }
    }
}

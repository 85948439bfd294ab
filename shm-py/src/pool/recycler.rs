//! The thread that gives back what dead processes held.

use parking_lot::Mutex;
use pyo3::prelude::*;
use shm_core::fork_generation;

/// A thread that gives back what dead processes held, within milliseconds, also while nobody lends;
/// made by Pool.recycler(). It sleeps in the kernel until somebody closes the pool's file. close(),
/// the end of a `with` block, or dropping it ends the thread.
#[pyclass(frozen, weakref, module = "shm_py")]
pub(crate) struct Recycler {
    running: Mutex<Option<shm_pool::Recycler>>,
    born: u64,
}

impl Recycler {
    pub(crate) fn new(running: shm_pool::Recycler) -> Recycler {
        Recycler { running: Mutex::new(Some(running)), born: fork_generation() }
    }

    fn end(&self) {
        let running = self.running.lock().take();
        if self.born != fork_generation() {
            // The thread is the parent's: it cannot be joined from here, and must not be stopped.
            core::mem::forget(running);
        }
    }
}

impl Drop for Recycler {
    fn drop(&mut self) {
        self.end();
    }
}

#[pymethods]
impl Recycler {
    /// Ends the thread. Closing twice is harmless.
    fn close(&self, py: Python<'_>) {
        py.detach(|| self.end());
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
    ) -> bool {
        let _ = (exc_type, exc, tb);
        self.close(py);
        false
    }
}

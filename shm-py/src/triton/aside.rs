//! Calls that cannot be interrupted, made by a thread in whose stead signals are heard.
//!
//! Upholds invariant 5: the caller sleeps in the kernel with the interpreter released, and looks for
//! signals every 50 ms. A call that nobody waits for any more ends by its own deadline.

use crate::wait;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use shm_core::Deadline;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;

/// Runs `work` beside the calling thread, which waits for it.
pub(crate) fn run<T: Send + 'static>(
    py: Python<'_>,
    work: impl FnOnce() -> T + Send + 'static,
) -> PyResult<T> {
    let (sender, mut receiver) = mpsc::sync_channel(1);
    let thread = thread::Builder::new().name("shm-py-call".to_owned());
    thread.spawn(move || {
        // Nobody listens any more after Ctrl-C.
        let _ = sender.send(work());
    })?;
    loop {
        let heard;
        (receiver, heard) = py.detach(move || {
            let heard = receiver.recv_timeout(wait::slice(Deadline::NEVER));
            (receiver, heard)
        });
        match heard {
            Ok(done) => return Ok(done),
            Err(RecvTimeoutError::Timeout) => py.check_signals()?,
            Err(RecvTimeoutError::Disconnected) => {
                return Err(PyRuntimeError::new_err("the call ended without an answer"));
            }
        }
    }
}

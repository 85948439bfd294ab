//! Waiting for servers, without holding the interpreter and without being deaf to Ctrl-C.
//!
//! Upholds invariant 5. Signals are heard by the main thread only, so that any other sleeps until its
//! answer is there.

use crate::triton::aside as side_thread;
use crate::wait;
use pyo3::prelude::*;
use shm_core::Deadline;
use shm_cuda::share::{Ask, Client, ClientError, Response};

/// True on the thread that runs the handlers of signals.
fn hears_signals() -> bool {
    rustix::thread::gettid() == rustix::process::getpid()
}

/// Runs what cannot be interrupted, beside the calling thread if that one has signals to hear.
pub(super) fn aside<T: Send + 'static>(
    py: Python<'_>,
    work: impl FnOnce() -> T + Send + 'static,
) -> PyResult<T> {
    match hears_signals() {
        true => side_thread::run(py, work),
        false => Ok(py.detach(work)),
    }
}

/// Sends a request and waits for its answer. Raises what the handlers of signals do.
pub(super) fn ask(
    py: Python<'_>,
    client: &Client,
    ask: Ask,
    deadline: Deadline,
) -> PyResult<Result<Response, ClientError>> {
    if !hears_signals() {
        return Ok(py.detach(|| client.ask(ask, deadline)));
    }
    let mut pending = match py.detach(|| client.start(ask)) {
        Ok(pending) => pending,
        Err(error) => return Ok(Err(error)),
    };
    loop {
        let longest = wait::slice(deadline);
        let arrived = py.detach(|| pending.ready(longest.into()));
        if arrived || deadline.has_passed() {
            return Ok(py.detach(|| pending.wait(Deadline::NOW)));
        }
        if let Err(interrupt) = py.check_signals() {
            // The server is told that nobody waits any more.
            py.detach(|| drop(pending));
            return Err(interrupt);
        }
    }
}

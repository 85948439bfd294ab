//! Waiting without holding the interpreter, and without being deaf to Ctrl-C.
//!
//! Upholds invariant 5. A wait releases the interpreter and sleeps in the kernel. A signal ends the
//! sleep of the main thread in a wait for frames, which then runs the handlers; waits for locks and
//! names look for signals every 50 ms. The end of a handle is looked for in between.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use shm_core::Deadline;
use std::time::Duration;

/// How long a wait that signals end stays away from the interpreter at a time: a longer one would let a
/// wake-up that was lost with a killed peer, and close(), wait longer; a shorter one costs more than
/// 0.1 % of a core.
const NAP: Duration = Duration::from_millis(100);
/// How long one that goes on through signals does: Ctrl-C waits for its end.
const SLICE: Duration = Duration::from_millis(50);

/// Reads `timeout=`: seconds, `None` for ever.
pub(crate) fn deadline(timeout: Option<f64>) -> PyResult<Deadline> {
    let Some(seconds) = timeout else { return Ok(Deadline::NEVER) };
    if seconds.is_nan() || seconds < 0.0 {
        return Err(PyValueError::new_err(format!(
            "timeout is {seconds}; expected seconds from 0 on, or None to wait for ever"
        )));
    }
    // Longer than any clock can say is for ever.
    Ok(Duration::try_from_secs_f64(seconds).map_or(Deadline::NEVER, Deadline::after))
}

/// Checks `poll_interval=`, which nothing here needs: waits sleep until they are woken.
pub(crate) fn check_poll_interval(seconds: f64) -> PyResult<()> {
    if seconds.is_nan() || seconds < 0.0 {
        return Err(PyValueError::new_err(format!(
            "poll_interval is {seconds}; expected seconds from 0 on"
        )));
    }
    Ok(())
}

/// Reads a count that a wait compares with.
pub(crate) fn count(after: &Bound<'_, PyAny>) -> PyResult<u64> {
    after.extract::<u64>().map_err(|cause| {
        let py = after.py();
        let what = match cause.is_instance_of::<PyTypeError>(py) {
            true => "after must be an integer",
            false => "after must be non-negative and below 2**64",
        };
        let error = PyValueError::new_err(what);
        error.set_cause(py, Some(cause));
        error
    })
}

/// What is left of `deadline`, at most one nap.
pub(crate) fn nap(deadline: Deadline) -> Duration {
    deadline.remaining().map_or(NAP, |left| left.min(NAP))
}

/// What is left of `deadline`, at most one slice.
pub(crate) fn slice(deadline: Deadline) -> Duration {
    deadline.remaining().map_or(SLICE, |left| left.min(SLICE))
}

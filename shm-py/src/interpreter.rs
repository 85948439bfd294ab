//! How threads of this package enter the interpreter: only while it is there, all the way through.
//!
//! An interpreter that ends takes the ground from under a thread that enters it at that moment: up to
//! Python 3.13 such a thread is torn down inside of whatever it runs, and later ones hang. Asking whether
//! it ends does not help, because it may begin to right after the answer. So entering is counted, and
//! before the interpreter ends, at `atexit`, it closes the door and waits for those inside.
//!
//! Upholds invariants 6 (the end of a program is never a signal) and 10: the one word here belongs to the
//! interpreter, of which a process has one.

use core::sync::atomic::{AtomicU64, Ordering};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use shm_core::fork_generation;
use std::time::Duration;

/// Threads inside, whether the door is closed, and the fork generation that both are true of: a forked
/// child has none of its parent's threads.
static DOOR: AtomicU64 = AtomicU64::new(0);
const CLOSED: u64 = 1 << 31;
const INSIDE: u64 = CLOSED - 1;

/// Whoever leaves last does not know who waits, so the one that closes the door looks again this soon.
const LOOK: Duration = Duration::from_micros(100);

/// Runs `work` in the interpreter, or says `None` when it ends. For threads that Python did not begin, and
/// for what may be dropped by any thread.
pub(crate) fn visit<R>(work: impl FnOnce(Python<'_>) -> R) -> Option<R> {
    if is_known_to_python() {
        // One of its own: the interpreter takes care of those.
        return Python::try_attach(work);
    }
    let _inside = Inside::enter()?;
    Python::try_attach(work)
}

/// Drops what waits for others, who may want the interpreter: with it released, if this thread has it.
pub(crate) fn drop_released<T: Send>(last: T) {
    let mut last = Some(last);
    visit(|py| py.detach(|| drop(last.take())));
}

/// Closes the door when the interpreter is about to end.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    let end = wrap_pyfunction!(_close, module)?;
    py.import("atexit")?.call_method1("register", (end,)).map(drop)
}

/// Refuses what would wait for a visit that cannot come any more.
pub(crate) fn check_open() -> PyResult<()> {
    match own(DOOR.load(Ordering::Acquire)) & CLOSED {
        0 => Ok(()),
        _ => Err(PyRuntimeError::new_err(
            "the interpreter is ending: nothing can be awaited any more; await before `atexit` functions run",
        )),
    }
}

/// Lets nobody in any more, and waits for those who are inside.
#[pyfunction]
fn _close(py: Python<'_>) {
    change(|door| Some(door | CLOSED));
    py.detach(|| {
        while own(DOOR.load(Ordering::Acquire)) & INSIDE > 0 {
            std::thread::sleep(LOOK);
        }
    });
}

/// A visit. One that a child was forked in ends in the child without having been counted there.
struct Inside {
    generation: u64,
}

impl Inside {
    fn enter() -> Option<Inside> {
        change(|door| Some(door + 1).filter(|_| door & CLOSED == 0))
            .map(|_| Inside { generation: fork_generation() })
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        if self.generation == fork_generation() {
            change(|door| Some(door - 1));
        }
    }
}

fn change(step: impl Fn(u64) -> Option<u64>) -> Option<u64> {
    DOOR.fetch_update(Ordering::AcqRel, Ordering::Acquire, |door| step(own(door))).ok()
}

/// The word as it is for this process.
fn own(door: u64) -> u64 {
    let generation = fork_generation() << 32;
    if door & !(CLOSED | INSIDE) == generation { door } else { generation }
}

fn is_known_to_python() -> bool {
    // SAFETY: looks at storage of the calling thread; before an interpreter there is none, after it the
    // answer is null.
    !unsafe { pyo3::ffi::PyGILState_GetThisThreadState() }.is_null()
}

//! Waiting in turns, for threads and for event loops.
//!
//! Upholds invariants 5 (a turn is one sleep in the kernel with the interpreter released, of at most
//! 50 ms: after it signals are heard) and 10 (a thread for an event loop exists only while something is
//! awaited, and belongs to the awaiting task's `_Waiter`).

use crate::interpreter;
use crate::wait;
use parking_lot::Mutex;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::{IntoPyObjectExt, PyClass};
use shm_core::Deadline;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What came of a wish, to be made into a Python value once the interpreter is there.
pub(crate) type Answer = Box<dyn FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send>;

/// Something that is waited for in turns.
pub(crate) trait Wish: Send {
    /// Waits for at most `longest`, asleep at most once.
    fn nap(&mut self, longest: Duration) -> Option<Answer>;

    /// What the caller is told when time is up: an error, unless it came true at the last moment.
    fn too_late(&mut self) -> Answer;
}

/// What is there, else what is waited for until `deadline`.
pub(crate) fn fulfil<'py, T>(
    py: Python<'py>,
    begun: Result<T, impl Wish>,
    deadline: Deadline,
) -> PyResult<Bound<'py, T>>
where
    T: PyClass + Into<PyClassInitializer<T>>,
{
    match begun {
        Ok(there) => Bound::new(py, there),
        Err(mut wish) => Ok(wait(py, &mut wish, deadline)?.into_bound(py).cast_into::<T>()?),
    }
}

/// What is there, else a Waiter that waits for it until `deadline`.
pub(crate) fn or_waiter<'py>(
    py: Python<'py>,
    begun: Result<impl IntoPyObject<'py>, impl Wish + 'static>,
    deadline: Deadline,
) -> PyResult<Bound<'py, PyAny>> {
    match begun {
        Ok(there) => there.into_bound_py_any(py),
        Err(wish) => Waiter::new(Box::new(wish), deadline).into_bound_py_any(py),
    }
}

/// Waits for `wish` until `deadline`. Signals are heard between the turns.
pub(crate) fn wait(py: Python<'_>, wish: &mut dyn Wish, deadline: Deadline) -> PyResult<Py<PyAny>> {
    loop {
        let longest = wait::slice(deadline);
        if let Some(answer) = py.detach(|| wish.nap(longest)) {
            return answer(py);
        }
        py.check_signals()?;
        if deadline.has_passed() {
            return py.detach(|| wish.too_late())(py);
        }
    }
}

/// A wish that an event loop awaits: a thread waits for it in the loop's stead.
#[pyclass(frozen, name = "_Waiter", module = "shm_py._native")]
pub(crate) struct Waiter {
    wish: Mutex<Option<Box<dyn Wish>>>,
    deadline: Deadline,
    stopping: Arc<AtomicBool>,
}

impl Waiter {
    pub(crate) fn new(wish: Box<dyn Wish>, deadline: Deadline) -> Waiter {
        Waiter { wish: Mutex::new(Some(wish)), deadline, stopping: Arc::default() }
    }
}

#[pymethods]
impl Waiter {
    /// Begins to wait; then calls deliver(event_loop, future, result, error, give_back) of the package.
    fn _start(
        &self,
        event_loop: Py<PyAny>,
        future: Py<PyAny>,
        give_back: Py<PyAny>,
    ) -> PyResult<()> {
        interpreter::check_open()?;
        let Some(mut wish) = self.wish.lock().take() else {
            return Err(PyRuntimeError::new_err("this wait was begun already"));
        };
        let (deadline, stopping) = (self.deadline, self.stopping.clone());
        let work = move || {
            let Some(answer) = wait_unless(&stopping, wish.as_mut(), deadline) else {
                // Nobody is told: the task has gone. Its objects need the interpreter to go, too.
                interpreter::visit(|_| drop((event_loop, future, give_back)));
                return;
            };
            // The place in line is given up before the task goes on.
            drop(wish);
            // `None` when the interpreter is going away.
            interpreter::visit(|py| deliver(py, answer, event_loop, future, give_back));
        };
        std::thread::Builder::new().name("shm-py-waiter".to_owned()).spawn(work)?;
        Ok(())
    }

    /// Ends the wait within 50 ms.
    fn _cancel(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }
}

fn wait_unless(stopping: &AtomicBool, wish: &mut dyn Wish, deadline: Deadline) -> Option<Answer> {
    while !stopping.load(Ordering::Relaxed) {
        if let Some(answer) = wish.nap(wait::slice(deadline)) {
            return Some(answer);
        }
        if deadline.has_passed() {
            return Some(wish.too_late());
        }
    }
    None
}

fn deliver(
    py: Python<'_>,
    answer: Answer,
    event_loop: Py<PyAny>,
    future: Py<PyAny>,
    give_back: Py<PyAny>,
) {
    let (result, error) = match answer(py) {
        Ok(result) => (Some(result), None),
        Err(error) => (None, Some(error.into_value(py))),
    };
    let delivered = || -> PyResult<()> {
        let deliver = py.import("shm_py._asyncio")?.getattr("deliver")?;
        deliver.call1((event_loop, future, result, error, give_back)).map(drop)
    };
    // An import that fails, fails while the interpreter goes away: nobody is left who could be told.
    let _ = delivered();
}

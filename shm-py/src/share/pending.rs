//! The class `_SharePending`: a request that was sent and is not waited for.

use crate::interpreter;
use crate::share::to_python::Manner;
use crate::share::{asking, errors, lent};
use parking_lot::Mutex;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use shm_cuda::share::{Client, ClientError, Failure, FailureKind, Pending, Response};
use std::sync::Arc;

/// A request under way; for event loops.
#[pyclass(frozen, weakref, name = "_SharePending", module = "shm_py._native")]
pub(crate) struct SharePending {
    client: Client,
    manner: Manner,
    /// Locked with the interpreter released only: whoever has it may want the interpreter.
    state: Mutex<State>,
    sent: Mutex<Sent>,
    /// What the answer was made into.
    made: Mutex<Option<PyResult<Py<PyAny>>>>,
}

/// What has to be kept until the answer is there, and longer for a task.
pub(super) struct Sent {
    pub(super) lent: lent::Lent,
    pub(super) task: Option<lent::Asked>,
    pub(super) tasks: Arc<lent::Tasks>,
}

enum State {
    Waiting(Box<Pending>),
    Answered(Box<Result<Response, ClientError>>),
    /// The answer was taken, or nobody wants it.
    Over {
        cancelled: bool,
    },
}

impl SharePending {
    pub(super) fn new(
        client: Client,
        pending: Pending,
        manner: Manner,
        sent: Sent,
    ) -> SharePending {
        let state = Mutex::new(State::Waiting(Box::new(pending)));
        SharePending { client, manner, state, sent: Mutex::new(sent), made: Mutex::new(None) }
    }

    /// Looks whether the answer has arrived.
    fn look(state: &mut State) -> bool {
        if let State::Waiting(pending) = state {
            match pending.poll() {
                Some(answer) => *state = State::Answered(Box::new(answer)),
                None => return false,
            }
        }
        true
    }

    /// The server has opened what it was sent, or never will.
    fn let_go(&self, answer: &Result<Response, ClientError>) {
        let (mut lent, task, tasks) = {
            let mut sent = self.sent.lock();
            (core::mem::take(&mut sent.lent), sent.task, sent.tasks.clone())
        };
        tasks.note(answer, &mut lent, task);
    }

    /// What the answer was made into, if that was done.
    fn made(&self, py: Python<'_>) -> Option<PyResult<Py<PyAny>>> {
        match self.made.lock().as_ref()? {
            Ok(value) => Some(Ok(value.clone_ref(py))),
            Err(error) => Some(Err(error.clone_ref(py))),
        }
    }
}

impl Drop for SharePending {
    fn drop(&mut self) {
        // A request that is given up tells its server so, and the client may be busy in a thread that wants
        // the interpreter.
        let over = State::Over { cancelled: true };
        interpreter::drop_released(core::mem::replace(self.state.get_mut(), over));
    }
}

#[pymethods]
impl SharePending {
    /// True if the answer has arrived, or the request was cancelled.
    fn done(&self, py: Python<'_>) -> bool {
        py.detach(|| SharePending::look(&mut self.state.lock()))
    }

    /// What the method of the operation returns or raises.
    ///
    /// Raises RuntimeError if there is no answer yet.
    fn result(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        if let Some(made) = self.made(py) {
            return made;
        }
        enum Found {
            Answer(Box<Result<Response, ClientError>>),
            Nothing,
            Over { cancelled: bool },
        }
        let found = py.detach(|| {
            let mut state = self.state.lock();
            if !SharePending::look(&mut state) {
                return Found::Nothing;
            }
            match core::mem::replace(&mut *state, State::Over { cancelled: false }) {
                State::Answered(answer) => Found::Answer(answer),
                State::Over { cancelled } => {
                    *state = State::Over { cancelled };
                    Found::Over { cancelled }
                }
                waiting @ State::Waiting(_) => {
                    *state = waiting;
                    Found::Nothing
                }
            }
        });
        match found {
            Found::Answer(answer) => {
                self.let_go(&answer);
                let made = match *answer {
                    Ok(response) => asking::answer(py, &self.client, response, self.manner),
                    Err(error) => Err(errors::client(py, &error)),
                };
                let made = made.map(Bound::unbind);
                let told = match &made {
                    Ok(value) => Ok(value.clone_ref(py)),
                    Err(error) => Err(error.clone_ref(py)),
                };
                *self.made.lock() = Some(told);
                made
            }
            Found::Over { cancelled: true } => Err(errors::failure(
                py,
                &Failure::new(FailureKind::Cancelled, "the request was cancelled by its caller"),
            )),
            Found::Over { cancelled: false } => self.made(py).unwrap_or_else(|| {
                Err(PyRuntimeError::new_err("another thread is taking the answer; ask again"))
            }),
            Found::Nothing => Err(PyRuntimeError::new_err(
                "there is no answer yet; wait until done() is true, or on_ready() calls",
            )),
        }
    }

    /// Gives the request up: the server is told that nobody waits any more.
    fn cancel(&self, py: Python<'_>) {
        py.detach(|| {
            let mut state = self.state.lock();
            if matches!(*state, State::Waiting(_)) {
                let pending = core::mem::replace(&mut *state, State::Over { cancelled: true });
                drop(state);
                drop(pending);
            }
        });
    }

    /// Calls `callback()` once, in the thread that takes the answer in; at once if it is there.
    #[pyo3(signature = (callback))]
    fn on_ready(&self, py: Python<'_>, callback: Py<PyAny>) {
        let callback = Callback::new(callback);
        let over = py.detach(|| {
            let mut state = self.state.lock();
            match &mut *state {
                State::Waiting(pending) => {
                    pending.on_ready(Box::new(move || callback.call()));
                    None
                }
                _ => Some(callback),
            }
        });
        if let Some(callback) = over {
            callback.call();
        }
    }
}

/// A Python function that some thread calls once.
pub(super) struct Callback {
    function: Py<PyAny>,
}

impl Callback {
    pub(super) fn new(function: Py<PyAny>) -> Callback {
        Callback { function }
    }

    pub(super) fn call(self) {
        // `None` when the interpreter is going away.
        interpreter::visit(|py| {
            let function = self.function.into_bound(py);
            if let Err(error) = function.call0() {
                // Nobody is there who could be told otherwise.
                error.write_unraisable(py, Some(&function));
            }
        });
    }
}

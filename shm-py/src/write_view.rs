//! The `with` block that fills a frame in place.
//!
//! Upholds invariants 6 and 7: the array's base owns the mapping, and an abandoned frame is never
//! readable.

use crate::array::{self, Mapping};
use crate::cuda::{DeviceLoan, Queue};
use crate::errors;
use crate::handle::{Attachment, SharedMemory};
use crate::interpreter;
use crate::lock::StreamLock;
use crate::writing::Tag;
use numpy::PyUntypedArray;
use parking_lot::Mutex;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use shm_core::{Deadline, Loan};
use std::sync::Arc;

/// A frame that is being filled in place; made by SharedMemory.write_view(). Use it in a `with`
/// statement: entering yields the array, leaving publishes, leaving with an exception does not.
#[pyclass(frozen, module = "shm_py")]
pub(crate) struct WriteView {
    handle: Py<SharedMemory>,
    /// Until when to wait for the lock; `None` when the thread holds it already.
    deadline: Option<Deadline>,
    tag: Tag,
    /// The caller's stream of work, on a device.
    queue: Option<Queue>,
    state: Mutex<State>,
}

/// New, then open, then over: a block is entered once.
enum State {
    New,
    Open(Open),
    Over,
}

struct Open {
    attachment: Arc<Attachment>,
    lock: Arc<StreamLock>,
    frame: Frame,
}

/// What is being filled.
enum Frame {
    Host { loan: Loan, array: Py<PyUntypedArray> },
    Device(DeviceLoan),
}

impl Frame {
    fn yielded(&self, py: Python<'_>) -> Py<PyAny> {
        match self {
            Frame::Host { array, .. } => array.clone_ref(py).into_any(),
            Frame::Device(loan) => loan.tensor.clone_ref(py).into_any(),
        }
    }
}

impl WriteView {
    pub(crate) fn new(
        handle: Py<SharedMemory>,
        deadline: Option<Deadline>,
        tag: Tag,
        queue: Option<Queue>,
    ) -> WriteView {
        WriteView { handle, deadline, tag, queue, state: Mutex::new(State::New) }
    }

    fn begin(
        &self,
        py: Python<'_>,
        attachment: Arc<Attachment>,
        lock: Arc<StreamLock>,
    ) -> PyResult<Open> {
        let handle = self.handle.get();
        if attachment.device.is_some() {
            let loan = DeviceLoan::begin(py, handle, &attachment, &lock, self.queue)?;
            lock.set_viewing(true);
            return Ok(Open { attachment, lock, frame: Frame::Device(loan) });
        }
        let loan = lock.with_writer(&handle.name, |writer| {
            writer.lend().map_err(|error| errors::publish(py, error))
        })?;
        let base = Mapping::of(py, &attachment.stream)?;
        // SAFETY: the cell is this thread's until the commit, and `base` owns the mapping.
        let array = unsafe { handle.form.over(py, loan.as_mut_ptr(), true, base) }?;
        lock.set_viewing(true);
        Ok(Open { attachment, lock, frame: Frame::Host { loan, array: array.unbind() } })
    }

    fn end(&self, py: Python<'_>, open: Open, publish: bool) -> PyResult<()> {
        let Open { attachment, lock, frame } = open;
        lock.set_viewing(false);
        let (loan, array) = match frame {
            Frame::Host { loan, array } => (loan, array),
            Frame::Device(loan) => {
                return loan.end(py, &attachment, &lock, publish.then_some(self.tag));
            }
        };
        array::make_read_only(array.bind(py));
        if !publish {
            return Ok(());
        }
        let tag = self.tag.resolve(py, &attachment)?;
        lock.with_writer(&self.handle.get().name, |writer| {
            let committed = writer.commit_loan(loan, tag);
            committed.map(drop).map_err(|error| errors::publish(py, error))
        })
    }
}

impl Drop for WriteView {
    /// A block that was entered by hand and never left: nothing is published, and the lock is free.
    fn drop(&mut self) {
        let State::Open(open) = core::mem::replace(self.state.get_mut(), State::Over) else {
            return;
        };
        let Open { lock, frame, .. } = open;
        lock.set_viewing(false);
        match frame {
            Frame::Host { array, .. } => {
                interpreter::visit(|py| array::make_read_only(array.bind(py)));
            }
            Frame::Device(loan) => loan.abandon(&lock),
        }
        if self.deadline.is_some() {
            self.handle.get().note_level(false);
            lock.release_orphaned(1);
        }
    }
}

#[pymethods]
impl WriteView {
    fn __enter__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let handle = self.handle.get();
        let (attachment, lock) = handle.writable(py, "write to")?;
        if !matches!(*self.state.lock(), State::New) {
            return Err(PyRuntimeError::new_err(
                "this write_view was entered already; make a new one",
            ));
        }
        if let Some(deadline) = self.deadline {
            lock.acquire(py, attachment.side(), deadline, || attachment.is_closing())?;
        } else if lock.depth() == 0 {
            return Err(PyRuntimeError::new_err(
                "write_view_locked requires an active 'with handle.locked()' block of this thread",
            ));
        }
        match self.begin(py, attachment, lock.clone()) {
            Ok(open) => {
                let yielded = open.frame.yielded(py);
                *self.state.lock() = State::Open(open);
                if self.deadline.is_some() {
                    handle.note_level(true);
                }
                Ok(yielded)
            }
            Err(error) => {
                if self.deadline.is_some() {
                    lock.release()?;
                }
                Err(error)
            }
        }
    }

    #[pyo3(signature = (exc_type, exc, tb))]
    fn __exit__(
        &self,
        py: Python<'_>,
        exc_type: &Bound<'_, PyAny>,
        exc: &Bound<'_, PyAny>,
        tb: &Bound<'_, PyAny>,
    ) -> PyResult<bool> {
        let _ = (exc, tb);
        let State::Open(open) = core::mem::replace(&mut *self.state.lock(), State::Over) else {
            return Err(PyRuntimeError::new_err("this write_view is not open; enter it first"));
        };
        let lock = open.lock.clone();
        if lock.depth() == 0 {
            // The handle was closed inside the block, and the lock with it.
            let Open { lock, frame, .. } = open;
            match frame {
                Frame::Host { array, .. } => array::make_read_only(array.bind(py)),
                Frame::Device(loan) => loan.abandon(&lock),
            }
            return match exc_type.is_none() {
                true => Err(errors::closed(py, "publish a frame of", &self.handle.get().name)),
                false => Ok(false),
            };
        }
        let outcome = self.end(py, open, exc_type.is_none());
        if self.deadline.is_some() {
            self.handle.get().note_level(false);
            let released = lock.release();
            return outcome.and(released).map(|()| false);
        }
        outcome.map(|()| false)
    }
}

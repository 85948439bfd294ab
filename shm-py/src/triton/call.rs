//! Futures of the client, awaited by an event loop.
//!
//! The loop polls the future itself. Its waker writes a byte to a pipe that the loop watches: so the
//! client's thread, which wakes, never waits for the interpreter, and no other thread is needed.
//!
//! Upholds invariants 5 (nothing polls unasked) and 10.

use crate::interpreter;
use parking_lot::Mutex;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use std::future::Future;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// What came of a future, to be made into a Python value once the interpreter is there.
pub(crate) type Answer = Box<dyn FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send>;

/// A future that needs nothing but to be polled.
pub(crate) type Job = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// A future of the client, for `shm_py._triton_asyncio`.
#[pyclass(frozen, name = "_Call", module = "shm_py._native")]
pub(crate) struct Call {
    stage: Mutex<Stage>,
    reader: PipeReader,
    bell: Arc<Bell>,
}

enum Stage {
    Running(Job),
    Ended(Answer),
    /// Answered, cancelled, or being polled.
    Gone,
}

struct Bell {
    rung: AtomicBool,
    writer: PipeWriter,
}

impl Wake for Bell {
    fn wake(self: Arc<Bell>) {
        // One byte at a time: the pipe never fills, so this never waits.
        if !self.rung.swap(true, Ordering::AcqRel) {
            // The reader lives as long as the call; without it nobody is to be woken.
            let _ = (&self.writer).write(&[1]);
        }
    }
}

impl Call {
    pub(crate) fn new(job: impl Future<Output = Answer> + Send + 'static) -> io::Result<Call> {
        let (reader, writer) = io::pipe()?;
        let bell = Arc::new(Bell { rung: AtomicBool::new(false), writer });
        Ok(Call { stage: Mutex::new(Stage::Running(Box::pin(job))), reader, bell })
    }

    fn take(&self) -> Stage {
        core::mem::replace(&mut *self.stage.lock(), Stage::Gone)
    }
}

#[pymethods]
impl Call {
    /// What becomes readable when poll() has something to do.
    fn fileno(&self) -> i32 {
        self.reader.as_raw_fd()
    }

    /// Goes on as far as possible; true once there is a result().
    fn poll(&self, py: Python<'_>) -> PyResult<bool> {
        if self.bell.rung.load(Ordering::Acquire) {
            (&self.reader).read_exact(&mut [0])?;
            // Before the future looks: what happens from here on rings again.
            self.bell.rung.store(false, Ordering::Release);
        }
        let mut job = match self.take() {
            Stage::Running(job) => job,
            Stage::Ended(answer) => {
                *self.stage.lock() = Stage::Ended(answer);
                return Ok(true);
            }
            Stage::Gone => return Err(PyRuntimeError::new_err("this call is over")),
        };
        let waker = Waker::from(self.bell.clone());
        let ended = py.detach(|| match job.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(answer) => {
                drop(job);
                Stage::Ended(answer)
            }
            Poll::Pending => Stage::Running(job),
        });
        let is_over = matches!(ended, Stage::Ended(_));
        *self.stage.lock() = ended;
        Ok(is_over)
    }

    /// The value, or raises the error.
    fn result(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        match self.take() {
            Stage::Ended(answer) => answer(py),
            _ => Err(PyRuntimeError::new_err("this call is not over, or was asked before")),
        }
    }

    /// Gives up. A request that was sent stays open, and has its slot until it is answered.
    fn cancel(&self, py: Python<'_>) {
        let stage = self.take();
        py.detach(|| drop(stage));
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let stage = self.take();
        if !matches!(stage, Stage::Gone) {
            aside_of_interpreter(stage);
        }
    }
}

/// Drops what may be the last of a client, whose thread may want the interpreter.
pub(crate) fn aside_of_interpreter<T: Send>(last: T) {
    let mut last = Some(last);
    interpreter::visit(|py| py.detach(|| drop(last.take())));
    // Still there: the interpreter is going away, and so does everything.
    core::mem::forget(last);
}

//! Frames for event loops: a thread sleeps in the kernel, and calls back into the loop.
//!
//! Upholds invariants 5 (nothing polls) and 10 (the thread belongs to the handle, exists from the
//! first await on, and ends with it).

use crate::errors;
use crate::interpreter;
use parking_lot::Mutex;
use pyo3::prelude::*;
use shm_core::{AsyncReader, Deadline, Stream, fork_generation};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Wake, Waker};

/// Wakes the futures of one handle.
#[derive(Debug)]
pub(crate) struct Notifier {
    desk: Mutex<Arc<Desk>>,
    stream: Stream,
}

/// What waits, and the thread's end of it.
#[derive(Debug)]
struct Desk {
    /// A forked child has no such thread, and makes a desk of its own.
    generation: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    reader: Option<AsyncReader>,
    waiting: Vec<Wish>,
    closed: bool,
}

/// A future that wants a count above `after`.
#[derive(Debug)]
struct Wish {
    after: u64,
    event_loop: Py<PyAny>,
    future: Py<PyAny>,
}

/// How wishes end.
enum Answer {
    Count(u64),
    Error(PyErr),
}

impl Notifier {
    pub(crate) fn new(stream: Stream) -> Notifier {
        Notifier { desk: Mutex::new(Desk::new()), stream }
    }

    /// Settles `future` in `event_loop` once the count is above `after`, or cannot be any more.
    pub(crate) fn notify(
        &self,
        py: Python<'_>,
        after: u64,
        event_loop: Py<PyAny>,
        future: Py<PyAny>,
    ) -> PyResult<()> {
        interpreter::check_open()?;
        let desk = self.desk();
        {
            let mut state = desk.state.lock();
            state.reader.get_or_insert_with(|| self.stream.reader().into_async());
            state.waiting.push(Wish { after, event_loop, future });
        }
        desk.serve(py)
    }

    /// Drops what waits for `future`, which was cancelled or timed out.
    pub(crate) fn forget(&self, future: &Bound<'_, PyAny>) {
        let desk = self.desk();
        let mut dropped = Vec::new();
        let mut state = desk.state.lock();
        let waiting = core::mem::take(&mut state.waiting);
        for wish in waiting {
            let list = if wish.future.is(future) { &mut dropped } else { &mut state.waiting };
            list.push(wish);
        }
        drop(state);
    }

    /// Ends the thread, and everything that waits, with an error.
    pub(crate) fn close(&self, py: Python<'_>, name: &str) {
        // The thread may be about to call back, for which it needs the interpreter.
        self.end(py, name, |reader| py.detach(|| drop(reader)));
    }

    /// As [`Notifier::close`], for a handle that just goes, perhaps with the interpreter: then a thread
    /// that is about to call back never comes back, and is not waited for.
    pub(crate) fn leave(&self, py: Python<'_>, name: &str) {
        self.end(py, name, |reader| reader.map_or((), join_elsewhere));
    }

    fn end(&self, py: Python<'_>, name: &str, part: impl FnOnce(Option<AsyncReader>)) {
        let desk = self.desk();
        let (reader, waiting) = {
            let mut state = desk.state.lock();
            state.closed = true;
            (state.reader.take(), core::mem::take(&mut state.waiting))
        };
        part(reader);
        if waiting.is_empty() {
            return;
        }
        let error = errors::closed_while_waiting(name);
        for wish in waiting {
            wish.settle(py, &Answer::Error(error.clone_ref(py)));
        }
    }

    fn desk(&self) -> Arc<Desk> {
        let mut desk = self.desk.lock();
        if desk.generation != fork_generation() {
            // Its thread stayed with the parent and cannot be joined from here.
            let parents = core::mem::replace(&mut *desk, Desk::new());
            core::mem::forget(parents);
        }
        desk.clone()
    }
}

impl Desk {
    fn new() -> Arc<Desk> {
        Arc::new(Desk { generation: fork_generation(), state: Mutex::default() })
    }

    /// Settles what can be settled, and leaves word with the thread for the rest.
    fn serve(self: &Arc<Desk>, py: Python<'_>) -> PyResult<()> {
        let waker = Waker::from(Arc::new(Bell { desk: Arc::downgrade(self) }));
        let mut context = Context::from_waker(&waker);
        loop {
            let (ready, answer) = {
                let mut state = self.state.lock();
                let state = &mut *state;
                let Some(after) = state.waiting.iter().map(|wish| wish.after).min() else {
                    return Ok(());
                };
                let Some(reader) = state.reader.as_mut().filter(|_| !state.closed) else {
                    return Ok(());
                };
                match reader.poll_after(after, Deadline::NEVER, &mut context) {
                    Poll::Pending => return Ok(()),
                    Poll::Ready(Ok(count)) => {
                        (take_below(&mut state.waiting, count), Answer::Count(count))
                    }
                    Poll::Ready(Err(error)) => {
                        let answer = Answer::Error(errors::read(py, error));
                        (core::mem::take(&mut state.waiting), answer)
                    }
                }
            };
            // Python code runs here, so no lock is held.
            for wish in ready {
                wish.settle(py, &answer);
            }
        }
    }
}

impl Drop for Desk {
    /// A handle that goes without being closed.
    fn drop(&mut self) {
        let Some(reader) = self.state.get_mut().reader.take() else { return };
        if self.generation != fork_generation() {
            // The thread stayed with the parent.
            return core::mem::forget(reader);
        }
        join_elsewhere(reader);
    }
}

/// Ends a reader whose thread may be about to call back: then it waits for the interpreter, which whoever
/// drops the reader may hold, or is that thread. So somebody else joins it.
fn join_elsewhere(reader: AsyncReader) {
    let join = std::thread::Builder::new().name("shm-py-farewell".to_owned());
    let _ = join.spawn(move || drop(reader));
}

fn take_below(waiting: &mut Vec<Wish>, count: u64) -> Vec<Wish> {
    let (ready, later) = core::mem::take(waiting).into_iter().partition(|wish| wish.after < count);
    *waiting = later;
    ready
}

impl Wish {
    fn settle(&self, py: Python<'_>, answer: &Answer) {
        let settled = || -> PyResult<()> {
            let settle = py.import("shm_py._asyncio")?.getattr("settle")?;
            let (count, error) = match answer {
                Answer::Count(count) => (Some(*count), None),
                Answer::Error(error) => (None, Some(error.value(py).clone())),
            };
            let schedule = self.event_loop.bind(py).getattr("call_soon_threadsafe")?;
            schedule.call1((settle, &self.future, count, error)).map(drop)
        };
        // A loop that is closed by now has nobody left who could be told.
        let _ = settled();
    }
}

/// What the sleeping thread rings.
struct Bell {
    desk: Weak<Desk>,
}

impl Wake for Bell {
    fn wake(self: Arc<Bell>) {
        let Some(desk) = self.desk.upgrade() else { return };
        // `None` when the interpreter is going away.
        interpreter::visit(|py| desk.serve(py));
    }
}

//! Waiting for a ticket, and for room; and what went wrong.

use crate::pool::errors::{self, Kind};
use crate::pool::ticket::Ticket;
use crate::pool::wish::{Answer, Wish};
use parking_lot::Mutex;
use pyo3::exceptions::{PyFileExistsError, PyFileNotFoundError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyType;
use shm_pool::{QueueError, Wait};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A ticket that is waited for.
pub(super) struct GetWish {
    pub(super) queue: shm_pool::Queue,
    pub(super) consumer: shm_pool::Consumer,
    pub(super) returned: Arc<Returned>,
    pub(super) closing: Arc<AtomicBool>,
    pub(super) begun: Instant,
}

/// Tickets that were got for tasks that had gone, by seat.
#[derive(Debug, Default)]
pub(super) struct Returned(Mutex<VecDeque<(usize, shm_pool::Ticket)>>);

impl Returned {
    pub(super) fn push(&self, seat: usize, ticket: shm_pool::Ticket) {
        self.0.lock().push_back((seat, ticket));
    }

    /// The oldest of them for that seat.
    pub(super) fn take(&self, seat: usize) -> Option<shm_pool::Ticket> {
        let mut returned = self.0.lock();
        let at = returned.iter().position(|(for_seat, _)| *for_seat == seat)?;
        returned.remove(at).map(|(_, ticket)| ticket)
    }
}

impl Wish for GetWish {
    fn nap(&mut self, longest: Duration) -> Option<Answer> {
        if self.closing.load(Ordering::Acquire) {
            return Some(was_closed(self.queue.name()));
        }
        // What comes back during the nap is found in the next one.
        if let Some(ticket) = self.returned.take(self.consumer.seat()) {
            return answer(Ok(ticket));
        }
        answer(self.queue.get_nap(&self.consumer, longest).transpose()?)
    }

    fn too_late(&mut self) -> Answer {
        if let Some(ticket) = self.returned.take(self.consumer.seat()) {
            return Box::new(move |py| settled(py, Ok(ticket)));
        }
        let got = self.queue.get(&self.consumer, Wait::Try).map_err(|error| match error {
            QueueError::Empty { queue, .. } => {
                let waited = self.begun.elapsed();
                QueueError::Timeout { queue, putting: false, waited, behind: 0 }
            }
            error => error,
        });
        Box::new(move |py| settled(py, got))
    }
}

/// Room for a ticket that is waited for.
pub(super) struct PutWish {
    pub(super) queue: shm_pool::Queue,
    pub(super) ticket: shm_pool::Ticket,
    pub(super) closing: Arc<AtomicBool>,
    pub(super) begun: Instant,
}

impl Wish for PutWish {
    fn nap(&mut self, longest: Duration) -> Option<Answer> {
        if self.closing.load(Ordering::Acquire) {
            return Some(was_closed(self.queue.name()));
        }
        let put = self.queue.put_nap(&self.ticket, longest).transpose()?;
        answer(put.map(|()| self.ticket))
    }

    fn too_late(&mut self) -> Answer {
        let put = self.queue.put(&self.ticket, Wait::Try).map_err(|error| match error {
            QueueError::Full { queue, behind, .. } => {
                let waited = self.begun.elapsed();
                QueueError::Timeout { queue, putting: true, waited, behind }
            }
            error => error,
        });
        let put = put.map(|()| self.ticket);
        Box::new(move |py| settled(py, put))
    }
}

fn answer(outcome: Result<shm_pool::Ticket, QueueError>) -> Option<Answer> {
    Some(Box::new(move |py| settled(py, outcome)))
}

fn settled(py: Python<'_>, outcome: Result<shm_pool::Ticket, QueueError>) -> PyResult<Py<PyAny>> {
    match outcome {
        Ok(ticket) => Ok(Py::new(py, Ticket(ticket))?.into_any()),
        Err(error) => Err(queue_error(py, error)),
    }
}

fn was_closed(name: &str) -> Answer {
    let name = name.to_owned();
    Box::new(move |py| Err(closed(py, &name)))
}

pub(super) fn closed(py: Python<'_>, name: &str) -> PyErr {
    errors::closed(py, "queue", name, "shm_py.Queue.open")
}

pub(super) fn queue_error(py: Python<'_>, error: QueueError) -> PyErr {
    let text =
        error.to_string().replace("`PoolConfig::queue_cells`", "queue_cells= of Pool.create()");
    match error {
        QueueError::Full { .. } | QueueError::Timeout { putting: true, .. } => {
            of_the_library(py, "Full", text)
        }
        QueueError::Empty { .. } | QueueError::Timeout { .. } => of_the_library(py, "Empty", text),
        QueueError::NotFound { .. } => PyFileNotFoundError::new_err(text),
        QueueError::Exists { .. } => PyFileExistsError::new_err(text),
        QueueError::Name { .. } | QueueError::MaxSize { .. } | QueueError::Foreign { .. } => {
            PyValueError::new_err(text)
        }
        QueueError::Stale { .. } => Kind::Stale.error(py, text),
        QueueError::Io { .. } => errors::system(&error),
        _ => Kind::Pool.error(py, text),
    }
}

/// An exception of the standard library's module `queue`.
fn of_the_library(py: Python<'_>, class: &str, text: String) -> PyErr {
    let class = py.import("queue").and_then(|queue| queue.getattr(class));
    match class.and_then(|class| Ok(class.cast_into::<PyType>()?)) {
        Ok(class) => PyErr::from_type(class, text),
        Err(error) => error,
    }
}

//! Queues of tickets.
//!
//! A ticket that was got for a task that had gone is kept for the consumer's next get: nothing is lost
//! by cancelling.

mod waiting;

use crate::errors::quoted;
use crate::pool::arguments::Size;
use crate::pool::consumer::Consumer;
use crate::pool::handle::Pool;
use crate::pool::queue::waiting::{GetWish, PutWish, Returned, closed, queue_error};
use crate::pool::reports;
use crate::pool::ticket::Ticket;
use crate::pool::wish::{self, Waiter};
use crate::wait;
use parking_lot::RwLock;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyTuple, PyType};
use shm_core::Deadline;
use shm_pool::{Mode, QueueError, Wait};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A bounded, ordered channel of tickets between the processes that are attached to a pool; made by
/// create() and open(). It lies in the pool's own memory, costs no system call unless somebody sleeps,
/// and stays there until remove() or the pool's end.
///
/// mode="work": each ticket is got by one consumer; publish with consumers="any" for that.
/// mode="broadcast": each consumer gets every ticket that it may redeem, in the same order; the slowest
/// one keeps the queue full. Processes that die are not waited for. Tickets whose publication is over
/// are passed over.
#[pyclass(frozen, weakref, module = "shm_py")]
pub(crate) struct Queue {
    queue: RwLock<Option<shm_pool::Queue>>,
    /// The Pool or the Consumer that it was opened through.
    through: Py<PyAny>,
    name: String,
    maxsize: usize,
    mode: Mode,
    closing: Arc<AtomicBool>,
    returned: Arc<Returned>,
}

/// What Python calls a mode.
pub(crate) fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Work => "work",
        Mode::Broadcast => "broadcast",
    }
}

impl Queue {
    fn new(through: &Bound<'_, PyAny>, queue: shm_pool::Queue) -> Queue {
        Queue {
            name: queue.name().to_owned(),
            maxsize: queue.maxsize(),
            mode: queue.mode(),
            queue: RwLock::new(Some(queue)),
            through: through.clone().unbind(),
            closing: Arc::default(),
            returned: Arc::default(),
        }
    }

    fn attached(&self, py: Python<'_>) -> PyResult<shm_pool::Queue> {
        let queue = self.queue.read().clone();
        queue.ok_or_else(|| closed(py, &self.name))
    }

    /// Reads `consumer=`.
    fn consumer_for(
        &self,
        py: Python<'_>,
        given: Option<&Bound<'_, Consumer>>,
    ) -> PyResult<shm_pool::Consumer> {
        if let Some(consumer) = given {
            return consumer.get().attached(py);
        }
        let through = self.through.bind(py);
        match through.cast::<Consumer>() {
            Ok(consumer) => consumer.get().attached(py),
            Err(_) => through.cast::<Pool>()?.get().only_consumer(py)?.get().attached(py),
        }
    }

    /// A ticket, or what to wait for.
    fn begin_get(
        &self,
        py: Python<'_>,
        consumer: Option<&Bound<'_, Consumer>>,
        deadline: Deadline,
    ) -> PyResult<Result<Ticket, GetWish>> {
        let queue = self.attached(py)?;
        let consumer = self.consumer_for(py, consumer)?;
        if let Some(ticket) = self.returned.take(consumer.seat()) {
            return Ok(Ok(Ticket(ticket)));
        }
        match queue.get(&consumer, Wait::Try) {
            Ok(ticket) => Ok(Ok(Ticket(ticket))),
            Err(QueueError::Empty { .. }) if !deadline.has_passed() => {
                let (begun, closing) = (Instant::now(), self.closing.clone());
                let returned = self.returned.clone();
                Ok(Err(GetWish { queue, consumer, returned, closing, begun }))
            }
            Err(error) => Err(queue_error(py, error)),
        }
    }

    fn begin_put(
        &self,
        py: Python<'_>,
        ticket: &Ticket,
        deadline: Deadline,
    ) -> PyResult<Option<PutWish>> {
        let queue = self.queue.read();
        let Some(queue) = queue.as_ref() else { return Err(closed(py, &self.name)) };
        match queue.put(&ticket.0, Wait::Try) {
            Ok(()) => Ok(None),
            Err(QueueError::Full { .. }) if !deadline.has_passed() => {
                let (queue, ticket) = (queue.clone(), ticket.0);
                let (begun, closing) = (Instant::now(), self.closing.clone());
                Ok(Some(PutWish { queue, ticket, closing, begun }))
            }
            Err(error) => Err(queue_error(py, error)),
        }
    }
}

#[pymethods]
impl Queue {
    /// Makes a queue of up to `maxsize` tickets in a pool, under a name of 1 to 128 bytes that is the
    /// pool's own. `mode` is "work" or "broadcast". `pool` is a Pool, or a Consumer of one.
    ///
    /// Raises FileExistsError if the pool has a queue of that name; ValueError for a bad name, size or
    /// mode; PoolError if the pool has no room for it, was removed or is closed.
    #[classmethod]
    #[pyo3(signature = (name, pool, maxsize = Size(128), mode = "work"),
           text_signature = "($cls, name, pool, maxsize=128, mode='work')")]
    fn create(
        cls: &Bound<'_, PyType>,
        name: &str,
        pool: &Bound<'_, PyAny>,
        maxsize: Size,
        mode: &str,
    ) -> PyResult<Queue> {
        let py = cls.py();
        let mode = match mode {
            "work" => Mode::Work,
            "broadcast" => Mode::Broadcast,
            other => {
                return Err(PyValueError::new_err(format!(
                    "mode is '{other}'; expected 'work' or 'broadcast'"
                )));
            }
        };
        let created = shm_pool::Queue::create(name, &pool_of(pool)?, maxsize.0, mode);
        let created = created.map_err(|error| queue_error(py, error))?;
        Ok(Queue::new(pool, created))
    }

    /// Opens a queue of a pool. `pool` is a Pool, or a Consumer of one; `timeout` (seconds, None for
    /// ever) waits for somebody to create the queue.
    ///
    /// Raises FileNotFoundError if there is none; PoolError if the pool is closed.
    #[classmethod]
    #[pyo3(signature = (name, pool, timeout = Some(0.0)),
           text_signature = "($cls, name, pool, timeout=0.0)")]
    fn open(
        cls: &Bound<'_, PyType>,
        name: &str,
        pool: &Bound<'_, PyAny>,
        timeout: Option<f64>,
    ) -> PyResult<Queue> {
        /// Nobody rings when a queue is made.
        const LOOK: Duration = Duration::from_millis(5);
        let py = cls.py();
        let (deadline, attached) = (wait::deadline(timeout)?, pool_of(pool)?);
        loop {
            match shm_pool::Queue::open(name, &attached) {
                Err(QueueError::NotFound { .. })
                    if !deadline.has_passed() && !attached.is_retired() =>
                {
                    let nap = wait::slice(deadline).min(LOOK);
                    py.detach(|| std::thread::sleep(nap));
                    py.check_signals()?;
                }
                Ok(opened) => return Ok(Queue::new(pool, opened)),
                Err(error) => return Err(queue_error(py, error)),
            }
        }
    }

    /// The queues of a pool: a list of QueueInfo. `pool` is a Pool, or a Consumer of one.
    ///
    /// Raises PoolError if the pool is closed.
    #[staticmethod]
    #[pyo3(signature = (pool))]
    fn list<'py>(pool: &Bound<'py, PyAny>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let queues = shm_pool::Queue::list(&pool_of(pool)?);
        queues.iter().map(|queue| reports::queue_info(pool.py(), queue)).collect()
    }

    /// Puts a ticket at the end. `timeout` (seconds; None for ever, 0 not at all) bounds the wait for
    /// room. Put a ticket into one queue, once.
    ///
    /// Raises queue.Full if there was no room in time; StaleTicket if the ticket cannot be redeemed any
    /// more; ValueError for a ticket of another pool; PoolError once the queue or the pool was removed,
    /// and after close().
    #[pyo3(signature = (ticket, timeout = None))]
    fn put(
        &self,
        py: Python<'_>,
        ticket: &Bound<'_, Ticket>,
        timeout: Option<f64>,
    ) -> PyResult<()> {
        let deadline = wait::deadline(timeout)?;
        match self.begin_put(py, ticket.get(), deadline)? {
            None => Ok(()),
            Some(mut wish) => wish::wait(py, &mut wish, deadline).map(drop),
        }
    }

    /// Puts a ticket without waiting.
    ///
    /// Raises as put() does.
    #[pyo3(signature = (ticket))]
    fn put_nowait(&self, py: Python<'_>, ticket: &Bound<'_, Ticket>) -> PyResult<()> {
        self.put(py, ticket, Some(0.0))
    }

    /// As put(), awaited.
    ///
    /// Raises as put() does, when awaited.
    #[pyo3(signature = (ticket, timeout = None))]
    fn put_async<'py>(
        slf: &Bound<'py, Self>,
        ticket: &Bound<'py, Ticket>,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyAny>> {
        wait::deadline(timeout)?;
        let asynchronous = slf.py().import("shm_py._asyncio")?;
        asynchronous.getattr("put")?.call1((slf, ticket, timeout))
    }

    /// The next Ticket for a consumer: `consumer`, or the only one that was made from the Pool that the
    /// queue was opened through (or that Consumer itself). `timeout` (seconds; None for ever, 0 not at
    /// all) bounds the wait. The wait releases the interpreter.
    ///
    /// Raises queue.Empty if nothing came in time; TypeError if there is not exactly one consumer to
    /// choose; ValueError for a consumer of another pool; PoolError once the queue or the pool was
    /// removed, in a forked child with its parent's consumer, and after close().
    #[pyo3(signature = (consumer = None, timeout = None))]
    fn get<'py>(
        &self,
        py: Python<'py>,
        consumer: Option<&Bound<'py, Consumer>>,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, Ticket>> {
        let deadline = wait::deadline(timeout)?;
        wish::fulfil(py, self.begin_get(py, consumer, deadline)?, deadline)
    }

    /// The next Ticket for a consumer, without waiting.
    ///
    /// Raises as get() does.
    #[pyo3(signature = (consumer = None))]
    fn get_nowait<'py>(
        &self,
        py: Python<'py>,
        consumer: Option<&Bound<'py, Consumer>>,
    ) -> PyResult<Bound<'py, Ticket>> {
        self.get(py, consumer, Some(0.0))
    }

    /// As get(), awaited. A ticket that arrives for a task that was cancelled is what the consumer gets
    /// next through this handle.
    ///
    /// Raises as get() does, when awaited.
    #[pyo3(signature = (consumer = None, timeout = None))]
    fn get_async<'py>(
        slf: &Bound<'py, Self>,
        consumer: Option<&Bound<'py, Consumer>>,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        wait::deadline(timeout)?;
        let seat = slf.get().consumer_for(py, consumer)?.seat();
        let asynchronous = py.import("shm_py._asyncio")?;
        asynchronous.getattr("get")?.call1((slf, consumer, seat, timeout))
    }

    /// A ticket, or what to wait for.
    fn _get_or_waiter<'py>(
        &self,
        py: Python<'py>,
        consumer: Option<&Bound<'py, Consumer>>,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let deadline = wait::deadline(timeout)?;
        wish::or_waiter(py, self.begin_get(py, consumer, deadline)?, deadline)
    }

    /// None if it was put, or what to wait for.
    fn _put_or_waiter(
        &self,
        py: Python<'_>,
        ticket: &Bound<'_, Ticket>,
        timeout: Option<f64>,
    ) -> PyResult<Option<Waiter>> {
        let deadline = wait::deadline(timeout)?;
        let wish = self.begin_put(py, ticket.get(), deadline)?;
        Ok(wish.map(|wish| Waiter::new(Box::new(wish), deadline)))
    }

    /// Keeps a ticket that was got in vain for the next get of that seat.
    fn _give_back(&self, ticket: &Bound<'_, Ticket>, seat: usize) {
        self.returned.push(seat, ticket.get().0);
    }

    /// Number of tickets in it; in a broadcast queue, those that somebody has not got.
    ///
    /// Raises PoolError after close().
    fn qsize(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.attached(py)?.len())
    }

    /// True if there is no ticket in it, as far as can be said while others put and get.
    ///
    /// Raises PoolError after close().
    fn empty(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.qsize(py)? == 0)
    }

    /// True if there is no room in it, as far as can be said while others put and get.
    ///
    /// Raises PoolError after close().
    fn full(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.qsize(py)? >= self.maxsize)
    }

    /// Ends the queue for everybody, also for those who wait. What nobody has got from it is given
    /// back.
    ///
    /// Raises PoolError if it was removed before, and after close().
    fn remove(&self, py: Python<'_>) -> PyResult<()> {
        self.attached(py)?.remove().map_err(|error| queue_error(py, error))
    }

    /// Ends this handle; the queue stays. Waits in other threads end with PoolError. Closing twice is
    /// harmless.
    fn close(&self, py: Python<'_>) {
        self.closing.store(true, Ordering::Release);
        let queue = self.queue.write().take();
        py.detach(|| drop(queue));
    }

    /// True after close().
    #[getter]
    fn closed(&self) -> bool {
        self.queue.read().is_none()
    }

    /// The most tickets in it.
    #[getter]
    fn maxsize(&self) -> usize {
        self.maxsize
    }

    /// Who gets a ticket: "work" or "broadcast".
    #[getter]
    fn mode(&self) -> &'static str {
        mode_name(self.mode)
    }

    /// Its name, which is the pool's own.
    #[getter]
    fn name(&self) -> &str {
        &self.name
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    #[pyo3(signature = (exc_type, exc, tb))]
    fn __exit__(
        &self,
        py: Python<'_>,
        exc_type: &Bound<'_, PyAny>,
        exc: &Bound<'_, PyAny>,
        tb: &Bound<'_, PyAny>,
    ) -> bool {
        let _ = (exc_type, exc, tb);
        self.close(py);
        false
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        self.attached(py)?;
        let open = py.get_type::<Queue>().getattr("open")?;
        (open, (&self.name, &self.through)).into_pyobject(py)
    }

    fn __repr__(&self) -> String {
        let (name, mode) = (quoted(&self.name), mode_name(self.mode));
        let closed = if self.closed() { ", closed" } else { "" };
        format!("Queue(name={name}, maxsize={}, mode='{mode}'{closed})", self.maxsize)
    }
}

/// The pool of a `pool=` argument.
fn pool_of(given: &Bound<'_, PyAny>) -> PyResult<shm_pool::Pool> {
    let py = given.py();
    if let Ok(pool) = given.cast::<Pool>() {
        return pool.get().attached(py);
    }
    match given.cast::<Consumer>() {
        Ok(consumer) => Ok(consumer.get().attached(py)?.pool()),
        Err(_) => Err(PyTypeError::new_err(format!(
            "pool is {}; expected a Pool, or a Consumer of one",
            given.get_type()
        ))),
    }
}

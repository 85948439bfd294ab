//! The class `Pool`: made, opened, lent from, closed.
//!
//! Upholds invariants 6 (slots, leases and arrays own the mapping, so closing pulls it from under
//! nobody) and 9 (only the owner's handle takes the name away).

use crate::creation::{self, Metadata};
use crate::errors::quoted;
use crate::pool::arguments::Size;
use crate::pool::consumer::Consumer;
use crate::pool::lending::{self, Attached, Begun};
use crate::pool::opening::{Terms, may_come, open_in_slices};
use crate::pool::slot::Slot;
use crate::pool::ticket::Ticket;
use crate::pool::wish;
use crate::pool::{audience, errors, tree};
use crate::wait;
use parking_lot::{Mutex, RwLock};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple, PyType, PyWeakrefMethods, PyWeakrefReference};
use shm_core::Deadline;
use shm_pool::{Policy, PoolConfig};

/// A pool of shared memory: lend a slot, fill it, publish it, and send its ticket by any channel.
/// Consumers redeem the ticket, read in place, and release; then the slot is lent again. Made by
/// create(), create_chunks() and open().
///
/// A process may be killed at any moment: what it held is given back. The process that created the pool
/// is its owner. The owner's close() (also at the end of a `with` block) takes the name away, unless
/// the pool is persistent; what is lent stays valid. Handles work in forked children and pickle (as a
/// name to reopen).
#[pyclass(frozen, weakref, module = "shm_py")]
pub(crate) struct Pool {
    pool: RwLock<Option<shm_pool::Pool>>,
    pub(crate) name: String,
    instance: [u8; 16],
    persistent: bool,
    chunks: bool,
    slots: usize,
    slot_size: usize,
    capacity: usize,
    seats: usize,
    metadata: Py<PyBytes>,
    attached: Attached,
    consumers: Mutex<Vec<Py<PyWeakrefReference>>>,
}

impl Pool {
    pub(crate) fn new(py: Python<'_>, pool: shm_pool::Pool, persistent: bool) -> Pool {
        Pool {
            name: pool.name().to_owned(),
            instance: pool.instance(),
            persistent,
            chunks: pool.describe().chunks,
            slots: pool.slots(),
            slot_size: pool.slot_size(),
            capacity: pool.capacity(),
            seats: pool.seats(),
            metadata: PyBytes::new(py, pool.metadata()).unbind(),
            attached: Attached::default(),
            consumers: Mutex::default(),
            pool: RwLock::new(Some(pool)),
        }
    }

    /// The pool, or the error of a closed handle.
    pub(crate) fn attached(&self, py: Python<'_>) -> PyResult<shm_pool::Pool> {
        let pool = self.pool.read().clone();
        pool.ok_or_else(|| self.closed(py))
    }

    /// The one open consumer that was made from this handle, for calls that leave it out.
    pub(crate) fn only_consumer<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, Consumer>> {
        let mut found = Vec::new();
        for consumer in self.consumers.lock().iter() {
            if let Some(consumer) = consumer.bind(py).upgrade()
                && let Ok(consumer) = consumer.cast_into::<Consumer>()
                && !consumer.get().is_closed()
            {
                found.push(consumer);
            }
        }
        match <[_; 1]>::try_from(found) {
            Ok([only]) => Ok(only),
            Err(found) => Err(PyTypeError::new_err(format!(
                "which consumer? {} were made from this handle of pool {}; pass consumer=",
                found.len(),
                quoted(&self.name)
            ))),
        }
    }

    /// Lends a slot, waiting until `deadline`.
    pub(crate) fn lend_within<'py>(
        &self,
        py: Python<'py>,
        bytes: usize,
        policy: Policy,
        deadline: Deadline,
    ) -> PyResult<Bound<'py, Slot>> {
        wish::fulfil(py, self.begin(py, bytes, policy, deadline)?, deadline)
    }

    #[inline]
    fn begin(
        &self,
        py: Python<'_>,
        bytes: usize,
        policy: Policy,
        deadline: Deadline,
    ) -> PyResult<Result<Slot, lending::LendWish>> {
        let pool = self.pool.read();
        let Some(pool) = pool.as_ref() else { return Err(self.closed(py)) };
        match lending::begin(pool, bytes, policy, deadline, &self.attached) {
            Ok(Begun::Lent(slot)) => Ok(Ok(Slot::new(pool.clone(), slot))),
            Ok(Begun::Waits(wish)) => Ok(Err(wish)),
            Err(error) => Err(errors::lend(py, error)),
        }
    }

    /// Reads `nbytes=`.
    #[inline]
    fn bytes(&self, given: Option<Size>) -> PyResult<usize> {
        match given {
            Some(Size(bytes)) => Ok(bytes),
            None if self.chunks => Err(PyValueError::new_err(format!(
                "nbytes is needed: pool {} lends chunks of any size",
                quoted(&self.name)
            ))),
            None => Ok(self.slot_size),
        }
    }

    fn closed(&self, py: Python<'_>) -> PyErr {
        errors::closed(py, "pool", &self.name, "shm_py.Pool.open")
    }
}

#[pymethods]
impl Pool {
    /// Creates a pool of `slots` slots of `slot_size` bytes each, for `consumers` expected consumers
    /// (1 to 64), and becomes its owner. A pool that nobody is attached to any more is replaced.
    ///
    /// A publication for everyone waits for each expected consumer, also for those who have not joined
    /// yet. queue_cells: room for the tickets of all queues together (None: by the number of slots).
    /// overdue_after: seconds after which a slot in somebody's hands is reported as overdue.
    /// persistent: the pool outlives its owner. metadata: up to 64 KiB of the owner's own.
    ///
    /// Raises AlreadyOwned (a FileExistsError, with `pid`) if the name has an owner who lives,
    /// FileExistsError if others still use what a dead owner left; OSError with errno ENOSPC if shared
    /// memory is too small, and nothing stays behind; ValueError or TypeError for a bad argument.
    #[classmethod]
    #[pyo3(signature = (
        name, *, slot_size, slots, consumers = Size(1), queue_cells = None, overdue_after = 1.0,
        persistent = false, metadata = Metadata::EMPTY
    ), text_signature = "($cls, name, *, slot_size, slots, consumers=1, queue_cells=None, \
overdue_after=1.0, persistent=False, metadata=b'')")]
    #[expect(clippy::too_many_arguments, reason = "Python's keywords")]
    fn create(
        cls: &Bound<'_, PyType>,
        name: &Bound<'_, PyAny>,
        slot_size: Size,
        slots: Size,
        consumers: Size,
        queue_cells: Option<Size>,
        overdue_after: f64,
        persistent: bool,
        metadata: Metadata<'_>,
    ) -> PyResult<Pool> {
        let config = PoolConfig::slots(slots.0, slot_size.0);
        let config = config.map_err(|error| errors::config(&error))?;
        let terms = Terms { consumers, queue_cells, overdue_after, persistent, metadata };
        terms.create(cls.py(), name, config)
    }

    /// Creates a pool of `capacity` bytes that lends chunks of any size, in units of `granule` bytes
    /// (a power of two of at least 4096; None: about 1/16000 of the capacity). The rest is as for
    /// create().
    ///
    /// Raises as create() does.
    #[classmethod]
    #[pyo3(signature = (
        name, *, capacity, consumers = Size(1), granule = None, queue_cells = None,
        overdue_after = 1.0, persistent = false, metadata = Metadata::EMPTY
    ), text_signature = "($cls, name, *, capacity, consumers=1, granule=None, queue_cells=None, \
overdue_after=1.0, persistent=False, metadata=b'')")]
    #[expect(clippy::too_many_arguments, reason = "Python's keywords")]
    fn create_chunks(
        cls: &Bound<'_, PyType>,
        name: &Bound<'_, PyAny>,
        capacity: Size,
        consumers: Size,
        granule: Option<Size>,
        queue_cells: Option<Size>,
        overdue_after: f64,
        persistent: bool,
        metadata: Metadata<'_>,
    ) -> PyResult<Pool> {
        let mut config = PoolConfig::chunks(capacity.0).map_err(|error| errors::config(&error))?;
        if let Some(Size(granule)) = granule {
            config = config.granule(granule).map_err(|error| errors::config(&error))?;
        }
        let terms = Terms { consumers, queue_cells, overdue_after, persistent, metadata };
        terms.create(cls.py(), name, config)
    }

    /// Opens a pool for producing and consuming. `timeout` (seconds, None for ever) waits for somebody
    /// to create it. To consume only, Consumer.open() maps its memory read-only.
    ///
    /// Raises FileNotFoundError if there is none; ValueError for a bad argument or a file that is no
    /// pool; PermissionError for another user's.
    #[classmethod]
    #[pyo3(signature = (name, timeout = Some(0.0)), text_signature = "($cls, name, timeout=0.0)")]
    fn open(
        cls: &Bound<'_, PyType>,
        name: &Bound<'_, PyAny>,
        timeout: Option<f64>,
    ) -> PyResult<Pool> {
        let py = cls.py();
        let opened = open_in_slices(name, timeout, shm_pool::Pool::open_within, may_come)?;
        let opened = opened.map_err(|error| errors::open(py, error, "Pool"))?;
        Ok(Pool::new(py, opened, false))
    }

    /// Lends a slot of at least `nbytes` bytes (None: a whole slot; needed in a pool of chunks): a Slot
    /// to fill and publish, which `with` gives back unless it was published.
    ///
    /// When nothing is free, policy="block" waits in line until `timeout` (seconds; None for ever, 0
    /// not at all); "fail" never waits; "drop_oldest_unread" takes back the oldest publication that no
    /// consumer has begun to read, and waits if there is none. The wait releases the interpreter.
    ///
    /// Raises PoolFull (a TimeoutError, with `holders`) if nothing came free in time; ValueError for
    /// more bytes than the pool lends at once; PoolError once the pool was removed, and after close().
    #[pyo3(signature = (nbytes = None, timeout = None, policy = "block"))]
    fn lend<'py>(
        &self,
        py: Python<'py>,
        nbytes: Option<Size>,
        timeout: Option<f64>,
        policy: &str,
    ) -> PyResult<Bound<'py, Slot>> {
        let (policy, deadline) = (lending::policy(policy)?, wait::deadline(timeout)?);
        self.lend_within(py, self.bytes(nbytes)?, policy, deadline)
    }

    /// As lend(), awaited. The place in line is kept until the slot is there, and given up when the
    /// task is cancelled.
    ///
    /// Raises as lend() does, when awaited.
    #[pyo3(signature = (nbytes = None, timeout = None, policy = "block"))]
    fn lend_async<'py>(
        slf: &Bound<'py, Self>,
        nbytes: Option<Size>,
        timeout: Option<f64>,
        policy: &str,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        lending::policy(policy)?;
        wait::deadline(timeout)?;
        let nbytes = slf.get().bytes(nbytes)?;
        py.import("shm_py._asyncio")?.getattr("lend")?.call1((slf, nbytes, timeout, policy))
    }

    /// A slot, or what to wait for.
    fn _lend_or_waiter<'py>(
        &self,
        py: Python<'py>,
        nbytes: usize,
        timeout: Option<f64>,
        policy: &str,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (policy, deadline) = (lending::policy(policy)?, wait::deadline(timeout)?);
        wish::or_waiter(py, self.begin(py, nbytes, policy, deadline)?, deadline)
    }

    /// Packs a tree of arrays into one slot, publishes it, and returns the Ticket: pack() and
    /// Slot.publish() in one. `consumers` is as for Slot.publish(), `timeout` and `policy` as for lend().
    ///
    /// Raises TypeError or ValueError for what cannot be packed; else as lend() and Slot.publish() do.
    /// Nothing stays lent.
    #[pyo3(signature = (tree, consumers = None, timeout = None, policy = "block"))]
    fn publish(
        &self,
        py: Python<'_>,
        tree: &Bound<'_, PyAny>,
        consumers: Option<&Bound<'_, PyAny>>,
        timeout: Option<f64>,
        policy: &str,
    ) -> PyResult<Ticket> {
        let audience = audience::from_argument(consumers, self.instance)?;
        let (policy, deadline) = (lending::policy(policy)?, wait::deadline(timeout)?);
        let slot = tree::write(py, self, tree, policy, deadline)?;
        slot.get().share(py, audience)
    }

    /// Takes a seat as a consumer: `seat`, such as the rank of a worker, or the lowest vacant one.
    ///
    /// Raises PoolError if it is taken, or all are, once the pool was removed, and after close();
    /// ValueError if there is no such seat.
    #[pyo3(signature = (seat = None))]
    fn consumer<'py>(&self, py: Python<'py>, seat: Option<Size>) -> PyResult<Bound<'py, Consumer>> {
        let pool = self.attached(py)?;
        let joined = match seat {
            Some(Size(seat)) => pool.consumer_at(seat),
            None => pool.consumer(),
        };
        let consumer = joined.map_err(|error| errors::join(py, error))?;
        let consumer = Bound::new(py, Consumer::new(consumer))?;
        let watch = PyWeakrefReference::new(consumer.as_any())?.unbind();
        let mut consumers = self.consumers.lock();
        consumers.retain(|consumer| consumer.bind(py).upgrade().is_some());
        consumers.push(watch);
        Ok(consumer)
    }

    /// Takes the pool's name away. What is lent stays valid, nothing more is lent.
    ///
    /// Raises PermissionError unless this handle is the owner's, or the owner is dead; PoolError if the
    /// name was taken away before, and after close().
    fn unlink(&self, py: Python<'_>) -> PyResult<()> {
        let outcome = self.attached(py)?.unlink();
        outcome.map_err(|error| errors::remove(py, error, "Pool"))
    }

    /// Ends this handle; the owner's takes the pool's name away, unless the pool is persistent. Waits
    /// in other threads end with PoolError. Slots, leases, consumers and arrays that were made from it
    /// stay valid. Closing twice is harmless.
    fn close(&self, py: Python<'_>) {
        self.attached.close();
        let pool = self.pool.write().take();
        py.detach(|| {
            if let Some(pool) = pool
                && pool.is_owner()
                && !self.persistent
            {
                // Somebody may have taken it away already.
                let _ = pool.unlink();
            }
        });
    }

    /// True after close().
    #[getter(closed)]
    fn is_closed(&self) -> bool {
        self.pool.read().is_none()
    }

    /// True if this handle, in this process, is the owner's.
    #[getter]
    fn is_owner(&self) -> bool {
        self.pool.read().as_ref().is_some_and(shm_pool::Pool::is_owner)
    }

    /// True once the pool's name was taken away, as far as this handle knows.
    ///
    /// Raises PoolError after close().
    #[getter]
    fn is_retired(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.attached(py)?.is_retired())
    }

    /// The name exactly as the owner gave it.
    #[getter]
    fn name(&self) -> &str {
        &self.name
    }

    /// Random id, sixteen bytes: two pools that ever had the same name differ in it.
    #[getter]
    fn instance<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.instance)
    }

    /// Number of slots; of a pool of chunks, how many chunks can be lent at once.
    #[getter]
    fn slots(&self) -> usize {
        self.slots
    }

    /// The most bytes that can be lent at once.
    #[getter]
    fn slot_size(&self) -> usize {
        self.slot_size
    }

    /// Bytes of the memory that is lent.
    #[getter]
    fn capacity(&self) -> usize {
        self.capacity
    }

    /// Number of seats, which is the most consumers there can be at once.
    #[getter]
    fn seats(&self) -> usize {
        self.seats
    }

    /// The owner's own bytes.
    #[getter]
    fn metadata(&self, py: Python<'_>) -> Py<PyBytes> {
        self.metadata.clone_ref(py)
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
        (py.get_type::<Pool>().getattr("open")?, (&self.name,)).into_pyobject(py)
    }

    fn __repr__(&self) -> String {
        let Pool { slots, slot_size, capacity, .. } = self;
        let name = quoted(&self.name);
        let closed = if self.is_closed() { ", closed" } else { "" };
        match self.chunks {
            true => format!("Pool(name={name}, capacity={capacity}{closed})"),
            false => format!("Pool(name={name}, slots={slots}, slot_size={slot_size}{closed})"),
        }
    }
}

/// Takes the name of a pool away whose owner is dead. Those who are attached drain what is left.
///
/// Raises PermissionError if the owner lives; FileNotFoundError if there is none; ValueError for a bad
/// name or a file that is no pool.
#[pyfunction]
#[pyo3(signature = (name))]
pub(crate) fn remove_pool(py: Python<'_>, name: &Bound<'_, PyAny>) -> PyResult<()> {
    let name = creation::name_argument(name)?;
    shm_pool::remove(&name).map_err(|error| errors::remove(py, error, "Pool"))
}

//! A consumer: a seat, and what can be redeemed from it.

use crate::errors::quoted;
use crate::pool::errors;
use crate::pool::lease::{Held, Lease};
use crate::pool::opening::{may_come, open_in_slices};
use crate::pool::ticket::Ticket;
use crate::pool::tree;
use parking_lot::RwLock;
use pyo3::prelude::*;
use pyo3::types::PyType;
use shm_pool::JoinError;
use std::sync::Arc;

/// A consumer of a pool; made by Pool.consumer() and Consumer.open(). It redeems tickets for leases.
///
/// `seat` is the number under which publications wait for it. The seat is vacant again when the
/// consumer is closed (or gone) and all its leases are released, or when the process dies. A forked
/// child makes one of its own.
#[pyclass(frozen, weakref, module = "shm_py")]
pub(crate) struct Consumer {
    consumer: RwLock<Option<shm_pool::Consumer>>,
    pub(crate) name: String,
    pub(crate) instance: [u8; 16],
    pub(crate) seat: usize,
}

impl Consumer {
    pub(crate) fn new(consumer: shm_pool::Consumer) -> Consumer {
        let pool = consumer.pool();
        Consumer {
            name: pool.name().to_owned(),
            instance: pool.instance(),
            seat: consumer.seat(),
            consumer: RwLock::new(Some(consumer)),
        }
    }

    /// The consumer, or the error of a closed one.
    pub(crate) fn attached(&self, py: Python<'_>) -> PyResult<shm_pool::Consumer> {
        let consumer = self.consumer.read().clone();
        consumer.ok_or_else(|| self.closed(py))
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.consumer.read().is_none()
    }

    #[inline]
    fn hold(&self, py: Python<'_>, ticket: &Ticket) -> PyResult<Arc<Held>> {
        let consumer = self.consumer.read();
        let Some(consumer) = consumer.as_ref() else { return Err(self.closed(py)) };
        if ticket.0.parts > 1 {
            return Err(errors::Kind::Pool.error(
                py,
                format!(
                    "the ticket is of a batch of {} slots, which only Rust programs redeem; publish \
                     them one by one, or with pack()",
                    ticket.0.parts
                ),
            ));
        }
        let lease = consumer.redeem(&ticket.0).map_err(|error| errors::redeem(py, error))?;
        Ok(Held::new(consumer.pool(), lease))
    }

    fn closed(&self, py: Python<'_>) -> PyErr {
        errors::closed(py, "consumer of pool", &self.name, "shm_py.Consumer.open")
    }
}

#[pymethods]
impl Consumer {
    /// Opens a pool for consuming only, its memory mapped read-only here, and takes a seat. `timeout`
    /// (seconds, None for ever) waits for somebody to create the pool.
    ///
    /// Raises FileNotFoundError if there is no such pool; PoolError if all seats are taken; ValueError
    /// for a bad argument or a file that is no pool; PermissionError for another user's.
    #[classmethod]
    #[pyo3(signature = (name, timeout = Some(0.0)), text_signature = "($cls, name, timeout=0.0)")]
    fn open(
        cls: &Bound<'_, PyType>,
        name: &Bound<'_, PyAny>,
        timeout: Option<f64>,
    ) -> PyResult<Consumer> {
        let py = cls.py();
        let not_yet =
            |error: &JoinError| matches!(error, JoinError::Open(error) if may_come(error));
        let opened = open_in_slices(name, timeout, shm_pool::Consumer::open_within, not_yet)?;
        opened.map(Consumer::new).map_err(|error| errors::join(py, error))
    }

    /// Takes hold of a publication: a Lease. The slot is not used again before it is released.
    ///
    /// Raises StaleTicket if the publication is over; ValueError for a ticket of another pool;
    /// PoolError if it is not for this consumer, is held or was released by it already, in a forked
    /// child, and after close().
    #[pyo3(signature = (ticket))]
    fn redeem(&self, py: Python<'_>, ticket: &Bound<'_, Ticket>) -> PyResult<Lease> {
        self.hold(py, ticket.get()).map(Lease::new)
    }

    /// The tree that pack() or Pool.publish() made the publication from. Its arrays are read-only views
    /// of shared memory, which keep the publication held until the last of them is gone.
    ///
    /// Raises ValueError for a publication that pack() did not make; else as redeem() does.
    #[pyo3(signature = (ticket))]
    fn unpack<'py>(
        &self,
        py: Python<'py>,
        ticket: &Bound<'py, Ticket>,
    ) -> PyResult<Bound<'py, PyAny>> {
        tree::read(py, &self.hold(py, ticket.get())?)
    }

    /// Says that this consumer does not need a publication: redeems and releases it.
    ///
    /// Raises as redeem() does.
    #[pyo3(signature = (ticket))]
    fn skip(&self, py: Python<'_>, ticket: &Bound<'_, Ticket>) -> PyResult<()> {
        let consumer = self.attached(py)?;
        consumer.skip(&ticket.get().0).map_err(|error| errors::redeem(py, error))
    }

    /// Number of publications that wait for this consumer to redeem or to release them.
    ///
    /// Raises PoolError after close().
    fn pending(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.attached(py)?.pending())
    }

    /// The number under which publications wait for this consumer.
    #[getter]
    fn seat(&self) -> usize {
        self.seat
    }

    /// Name of the pool.
    #[getter]
    fn name(&self) -> &str {
        &self.name
    }

    /// True after close().
    #[getter(closed)]
    fn closed_now(&self) -> bool {
        self.is_closed()
    }

    /// Gives the seat up; it is vacant once all leases are released. Closing twice is harmless.
    fn close(&self, py: Python<'_>) {
        let consumer = self.consumer.write().take();
        py.detach(|| drop(consumer));
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

    fn __repr__(&self) -> String {
        let closed = if self.is_closed() { ", closed" } else { "" };
        format!("Consumer(pool={}, seat={}{closed})", quoted(&self.name), self.seat)
    }
}

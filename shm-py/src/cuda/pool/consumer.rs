//! A consumer of a device pool: a seat, and what can be redeemed from it.
//!
//! Upholds invariants 5 (the host waits in turns with the interpreter released, and hears signals
//! between them) and 8 (a device that cannot wait is counted, once).

use crate::cuda::pool::errors;
use crate::cuda::pool::handle::{Opened, Shared, open_within};
use crate::cuda::pool::lease::DeviceLease;
use crate::cuda::pool::ticket::DeviceTicket;
use crate::cuda::queue::Queue;
use crate::errors::quoted;
use crate::interpreter;
use crate::pool::errors as host;
use crate::wait;
use parking_lot::RwLock;
use pyo3::prelude::*;
use pyo3::types::PyType;
use shm_core::Deadline;
use shm_cuda::pool::{Publication, RedeemError};
use std::sync::Arc;

/// A consumer of a DevicePool; made by DevicePool.consumer() and DeviceConsumer.open(). It redeems
/// tickets for leases.
///
/// `seat` is the number under which publications wait for it. The seat is vacant again when the consumer
/// is closed (or gone) and all its leases are released, or when the process dies. Closing waits for the
/// copies that were queued through it.
#[pyclass(frozen, weakref, module = "shm_py")]
pub(crate) struct DeviceConsumer {
    seated: RwLock<Option<Seated>>,
    device: String,
    pub(crate) name: String,
    pub(crate) instance: [u8; 16],
    pub(crate) seat: usize,
}

/// An open consumer.
#[derive(Clone)]
struct Seated {
    consumer: shm_cuda::pool::DeviceConsumer,
    shared: Arc<Shared>,
}

impl DeviceConsumer {
    pub(crate) fn new(
        consumer: shm_cuda::pool::DeviceConsumer,
        shared: Arc<Shared>,
    ) -> DeviceConsumer {
        DeviceConsumer {
            name: shared.name.clone(),
            instance: shared.instance,
            seat: consumer.seat(),
            device: shared.lane.name(),
            seated: RwLock::new(Some(Seated { consumer, shared })),
        }
    }

    fn attached(&self, py: Python<'_>) -> PyResult<Seated> {
        let Some(seated) = self.seated.read().clone() else {
            let again = "shm_py.DeviceConsumer.open";
            return Err(host::closed(py, "consumer of device pool", &self.name, again));
        };
        seated.shared.check(py, "the consumer")?;
        Ok(seated)
    }

    fn hold(
        &self,
        py: Python<'_>,
        ticket: &shm_pool::Ticket,
        deadline: Deadline,
        queue: Option<Queue>,
    ) -> PyResult<(shm_cuda::pool::DeviceLease, Arc<Shared>, Option<Queue>)> {
        if let Some(queue) = queue {
            let Seated { consumer, shared } = self.attached(py)?;
            let can_wait = consumer.pool().publication() == Publication::StreamOrdered;
            // A device that cannot wait is asked without patience: the host then waits in turns.
            let patience = if can_wait { deadline } else { Deadline::NOW };
            match py.detach(|| consumer.redeem_on(ticket, queue.get(), patience)) {
                Ok(lease) => return Ok((lease, shared, Some(queue))),
                Err(RedeemError::NotReady { .. }) if !can_wait => {}
                Err(error) => return Err(errors::redeem(py, error)),
            }
        }
        loop {
            let Seated { consumer, shared } = self.attached(py)?;
            let turn = Deadline::after(wait::slice(deadline));
            match py.detach(|| consumer.redeem(ticket, turn)) {
                Ok(lease) => return Ok((lease, shared, None)),
                Err(RedeemError::NotReady { .. }) if !deadline.has_passed() => {
                    py.detach(|| drop((consumer, shared)));
                    py.check_signals()?;
                }
                Err(error) => return Err(errors::redeem(py, error)),
            }
        }
    }
}

#[pymethods]
impl DeviceConsumer {
    /// Opens a pool for consuming with `device`: the one its memory lies on, or another that has access
    /// to it; and takes a seat. `timeout` (seconds, None for ever) waits for somebody to create the pool.
    ///
    /// Raises FileNotFoundError if there is no such pool; PoolError if all seats are taken, or the
    /// memory cannot be reached; OwnerGone if its owner has ended; ValueError for a bad argument or a
    /// file that is no device pool; RuntimeError where there is no CUDA.
    #[classmethod]
    #[pyo3(signature = (name, device = None, timeout = Some(0.0)),
           text_signature = "($cls, name, device='cuda:0', timeout=0.0)")]
    fn open(
        cls: &Bound<'_, PyType>,
        name: &Bound<'_, PyAny>,
        device: Option<&Bound<'_, PyAny>>,
        timeout: Option<f64>,
    ) -> PyResult<DeviceConsumer> {
        let py = cls.py();
        let Opened { pool, shared } = open_within(name, device, timeout)?;
        let consumer = py.detach(|| pool.consumer()).map_err(|error| errors::pool(py, error))?;
        Ok(DeviceConsumer::new(consumer, shared))
    }

    /// Takes hold of a publication: a DeviceLease. The slot is not used again before it is released.
    ///
    /// Without `stream` the bytes are there when the call returns: it waits for them until `timeout`
    /// (seconds, None for ever), with the interpreter released. With `stream`, a stream of the pool's
    /// device, the host does not wait: what is queued on that stream from now on does, on the device. If
    /// the producer dies before, or `timeout` passes, the stream goes on without them, and the lease's
    /// check() says so. A device that cannot wait is counted in stats().host_fallbacks, and the host
    /// waits in its place.
    ///
    /// Raises NotReady (a TimeoutError) if the bytes are not there in time: the ticket may be redeemed
    /// again; ProducerGone if they never will be; OwnerGone if the pool's memory has ended with its
    /// process; StaleTicket if the publication is over; ValueError for a ticket of another pool;
    /// PoolError if it is not for this consumer, is held or was released by it already, and after
    /// close().
    #[pyo3(signature = (ticket, timeout = None, *, stream = None))]
    fn redeem(
        &self,
        py: Python<'_>,
        ticket: &Bound<'_, PyAny>,
        timeout: Option<f64>,
        stream: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<DeviceLease> {
        let ticket = DeviceTicket::from_argument(ticket)?;
        let (deadline, queue) = (wait::deadline(timeout)?, Queue::parse(stream)?);
        if ticket.ticket.parts > 1 {
            return Err(host::Kind::Pool.error(
                py,
                format!("the ticket is of a batch of {} slots; publish one", ticket.ticket.parts),
            ));
        }
        let (lease, shared, waiting) = self.hold(py, &ticket.ticket, deadline, queue)?;
        if ticket.layout.byte_len() > lease.len() {
            let (wanted, found) = (ticket.layout.byte_len(), lease.len());
            py.detach(|| drop(lease));
            return Err(pyo3::exceptions::PyValueError::new_err(format!(
                "the ticket tells of a tensor of {wanted} bytes, and {found} were published"
            )));
        }
        Ok(DeviceLease::new(lease, shared, ticket.layout, waiting))
    }

    /// Says that this consumer does not need a publication, there or not: redeems and releases it.
    ///
    /// Raises as redeem() does.
    #[pyo3(signature = (ticket))]
    fn skip(&self, py: Python<'_>, ticket: &Bound<'_, PyAny>) -> PyResult<()> {
        let ticket = DeviceTicket::from_argument(ticket)?;
        let Seated { consumer, .. } = self.attached(py)?;
        consumer.skip(&ticket.ticket).map_err(|error| errors::redeem(py, error))
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

    /// The device that it uses, "cuda:N", as this process counts them.
    #[getter]
    fn device(&self) -> &str {
        &self.device
    }

    /// True after close().
    #[getter]
    fn closed(&self) -> bool {
        self.seated.read().is_none()
    }

    /// Gives the seat up; it is vacant once all leases are released. Closing twice is harmless.
    fn close(&self, py: Python<'_>) {
        let seated = self.seated.write().take();
        py.detach(|| drop(seated));
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
        let closed = if self.closed() { ", closed" } else { "" };
        format!(
            "DeviceConsumer(pool={}, seat={}, device='{}'{closed})",
            quoted(&self.name),
            self.seat,
            self.device
        )
    }
}

impl Drop for DeviceConsumer {
    fn drop(&mut self) {
        if let Some(seated) = self.seated.get_mut().take() {
            // It waits for copies that are going on.
            interpreter::drop_released(seated);
        }
    }
}

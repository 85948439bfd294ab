//! What a device pool says about itself, and how it is looked after.

use crate::cuda::pool::handle::DevicePool;
use crate::cuda::pool::ticket::DeviceTicket;
use crate::pool::{errors, reports};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use shm_cuda::pool::Publication;
use shm_pool::Revoked;

#[pymethods]
impl DevicePool {
    /// Counts everything: a DevicePoolStats. Looks at every slot, so it takes a while on a large pool.
    ///
    /// Raises PoolError after close().
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let pool = self.attached(py)?.pool;
        let found = py.detach(|| pool.stats());
        let fields = PyDict::new(py);
        fields.set_item("pool", reports::stats(py, &found.pool)?)?;
        fields.set_item("stream_ordered", found.publication == Publication::StreamOrdered)?;
        fields.set_item("host_fallbacks", found.host_fallbacks)?;
        fields.set_item("released_waits", found.released_waits)?;
        fields.set_item("producer_gone", found.producer_gone)?;
        let record = py.import("shm_py._device_reports")?.getattr("DevicePoolStats")?;
        record.call((), Some(&fields))
    }

    /// What the pool is, and who is there: a PoolInfo.
    ///
    /// Raises PoolError after close().
    fn describe<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        reports::info(py, &self.attached(py)?.pool.ledger().describe())
    }

    /// Explains every slot: a Fsck. Changes nothing; reap() repairs what is repairable.
    ///
    /// Raises PoolError after close().
    fn fsck<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let pool = self.attached(py)?.pool;
        reports::fsck(py, &py.detach(|| pool.ledger().fsck()))
    }

    /// Slots that have been in somebody's hands for longer than the pool's `overdue_after`, oldest
    /// first: a list of Overdue. Nothing is taken from anybody who lives.
    ///
    /// Raises PoolError after close().
    fn overdue<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        reports::overdue(py, &self.attached(py)?.pool.ledger().overdue())
    }

    /// Gives back what dead processes had, at once: a Reaped. Producers that wait, and those that are
    /// refused, do so by themselves; this is for who wants to be sure.
    ///
    /// Raises PoolError after close().
    fn reap<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let pool = self.attached(py)?.pool;
        reports::reaped(py, py.detach(|| pool.ledger().reap()))
    }

    /// Takes a publication out of circulation: nobody redeems it any more. Returns the seats that hold
    /// it; the slot is not used again before they release it or die. () means that nobody does.
    ///
    /// Raises StaleTicket if the publication is over; ValueError for a ticket of another pool;
    /// PoolError after close().
    #[pyo3(signature = (ticket))]
    fn revoke<'py>(
        &self,
        py: Python<'py>,
        ticket: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let ticket = DeviceTicket::from_argument(ticket)?;
        let revoked = self.attached(py)?.pool.ledger().revoke(&ticket.ticket);
        let held_by = match revoked.map_err(|error| errors::revoke(py, error))? {
            Revoked::Freed => 0,
            Revoked::Quarantined { held_by } => held_by,
        };
        PyTuple::new(py, (0..64).filter(|seat| held_by >> seat & 1 == 1).collect::<Vec<usize>>())
    }
}

//! What a pool says about itself, and how it is looked after.

use crate::errors::quoted;
use crate::pool::errors;
use crate::pool::handle::Pool;
use crate::pool::recycler::Recycler;
use crate::pool::ticket::Ticket;
use pyo3::exceptions::PyNotImplementedError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyTuple};
use shm_pool::{Fsck, Overdue, PoolInfo, PoolStats, QueueInfo, Reaped, Revoked, SlotReport};
use std::io;

#[pymethods]
impl Pool {
    /// Counts everything: a PoolStats. Looks at every slot, so it takes a while on a large pool.
    ///
    /// Raises PoolError after close().
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let pool = self.attached(py)?;
        stats(py, &py.detach(|| pool.stats()))
    }

    /// What the pool is, and who is there: a PoolInfo.
    ///
    /// Raises PoolError after close().
    fn describe<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        info(py, &self.attached(py)?.describe())
    }

    /// Explains every slot: a Fsck. Changes nothing; reap() repairs what is repairable.
    ///
    /// Raises PoolError after close().
    fn fsck<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let pool = self.attached(py)?;
        fsck(py, &py.detach(|| pool.fsck()))
    }

    /// Slots that have been in somebody's hands for longer than the pool's `overdue_after`, oldest
    /// first: a list of Overdue. Nothing is taken from anybody who lives.
    ///
    /// Raises PoolError after close().
    fn overdue<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        overdue(py, &self.attached(py)?.overdue())
    }

    /// Gives back what dead processes had, at once: a Reaped. Producers that wait, and those that are
    /// refused, do so by themselves; this is for who wants to be sure.
    ///
    /// Raises PoolError after close().
    fn reap<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let pool = self.attached(py)?;
        reaped(py, py.detach(|| pool.reap()))
    }

    /// Starts a thread that reaps within milliseconds of a death: a Recycler, to be used in a `with`
    /// statement or kept.
    ///
    /// Raises OSError if the system refuses; NotImplementedError where it cannot be done; PoolError
    /// after close().
    fn recycler(&self, py: Python<'_>) -> PyResult<Recycler> {
        recycler(&self.name, self.attached(py)?.recycler())
    }

    /// Takes a publication out of circulation: nobody redeems it any more. Returns the seats that hold
    /// it; the slot is not used again before they release it or die. () means that it is free.
    ///
    /// Raises StaleTicket if the publication is over; ValueError for a ticket of another pool;
    /// PoolError after close().
    #[pyo3(signature = (ticket))]
    fn revoke<'py>(
        &self,
        py: Python<'py>,
        ticket: &Bound<'py, Ticket>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let revoked = self.attached(py)?.revoke(&ticket.get().0);
        match revoked.map_err(|error| errors::revoke(py, error))? {
            Revoked::Freed => Ok(PyTuple::empty(py)),
            Revoked::Quarantined { held_by } => seats(py, held_by),
        }
    }
}

/// One of the classes of `shm_py._reports`.
fn report<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    py.import("shm_py._reports")?.getattr(name)
}

fn seats<'py>(py: Python<'py>, mask: u64) -> PyResult<Bound<'py, PyTuple>> {
    let seats: Vec<usize> = (0..64).filter(|seat| mask & 1 << seat != 0).collect();
    PyTuple::new(py, seats)
}

/// Calls a class with the fields of a value by name.
macro_rules! named {
    ($py:ident, $class:literal, $from:ident { $($field:ident),* $(,)? } $($more:ident = $value:expr),* $(,)?) => {{
        let fields = PyDict::new($py);
        $(fields.set_item(stringify!($field), &$from.$field)?;)*
        $(fields.set_item(stringify!($more), $value)?;)*
        report($py, $class)?.call((), Some(&fields))
    }};
}

/// The counters, as Python sees them.
pub(crate) fn stats<'py>(py: Python<'py>, found: &PoolStats) -> PyResult<Bound<'py, PyAny>> {
    named!(py, "PoolStats", found {
        slots, free, filling, shared, linked, draining, quarantined, stored, evicting, capacity,
        free_bytes, largest_free, wasted_bytes, high_water, high_water_bytes, waits, refused,
        refused_fragmented, stale, late, dropped, overdue, reclaimed, consumers, evicted, hits, misses,
    } in_use = found.in_use(), fragmentation = found.fragmentation())
}

/// What there is, as Python sees it.
pub(crate) fn info<'py>(py: Python<'py>, found: &PoolInfo) -> PyResult<Bound<'py, PyAny>> {
    let class = report(py, "ConsumerInfo")?;
    let consumers = found
        .consumers
        .iter()
        .map(|consumer| class.call1((consumer.seat, consumer.pid, consumer.since_mono_ns)));
    let consumers = PyTuple::new(py, consumers.collect::<PyResult<Vec<_>>>()?)?;
    named!(py, "PoolInfo", found {
        name, chunks, slots, slot_size, granule, capacity, alignment, expected_consumers, seats,
        owner_pid, has_owner, is_retired,
    }
        instance = PyBytes::new(py, &found.instance),
        created_ns = found.created_wall_ns,
        consumers = consumers,
        segment_bytes = found.segment_len,
    )
}

/// Every slot and what is wrong, as Python sees it.
pub(crate) fn fsck<'py>(py: Python<'py>, found: &Fsck) -> PyResult<Bound<'py, PyAny>> {
    let slots = found.slots.iter().map(|slot| slot_report(py, slot));
    let slots = PyTuple::new(py, slots.collect::<PyResult<Vec<_>>>()?)?;
    report(py, "Fsck")?.call1((slots, PyTuple::new(py, &found.problems)?))
}

/// What a sweep gave back, as Python sees it.
pub(crate) fn reaped<'py>(py: Python<'py>, found: Reaped) -> PyResult<Bound<'py, PyAny>> {
    report(py, "Reaped")?.call1((found.members, found.consumers, found.slots))
}

/// A recycler, or why there is none.
pub(crate) fn recycler(name: &str, started: io::Result<shm_pool::Recycler>) -> PyResult<Recycler> {
    started.map(Recycler::new).map_err(|error| match error.kind() {
        io::ErrorKind::Unsupported => PyNotImplementedError::new_err(format!(
            "deaths cannot be watched for in {}; call reap()",
            quoted(name)
        )),
        _ => error.into(),
    })
}

fn slot_report<'py>(py: Python<'py>, found: &SlotReport) -> PyResult<Bound<'py, PyAny>> {
    named!(py, "SlotReport", found { generation, producer_pid, explanation }
        slot = found.index,
        state = found.state.map(|state| state.to_string()),
        nbytes = found.byte_len,
        held_for = found.held_for.as_secs_f64(),
        waiting_for = seats(py, found.waiting_for)?,
        held_by = seats(py, found.held_by)?,
    )
}

/// What has been lent for long, as Python sees it.
pub(crate) fn overdue<'py>(py: Python<'py>, found: &[Overdue]) -> PyResult<Vec<Bound<'py, PyAny>>> {
    found.iter().map(|slot| overdue_slot(py, slot)).collect()
}

fn overdue_slot<'py>(py: Python<'py>, found: &Overdue) -> PyResult<Bound<'py, PyAny>> {
    named!(py, "Overdue", found { slot, producer_pid }
        state = found.state.to_string(),
        held_for = found.held_for.as_secs_f64(),
        waiting_for = seats(py, found.waiting_for)?,
        held_by = seats(py, found.held_by)?,
    )
}

/// A queue, as Python sees it.
pub(crate) fn queue_info<'py>(py: Python<'py>, found: &QueueInfo) -> PyResult<Bound<'py, PyAny>> {
    named!(py, "QueueInfo", found { name, maxsize, put, stale, missed }
        mode = crate::pool::queue::mode_name(found.mode),
        qsize = found.len,
    )
}

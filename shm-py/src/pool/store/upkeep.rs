//! What is in a store, and how it is looked after.

use crate::pool::recycler::Recycler;
use crate::pool::store::handle::Store;
use crate::pool::store::key::Key;
use crate::pool::store::trouble;
use crate::pool::{errors, reports};
use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

#[pymethods]
impl Store {
    /// Takes an entry out. True if it was there.
    ///
    /// Raises PoolError if somebody has it leased, in a forked child, and after close(); ValueError or
    /// TypeError for a key that cannot be.
    #[pyo3(signature = (key))]
    fn remove(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        let removed = self.attached(py)?.remove(Key::of(key)?.bytes());
        removed.map_err(|error| trouble::store(py, error))
    }

    /// Takes out all entries that nobody has leased; how many that were.
    ///
    /// Raises PoolError in a forked child, and after close().
    fn clear(&self, py: Python<'_>) -> PyResult<usize> {
        let store = self.attached(py)?;
        py.detach(|| store.clear()).map_err(|error| trouble::store(py, error))
    }

    /// The keys of all entries, as bytes. While others store and remove, some may be missing, or gone
    /// already.
    ///
    /// Raises PoolError in a forked child, and after close().
    fn keys<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyBytes>>> {
        let store = self.attached(py)?;
        let keys = py.detach(|| store.keys()).map_err(|error| trouble::store(py, error))?;
        Ok(keys.iter().map(|key| PyBytes::new(py, key)).collect())
    }

    fn __contains__(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        Ok(self.attached(py)?.contains(Key::of(key)?.bytes()))
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.attached(py)?.len())
    }

    fn __delitem__(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<()> {
        match self.remove(py, key)? {
            true => Ok(()),
            false => Err(PyKeyError::new_err(key.clone().unbind())),
        }
    }

    /// Counts everything: a PoolStats. `stored` are entries, `filling` reservations; `hits`, `misses`
    /// and `evicted` are what happened to keys since the store was created.
    ///
    /// Raises PoolError after close().
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let store = self.attached(py)?;
        reports::stats(py, &py.detach(|| store.stats()))
    }

    /// What the store is, and which workers are there: a PoolInfo.
    ///
    /// Raises PoolError after close().
    fn describe<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        reports::info(py, &self.attached(py)?.describe())
    }

    /// Explains every entry: a Fsck. Changes nothing.
    ///
    /// Raises PoolError after close().
    fn fsck<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let store = self.attached(py)?;
        reports::fsck(py, &py.detach(|| store.fsck()))
    }

    /// Reservations and leases that are older than the store's `overdue_after`, oldest first: a list of
    /// Overdue. Nothing is taken from anybody who lives.
    ///
    /// Raises PoolError after close().
    fn overdue<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        reports::overdue(py, &self.attached(py)?.overdue())
    }

    /// Gives back what dead workers had, at once: a Reaped.
    ///
    /// Raises PoolError after close().
    fn reap<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let store = self.attached(py)?;
        reports::reaped(py, py.detach(|| store.reap()))
    }

    /// Starts a thread that reaps within milliseconds of a death: a Recycler.
    ///
    /// Raises as Pool.recycler() does.
    fn recycler(&self, py: Python<'_>) -> PyResult<Recycler> {
        reports::recycler(&self.name, self.attached(py)?.recycler())
    }

    /// Takes the store's name away. Leases stay valid, nothing more is stored. remove_pool() does that
    /// for a store whose owner is dead.
    ///
    /// Raises PermissionError unless this handle is the owner's; PoolError if the name was taken away
    /// before, and after close().
    fn unlink(&self, py: Python<'_>) -> PyResult<()> {
        let outcome = self.attached(py)?.unlink();
        outcome.map_err(|error| errors::remove(py, error, "Store"))
    }

    /// True once the store's name was taken away, as far as this handle knows.
    ///
    /// Raises PoolError after close().
    #[getter]
    fn is_retired(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.attached(py)?.is_retired())
    }
}

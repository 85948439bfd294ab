//! Entries that are being read.
//!
//! Upholds invariants 2 (arrays over them are read-only), 4 and 6 (they own the mapping, and keep the
//! entries leased while nobody said otherwise).

use crate::array::Order;
use crate::dtype;
use crate::pool::errors;
use crate::pool::memory::{Form, Place};
use crate::pool::store::key::Key;
use crate::pool::store::{arrays, layout};
use parking_lot::Mutex;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyIterator, PyList};
use shm_core::fork_generation;
use shm_pool::Entry;
use std::sync::Arc;

/// The entries of several keys, leased; made by Store.prepare_retrieve(). A mapping from each key, as it
/// was given, to its arrays: a list, or a dict where they were stored with names, of read-only numpy
/// arrays over the store's memory.
///
/// None of the entries is evicted or replaced before release(), the end of a `with` block, or the end of
/// the last of the arrays. After release() the arrays never fault, but their contents change: copy what
/// has to stay.
#[pyclass(frozen, mapping, weakref, module = "shm_py")]
pub(crate) struct Retrieved {
    leased: Arc<Leased>,
    /// `None` once it was released.
    entries: Mutex<Option<Py<PyDict>>>,
}

/// The leases, shared by the handle and its arrays.
struct Leased {
    entries: Mutex<Vec<Entry>>,
    /// Owns the mapping after the leases are gone.
    store: shm_pool::Store,
    born: u64,
}

/// What an array of an entry has as its base.
#[pyclass(frozen, module = "shm_py._native")]
struct EntryMemory {
    #[expect(dead_code, reason = "owns the mapping, and keeps the entries leased")]
    leased: Arc<Leased>,
}

impl Retrieved {
    pub(super) fn new(
        py: Python<'_>,
        store: shm_pool::Store,
        retrieved: shm_pool::Retrieved,
        keys: &[Key],
    ) -> PyResult<Retrieved> {
        let found = retrieved.into_entries();
        let described: Vec<Described> = found.iter().map(Described::of).collect();
        let born = fork_generation();
        let leased = Arc::new(Leased { entries: Mutex::new(found), store, born });
        let entries = PyDict::new(py);
        for (key, described) in keys.iter().zip(described) {
            entries.set_item(key.shown(py), described.arrays(py, &leased)?)?;
        }
        Ok(Retrieved { leased, entries: Mutex::new(Some(entries.unbind())) })
    }

    fn entries<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        if self.leased.born != fork_generation() {
            let name = self.leased.store.name();
            return Err(errors::forked(py, "what was retrieved", name, "open the store here"));
        }
        let entries = self.entries.lock().as_ref().map(|entries| entries.bind(py).clone());
        entries.ok_or_else(|| {
            PyValueError::new_err("what was retrieved was released; its memory may be in use again")
        })
    }

    fn let_go(&self) {
        let entries = self.entries.lock().take();
        let leases = core::mem::take(&mut *self.leased.entries.lock());
        drop(leases);
        drop(entries);
    }
}

/// Where the arrays of an entry lie, and what they are called.
struct Described {
    names: Option<Vec<String>>,
    arrays: Vec<(shm_core::TensorDesc, Place)>,
}

impl Described {
    fn of(entry: &Entry) -> Described {
        let mut tensors: Vec<_> = entry.tensors().collect();
        let last = tensors.last().filter(|last| layout::may_be_names(last.desc()));
        let names = last.and_then(|last| layout::names_in(&last.to_vec(), tensors.len() - 1));
        if names.is_some() {
            tensors.pop();
        }
        let arrays = tensors.iter().map(|tensor| {
            let (start, len) = (tensor.as_ptr().cast_mut(), tensor.byte_len());
            (tensor.desc().clone(), Place { start, len, writable: false })
        });
        Described { names, arrays: arrays.collect() }
    }

    fn arrays<'py>(self, py: Python<'py>, leased: &Arc<Leased>) -> PyResult<Bound<'py, PyAny>> {
        let views = self.arrays.iter().map(|(desc, place)| {
            let descr = dtype::to_numpy(py, desc.dtype())?;
            let form = Form::new(descr, desc.shape().to_vec(), Order::C)?;
            let base = Bound::new(py, EntryMemory { leased: leased.clone() })?;
            // SAFETY: the place is a tensor of an entry in the store's mapping, which `base` owns; it is
            // not writable.
            unsafe { form.over(*place, 0, base.into_any()) }
        });
        arrays::collect(py, self.names.as_deref(), views.collect::<PyResult<Vec<_>>>()?)
    }
}

#[pymethods]
impl Retrieved {
    /// Gives all leases back, at once. Releasing twice is harmless.
    ///
    /// Raises PoolError in a forked child: the leases are its parent's.
    fn release(&self, py: Python<'_>) -> PyResult<()> {
        if self.leased.born != fork_generation() {
            self.entries(py)?;
        }
        self.let_go();
        Ok(())
    }

    /// True once it was released.
    #[getter]
    fn released(&self) -> bool {
        self.entries.lock().is_none()
    }

    /// The keys, as they were given.
    ///
    /// Raises ValueError after release(); PoolError in a forked child.
    fn keys<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        Ok(self.entries(py)?.keys())
    }

    /// The arrays of each key.
    ///
    /// Raises as keys() does.
    fn values<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        Ok(self.entries(py)?.values())
    }

    /// Pairs of a key and its arrays.
    ///
    /// Raises as keys() does.
    fn items<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        Ok(self.entries(py)?.items())
    }

    fn __getitem__<'py>(
        &self,
        py: Python<'py>,
        key: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.entries(py)?.as_any().get_item(key)
    }

    fn __contains__(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        self.entries(py)?.contains(key)
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.entries(py)?.len())
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        self.entries(py)?.as_any().try_iter()
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    #[pyo3(signature = (exc_type, exc, tb))]
    fn __exit__(
        &self,
        exc_type: &Bound<'_, PyAny>,
        exc: &Bound<'_, PyAny>,
        tb: &Bound<'_, PyAny>,
    ) -> bool {
        let _ = (exc_type, exc, tb);
        if self.leased.born == fork_generation() {
            self.let_go();
        }
        false
    }
}

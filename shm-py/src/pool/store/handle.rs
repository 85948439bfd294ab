//! The class `Store`: made, opened, stored into, retrieved from, closed.
//!
//! Upholds invariants 6 (arrays own the mapping) and 9 (only the owner's handle takes the name away).

use crate::array;
use crate::creation::{self, Metadata};
use crate::errors::quoted;
use crate::pool::arguments::{self, Size};
use crate::pool::errors;
use crate::pool::opening::{may_come, open_in_slices};
use crate::pool::store::key::Key;
use crate::pool::store::layout::{self, Layout};
use crate::pool::store::reservation::Reservation;
use crate::pool::store::retrieved::Retrieved;
use crate::pool::store::trouble;
use crate::pool::store::waiting::{RetrieveWish, StoreWish};
use crate::pool::wish;
use crate::wait;
use parking_lot::RwLock;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple, PyType};
use shm_core::Deadline;
use shm_pool::{AttachError, StoreConfig, StoreError, Wait};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A keyed store: a cache of arrays under keys that several processes share; made by create() and
/// open(). Whoever is attached stores and retrieves by itself; there is no server.
///
/// A key is str or bytes ("a" and b"a" are one key) of up to 1024 bytes. One worker at a time may store
/// a key; an entry is found once it is committed, and from then on it does not change. It stays until it
/// is removed, is too old, or is in the way of a new one while nobody has it leased: what was not in use
/// for longest goes first.
///
/// The process that creates a store is its owner; the owner's close() takes the name away, unless the
/// store is persistent. A handle is one of 64 workers, and belongs to the process that made it: a forked
/// child opens the store itself. Handles pickle (as a name to reopen).
#[pyclass(frozen, weakref, module = "shm_py")]
pub(crate) struct Store {
    store: RwLock<Option<shm_pool::Store>>,
    pub(super) name: String,
    instance: [u8; 16],
    capacity: usize,
    persistent: bool,
    metadata: Py<PyBytes>,
    closing: Arc<AtomicBool>,
}

impl Store {
    fn new(py: Python<'_>, store: shm_pool::Store, persistent: bool) -> Store {
        Store {
            name: store.name().to_owned(),
            instance: store.instance(),
            capacity: store.capacity(),
            persistent,
            metadata: PyBytes::new(py, store.metadata()).unbind(),
            closing: Arc::default(),
            store: RwLock::new(Some(store)),
        }
    }

    /// The store, or the error of a closed handle.
    pub(super) fn attached(&self, py: Python<'_>) -> PyResult<shm_pool::Store> {
        let store = self.store.read().clone();
        store.ok_or_else(|| trouble::closed(py, &self.name))
    }

    fn begin_store(
        &self,
        py: Python<'_>,
        key: Key,
        layout: Layout,
        deadline: Deadline,
    ) -> PyResult<Result<Reservation, StoreWish>> {
        let (store, tensors) = (self.attached(py)?, layout.tensors()?);
        match store.prepare_store(key.bytes(), &tensors, Wait::Try) {
            Ok(reservation) => Reservation::new(py, store, reservation, &layout).map(Ok),
            Err(StoreError::Full { .. }) if !deadline.has_passed() => {
                let (closing, begun) = (self.closing.clone(), Instant::now());
                let key = key.bytes().to_vec();
                Ok(Err(StoreWish { store, request: None, key, layout, tensors, closing, begun }))
            }
            Err(error) => Err(trouble::store(py, error)),
        }
    }

    fn store_within<'py>(
        &self,
        py: Python<'py>,
        key: Key,
        layout: Layout,
        deadline: Deadline,
    ) -> PyResult<Bound<'py, Reservation>> {
        wish::fulfil(py, self.begin_store(py, key, layout, deadline)?, deadline)
    }

    fn begin_retrieve(
        &self,
        py: Python<'_>,
        keys: Vec<Key>,
        deadline: Deadline,
    ) -> PyResult<Result<Py<PyAny>, RetrieveWish>> {
        let (store, closing) = (self.attached(py)?, self.closing.clone());
        let wish = RetrieveWish { store, keys: keys.into(), closing, begun: Instant::now() };
        let outcome = match deadline.has_passed() {
            true => wish.now().map(Some),
            // A look that does not count what is missing.
            false => wish.turn(Duration::ZERO),
        };
        match outcome.transpose() {
            Some(outcome) => wish.answer(outcome)(py).map(Ok),
            None => Ok(Err(wish)),
        }
    }

    fn retrieve_within<'py>(
        &self,
        py: Python<'py>,
        keys: Vec<Key>,
        deadline: Deadline,
    ) -> PyResult<Bound<'py, Retrieved>> {
        let retrieved = match self.begin_retrieve(py, keys, deadline)? {
            Ok(retrieved) => retrieved,
            Err(mut wish) => wish::wait(py, &mut wish, deadline)?,
        };
        Ok(retrieved.into_bound(py).cast_into::<Retrieved>()?)
    }
}

#[pymethods]
impl Store {
    /// Creates an empty store of `capacity` bytes, and becomes its owner. A store that nobody is
    /// attached to any more is replaced.
    ///
    /// ttl: seconds after which an entry is not found any more (None: never). granule: the unit in which
    /// memory is given to entries, in bytes, a power of two of at least 4096 (None: about 1/16000 of the
    /// capacity). entries: the most entries (None: as many as there are granules). overdue_after,
    /// persistent, metadata: as for Pool.create().
    ///
    /// Raises as Pool.create() does.
    #[classmethod]
    #[pyo3(signature = (
        name, *, capacity, ttl = None, granule = None, entries = None, overdue_after = 1.0,
        persistent = false, metadata = Metadata::EMPTY
    ), text_signature = "($cls, name, *, capacity, ttl=None, granule=None, entries=None, \
overdue_after=1.0, persistent=False, metadata=b'')")]
    #[expect(clippy::too_many_arguments, reason = "Python's keywords")]
    fn create(
        cls: &Bound<'_, PyType>,
        name: &Bound<'_, PyAny>,
        capacity: Size,
        ttl: Option<f64>,
        granule: Option<Size>,
        entries: Option<Size>,
        overdue_after: f64,
        persistent: bool,
        metadata: Metadata<'_>,
    ) -> PyResult<Store> {
        let py = cls.py();
        let name = creation::name_argument(name)?;
        let overdue_after = arguments::seconds("overdue_after", overdue_after)?;
        let ttl = ttl.map(|ttl| arguments::lifetime("ttl", ttl)).transpose()?;
        let configure = || {
            let mut config = StoreConfig::new(capacity.0)?;
            if let Some(Size(granule)) = granule {
                config = config.granule(granule)?;
            }
            if let Some(Size(entries)) = entries {
                config = config.entries(entries)?;
            }
            config.metadata(metadata.bytes())
        };
        let config = configure().map_err(|error| errors::config(&error))?;
        let config = config.overdue_after(overdue_after).persistent(persistent);
        let config = ttl.map_or(config.clone(), |ttl| config.ttl(ttl));
        // Reserving the pages of a large store takes milliseconds.
        let store = py.detach(|| shm_pool::Store::create(&name, &config));
        Ok(Store::new(py, store.map_err(|error| errors::create(py, error))?, persistent))
    }

    /// Opens a store as a worker. `timeout` (seconds, None for ever) waits for somebody to create it.
    ///
    /// Raises FileNotFoundError if there is none; PoolError if 64 workers are there already; ValueError
    /// for a bad argument or a file that is no store; PermissionError for another user's.
    #[classmethod]
    #[pyo3(signature = (name, timeout = Some(0.0)), text_signature = "($cls, name, timeout=0.0)")]
    fn open(
        cls: &Bound<'_, PyType>,
        name: &Bound<'_, PyAny>,
        timeout: Option<f64>,
    ) -> PyResult<Store> {
        let py = cls.py();
        let not_yet =
            |error: &AttachError| matches!(error, AttachError::Open(error) if may_come(error));
        let opened = open_in_slices(name, timeout, shm_pool::Store::open_within, not_yet)?;
        Ok(Store::new(py, opened.map_err(|error| trouble::attach(py, error))?, false))
    }

    /// Reserves a key, with memory for arrays of that layout, to be filled and committed: a Reservation.
    /// `layout` is a sequence of (shape, dtype), or a mapping of names to them; anything with a shape and
    /// a dtype, such as an array, will do.
    ///
    /// Where nothing is free, entries that nobody has leased make room; where that does not do, the call
    /// waits in line for `timeout` seconds (None for ever, 0 not at all).
    ///
    /// Raises KeyExists (a FileExistsError) if the key is stored, or being stored by another worker;
    /// PoolFull (a TimeoutError, with `holders`) if there was no room in time; ValueError or TypeError
    /// for a key or layout that cannot be; PoolError once the store was removed, in a forked child, and
    /// after close().
    #[pyo3(signature = (key, layout, timeout = None))]
    fn prepare_store<'py>(
        &self,
        py: Python<'py>,
        key: &Bound<'py, PyAny>,
        layout: &Bound<'py, PyAny>,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, Reservation>> {
        let (key, layout) = (Key::of(key)?, Layout::of_argument(layout)?);
        self.store_within(py, key, layout, wait::deadline(timeout)?)
    }

    /// As prepare_store(), awaited. The place in line is given up when the task is cancelled.
    ///
    /// Raises as prepare_store() does, when awaited.
    #[pyo3(signature = (key, layout, timeout = None))]
    fn prepare_store_async<'py>(
        slf: &Bound<'py, Self>,
        key: &Bound<'py, PyAny>,
        layout: &Bound<'py, PyAny>,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyAny>> {
        wait::deadline(timeout)?;
        let asynchronous = slf.py().import("shm_py._asyncio")?;
        asynchronous.getattr("prepare_store")?.call1((slf, key, layout, timeout))
    }

    /// Leases the entries of all `keys`, or of none: a Retrieved, which maps keys to read-only arrays.
    /// Waits for missing ones for `timeout` seconds (None for ever, 0 not at all).
    ///
    /// Raises KeysMissing (a KeyError, with `missing`) if not all are there in time, and nothing is
    /// leased; ValueError or TypeError for keys that cannot be; PoolError once the store was removed, in
    /// a forked child, and after close().
    #[pyo3(signature = (keys, timeout = Some(0.0)),
           text_signature = "($self, keys, timeout=0.0)")]
    fn prepare_retrieve<'py>(
        &self,
        py: Python<'py>,
        keys: &Bound<'py, PyAny>,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, Retrieved>> {
        self.retrieve_within(py, Key::several(keys)?, wait::deadline(timeout)?)
    }

    /// As prepare_retrieve(), awaited.
    ///
    /// Raises as prepare_retrieve() does, when awaited.
    #[pyo3(signature = (keys, timeout = None))]
    fn retrieve_async<'py>(
        slf: &Bound<'py, Self>,
        keys: &Bound<'py, PyAny>,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyAny>> {
        wait::deadline(timeout)?;
        let asynchronous = slf.py().import("shm_py._asyncio")?;
        asynchronous.getattr("retrieve")?.call1((slf, keys, timeout))
    }

    /// Stores copies of arrays under a key: prepare_store() and commit() in one. `arrays` is a sequence
    /// of what numpy.asarray takes, or a mapping of names to it.
    ///
    /// Raises as prepare_store() does; nothing stays reserved.
    #[pyo3(signature = (key, arrays, timeout = None))]
    fn put(
        &self,
        py: Python<'_>,
        key: &Bound<'_, PyAny>,
        arrays: &Bound<'_, PyAny>,
        timeout: Option<f64>,
    ) -> PyResult<()> {
        let (key, deadline) = (Key::of(key)?, wait::deadline(timeout)?);
        let (names, members) = layout::members(arrays)?;
        let sources = members
            .iter()
            .map(|member| array::as_array(member, None))
            .collect::<PyResult<Vec<_>>>()?;
        let layout = Layout::of_arrays(names, &sources)?;
        let reservation = self.store_within(py, key, layout, deadline)?;
        let filled = reservation
            .get()
            .views()
            .iter()
            .zip(&sources)
            .try_for_each(|(view, source)| array::convert_into(view.bind(py), source));
        match filled {
            Ok(()) => reservation.get().finish(py),
            Err(error) => {
                reservation.get().give_back(py);
                Err(error)
            }
        }
    }

    /// The arrays of one key: a list, or a dict where they were stored with names, of read-only numpy
    /// arrays, which keep the entry leased until the last of them is gone. `timeout` is as for
    /// prepare_retrieve().
    ///
    /// Raises as prepare_retrieve() does.
    #[pyo3(signature = (key, timeout = Some(0.0)), text_signature = "($self, key, timeout=0.0)")]
    fn get<'py>(
        &self,
        py: Python<'py>,
        key: &Bound<'py, PyAny>,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let retrieved = self.retrieve_within(py, vec![Key::of(key)?], wait::deadline(timeout)?)?;
        retrieved.as_any().get_item(key)
    }

    /// A reservation, or what to wait for.
    fn _store_or_waiter<'py>(
        &self,
        py: Python<'py>,
        key: &Bound<'py, PyAny>,
        layout: &Bound<'py, PyAny>,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (key, layout) = (Key::of(key)?, Layout::of_argument(layout)?);
        let deadline = wait::deadline(timeout)?;
        wish::or_waiter(py, self.begin_store(py, key, layout, deadline)?, deadline)
    }

    /// What was retrieved, or what to wait for.
    fn _retrieve_or_waiter<'py>(
        &self,
        py: Python<'py>,
        keys: &Bound<'py, PyAny>,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let deadline = wait::deadline(timeout)?;
        wish::or_waiter(py, self.begin_retrieve(py, Key::several(keys)?, deadline)?, deadline)
    }

    /// Ends this handle; the owner's takes the store's name away, unless the store is persistent. Waits
    /// in other threads end with PoolError. Arrays that were made from it stay valid. Closing twice is
    /// harmless.
    fn close(&self, py: Python<'_>) {
        self.closing.store(true, Ordering::Release);
        let store = self.store.write().take();
        py.detach(|| {
            if let Some(store) = store
                && store.is_owner()
                && !self.persistent
            {
                // Somebody may have taken it away already.
                let _ = store.unlink();
            }
        });
    }

    /// True after close().
    #[getter(closed)]
    fn is_closed(&self) -> bool {
        self.store.read().is_none()
    }

    /// True if this handle, in this process, is the owner's.
    #[getter]
    fn is_owner(&self) -> bool {
        self.store.read().as_ref().is_some_and(shm_pool::Store::is_owner)
    }

    /// The name exactly as the owner gave it.
    #[getter]
    fn name(&self) -> &str {
        &self.name
    }

    /// Random id, sixteen bytes: two stores that ever had the same name differ in it.
    #[getter]
    fn instance<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.instance)
    }

    /// Bytes of memory for entries.
    #[getter]
    fn capacity(&self) -> usize {
        self.capacity
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
        (py.get_type::<Store>().getattr("open")?, (&self.name,)).into_pyobject(py)
    }

    fn __repr__(&self) -> String {
        let closed = if self.is_closed() { ", closed" } else { "" };
        let name = quoted(&self.name);
        format!("Store(name={name}, capacity={}{closed})", self.capacity)
    }
}

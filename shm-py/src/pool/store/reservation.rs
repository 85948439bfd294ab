//! A key that is being stored.
//!
//! Upholds invariants 6 (arrays over it own the mapping, and keep it reserved while nobody said
//! otherwise) and 7 (what is not committed is never read).

use crate::array::{self, Order};
use crate::dtype;
use crate::pool::errors;
use crate::pool::memory::{Form, Place};
use crate::pool::store::layout::Layout;
use crate::pool::store::{arrays, trouble};
use numpy::PyUntypedArray;
use parking_lot::Mutex;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use shm_core::fork_generation;
use shm_pool::TensorAccessError;
use std::sync::Arc;

/// The sole right to store a key, and the memory for it; made by Store.prepare_store(). Fill `arrays`,
/// then commit(). Leaving a `with` block, or dropping it and its arrays, gives key and memory back if it
/// was not committed; nobody has seen anything.
#[pyclass(frozen, weakref, module = "shm_py")]
pub(crate) struct Reservation {
    reserved: Arc<Reserved>,
    arrays: Py<PyAny>,
    views: Vec<Py<PyUntypedArray>>,
}

/// The reservation, shared by the handle and its arrays.
struct Reserved {
    /// `None` once it was committed or given back.
    reservation: Mutex<Option<shm_pool::Reservation>>,
    /// Owns the mapping after the reservation is gone.
    store: shm_pool::Store,
    born: u64,
}

/// What an array of a reservation has as its base.
#[pyclass(frozen, module = "shm_py._native")]
struct ReservationMemory {
    #[expect(dead_code, reason = "owns the mapping, and keeps the key reserved")]
    reserved: Arc<Reserved>,
}

impl Reservation {
    pub(super) fn new(
        py: Python<'_>,
        store: shm_pool::Store,
        mut reservation: shm_pool::Reservation,
        layout: &Layout,
    ) -> PyResult<Reservation> {
        let failed = |error: TensorAccessError| PyValueError::new_err(error.to_string());
        if let Some(names) = layout.encoded_names() {
            reservation.copy_tensor(layout.arrays.len(), &names).map_err(failed)?;
        }
        let places = layout.arrays.iter().enumerate().map(|(index, desc)| {
            let start = reservation.as_mut_ptr(index).map_err(failed)?;
            Ok((desc, Place { start, len: desc.byte_len(), writable: true }))
        });
        let places = places.collect::<PyResult<Vec<_>>>()?;
        let reserved = Arc::new(Reserved {
            reservation: Mutex::new(Some(reservation)),
            store,
            born: fork_generation(),
        });
        let views = places.into_iter().map(|(desc, place)| {
            let descr = dtype::to_numpy(py, desc.dtype())?;
            let form = Form::new(descr, desc.shape().to_vec(), Order::C)?;
            let base = Bound::new(py, ReservationMemory { reserved: reserved.clone() })?;
            // SAFETY: the place is a tensor of a reservation in the store's mapping, opened for writing,
            // which `base` owns.
            unsafe { form.over(place, 0, base.into_any()) }
        });
        let views = views.collect::<PyResult<Vec<_>>>()?;
        let kept = views.iter().map(|view| view.clone().unbind()).collect();
        let arrays = arrays::collect(py, layout.names.as_deref(), views)?.unbind();
        Ok(Reservation { reserved, arrays, views: kept })
    }

    /// The arrays, in the order of the layout.
    pub(super) fn views(&self) -> &[Py<PyUntypedArray>] {
        &self.views
    }

    pub(super) fn finish(&self, py: Python<'_>) -> PyResult<()> {
        self.check(py)?;
        let Some(reservation) = self.take(py) else { return Err(over()) };
        reservation.commit().map_err(|error| trouble::store(py, error))
    }

    pub(super) fn give_back(&self, py: Python<'_>) {
        if self.reserved.born == fork_generation()
            && let Some(reservation) = self.take(py)
        {
            reservation.abort();
        }
    }

    /// Ends it; the arrays are read-only from here on.
    fn take(&self, py: Python<'_>) -> Option<shm_pool::Reservation> {
        let reservation = self.reserved.reservation.lock().take()?;
        for view in &self.views {
            array::make_read_only(view.bind(py));
        }
        Some(reservation)
    }

    fn check(&self, py: Python<'_>) -> PyResult<()> {
        if self.reserved.born != fork_generation() {
            let name = self.reserved.store.name();
            return Err(errors::forked(py, "the reservation", name, "open the store here"));
        }
        match self.reserved.reservation.lock().is_some() {
            true => Ok(()),
            false => Err(over()),
        }
    }
}

fn over() -> PyErr {
    PyValueError::new_err("the reservation was committed or given back; prepare another one")
}

#[pymethods]
impl Reservation {
    /// The arrays to fill: a list, or a dict where the layout has names, of writable numpy arrays over
    /// the store's memory. They hold bytes of an earlier use, or zero: fill all of them. They become
    /// read-only with commit() and abort(); arrays derived from them (slices, reshapes) do not: drop
    /// them.
    ///
    /// Raises ValueError after commit() or abort(); PoolError in a forked child.
    #[getter]
    fn arrays(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.check(py)?;
        Ok(self.arrays.clone_ref(py))
    }

    /// Makes the entry readable for everybody, and wakes who waits for it.
    ///
    /// Raises ValueError if it was committed or given back before; PoolError in a forked child.
    fn commit(&self, py: Python<'_>) -> PyResult<()> {
        self.finish(py)
    }

    /// Gives key and memory back. Harmless if that, or a commit, has happened.
    fn abort(&self, py: Python<'_>) {
        self.give_back(py);
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
        self.give_back(py);
        false
    }
}

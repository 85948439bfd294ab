//! A publication in a consumer's hands.
//!
//! Upholds invariants 2 (arrays over it are read-only), 4 and 6 (they own the mapping, and keep the
//! publication held while nobody said otherwise).

use crate::pool::arguments;
use crate::pool::errors;
use crate::pool::memory::{Buffer, Form, Place};
use numpy::PyUntypedArray;
use parking_lot::Mutex;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use shm_core::fork_generation;
use std::sync::Arc;

/// A consumer's hold on a publication; made by Consumer.redeem(). The slot is not used again before it
/// is released: by release(), by leaving a `with` block, or when the lease and everything made from it
/// are gone.
#[pyclass(frozen, weakref, module = "shm_py")]
pub(crate) struct Lease {
    held: Arc<Held>,
    buffer: Buffer,
}

/// The hold, shared by the handle and the arrays over it.
#[derive(Debug)]
pub(crate) struct Held {
    /// `None` once it was released.
    lease: Mutex<Option<shm_pool::Lease>>,
    /// Owns the mapping after the lease is gone.
    pool: shm_pool::Pool,
    place: Place,
    index: usize,
    generation: u64,
    born: u64,
}

/// What an array over a publication has as its base.
#[pyclass(frozen, module = "shm_py._native")]
struct LeaseMemory {
    #[expect(dead_code, reason = "owns the mapping, and keeps the publication held")]
    held: Arc<Held>,
}

impl Held {
    #[inline]
    pub(crate) fn new(pool: shm_pool::Pool, lease: shm_pool::Lease) -> Arc<Held> {
        let (start, len) = (lease.as_ptr().cast_mut(), lease.byte_len());
        Arc::new(Held {
            index: lease.index(),
            generation: lease.generation(),
            lease: Mutex::new(Some(lease)),
            pool,
            place: Place { start, len, writable: false },
            born: fork_generation(),
        })
    }

    /// A read-only array over the publication, from byte `offset` on, which keeps it held.
    pub(crate) fn view<'py>(
        self: &Arc<Self>,
        py: Python<'py>,
        form: &Form<'py>,
        offset: usize,
    ) -> PyResult<Bound<'py, PyUntypedArray>> {
        self.check(py)?;
        let base = Bound::new(py, LeaseMemory { held: self.clone() })?.into_any();
        // SAFETY: the place is a publication in the pool's mapping, which `base` owns; it is not
        // writable.
        unsafe { form.over(self.place, offset, base) }
    }

    /// A copy of `len` bytes from the start; fewer if there are fewer.
    pub(crate) fn head(&self, py: Python<'_>, len: usize) -> PyResult<Vec<u8>> {
        self.check(py)?;
        let mut head = vec![0; len.min(self.place.len)];
        if let Some(lease) = &*self.lease.lock()
            && let Err(error) = lease.copy_range(0, &mut head)
        {
            return Err(PyValueError::new_err(error.to_string()));
        }
        Ok(head)
    }

    pub(crate) fn len(&self) -> usize {
        self.place.len
    }

    fn check(&self, py: Python<'_>) -> PyResult<()> {
        if self.born != fork_generation() {
            let what = format!("the lease of slot {}", self.index);
            return Err(errors::forked(py, &what, self.pool.name(), "redeem the ticket here"));
        }
        match self.lease.lock().is_some() {
            true => Ok(()),
            false => Err(errors::released(self.index)),
        }
    }
}

impl Lease {
    #[inline]
    pub(crate) fn new(held: Arc<Held>) -> Lease {
        Lease { held, buffer: Buffer::default() }
    }

    pub(crate) fn held(&self) -> &Arc<Held> {
        &self.held
    }

    fn let_go(&self, py: Python<'_>) {
        self.buffer.release(py);
        let lease = self.held.lease.lock().take();
        drop(lease);
    }
}

#[pymethods]
impl Lease {
    /// A read-only numpy array over the publication, without a copy, from byte `offset` on. `order` is
    /// 'C' or 'F'.
    ///
    /// It keeps the publication held, unless release() was called. It never faults, but after
    /// release() the slot is used again and its contents change: copy() what has to stay.
    ///
    /// Raises ValueError after release() and if the publication is too small; TypeError for a dtype
    /// whose elements are not plain bytes; PoolError in a forked child.
    #[pyo3(signature = (shape, dtype, order = "C", *, offset = arguments::Size(0)),
           text_signature = "($self, shape, dtype, order='C', *, offset=0)")]
    fn array<'py>(
        &self,
        py: Python<'py>,
        shape: &Bound<'py, PyAny>,
        dtype: &Bound<'py, PyAny>,
        order: &str,
        offset: arguments::Size,
    ) -> PyResult<Bound<'py, PyUntypedArray>> {
        let form = Form::of_arguments(shape, dtype, order)?;
        self.held.view(py, &form, offset.0)
    }

    /// The same as array(), as a writable copy that is the caller's own.
    ///
    /// Raises as array() does.
    #[pyo3(signature = (shape, dtype, order = "C", *, offset = arguments::Size(0)),
           text_signature = "($self, shape, dtype, order='C', *, offset=0)")]
    fn copy<'py>(
        &self,
        py: Python<'py>,
        shape: &Bound<'py, PyAny>,
        dtype: &Bound<'py, PyAny>,
        order: &str,
        offset: arguments::Size,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.array(py, shape, dtype, order, offset)?.call_method1("copy", (order,))
    }

    /// The bytes of the publication: a read-only memoryview, without a copy. It is released by
    /// release().
    #[getter]
    fn buffer<'py>(&self, py: Python<'py>) -> PyResult<Py<PyAny>> {
        self.held.check(py)?;
        self.buffer.get(py, self.held.len(), |bytes| self.held.view(py, bytes, 0))
    }

    /// Gives the publication back, at once: this consumer is done with it. Releasing twice is harmless.
    ///
    /// Raises PoolError in a forked child: the lease is its parent's.
    fn release(&self, py: Python<'_>) -> PyResult<()> {
        if self.held.born != fork_generation() {
            self.held.check(py)?;
        }
        self.let_go(py);
        Ok(())
    }

    /// True once it was released.
    #[getter]
    fn released(&self) -> bool {
        self.held.lease.lock().is_none()
    }

    /// Bytes of the publication.
    #[getter]
    fn nbytes(&self) -> usize {
        self.held.place.len
    }

    /// Number of the slot.
    #[getter]
    fn index(&self) -> usize {
        self.held.index
    }

    /// Which use of the slot this is.
    #[getter]
    fn generation(&self) -> u64 {
        self.held.generation
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
        if self.held.born == fork_generation() {
            self.let_go(py);
        }
        false
    }

    fn __repr__(&self) -> String {
        let Held { index, place, .. } = &*self.held;
        let state = if self.released() { "released" } else { "held" };
        format!("Lease(index={index}, nbytes={}, {state})", place.len)
    }
}

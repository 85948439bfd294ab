//! A slot in its producer's hands.
//!
//! Upholds invariants 6 (arrays over it own the mapping, and keep it lent while nobody said otherwise)
//! and 7 (what is not published is given back).

use crate::array::GivenOut;
use crate::pool::arguments;
use crate::pool::audience;
use crate::pool::errors;
use crate::pool::memory::{Buffer, Form, Place};
use crate::pool::stage::{End, Stage};
use crate::pool::ticket::Ticket;
use numpy::PyUntypedArray;
use pyo3::prelude::*;
use shm_pool::Audience;
use std::sync::Arc;

/// A slot that was lent by Pool.lend(): fill it through array() or buffer, then publish() it. Leaving
/// a `with` block, or dropping it and everything made from it, gives it back unread.
///
/// Its bytes are those of an earlier use, or zero.
#[pyclass(frozen, weakref, module = "shm_py")]
pub(crate) struct Slot {
    lent: Arc<Lent>,
    arrays: GivenOut,
    buffer: Buffer,
}

/// The slot, shared by the handle and the arrays over it.
#[derive(Debug)]
pub(crate) struct Lent {
    stage: Stage<shm_pool::Slot>,
    /// Owns the mapping after the slot is gone.
    pool: shm_pool::Pool,
    place: Place,
    capacity: usize,
}

/// What an array over a slot has as its base.
#[pyclass(frozen, module = "shm_py._native")]
struct SlotMemory {
    #[expect(dead_code, reason = "owns the mapping, and keeps the slot lent")]
    lent: Arc<Lent>,
}

impl Slot {
    #[inline]
    pub(crate) fn new(pool: shm_pool::Pool, mut slot: shm_pool::Slot) -> Slot {
        let place = Place { start: slot.as_mut_ptr(), len: slot.byte_len(), writable: true };
        let (index, generation, capacity) = (slot.index(), slot.generation(), slot.capacity());
        let lent = Lent { stage: Stage::new(slot, index, generation), pool, place, capacity };
        Slot { lent: Arc::new(lent), arrays: GivenOut::default(), buffer: Buffer::default() }
    }

    /// An array over the slot as it is being filled, from byte `offset` on.
    pub(crate) fn view<'py>(
        &self,
        py: Python<'py>,
        form: &Form<'py>,
        offset: usize,
    ) -> PyResult<Bound<'py, PyUntypedArray>> {
        self.lent.check(py)?;
        let base = Bound::new(py, SlotMemory { lent: self.lent.clone() })?.into_any();
        // SAFETY: the place is a slot of the pool's mapping, opened for writing, which `base` owns.
        unsafe { form.over(self.lent.place, offset, base) }
    }

    /// Where the slot lies, for as long as it is lent.
    pub(crate) fn place(&self, py: Python<'_>) -> PyResult<Place> {
        self.lent.check(py).map(|()| self.lent.place)
    }

    pub(crate) fn share(&self, py: Python<'_>, audience: Audience) -> PyResult<Ticket> {
        self.lent.check(py)?;
        let slot = self.lent.stage.end(End::Published).ok_or_else(|| self.lent.stage.over())?;
        // Before anybody can read it.
        self.freeze(py);
        let ticket = slot.publish(audience);
        ticket.map(Ticket).map_err(|error| {
            self.lent.stage.refused();
            errors::publish(py, error)
        })
    }

    /// What was given out must not change the slot any more.
    fn freeze(&self, py: Python<'_>) {
        self.arrays.freeze(py);
        self.buffer.release(py);
    }
}

impl Lent {
    fn check(&self, py: Python<'_>) -> PyResult<()> {
        self.stage.check(py, self.pool.name(), "lend one here")
    }
}

#[pymethods]
impl Slot {
    /// A writable numpy array over the slot, without a copy, from byte `offset` on. There may be
    /// several. `order` is 'C' or 'F'.
    ///
    /// It becomes read-only when the slot is published or given back. Arrays derived from it (slices,
    /// reshapes) do not, and can then change what others read: drop them. No array ever faults.
    ///
    /// Raises ValueError if the slot is too small, was published or given back; TypeError for a dtype
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
        let array = self.view(py, &form, offset.0)?;
        self.arrays.add(&array)?;
        Ok(array)
    }

    /// The slot's bytes: a writable memoryview, without a copy. It is released when the slot is
    /// published or given back.
    #[getter]
    fn buffer<'py>(&self, py: Python<'py>) -> PyResult<Py<PyAny>> {
        self.lent.check(py)?;
        self.buffer.get(py, self.lent.place.len, |bytes| self.view(py, bytes, 0))
    }

    /// Makes the slot readable, and returns the Ticket that it is redeemed with. `consumers` says who
    /// has to acknowledge it before the slot is used again: None for everyone who is present or
    /// expected, "any" for exactly one (whoever redeems first), or an iterable of seats and Consumers.
    ///
    /// Raises PoolError if there is no consumer at all, ValueError for a seat on which nobody sits;
    /// the slot is given back then. ValueError if it was published or given back before; PoolError in
    /// a forked child.
    #[pyo3(signature = (consumers = None))]
    fn publish(&self, py: Python<'_>, consumers: Option<&Bound<'_, PyAny>>) -> PyResult<Ticket> {
        let audience = audience::from_argument(consumers, self.lent.pool.instance())?;
        self.share(py, audience)
    }

    /// Gives the slot back, read by nobody. Harmless if that, or a publication, has happened.
    fn abort(&self, py: Python<'_>) {
        if self.lent.stage.is_own()
            && let Some(slot) = self.lent.stage.end(End::Aborted)
        {
            self.freeze(py);
            slot.abort();
        }
    }

    /// Number of the slot.
    #[getter]
    fn index(&self) -> usize {
        self.lent.stage.index
    }

    /// Which use of the slot this is.
    #[getter]
    fn generation(&self) -> u64 {
        self.lent.stage.generation
    }

    /// Bytes that were asked for.
    #[getter]
    fn nbytes(&self) -> usize {
        self.lent.place.len
    }

    /// Bytes that the slot has.
    #[getter]
    fn capacity(&self) -> usize {
        self.lent.capacity
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
        self.abort(py);
        false
    }

    fn __repr__(&self) -> String {
        let Lent { stage, place, .. } = &*self.lent;
        format!("Slot(index={}, nbytes={}, {})", stage.index, place.len, stage.name())
    }
}

//! Arrays over a slot's memory.
//!
//! Upholds invariant 6: an array has a base that owns the mapping, and what is lent with it.

use crate::array::{self, Order, shape_text};
use crate::dtype;
use numpy::{PyArrayDescr, PyArrayDescrMethods, PyUntypedArray};
use parking_lot::Mutex;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};
use shm_core::MAX_DIMS;

/// Bytes of shared memory that stay mapped for as long as something else lives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) start: *mut u8,
    pub(crate) len: usize,
    pub(crate) writable: bool,
}

// SAFETY: an address, a length and a flag; who builds arrays over them vouches for what lies there.
unsafe impl Send for Place {}
// SAFETY: as above.
unsafe impl Sync for Place {}

/// What the caller wants to see of a slot.
#[derive(Debug)]
pub(crate) struct Form<'py> {
    pub(crate) descr: Bound<'py, PyArrayDescr>,
    pub(crate) shape: Vec<usize>,
    pub(crate) order: Order,
    pub(crate) len: usize,
}

impl<'py> Form<'py> {
    /// Reads the arguments of an `array()` call.
    pub(crate) fn of_arguments(
        shape: &Bound<'py, PyAny>,
        dtype: &Bound<'py, PyAny>,
        order: &str,
    ) -> PyResult<Form<'py>> {
        let py = shape.py();
        let order = match order {
            "C" => Order::C,
            "F" => Order::Fortran,
            other => {
                return Err(PyValueError::new_err(format!(
                    "order is '{other}'; expected 'C' or 'F'"
                )));
            }
        };
        let is_number = !shape.is_instance_of::<PyTuple>()
            && shape.hasattr("__index__")?
            && !shape.hasattr("__len__")?;
        let shape = match is_number {
            true => array::shape_argument((shape,).into_pyobject(py)?.as_any())?,
            false => array::shape_argument(shape)?,
        };
        Form::new(dtype::from_argument(py, dtype)?, shape, order)
    }

    /// A form that can exist: elements that are plain bytes, and as many as fit this machine.
    pub(crate) fn new(
        descr: Bound<'py, PyArrayDescr>,
        shape: Vec<usize>,
        order: Order,
    ) -> PyResult<Form<'py>> {
        // 'T' are NumPy's strings of any length, which lie elsewhere.
        if descr.has_object() || descr.kind() == b'T' || descr.itemsize() == 0 {
            return Err(PyTypeError::new_err(format!(
                "dtype {descr} cannot be shared: its elements are not plain bytes of a fixed length"
            )));
        }
        if shape.len() > MAX_DIMS {
            return Err(PyValueError::new_err(format!(
                "shape has {} dimensions; at most {MAX_DIMS} are supported",
                shape.len()
            )));
        }
        let bytes = shape
            .iter()
            // An empty array's other dimensions have to fit as well.
            .try_fold(descr.itemsize(), |bytes, &dim| bytes.checked_mul(dim.max(1)))
            .filter(|&bytes| bytes <= isize::MAX as usize)
            .ok_or_else(|| {
                PyValueError::new_err(format!(
                    "shape {} of {descr} has more bytes than any memory",
                    shape_text(&shape)
                ))
            })?;
        let len = if shape.contains(&0) { 0 } else { bytes };
        Ok(Form { descr, shape, order, len })
    }

    /// An array over `place`, from byte `offset` on.
    ///
    /// # Safety
    /// `place` is mapped for as long as `base` lives, writable if it says so.
    pub(crate) unsafe fn over(
        &self,
        place: Place,
        offset: usize,
        base: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyUntypedArray>> {
        if offset.checked_add(self.len).is_none_or(|end| end > place.len) {
            return Err(PyValueError::new_err(format!(
                "an array of shape {} and dtype {} at byte {offset} ends after {} bytes; there are {}",
                shape_text(&self.shape),
                self.descr,
                offset.saturating_add(self.len),
                place.len
            )));
        }
        let start = place.start.wrapping_add(offset);
        // SAFETY: `len` bytes at `start` lie in the place, by the check above, which is mapped for as
        // long as `base`, by the caller's promise; dimensions and dtype were checked in `new`.
        unsafe { array::over(&self.descr, &self.shape, self.order, start, place.writable, base) }
    }
}

/// The memoryview of its bytes that a handle gives out: always the same one, until it is released.
#[derive(Default)]
pub(crate) struct Buffer {
    given: Mutex<Option<Py<PyAny>>>,
}

impl Buffer {
    /// The memoryview; `view` makes the array under it, of `len` bytes, the first time.
    pub(crate) fn get<'py>(
        &self,
        py: Python<'py>,
        len: usize,
        view: impl FnOnce(&Form<'py>) -> PyResult<Bound<'py, PyUntypedArray>>,
    ) -> PyResult<Py<PyAny>> {
        if let Some(buffer) = &*self.given.lock() {
            return Ok(buffer.clone_ref(py));
        }
        let byte = PyArrayDescr::new(py, PyString::new(py, "uint8"))?;
        let array = view(&Form::new(byte, vec![len], Order::C)?)?;
        let buffer = py.import("builtins")?.getattr("memoryview")?.call1((array,))?.unbind();
        *self.given.lock() = Some(buffer.clone_ref(py));
        Ok(buffer)
    }

    /// Nobody looks through it any more.
    pub(crate) fn release(&self, py: Python<'_>) {
        let given = self.given.lock().take();
        if let Some(buffer) = given {
            // Something else looks through it; that is the caller's, who was told.
            let _ = buffer.call_method0(py, "release");
        }
    }
}

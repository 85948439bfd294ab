//! NumPy arrays over frames: owned copies, and views of shared memory.
//!
//! Upholds invariants 2 (an array over memory that a peer may write is read-only, and NumPy reads it
//! outside the language) and 6 (the array's base object owns the mapping).

use numpy::npyffi::{
    self, NPY_ARRAY_F_CONTIGUOUS, NPY_ARRAY_WRITEABLE, NpyTypes, PY_ARRAY_API, PyArrayObject,
    get_type_object, npy_intp,
};
use numpy::{PyArrayDescr, PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods as _};
use parking_lot::Mutex;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyInt, PySequence, PyWeakrefMethods, PyWeakrefReference};
use shm_core::copy;
use std::ffi::{c_int, c_void};
use std::ptr;

/// Dtype and shape of a stream's arrays.
#[derive(Debug)]
pub(crate) struct ArrayForm {
    pub(crate) descr: Py<PyArrayDescr>,
    pub(crate) shape: Vec<usize>,
    pub(crate) byte_len: usize,
}

impl ArrayForm {
    /// A new C-contiguous array whose bytes are not set yet.
    pub(crate) fn empty<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyUntypedArray>> {
        // SAFETY: no data pointer, so NumPy allocates.
        unsafe { build(self.descr.bind(py), &self.shape, ptr::null_mut(), 0) }
    }

    /// An array over `data`, which `base` keeps in place.
    ///
    /// # Safety
    /// `data` must be `byte_len` bytes, aligned for the dtype, valid for as long as `base` lives,
    /// and writable if `writable`.
    pub(crate) unsafe fn over<'py>(
        &self,
        py: Python<'py>,
        data: *mut u8,
        writable: bool,
        base: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyUntypedArray>> {
        let descr = self.descr.bind(py);
        // SAFETY: the caller's promise.
        unsafe { over(descr, &self.shape, Order::C, data, writable, base) }
    }

    /// Checks an array that is to receive a frame.
    pub(crate) fn check_out<'py>(
        &self,
        out: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyUntypedArray>> {
        let py = out.py();
        let array = out.cast::<PyUntypedArray>().map_err(|_| {
            PyTypeError::new_err(format!(
                "out is {}; expected a numpy.ndarray of dtype {} and shape {}",
                out.get_type(),
                self.descr.bind(py),
                shape_text(&self.shape)
            ))
        })?;
        if array.shape() != self.shape {
            return Err(PyValueError::new_err(format!(
                "out: expected shape {}, got {}",
                shape_text(&self.shape),
                shape_text(array.shape())
            )));
        }
        if !self.has_dtype(array) {
            return Err(PyValueError::new_err(format!(
                "out: expected dtype {}, got {}",
                self.descr.bind(py),
                array.dtype()
            )));
        }
        if !array.is_c_contiguous() || !array.is_aligned() || !is_writable(array) {
            return Err(PyValueError::new_err(
                "out must be C-contiguous, aligned and writable; pass numpy.empty(shape, dtype)",
            ));
        }
        Ok(array.clone())
    }

    /// True if the bytes of `array` are a frame as they lie.
    pub(crate) fn is_frame(&self, array: &Bound<'_, PyUntypedArray>) -> bool {
        array.is_c_contiguous() && array.is_aligned() && self.has_dtype(array)
    }

    pub(crate) fn has_dtype(&self, array: &Bound<'_, PyUntypedArray>) -> bool {
        let own = self.descr.bind(array.py());
        // SAFETY: a live array, whose dtype is only compared.
        let found = unsafe { (*npyffi::_PyArray_GET_ITEM_DATA(array.as_array_ptr())).descr };
        found == own.as_dtype_ptr() || array.dtype().is_equiv_to(own)
    }
}

/// In which order the elements of an array lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// The last index varies fastest.
    C,
    /// The first index varies fastest.
    Fortran,
}

/// An array over `data`, which `base` keeps in place.
///
/// # Safety
/// `data` must be as many bytes as `shape` and `descr` say, valid for as long as `base` lives, and
/// writable if `writable`; elements of `descr` hold no references. `shape` has at most
/// [`MAX_DIMS`](shm_core::MAX_DIMS) dimensions, and its bytes fit `isize`.
pub(crate) unsafe fn over<'py>(
    descr: &Bound<'py, PyArrayDescr>,
    shape: &[usize],
    order: Order,
    data: *mut u8,
    writable: bool,
    base: Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyUntypedArray>> {
    let py = descr.py();
    let order = if order == Order::Fortran { NPY_ARRAY_F_CONTIGUOUS } else { 0 };
    let access = if writable { NPY_ARRAY_WRITEABLE } else { 0 };
    // SAFETY: the caller's promise about `data`; the base is set at once.
    let array = unsafe { build(descr, shape, data.cast(), order | access) }?;
    // SAFETY: a new array without base; the call takes over one reference to `base`, on failure too.
    let failed =
        unsafe { PY_ARRAY_API.PyArray_SetBaseObject(py, array.as_array_ptr(), base.into_ptr()) };
    if failed != 0 { Err(PyErr::fetch(py)) } else { Ok(array) }
}

/// # Safety
/// `data` is null or as for [`over`], where the caller sets a base at once; `shape` is as there.
unsafe fn build<'py>(
    descr: &Bound<'py, PyArrayDescr>,
    shape: &[usize],
    data: *mut c_void,
    flags: c_int,
) -> PyResult<Bound<'py, PyUntypedArray>> {
    let py = descr.py();
    let mut dims = [0 as npy_intp; shm_core::MAX_DIMS];
    for (to, &dim) in dims.iter_mut().zip(shape) {
        *to = dim as npy_intp;
    }
    // SAFETY: the type object is NumPy's, the call takes over one reference to the dtype, `dims` holds
    // as many dimensions as are said, and null strides mean the order that the flags name.
    let array = unsafe {
        PY_ARRAY_API.PyArray_NewFromDescr(
            py,
            get_type_object(py, NpyTypes::PyArray_Type),
            descr.clone().into_dtype_ptr(),
            shape.len() as c_int,
            dims.as_mut_ptr(),
            ptr::null_mut(),
            data,
            flags,
            ptr::null_mut(),
        )
    };
    // SAFETY: a new reference, or null with an exception set.
    let array = unsafe { Bound::from_owned_ptr_or_err(py, array) }?;
    // SAFETY: the call above makes arrays.
    Ok(unsafe { array.cast_into_unchecked() })
}

/// The bytes of a C-contiguous array, to copy from or into. Other threads may write them meanwhile, as
/// far as Python is concerned, and new ones were never written: so there is no slice of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bytes {
    start: *mut u8,
    len: usize,
}

// SAFETY: an address and a length; who copies vouches for what lies there.
unsafe impl Send for Bytes {}
// SAFETY: as above.
unsafe impl Sync for Bytes {}

impl Bytes {
    /// The bytes of `array`, which is C-contiguous and has `len` of them.
    pub(crate) fn of(array: &Bound<'_, PyUntypedArray>, len: usize) -> Bytes {
        Bytes { start: data_of(array), len }
    }

    pub(crate) fn len(self) -> usize {
        self.len
    }

    /// Where they begin.
    pub(crate) fn start(self) -> *const u8 {
        self.start
    }

    /// Whether they have anything in common with `len` bytes at `start`.
    pub(crate) fn overlaps(self, start: *const u8, len: usize) -> bool {
        let (own, other) = (self.start.addr(), start.addr());
        own < other.saturating_add(len) && other < own.saturating_add(self.len)
    }

    /// Copies a frame into them.
    ///
    /// # Safety
    /// The array is alive and writable, and `payload` is as many bytes of a segment.
    pub(crate) unsafe fn take(self, payload: *const u8) {
        // SAFETY: valid on both sides, either of which others may write meanwhile; an array over the
        // segment itself is read-only, so they do not overlap.
        unsafe { copy::copy_with(copy::path_for(self.len), self.start, payload, self.len) }
    }

    /// Copies them into a frame.
    ///
    /// # Safety
    /// The array is alive, and `payload` is as many bytes of a segment that this thread may write.
    pub(crate) unsafe fn give(self, payload: *mut u8) {
        if core::ptr::eq(self.start, payload) {
            // A cell written into itself, by way of an array of an older write_view.
            return;
        }
        // SAFETY: valid on both sides; cells are as long as the array, so they are the same, which
        // was just ruled out, or apart.
        unsafe { copy::copy_with(copy::path_for(self.len), payload, self.start, self.len) }
    }

    /// Zeroes them.
    ///
    /// # Safety
    /// The array is alive and writable.
    pub(crate) unsafe fn clear(self) {
        // SAFETY: valid for writes, also while others access them.
        unsafe { copy::fill_zero(self.start, self.len) }
    }
}

/// Copies `from` into `to`, of the same shape, converting elements as NumPy does without asking.
pub(crate) fn convert_into(
    to: &Bound<'_, PyUntypedArray>,
    from: &Bound<'_, PyUntypedArray>,
) -> PyResult<()> {
    // SAFETY: two live arrays.
    let failed =
        unsafe { PY_ARRAY_API.PyArray_CopyInto(to.py(), to.as_array_ptr(), from.as_array_ptr()) };
    if failed != 0 { Err(PyErr::fetch(to.py())) } else { Ok(()) }
}

/// Takes away the right to write through this array object.
pub(crate) fn make_read_only(array: &Bound<'_, PyUntypedArray>) {
    // SAFETY: a live array of this thread's; clearing the flag is what NumPy's own setter does.
    unsafe {
        (*npyffi::_PyArray_GET_ITEM_DATA(array.as_array_ptr())).flags &= !NPY_ARRAY_WRITEABLE
    };
}

/// Takes that right away; false if it was not there.
fn make_read_only_unless_so(array: &Bound<'_, PyUntypedArray>) -> bool {
    let was_writable = is_writable(array);
    make_read_only(array);
    was_writable
}

/// Gives back what [`make_read_only`] has taken.
///
/// # Safety
/// The array was made writable, over memory that still may be written.
unsafe fn make_writable(array: &Bound<'_, PyUntypedArray>) {
    // SAFETY: a live array of this thread's, of which the caller says that the flag is right.
    unsafe { (*npyffi::_PyArray_GET_ITEM_DATA(array.as_array_ptr())).flags |= NPY_ARRAY_WRITEABLE };
}

/// Writable arrays that were given out, as far as they are still there.
#[derive(Default)]
pub(crate) struct GivenOut {
    arrays: Mutex<Vec<Py<PyWeakrefReference>>>,
}

/// Those of them that nobody may write through for now.
#[derive(Default)]
pub(crate) struct Frozen(Vec<Py<PyWeakrefReference>>);

impl GivenOut {
    pub(crate) fn add(&self, array: &Bound<'_, PyUntypedArray>) -> PyResult<()> {
        let py = array.py();
        let watch = PyWeakrefReference::new(array.as_any())?.unbind();
        let mut arrays = self.arrays.lock();
        if arrays.len() == arrays.capacity() {
            arrays.retain(|array| array.bind(py).upgrade().is_some());
        }
        arrays.push(watch);
        Ok(())
    }

    /// Takes away the right to write through them; returns those that had it.
    pub(crate) fn freeze(&self, py: Python<'_>) -> Frozen {
        let mut frozen = core::mem::take(&mut *self.arrays.lock());
        frozen.retain(|array| {
            let array = array.bind(py).upgrade();
            let array = array.as_ref().and_then(|array| array.cast::<PyUntypedArray>().ok());
            array.is_some_and(make_read_only_unless_so)
        });
        Frozen(frozen)
    }

    /// Gives back what [`freeze`](Self::freeze) has taken.
    ///
    /// # Safety
    /// The memory under them still may be written.
    pub(crate) unsafe fn thaw(&self, py: Python<'_>, Frozen(frozen): Frozen) {
        for array in &frozen {
            let array = array.bind(py).upgrade();
            if let Some(array) = array.as_ref().and_then(|array| array.cast().ok()) {
                // SAFETY: it was writable before it was frozen; the rest is the caller's promise.
                unsafe { make_writable(array) };
            }
        }
        self.arrays.lock().extend(frozen);
    }
}

/// A shape as Python writes it.
pub(crate) fn shape_text(shape: &[usize]) -> String {
    match shape {
        [only] => format!("({only},)"),
        dims => {
            let dims: Vec<String> = dims.iter().map(usize::to_string).collect();
            format!("({})", dims.join(", "))
        }
    }
}

/// What `numpy.asarray` makes of a value.
pub(crate) fn as_array<'py>(
    value: &Bound<'py, PyAny>,
    descr: Option<&Bound<'py, PyArrayDescr>>,
) -> PyResult<Bound<'py, PyUntypedArray>> {
    let numpy = value.py().import("numpy")?;
    let array = numpy.call_method1("asarray", (value, descr))?;
    Ok(array.cast_into::<PyUntypedArray>()?)
}

fn is_writable(array: &Bound<'_, PyUntypedArray>) -> bool {
    // SAFETY: a live array.
    let flags = unsafe { (*npyffi::_PyArray_GET_ITEM_DATA(array.as_array_ptr())).flags };
    flags & NPY_ARRAY_WRITEABLE != 0
}

fn data_of(array: &Bound<'_, PyUntypedArray>) -> *mut u8 {
    let array: *mut PyArrayObject = array.as_array_ptr();
    // SAFETY: a live array.
    unsafe { (*npyffi::_PyArray_GET_ITEM_DATA(array)).data.cast() }
}

/// Keeps the memory under an array in place; what an array over shared memory has as its base.
#[pyclass(frozen, module = "shm_py._native")]
pub(crate) struct Mapping {
    #[expect(dead_code, reason = "owns the mapping")]
    stream: shm_core::Stream,
}

impl Mapping {
    pub(crate) fn of<'py>(
        py: Python<'py>,
        stream: &shm_core::Stream,
    ) -> PyResult<Bound<'py, PyAny>> {
        Ok(Bound::new(py, Mapping { stream: stream.clone() })?.into_any())
    }
}

/// `operator.index` for every dimension of a shape argument.
pub(crate) fn shape_argument(shape: &Bound<'_, PyAny>) -> PyResult<Vec<usize>> {
    let expected = "shape must be a sequence of integers";
    // A NumPy array is as good as a tuple; text, sets and mappings are iterable, and mean nothing.
    let ordered = shape.cast::<PySequence>().is_ok() || shape.cast::<PyUntypedArray>().is_ok();
    let dims = shape
        .try_iter()
        .ok()
        .filter(|_| ordered)
        .ok_or_else(|| PyTypeError::new_err(format!("{expected}, not {}", shape.get_type())))?;
    dims.map(|dim| {
        let dim = dim?;
        let index = match dim.is_exact_instance_of::<PyInt>() {
            true => dim,
            false => {
                dim.py().import("operator")?.getattr("index")?.call1((&dim,)).map_err(|_| {
                    PyTypeError::new_err(format!("{expected}; it holds {}", dim.get_type()))
                })?
            }
        };
        index.extract::<usize>().map_err(|_| {
            PyValueError::new_err(format!(
                "shape holds {index}; every dimension must be at least 1 and fit this machine"
            ))
        })
    })
    .collect()
}

//! Host arrays: those that are given, and those that lie in shared memory.
//!
//! Upholds invariant 6: the base of an array over shared memory owns the mapping, whatever becomes of the
//! handle, client or server that it came from.

use crate::array::{self, Bytes};
use crate::cuda::dtype_of_dlpack;
use crate::dtype;
use crate::share::errors;
use crate::share::table::{Hold, Table};
use dlpark::ffi::{DLPACK_MAJOR_VERSION, DLPACK_MINOR_VERSION};
use dlpark::python::consumer::from_dlpack;
use numpy::npyffi::{NPY_ARRAY_WRITEABLE, NpyTypes, PY_ARRAY_API, get_type_object, npy_intp};
use numpy::{PyArrayDescr, PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::{PyBufferError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use shm_core::Dtype;
use shm_cuda::share::{Access, HostMemory};
use std::any::Any;
use std::ffi::c_int;
use std::ptr;
use std::sync::Arc;

/// Dimensions of a tensor, and of NumPy's arrays before version 2.
const MOST_DIMS: usize = 32;

/// Host memory that arrays of this process lie in. Looked at with the interpreter held only, so that a
/// forked child never finds it locked.
static TABLE: Table<HostMemory> = Table::new();

/// Keeps shared memory in place; what arrays over it have as their base.
#[pyclass(frozen, name = "_ShareMemory", module = "shm_py._native")]
pub(super) struct Mapping {
    hold: Hold<HostMemory>,
    writable: bool,
}

/// Keeps memory of another library in place.
#[pyclass(frozen, name = "_ShareLoan", module = "shm_py._native")]
pub(super) struct Loan {
    #[expect(dead_code, reason = "owns the memory")]
    owner: Box<dyn Any + Send + Sync>,
}

/// A host array that is to travel.
pub(super) struct HostArray<'py> {
    /// Of the dtype, or of one of the same size.
    pub(super) array: Bound<'py, PyUntypedArray>,
    pub(super) dtype: Dtype,
}

impl Mapping {
    pub(super) fn new<'py>(
        py: Python<'py>,
        memory: Arc<HostMemory>,
    ) -> PyResult<Bound<'py, Mapping>> {
        // What is sealed was given away, and stays as it is although its maker could write it.
        let writable = memory.access() == Access::Write && !memory.is_sealed();
        let (start, len) = (memory.as_ptr().addr() as u64, memory.len());
        Bound::new(py, Mapping { hold: TABLE.hold(memory, start, len), writable })
    }

    pub(super) fn memory(&self) -> &Arc<HostMemory> {
        self.hold.memory()
    }

    /// The shared memory in which all bytes from `start` to `end` lie, and where it begins.
    pub(super) fn around(
        _py: Python<'_>,
        start: usize,
        end: usize,
    ) -> Option<(Arc<HostMemory>, usize)> {
        TABLE
            .find(start as u64, end as u64)
            // What this process may have written for itself is its own, and travels as a copy.
            .filter(|(memory, _)| !memory.has_own_writes())
            .map(|(memory, first)| (memory, first as usize))
    }
}

/// Lets this process write the received memory in which all `length` bytes at `address` lie, for libraries
/// that have no read-only tensors: what is written is seen by nobody else. Memory that can be written
/// anyway, or was not received, stays as it is.
///
/// Raises MemoryError or OSError if the system refuses.
#[pyfunction]
pub(super) fn _share_own_writes(py: Python<'_>, address: usize, length: usize) -> PyResult<()> {
    let Some(end) = address.checked_add(length) else { return Ok(()) };
    let Some((memory, _)) = Mapping::around(py, address, end) else { return Ok(()) };
    memory.allow_own_writes().map_err(|error| errors::memory(&error))
}

impl<'py> HostArray<'py> {
    /// An array of NumPy's, or of a kind of it.
    pub(super) fn of_numpy(array: Bound<'py, PyUntypedArray>) -> PyResult<HostArray<'py>> {
        if !array.is_exact_instance_of::<PyUntypedArray>() && array.hasattr("mask")? {
            return Err(PyTypeError::new_err(
                "it is a masked array, whose mask would be lost; pass its data and its mask, or filled()",
            ));
        }
        let dtype = dtype::to_core(&array.dtype())
            .map_err(|error| PyTypeError::new_err(error.value(array.py()).to_string()))?;
        Ok(HostArray { array, dtype })
    }

    /// What an object with `__dlpack__` lends of host memory.
    pub(super) fn of_dlpack(value: &Bound<'py, PyAny>) -> PyResult<HostArray<'py>> {
        let py = value.py();
        let keywords = PyDict::new(py);
        keywords.set_item("max_version", (DLPACK_MAJOR_VERSION, DLPACK_MINOR_VERSION))?;
        let capsule = match value.call_method("__dlpack__", (), Some(&keywords)) {
            // A producer from before version 1.
            Err(error) if error.is_instance_of::<PyTypeError>(py) => {
                value.call_method0("__dlpack__")?
            }
            outcome => outcome?,
        };
        let imported = from_dlpack(capsule.as_borrowed(), None, None)?;
        let bad = |error: dlpark::tensor::Error| PyBufferError::new_err(error.to_string());
        let (start, dtype, shape, strides) = {
            let tensor = imported.validate().map_err(bad)?;
            let dtype = dtype_of_dlpack(tensor.dtype())?;
            let shape: Option<Vec<usize>> =
                tensor.shape().iter().map(|&dim| usize::try_from(dim).ok()).collect();
            let shape =
                shape.ok_or_else(|| PyValueError::new_err("it has a negative dimension"))?;
            let strides = match tensor.strides() {
                Some(strides) => strides
                    .iter()
                    .map(|&stride| (stride as isize).checked_mul(dtype.size() as isize))
                    .collect::<Option<Vec<_>>>()
                    .ok_or_else(|| PyValueError::new_err("its strides reach too far"))?,
                None => c_strides(&shape, dtype.size()),
            };
            let data = tensor.data_ptr().cast::<u8>().cast_mut();
            (data.wrapping_add(tensor.byte_offset() as usize), dtype, shape, strides)
        };
        let base = Bound::new(py, Loan { owner: Box::new(imported) })?.into_any();
        // Only the size of the elements matters here, and NumPy may not know all dtypes.
        let carrier = if dtype == Dtype::Bf16 { Dtype::U16 } else { dtype };
        let descr = dtype::to_numpy(py, carrier)?;
        // SAFETY: the producer says that shape and strides are of memory at that address, which the base
        // keeps; nothing is written.
        let array = unsafe { over(&descr, &shape, &strides, start, false, base) }?;
        Ok(HostArray { array, dtype })
    }

    /// Address of the element with index 0.
    pub(super) fn origin(&self) -> usize {
        Bytes::of(&self.array, 0).start().addr()
    }

    /// How many bytes the elements have, each counted as often as it is shown.
    pub(super) fn byte_len(&self) -> usize {
        self.array.shape().iter().product::<usize>() * self.dtype.size()
    }

    /// Addresses of the first byte and of the end. The array has elements.
    pub(super) fn extent(&self) -> (usize, usize) {
        let origin = self.origin();
        let (mut first, mut last) = (origin, origin);
        for (&dim, &stride) in self.array.shape().iter().zip(self.array.strides()) {
            let reach = stride.wrapping_mul(dim as isize - 1);
            let end = if reach < 0 { &mut first } else { &mut last };
            *end = end.wrapping_add_signed(reach);
        }
        (first, last + self.dtype.size())
    }

    /// Strides in elements; `None` if they are not of whole elements, or elements are not aligned.
    pub(super) fn element_strides(&self) -> Option<Vec<isize>> {
        let size = self.dtype.size() as isize;
        let shape = self.array.shape();
        if !self.array.is_aligned() {
            return None;
        }
        let dense = c_strides(shape, 1);
        let strides = shape.iter().zip(self.array.strides()).zip(dense);
        strides
            .map(|((&dim, &stride), dense)| match stride % size {
                // Strides of dimensions of one element are never used.
                _ if dim == 1 => Some(dense),
                0 => Some(stride / size),
                _ => None,
            })
            .collect()
    }

    /// True if its elements are all that lies between its first byte and its end, in whatever order.
    pub(super) fn is_dense(&self) -> bool {
        let mut steps: Vec<(usize, usize)> = self
            .array
            .shape()
            .iter()
            .zip(self.array.strides())
            .filter(|&(&dim, &stride)| dim > 1 && stride != 0)
            .map(|(&dim, &stride)| (stride.unsigned_abs(), dim))
            .collect();
        steps.sort_unstable();
        let mut expected = self.dtype.size();
        steps.into_iter().all(|(stride, dim)| {
            let fits = stride == expected;
            expected = expected.saturating_mul(dim);
            fits
        })
    }
}

/// An array over shared memory: its element with index 0 is at `offset` bytes, `strides` are in elements.
pub(super) fn over_memory<'py>(
    base: &Bound<'py, Mapping>,
    dtype: Dtype,
    (shape, strides, offset): (&[usize], &[isize], usize),
) -> PyResult<Bound<'py, PyUntypedArray>> {
    let py = base.py();
    let memory = base.get().memory();
    let descr = dtype::to_numpy(py, dtype)?;
    let size = dtype.size() as isize;
    let strides: Vec<isize> = strides.iter().map(|&stride| stride.wrapping_mul(size)).collect();
    let origin = memory.as_ptr().wrapping_add(offset);
    // SAFETY: a tensor's layout was checked against its storage, which the base keeps; it is writable if
    // it is mapped so.
    unsafe { over(&descr, shape, &strides, origin, base.get().writable, base.clone().into_any()) }
}

/// An array in shared memory of its own: other processes get it without a copy when it is passed to an
/// endpoint, returned by one, or given as part of a larger value; so do views of it. What is written into
/// it later, they see. `shape` and `dtype` are as for create(); dimensions of 0 are allowed.
///
/// Raises MemoryError if there is no room, ValueError or TypeError for a bad argument.
#[pyfunction]
#[pyo3(signature = (shape, dtype))]
pub(super) fn _share_empty<'py>(
    py: Python<'py>,
    shape: &Bound<'py, PyAny>,
    dtype: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyUntypedArray>> {
    let shape = match shape.extract::<usize>() {
        Ok(len) => vec![len],
        Err(_) => array::shape_argument(shape)?,
    };
    if shape.len() > MOST_DIMS {
        return Err(PyValueError::new_err(format!(
            "shape has {} dimensions; at most {MOST_DIMS} are supported",
            shape.len()
        )));
    }
    let dtype = dtype::to_core(&dtype::from_argument(py, dtype)?)?;
    let len = shape
        .iter()
        .try_fold(dtype.size(), |len, &dim| len.checked_mul(dim.max(1)))
        .filter(|&len| len <= isize::MAX as usize)
        .ok_or_else(|| PyValueError::new_err("shape has more bytes than any memory"))?;
    let len = if shape.contains(&0) { 0 } else { len };
    let memory = py.detach(|| HostMemory::allocate(len)).map_err(|error| errors::memory(&error))?;
    let base = Mapping::new(py, Arc::new(memory))?;
    over_memory(&base, dtype, (&shape, &c_strides(&shape, 1), 0))
}

/// Strides of C order, in units of `size`.
pub(super) fn c_strides(shape: &[usize], size: usize) -> Vec<isize> {
    let mut strides = vec![size as isize; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis].wrapping_mul(shape[axis] as isize);
    }
    strides
}

/// An array of elements that lie `strides` bytes apart, the first at `data`, which `base` keeps in place.
///
/// # Safety
/// Every element of the shape lies in memory that is valid for as long as `base` lives, and writable if
/// `writable`; elements of `descr` hold no references.
pub(super) unsafe fn over<'py>(
    descr: &Bound<'py, PyArrayDescr>,
    shape: &[usize],
    strides: &[isize],
    data: *mut u8,
    writable: bool,
    base: Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyUntypedArray>> {
    let py = descr.py();
    if shape.len() > MOST_DIMS {
        return Err(PyValueError::new_err(format!(
            "it has {} dimensions; at most {MOST_DIMS} are supported",
            shape.len()
        )));
    }
    let is_empty = shape.contains(&0);
    let mut dims = [0 as npy_intp; MOST_DIMS];
    for (to, &dim) in dims.iter_mut().zip(shape) {
        *to = dim as npy_intp;
    }
    let mut steps = [0 as npy_intp; MOST_DIMS];
    for (to, &stride) in steps.iter_mut().zip(strides) {
        *to = stride as npy_intp;
    }
    // An array without elements lies nowhere, so NumPy finds it a place.
    let (data, steps) = match is_empty {
        true => (ptr::null_mut(), ptr::null_mut()),
        false => (data, steps.as_mut_ptr()),
    };
    let access = if writable && !is_empty { NPY_ARRAY_WRITEABLE } else { 0 };
    // SAFETY: the type object is NumPy's, the call takes over one reference to the dtype, `dims` and
    // `steps` hold as many dimensions as are said, and the memory is as the caller promises.
    let array = unsafe {
        PY_ARRAY_API.PyArray_NewFromDescr(
            py,
            get_type_object(py, NpyTypes::PyArray_Type),
            descr.clone().into_dtype_ptr(),
            shape.len() as c_int,
            dims.as_mut_ptr(),
            steps,
            data.cast(),
            access,
            ptr::null_mut(),
        )
    };
    // SAFETY: a new reference, or null with an exception set.
    let array = unsafe { Bound::from_owned_ptr_or_err(py, array) }?;
    // SAFETY: the call above makes arrays.
    let array: Bound<'py, PyUntypedArray> = unsafe { array.cast_into_unchecked() };
    if is_empty {
        if !writable {
            array::make_read_only(&array);
        }
        return Ok(array);
    }
    // SAFETY: a new array without base; the call takes over one reference to `base`, on failure too.
    let failed =
        unsafe { PY_ARRAY_API.PyArray_SetBaseObject(py, array.as_array_ptr(), base.into_ptr()) };
    if failed != 0 { Err(PyErr::fetch(py)) } else { Ok(array) }
}

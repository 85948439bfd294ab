//! Element types: NumPy's and the segments'.
//!
//! Upholds invariant 2: a dtype comes from a checked code, never from bytes that a peer wrote.

use numpy::{PyArrayDescr, PyArrayDescrMethods};
use pyo3::exceptions::{PyImportError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyString;
use shm_core::Dtype;

/// What the caller gave as `dtype=`, as NumPy understands it.
pub(crate) fn from_argument<'py>(
    py: Python<'py>,
    given: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyArrayDescr>> {
    if let Ok(text) = given.cast::<PyString>()
        && text == "bfloat16"
    {
        return to_numpy(py, Dtype::Bf16);
    }
    PyArrayDescr::new(py, given)
}

/// The segment's dtype for a NumPy dtype.
pub(crate) fn to_core(descr: &Bound<'_, PyArrayDescr>) -> PyResult<Dtype> {
    let refused = |why: &str| {
        let supported: Vec<&str> = Dtype::ALL.iter().map(|dtype| dtype.name()).collect();
        Err(PyValueError::new_err(format!(
            "dtype {descr} is not supported: {why}; use one of {}",
            supported.join(", ")
        )))
    };
    if descr.is_native_byteorder() == Some(false) {
        return refused("its bytes are not in this machine's order");
    }
    let name = match (descr.kind(), descr.itemsize()) {
        (b'b', 1) => "bool",
        (b'i', 1) => "int8",
        (b'i', 2) => "int16",
        (b'i', 4) => "int32",
        (b'i', 8) => "int64",
        (b'u', 1) => "uint8",
        (b'u', 2) => "uint16",
        (b'u', 4) => "uint32",
        (b'u', 8) => "uint64",
        (b'f', 2) => "float16",
        (b'f', 4) => "float32",
        (b'f', 8) => "float64",
        (b'c', 8) => "complex64",
        (b'c', 16) => "complex128",
        _ if is_bfloat16(descr) => "bfloat16",
        _ => return refused("its elements have no fixed machine type"),
    };
    Dtype::from_name(name).map_or_else(|| refused("it is not in this release"), Ok)
}

/// NumPy's dtype for a segment's.
pub(crate) fn to_numpy(py: Python<'_>, dtype: Dtype) -> PyResult<Bound<'_, PyArrayDescr>> {
    if dtype != Dtype::Bf16 {
        return PyArrayDescr::new(py, dtype.name());
    }
    let module = py.import("ml_dtypes").map_err(|cause| {
        let error = PyImportError::new_err(
            "bfloat16 arrays need the package ml_dtypes; install it with `pip install ml_dtypes`",
        );
        error.set_cause(py, Some(cause));
        error
    })?;
    PyArrayDescr::new(py, module.getattr("bfloat16")?)
}

/// The same elements in this machine's byte order.
pub(crate) fn native<'py>(descr: &Bound<'py, PyArrayDescr>) -> PyResult<Bound<'py, PyArrayDescr>> {
    match descr.is_native_byteorder() {
        Some(false) => Ok(descr.call_method1("newbyteorder", ("=",))?.cast_into()?),
        _ => Ok(descr.clone()),
    }
}

fn is_bfloat16(descr: &Bound<'_, PyArrayDescr>) -> bool {
    descr.itemsize() == 2 && descr.typeobj().name().is_ok_and(|name| name == "bfloat16")
}

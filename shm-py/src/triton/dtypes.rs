//! Element types: NumPy's and the protocol's. Nothing is converted.

use crate::dtype;
use numpy::{PyArrayDescr, PyArrayDescrMethods};
use pyo3::exceptions::{PyImportError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyString;
use shm_core::Dtype;
use shm_triton::DataType;

/// NumPy's dtype for a data type: objects for BYTES; for BF16 that of ml_dtypes, or `uint16` without it.
pub(crate) fn to_numpy(py: Python<'_>, datatype: DataType) -> PyResult<Bound<'_, PyArrayDescr>> {
    match datatype.dtype() {
        None => PyArrayDescr::new(py, PyString::new(py, "object")),
        Some(Dtype::Bf16) => match dtype::to_numpy(py, Dtype::Bf16) {
            Err(error) if error.is_instance_of::<PyImportError>(py) => {
                PyArrayDescr::new(py, PyString::new(py, "uint16"))
            }
            descr => descr,
        },
        Some(known) => dtype::to_numpy(py, known),
    }
}

/// The data type of arrays that are given for a tensor of `wanted`; `None` if the protocol has none.
pub(crate) fn of_array(descr: &Bound<'_, PyArrayDescr>, wanted: DataType) -> Option<DataType> {
    // The bits of bfloat16, where ml_dtypes is not there.
    if wanted == DataType::Bf16 && (descr.kind(), descr.itemsize()) == (b'u', 2) {
        return (descr.is_native_byteorder() != Some(false)).then_some(DataType::Bf16);
    }
    if matches!(descr.kind(), b'O' | b'S' | b'U') {
        return Some(DataType::Bytes);
    }
    let found = dtype::to_core(descr).ok()?;
    DataType::ALL.iter().copied().find(|datatype| datatype.dtype() == Some(found))
}

/// What the caller gave as the dtype of a specification: NumPy's, or the protocol's name.
pub(crate) fn from_argument(given: &Bound<'_, PyAny>) -> PyResult<DataType> {
    let py = given.py();
    if let Ok(text) = given.cast::<PyString>()
        && let Ok(datatype) = text.to_cow()?.parse()
    {
        return Ok(datatype);
    }
    let descr = dtype::from_argument(py, given)?;
    // Without a wish uint16 is uint16.
    of_array(&descr, DataType::Bool).ok_or_else(|| {
        PyValueError::new_err(format!(
            "dtype {descr} is no data type of the protocol; expected bool, int8 to int64, uint8 to \
             uint64, float16 to float64, bfloat16, object for BYTES, or a name such as 'FP32'"
        ))
    })
}

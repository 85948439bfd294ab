//! What a model takes and gives, as Python sees it, and as Python says it.

use crate::array::{self, ArrayForm};
use crate::errors;
use crate::triton::dtypes;
use numpy::PyArrayDescrMethods;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use shm_core::MAX_DIMS;
use shm_triton::{DataType, ModelSpec, TensorSpec};

/// Tensors by name: a dict of TritonTensor.
pub(crate) fn to_python<'py>(
    py: Python<'py>,
    tensors: &[TensorSpec],
) -> PyResult<Bound<'py, PyDict>> {
    let class = py.import("shm_py._triton")?.getattr("TritonTensor")?;
    let found = PyDict::new(py);
    for TensorSpec { name, datatype, dims, optional } in tensors {
        let dtype = dtypes::to_numpy(py, *datatype)?;
        let tensor =
            class.call1((name, datatype.name(), dtype, PyTuple::new(py, dims)?, optional))?;
        found.set_item(name, tensor)?;
    }
    Ok(found)
}

/// Reads `inputs=` and `outputs=`: sequences of (name, shape, dtype).
pub(crate) fn from_python(what: &str, given: &Bound<'_, PyAny>) -> PyResult<Vec<TensorSpec>> {
    given
        .try_iter()?
        .map(|tensor| {
            let tensor = tensor?;
            let parts: PyResult<(String, Vec<i64>, Bound<'_, PyAny>)> = tensor.extract();
            let Ok((name, dims, dtype)) = parts else {
                return Err(PyTypeError::new_err(format!(
                    "{what} holds {}; expected (name, shape, dtype) with the shape of one sample",
                    errors::shown(&tensor)?
                )));
            };
            Ok(TensorSpec::new(name, dtypes::from_argument(&dtype)?, &dims))
        })
        .collect()
}

/// The form of an array of `shape`, which a model has said.
pub(crate) fn form(
    py: Python<'_>,
    name: &str,
    datatype: DataType,
    shape: &[i64],
) -> PyResult<ArrayForm> {
    let descr = dtypes::to_numpy(py, datatype)?;
    let dims: Option<Vec<usize>> = shape.iter().map(|&dim| usize::try_from(dim).ok()).collect();
    let dims = dims.filter(|dims| dims.len() <= MAX_DIMS);
    let bytes = dims.as_ref().and_then(|dims| {
        // An empty array's other dimensions have to fit as well.
        let whole = dims.iter().try_fold(descr.itemsize(), |all, &dim| all.checked_mul(dim.max(1)));
        whole.filter(|&bytes| bytes <= isize::MAX as usize)
    });
    match (dims, bytes) {
        (Some(shape), Some(bytes)) => {
            let byte_len = if shape.contains(&0) { 0 } else { bytes };
            Ok(ArrayForm { descr: descr.unbind(), shape, byte_len })
        }
        _ => Err(PyValueError::new_err(format!(
            "tensor '{name}': an array has at most {MAX_DIMS} dimensions from 0 on that fit into memory, \
             not {shape:?}"
        ))),
    }
}

/// Reads the shape of an input.
pub(crate) fn shape(given: &Bound<'_, PyAny>) -> PyResult<Vec<i64>> {
    Ok(array::shape_argument(given)?.into_iter().map(|dim| dim as i64).collect())
}

/// The number of an output.
pub(crate) fn output_index(spec: &ModelSpec, name: &str) -> usize {
    // Outputs without a place are refused before they get here.
    spec.outputs.iter().position(|tensor| tensor.name == name).unwrap_or(0)
}

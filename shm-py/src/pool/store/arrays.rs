//! What callers get: a list of arrays, or a dict where they have names.

use numpy::PyUntypedArray;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

pub(super) fn collect<'py>(
    py: Python<'py>,
    names: Option<&[String]>,
    arrays: Vec<Bound<'py, PyUntypedArray>>,
) -> PyResult<Bound<'py, PyAny>> {
    let Some(names) = names else { return Ok(PyList::new(py, arrays)?.into_any()) };
    let named = PyDict::new(py);
    for (name, array) in names.iter().zip(arrays) {
        named.set_item(name, array)?;
    }
    Ok(named.into_any())
}

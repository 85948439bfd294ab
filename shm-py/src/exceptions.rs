//! Exception classes that are made when the module is loaded: those with several bases, or attributes.
//!
//! Upholds invariant 10: who has such a class keeps it in a cell of the process, where the interpreter's own
//! exceptions are, too.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple, PyType};

/// Makes a class with these members, besides its docstring.
pub(crate) fn class(
    module: &str,
    name: &str,
    doc: &str,
    bases: &Bound<'_, PyTuple>,
    members: &Bound<'_, PyDict>,
) -> PyResult<Py<PyType>> {
    members.set_item("__module__", module)?;
    members.set_item("__doc__", doc)?;
    let class = bases.py().get_type::<PyType>().call1((name, bases, members))?;
    Ok(class.cast_into::<PyType>()?.unbind())
}

/// An exception of a class, or why that class could not be made.
pub(crate) fn of_class(class: PyResult<&Bound<'_, PyType>>, text: impl Into<String>) -> PyErr {
    match class {
        Ok(class) => PyErr::from_type(class.clone(), text.into()),
        Err(error) => error,
    }
}

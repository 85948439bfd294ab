//! Keys, as callers give them.

use pyo3::exceptions::{PyTypeError, PyUnicodeEncodeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

/// A key: text counts as its UTF-8, and comes back as text.
#[derive(Clone, Debug)]
pub(super) struct Key {
    bytes: Vec<u8>,
    is_text: bool,
}

impl Key {
    pub(super) fn of(given: &Bound<'_, PyAny>) -> PyResult<Key> {
        if let Ok(text) = given.cast::<PyString>() {
            let text = text.to_cow().map_err(|error| {
                match error.is_instance_of::<PyUnicodeEncodeError>(given.py()) {
                    true => PyValueError::new_err("a key cannot be written as UTF-8; use bytes"),
                    false => error,
                }
            })?;
            return Ok(Key { bytes: text.as_bytes().to_vec(), is_text: true });
        }
        match given.cast::<PyBytes>() {
            Ok(bytes) => Ok(Key { bytes: bytes.as_bytes().to_vec(), is_text: false }),
            Err(_) => Err(PyTypeError::new_err(format!(
                "a key is {}; expected str or bytes",
                given.get_type()
            ))),
        }
    }

    pub(super) fn several(given: &Bound<'_, PyAny>) -> PyResult<Vec<Key>> {
        if given.is_instance_of::<PyString>() || given.is_instance_of::<PyBytes>() {
            return Err(PyTypeError::new_err(format!(
                "keys is {0}; expected several keys, such as [{0}]",
                given.repr()?
            )));
        }
        given.try_iter()?.map(|key| Key::of(&key?)).collect()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// As it was given.
    pub(super) fn shown<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        match core::str::from_utf8(&self.bytes) {
            Ok(text) if self.is_text => PyString::new(py, text).into_any(),
            _ => PyBytes::new(py, &self.bytes).into_any(),
        }
    }
}

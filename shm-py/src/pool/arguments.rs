//! What callers pass, with errors that name it.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use std::time::Duration;

/// A number of bytes or things, from 0 on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size(pub(crate) usize);

impl<'a, 'py> FromPyObject<'a, 'py> for Size {
    type Error = PyErr;

    #[inline]
    fn extract(given: Borrowed<'a, 'py, PyAny>) -> PyResult<Size> {
        match given.extract::<usize>() {
            Ok(size) => Ok(Size(size)),
            Err(error) if error.is_instance_of::<PyTypeError>(given.py()) => Err(error),
            Err(_) => Err(PyValueError::new_err(format!(
                "{} is no size; expected an integer from 0 on that fits this machine",
                given.repr()?
            ))),
        }
    }
}

/// Reads a number of seconds.
pub(crate) fn seconds(name: &str, given: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(given).map_err(|_| {
        PyValueError::new_err(format!("{name} is {given}; expected seconds from 0 on"))
    })
}

/// Reads a number of seconds above 0.
pub(crate) fn lifetime(name: &str, given: f64) -> PyResult<Duration> {
    seconds(name, given).ok().filter(|duration| !duration.is_zero()).ok_or_else(|| {
        PyValueError::new_err(format!("{name} is {given}; expected seconds above 0, or None"))
    })
}

//! `consumers=`: who is to acknowledge a publication.

use crate::pool::consumer::Consumer;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyString;
use shm_pool::{Audience, MAX_SEATS};

/// Reads None (everyone), "any", or an iterable of seats and consumers.
pub(crate) fn from_argument(
    consumers: Option<&Bound<'_, PyAny>>,
    pool: [u8; 16],
) -> PyResult<Audience> {
    let Some(given) = consumers else { return Ok(Audience::Everyone) };
    if let Ok(text) = given.cast::<PyString>() {
        return match text == "any" {
            true => Ok(Audience::Any),
            false => Err(PyValueError::new_err(format!(
                "consumers is {}; expected None for everyone, 'any', or seats",
                given.repr()?
            ))),
        };
    }
    let seats = given.try_iter().map_err(|_| {
        PyTypeError::new_err(format!(
            "consumers is {}; expected None for everyone, 'any', or an iterable of seats and consumers",
            given.get_type()
        ))
    })?;
    let mut mask = 0;
    for seat in seats {
        mask |= 1_u64 << seat_of(&seat?, pool)?;
    }
    Ok(Audience::Seats(mask))
}

fn seat_of(given: &Bound<'_, PyAny>, pool: [u8; 16]) -> PyResult<usize> {
    if let Ok(consumer) = given.cast::<Consumer>() {
        return match consumer.get().instance == pool {
            true => Ok(consumer.get().seat),
            false => Err(PyValueError::new_err(format!(
                "consumers holds {}, a consumer of another pool",
                given.repr()?
            ))),
        };
    }
    if !given.hasattr("__index__")? {
        return Err(PyTypeError::new_err(format!(
            "consumers holds {}; expected numbers of seats, or consumers",
            given.get_type()
        )));
    }
    given.extract::<usize>().ok().filter(|&seat| seat < MAX_SEATS).ok_or_else(|| {
        PyValueError::new_err(format!("consumers holds {given}; seats are 0 to {}", MAX_SEATS - 1))
    })
}

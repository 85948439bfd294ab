//! Why a value cannot travel, and where in it the reason is.

use crate::share::errors;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use shm_cuda::share::{Failure, FailureKind};

/// Steps of a path that are shown: deep paths are those of values that refer to themselves.
const SHOWN: usize = 8;

/// Why a value cannot travel.
pub(super) enum Trouble {
    /// What is wrong, and where: steps from the inside out.
    Refused { is_type: bool, why: String, path: Vec<String> },
    /// Raised by the value's own objects, or for want of memory.
    Python(PyErr),
}

impl From<PyErr> for Trouble {
    fn from(error: PyErr) -> Trouble {
        Trouble::Python(error)
    }
}

impl Trouble {
    pub(super) fn of_type(why: impl Into<String>) -> Trouble {
        Trouble::Refused { is_type: true, why: why.into(), path: Vec::new() }
    }

    pub(super) fn of_value(why: impl Into<String>) -> Trouble {
        Trouble::Refused { is_type: false, why: why.into(), path: Vec::new() }
    }

    /// A refusal of this package's own code, which says what is wrong with one part of a value.
    pub(super) fn of_part(py: Python<'_>, error: PyErr) -> Trouble {
        let is_type = error.is_instance_of::<PyTypeError>(py);
        match is_type || error.is_instance_of::<PyValueError>(py) {
            true => {
                let why = error.value(py).to_string();
                Trouble::Refused { is_type, why, path: Vec::new() }
            }
            false => Trouble::Python(error),
        }
    }

    pub(super) fn inside(mut self, step: impl FnOnce() -> String) -> Trouble {
        if let Trouble::Refused { path, .. } = &mut self {
            path.push(step());
        }
        self
    }

    /// For the caller that passed the value.
    pub(super) fn into_error(self) -> PyErr {
        match self {
            Trouble::Python(error) => error,
            Trouble::Refused { is_type, why, path } => {
                let text = text(&why, &path);
                if is_type { PyTypeError::new_err(text) } else { PyValueError::new_err(text) }
            }
        }
    }

    /// For the callers of an endpoint that returned the value.
    pub(super) fn into_failure(self, py: Python<'_>) -> Failure {
        match self {
            Trouble::Python(error) => errors::raised(py, &error),
            Trouble::Refused { is_type, why, path } => {
                Failure::new(FailureKind::Value, text(&why, &path)).of_type(if is_type {
                    "TypeError"
                } else {
                    "ValueError"
                })
            }
        }
    }
}

fn text(why: &str, path: &[String]) -> String {
    let shown: String = path.iter().rev().take(SHOWN).map(String::as_str).collect();
    let rest = if path.len() > SHOWN { "..." } else { "" };
    format!("{shown}{rest} cannot travel: {why}")
}

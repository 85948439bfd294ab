//! What an inference is asked for: the keywords that all ways to run a model have.

use crate::wait;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyEllipsis, PyFloat, PyInt, PyMapping, PyString};
use shm_core::Deadline;
use shm_triton::wire::Parameter;
use shm_triton::{Options, Sequence};
use std::time::Duration;

/// `timeout=` of calls that have the client's unless told.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Patience {
    Usual,
    Until(Deadline),
}

impl Patience {
    pub(crate) fn deadline(self, usual: Option<Duration>) -> Deadline {
        match self {
            Patience::Usual => usual.map_or(Deadline::NEVER, Deadline::after),
            Patience::Until(deadline) => deadline,
        }
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for Patience {
    type Error = PyErr;

    fn extract(given: Borrowed<'a, 'py, PyAny>) -> PyResult<Patience> {
        match given.is_instance_of::<PyEllipsis>() {
            true => Ok(Patience::Usual),
            false => wait::deadline(given.extract()?).map(Patience::Until),
        }
    }
}

/// The keywords of an inference.
pub(crate) struct Keywords<'a, 'py> {
    pub(crate) timeout: Patience,
    pub(crate) id: &'a str,
    pub(crate) sequence_id: Option<&'a Bound<'py, PyAny>>,
    pub(crate) sequence_start: bool,
    pub(crate) sequence_end: bool,
    pub(crate) priority: u32,
    pub(crate) server_timeout: Option<f64>,
    pub(crate) parameters: Option<&'a Bound<'py, PyMapping>>,
    pub(crate) outputs: Option<Vec<String>>,
    pub(crate) version: Option<&'a str>,
}

impl Keywords<'_, '_> {
    pub(crate) fn options(&self) -> PyResult<Options> {
        let mut options = Options::new().id(self.id);
        if let Patience::Until(deadline) = self.timeout {
            options = options.until(deadline);
        }
        if let Some(sequence) = self.sequence()? {
            options = options.sequence(sequence);
        }
        if self.priority > 0 {
            options = options.priority(self.priority);
        }
        if let Some(seconds) = self.server_timeout {
            let timeout = Duration::try_from_secs_f64(seconds).map_err(|_| {
                PyValueError::new_err(format!(
                    "server_timeout is {seconds}; expected seconds from 0 on"
                ))
            })?;
            options = options.server_timeout(timeout);
        }
        for (name, value) in self.parameters.map(entries).transpose()?.into_iter().flatten() {
            let value = parameter(&name, &value)?;
            options = options.parameter(name, value);
        }
        if let Some(outputs) = &self.outputs {
            options = options.outputs(outputs);
        }
        if let Some(version) = self.version {
            options = options.version(version);
        }
        Ok(options)
    }

    fn sequence(&self) -> PyResult<Option<Sequence>> {
        let begun = match self.sequence_id {
            None => None,
            Some(id) if id.is_instance_of::<PyString>() => match id.extract::<String>()? {
                id if id.is_empty() => None,
                id => Some(Sequence::named(id)),
            },
            Some(id) => match id.extract::<u64>()? {
                0 => None,
                id => Some(Sequence::new(id)),
            },
        };
        let Some(mut sequence) = begun else {
            return match self.sequence_start || self.sequence_end {
                true => Err(PyValueError::new_err(
                    "sequence_start and sequence_end need a sequence_id: a number from 1 on, or a text",
                )),
                false => Ok(None),
            };
        };
        if self.sequence_start {
            sequence = sequence.start();
        }
        if self.sequence_end {
            sequence = sequence.end();
        }
        Ok(Some(sequence))
    }
}

/// The entries of a mapping of names.
pub(crate) fn entries<'py>(
    mapping: &Bound<'py, PyMapping>,
) -> PyResult<Vec<(String, Bound<'py, PyAny>)>> {
    mapping.items()?.iter().map(|entry| entry.extract()).collect()
}

fn parameter(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Parameter> {
    // Every bool is an int, too.
    if value.is_instance_of::<PyBool>() {
        return Ok(Parameter::Bool(value.extract()?));
    }
    if value.is_instance_of::<PyInt>() {
        return Ok(Parameter::Int(value.extract()?));
    }
    if value.is_instance_of::<PyFloat>() {
        return Ok(Parameter::Float(value.extract()?));
    }
    if value.is_instance_of::<PyString>() {
        return Ok(Parameter::Text(value.extract()?));
    }
    Err(PyTypeError::new_err(format!(
        "parameter '{name}' is {}; expected a bool, int, float or str",
        value.get_type()
    )))
}

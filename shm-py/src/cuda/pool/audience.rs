//! `consumers=` of device pools.

use crate::cuda::pool::consumer::DeviceConsumer;
use crate::errors::quoted;
use crate::pool::audience;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString};
use shm_pool::Audience;

/// As for pools in host memory, with DeviceConsumers in the place of Consumers.
pub(crate) fn from_argument(
    consumers: Option<&Bound<'_, PyAny>>,
    pool: [u8; 16],
) -> PyResult<Audience> {
    let given = consumers.filter(|given| !given.is_instance_of::<PyString>());
    let Some(Ok(members)) = given.map(|given| given.try_iter()) else {
        return audience::from_argument(consumers, pool);
    };
    let seats = PyList::empty(members.py());
    for member in members {
        let member = member?;
        match member.cast::<DeviceConsumer>() {
            Ok(consumer) => seats.append(seat_of(consumer, pool)?)?,
            Err(_) => seats.append(member)?,
        }
    }
    audience::from_argument(Some(&seats), pool)
}

fn seat_of(consumer: &Bound<'_, DeviceConsumer>, pool: [u8; 16]) -> PyResult<usize> {
    let found = consumer.get();
    if found.instance != pool {
        return Err(PyValueError::new_err(format!(
            "consumers holds a consumer of another pool, {}",
            quoted(&found.name)
        )));
    }
    Ok(found.seat)
}

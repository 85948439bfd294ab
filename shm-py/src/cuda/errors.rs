//! What Python is told when a device, or its driver, refuses.
//!
//! Upholds invariant 10: the types are those that the same mistakes have with streams in shared memory.

use crate::errors::{self as host, chain, quoted};
use pyo3::exceptions::{PyMemoryError, PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use shm_cuda::{
    CudaError, CudaErrorKind, DeviceCreateError, DeviceError, DeviceOpenError, DevicePublishError,
    DeviceReadError, DriverError,
};

pub(crate) fn driver(error: &DriverError) -> PyErr {
    PyRuntimeError::new_err(chain(error))
}

pub(crate) fn device(error: DeviceError) -> PyErr {
    match error {
        DeviceError::Driver(error) => driver(&error),
        DeviceError::Cuda(error) => cuda(error),
        DeviceError::NoSuchDevice { .. } | DeviceError::NoSuchUuid { .. } => {
            PyValueError::new_err(format!("gpu_device: {error}; shm_py.devices() lists them"))
        }
        other => PyRuntimeError::new_err(chain(&other)),
    }
}

pub(crate) fn cuda(error: CudaError) -> PyErr {
    match error.kind() {
        CudaErrorKind::OutOfMemory => PyMemoryError::new_err(error.to_string()),
        _ => PyRuntimeError::new_err(chain(&error)),
    }
}

pub(crate) fn create(py: Python<'_>, error: DeviceCreateError) -> PyErr {
    match error {
        DeviceCreateError::Config(error) => host::config(error),
        DeviceCreateError::Stream(error) => host::create(py, error),
        DeviceCreateError::Memory { ref source, .. }
            if source.kind() == CudaErrorKind::OutOfMemory =>
        {
            PyMemoryError::new_err(chain(&error))
        }
        other => PyRuntimeError::new_err(chain(&other)),
    }
}

pub(crate) fn open(py: Python<'_>, error: DeviceOpenError) -> PyErr {
    match error {
        DeviceOpenError::Stream(error) => host::open(py, error),
        DeviceOpenError::NotOnDevice { .. }
        | DeviceOpenError::Placement { .. }
        | DeviceOpenError::WrongDevice { .. } => PyValueError::new_err(chain(&error)),
        DeviceOpenError::CreatorGone { name } => creator_gone(&name),
        DeviceOpenError::Io { .. } => PyOSError::new_err(chain(&error)),
        other => PyRuntimeError::new_err(chain(&other)),
    }
}

pub(crate) fn read(py: Python<'_>, error: DeviceReadError) -> PyErr {
    match error {
        DeviceReadError::Read(error) => host::read(py, error),
        DeviceReadError::WrongDevice { .. } => PyValueError::new_err(chain(&error)),
        DeviceReadError::CreatorGone { name } => creator_gone(&name),
        other => PyRuntimeError::new_err(chain(&other)),
    }
}

pub(crate) fn publish(py: Python<'_>, error: DevicePublishError) -> PyErr {
    match error {
        DevicePublishError::Publish(error) => host::publish(py, error),
        DevicePublishError::WrongDevice { .. } => PyValueError::new_err(chain(&error)),
        DevicePublishError::CreatorGone { name } => creator_gone(&name),
        other => PyRuntimeError::new_err(chain(&other)),
    }
}

/// Device memory dies with its process.
pub(crate) fn creator_gone(name: &str) -> PyErr {
    PyRuntimeError::new_err(format!(
        "the process that created shared memory {name} has ended or closed it, and its frames on the \
         device went with it; create it anew, or read its mirror, if it has one, with \
         open({name}, gpu_device=False)",
        name = quoted(name)
    ))
}

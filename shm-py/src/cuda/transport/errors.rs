//! What Python is told when tensors cannot be sent, or received.

use crate::cuda::errors::cuda;
use crate::cuda::pool::errors as device;
use crate::errors::chain;
use crate::pool::errors as host;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use shm_cuda::transport::{ConfigError, ProxyError, UnwrapError, WrapError};

pub(super) fn config(py: Python<'_>, error: ConfigError) -> PyErr {
    match error {
        ConfigError::Shares(error) => host::config(&error),
        ConfigError::Ledger(error) => host::create(py, error),
        other => PyValueError::new_err(other.to_string()),
    }
}

pub(super) fn proxy(error: &ProxyError) -> PyErr {
    PyValueError::new_err(error.to_string())
}

pub(super) fn wrap(py: Python<'_>, error: WrapError) -> PyErr {
    match error {
        WrapError::Lend { source, .. } => device::lend(py, source),
        WrapError::HostLend { source, .. } => host::lend(py, source),
        WrapError::Copy(error) => device::copy(py, error),
        WrapError::Publish(error) => host::publish(py, error),
        WrapError::DevicePublish(error) => device::publish(py, error),
        WrapError::Cuda(error) => cuda(error),
        other => host::Kind::Pool.error(py, chain(&other)),
    }
}

pub(super) fn unwrap(py: Python<'_>, error: UnwrapError) -> PyErr {
    match error {
        UnwrapError::Pool { source, .. } => device::pool(py, source),
        UnwrapError::HostPool { source, .. } => host::join(py, source),
        UnwrapError::Redeem(error) => device::redeem(py, error),
        UnwrapError::HostRedeem(error) => host::redeem(py, error),
        UnwrapError::Copy(error) => device::copy(py, error),
        UnwrapError::Cuda(error) => cuda(error),
        UnwrapError::Length { .. } => PyValueError::new_err(error.to_string()),
        UnwrapError::SenderGone { .. } => device::Kind::ProducerGone.error(py, error.to_string()),
        other => host::Kind::Pool.error(py, chain(&other)),
    }
}

//! What Python is told when something goes wrong with a pool on a device.
//!
//! Upholds invariant 10: the classes of pools in host memory, and three more under the same base.

use crate::cuda::errors::cuda;
use crate::errors::{chain, quoted};
use crate::exceptions;
use crate::pool::errors as host;
use pyo3::exceptions::{PyFileNotFoundError, PyTimeoutError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple, PyType};
use shm_cuda::pool::{
    ArrivalError, CopyError, DeviceLendError, DevicePoolError, DevicePublishError, RedeemError,
};
use shm_pool::{JoinError, OpenError};

/// The exceptions that only pools on devices have.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    ProducerGone,
    NotReady,
    OwnerGone,
}

const PRODUCER_GONE: &str = "The producer died before the bytes were there: they will never be. What was \
copied of them is to be thrown away; the slot comes back by itself.";
const NOT_READY: &str = "The bytes were not there in the time that was allowed. The ticket may be redeemed \
again. Also a TimeoutError.";
const OWNER_GONE: &str = "The process that created the pool has ended, and its device memory with it. \
Create the pool anew.";

/// Makes the classes, and adds them to the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    for kind in [Kind::ProducerGone, Kind::NotReady, Kind::OwnerGone] {
        let class = kind.class(module.py())?;
        module.add(class.name()?, class)?;
    }
    Ok(())
}

impl Kind {
    fn class(self, py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
        // Exception classes are one per process, as those of the interpreter are.
        static PRODUCER: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        static READY: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        static OWNER: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        let (cell, name, text) = match self {
            Kind::ProducerGone => (&PRODUCER, "ProducerGone", PRODUCER_GONE),
            Kind::NotReady => (&READY, "NotReady", NOT_READY),
            Kind::OwnerGone => (&OWNER, "OwnerGone", OWNER_GONE),
        };
        let make = || -> PyResult<Py<PyType>> {
            let base = host::Kind::Pool.error(py, String::new()).get_type(py);
            let bases = match self {
                Kind::NotReady => PyTuple::new(py, [py.get_type::<PyTimeoutError>(), base])?,
                Kind::ProducerGone | Kind::OwnerGone => PyTuple::new(py, [base])?,
            };
            exceptions::class("shm_py", name, text, &bases, &PyDict::new(py))
        };
        Ok(cell.get_or_try_init(py, make)?.bind(py))
    }

    /// An exception of this class.
    pub(crate) fn error(self, py: Python<'_>, text: String) -> PyErr {
        exceptions::of_class(self.class(py), text)
    }
}

/// Of creating, opening and joining.
pub(crate) fn pool(py: Python<'_>, error: DevicePoolError) -> PyErr {
    match error {
        DevicePoolError::Create(error) => host::create(py, error),
        DevicePoolError::Open(error) | DevicePoolError::Join(JoinError::Open(error)) => {
            open(py, error)
        }
        DevicePoolError::Join(error) => host::join(py, error),
        DevicePoolError::Cuda(error) => cuda(error),
        DevicePoolError::OwnerGone { .. } => Kind::OwnerGone.error(py, error.to_string()),
        other => host::Kind::Pool.error(py, chain(&other)),
    }
}

fn open(py: Python<'_>, error: OpenError) -> PyErr {
    match error {
        OpenError::Segment(shm_core::OpenError::NotFound { name }) => {
            let name = quoted(&name);
            PyFileNotFoundError::new_err(format!(
                "device pool {name} does not exist; create it with shm_py.DevicePool.create({name}, \
                 ...), or wait for it with timeout="
            ))
        }
        other => host::open(py, other, "DevicePool"),
    }
}

pub(crate) fn lend(py: Python<'_>, error: DeviceLendError) -> PyErr {
    match error {
        DeviceLendError::Pool(error) => host::lend(py, error),
        other => host::Kind::Full.error(py, other.to_string()),
    }
}

pub(crate) fn copy(py: Python<'_>, error: CopyError) -> PyErr {
    match error {
        CopyError::Cuda(error) => cuda(error),
        CopyError::OwnerGone { .. } => Kind::OwnerGone.error(py, error.to_string()),
        other => PyValueError::new_err(other.to_string()),
    }
}

pub(crate) fn publish(py: Python<'_>, error: DevicePublishError) -> PyErr {
    match error {
        DevicePublishError::Pool(error) => host::publish(py, error),
        DevicePublishError::Cuda(error) => cuda(error),
        other => host::Kind::Pool.error(py, chain(&other)),
    }
}

pub(crate) fn redeem(py: Python<'_>, error: RedeemError) -> PyErr {
    let kind = match error {
        RedeemError::Pool(error) => return host::redeem(py, error),
        RedeemError::Cuda(error) => return cuda(error),
        RedeemError::Watcher { .. } => return host::system(&error),
        RedeemError::NotReady { .. } => Kind::NotReady,
        RedeemError::ProducerGone { .. } => Kind::ProducerGone,
        RedeemError::OwnerGone { .. } => Kind::OwnerGone,
        other => return host::Kind::Pool.error(py, chain(&other)),
    };
    kind.error(py, error.to_string())
}

pub(crate) fn arrival(py: Python<'_>, error: &ArrivalError) -> PyErr {
    let text = error.to_string();
    match error {
        ArrivalError::ProducerGone { .. } => Kind::ProducerGone.error(py, text),
        ArrivalError::Late { .. } => Kind::NotReady.error(py, text),
        _ => host::Kind::Pool.error(py, text),
    }
}

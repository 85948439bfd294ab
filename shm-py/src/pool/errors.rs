//! What Python is told when something goes wrong with a pool.
//!
//! Upholds invariant 10: a few classes under one base, each also a kind of what Python programs catch
//! already; the texts are the pool's own.

use crate::errors::{self, chain, from_io_or, io_source, quoted};
use crate::exceptions;
use pyo3::exceptions::{
    PyFileExistsError, PyFileNotFoundError, PyKeyError, PyPermissionError, PyRuntimeError,
    PyTimeoutError, PyValueError,
};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple, PyType};
use shm_pool::{
    ConfigError, CreateError, JoinError, LendError, OpenError, PublishError, RedeemError,
    RemoveError, RevokeError, SlotHolder,
};
use std::error::Error;

/// The exceptions of pools, queues and stores.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Pool,
    Full,
    Stale,
    Owned,
    Exists,
    Missing,
}

const POOL: &str = "Something is wrong with a pool, or with how it is used: it was removed or closed, \
nobody consumes, a slot was lent to another process. The base of the errors of pools, queues and stores.";
const FULL: &str = "Nothing came free in the time that was allowed, which may be none. `holders` says \
who has had slots for longest: a tuple of SlotHolder, oldest first. Also a TimeoutError.";
const STALE: &str = "The ticket's publication is over: it was released by all, taken back, revoked, \
or another consumer was faster.";
const OWNED: &str = "A pool or store of that name has an owner who lives; `pid` is its process. Also a \
FileExistsError.";

const EXISTS: &str = "The store has the key already, or another worker is storing it: `pid` is its \
process then, else None. Also a FileExistsError.";
const MISSING: &str = "The store lacks keys that were asked for; `missing` is a tuple of them. Also a \
KeyError.";

/// Makes the classes, and adds them to the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    for kind in [Kind::Pool, Kind::Full, Kind::Stale, Kind::Owned, Kind::Exists, Kind::Missing] {
        let class = kind.class(py)?;
        module.add(class.name()?, class)?;
    }
    Ok(())
}

impl Kind {
    fn class(self, py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
        // Exception classes are one per process, as those of the interpreter are.
        static POOL_ERROR: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        static POOL_FULL: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        static STALE_TICKET: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        static ALREADY_OWNED: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        static KEY_EXISTS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        static KEYS_MISSING: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        let (cell, name, text) = match self {
            Kind::Pool => (&POOL_ERROR, "PoolError", POOL),
            Kind::Full => (&POOL_FULL, "PoolFull", FULL),
            Kind::Stale => (&STALE_TICKET, "StaleTicket", STALE),
            Kind::Owned => (&ALREADY_OWNED, "AlreadyOwned", OWNED),
            Kind::Exists => (&KEY_EXISTS, "KeyExists", EXISTS),
            Kind::Missing => (&KEYS_MISSING, "KeysMissing", MISSING),
        };
        let make = || -> PyResult<Py<PyType>> {
            let base = || Kind::Pool.class(py);
            let bases = match self {
                Kind::Pool => PyTuple::new(py, [py.get_type::<PyRuntimeError>()])?,
                Kind::Full => PyTuple::new(py, [&py.get_type::<PyTimeoutError>(), base()?])?,
                Kind::Stale => PyTuple::new(py, [base()?])?,
                Kind::Owned | Kind::Exists => {
                    PyTuple::new(py, [&py.get_type::<PyFileExistsError>(), base()?])?
                }
                Kind::Missing => PyTuple::new(py, [&py.get_type::<PyKeyError>(), base()?])?,
            };
            let members = PyDict::new(py);
            match self {
                Kind::Full => members.set_item("holders", PyTuple::empty(py))?,
                Kind::Owned => members.set_item("pid", 0)?,
                Kind::Exists => members.set_item("pid", py.None())?,
                Kind::Missing => {
                    members.set_item("missing", PyTuple::empty(py))?;
                    // A KeyError shows its text in quotes, as if it was a key.
                    let shown = py.get_type::<PyRuntimeError>().getattr("__str__")?;
                    members.set_item("__str__", shown)?;
                }
                Kind::Pool | Kind::Stale => {}
            }
            exceptions::class("shm_py", name, text, &bases, &members)
        };
        Ok(cell.get_or_try_init(py, make)?.bind(py))
    }

    /// An exception of this class.
    pub(crate) fn error(self, py: Python<'_>, text: String) -> PyErr {
        exceptions::of_class(self.class(py), text)
    }
}

/// The error of something that belongs to the parent of this process.
pub(crate) fn forked(py: Python<'_>, what: &str, name: &str, instead: &str) -> PyErr {
    let name = quoted(name);
    Kind::Pool.error(
        py,
        format!("{what} of pool {name} belongs to the parent of this process; {instead}"),
    )
}

/// The error of a handle that was closed.
pub(crate) fn closed(py: Python<'_>, what: &str, name: &str, again: &str) -> PyErr {
    let name = quoted(name);
    Kind::Pool.error(py, format!("{what} {name} is closed here; get it again with {again}({name})"))
}

/// The error of a lease that was released.
pub(crate) fn released(index: usize) -> PyErr {
    PyValueError::new_err(format!(
        "the lease of slot {index} was released; its memory may be in use again"
    ))
}

pub(crate) fn config(error: &ConfigError) -> PyErr {
    PyValueError::new_err(error.to_string())
}

pub(crate) fn create(py: Python<'_>, error: CreateError) -> PyErr {
    match error {
        CreateError::AlreadyOwned { pid, .. } => {
            let text = error.to_string();
            with(py, Kind::Owned.error(py, text), "pid", pid)
        }
        CreateError::Orphaned { name, pid } => PyFileExistsError::new_err(format!(
            "pool {0} was left by its owner, process {pid}, and others are still attached; let them \
             end, or take the name away with shm_py.remove_pool({0})",
            quoted(&name)
        )),
        CreateError::Segment(shm_core::CreateError::Exists { name }) => {
            PyFileExistsError::new_err(format!(
                "the name {} is taken by shared memory that is no pool, or was being created at the \
                 same time; choose another name",
                quoted(&name)
            ))
        }
        CreateError::Segment(error) => errors::create(py, error),
        other => from_io_or(&other, io_source(&other)),
    }
}

/// `what` is the class that would have created it.
pub(crate) fn open(py: Python<'_>, error: OpenError, what: &str) -> PyErr {
    match error {
        OpenError::Segment(shm_core::OpenError::NotFound { name }) => {
            let name = quoted(&name);
            PyFileNotFoundError::new_err(format!(
                "{} {name} does not exist; create it with shm_py.{what}.create({name}, ...), or wait \
                 for it with timeout=",
                what.to_lowercase()
            ))
        }
        OpenError::Segment(error) => errors::open(py, error),
        OpenError::Io { .. } => from_io_or(&error, io_source(&error)),
        other => PyValueError::new_err(chain(&other)),
    }
}

pub(crate) fn lend(py: Python<'_>, error: LendError) -> PyErr {
    let text = error.to_string();
    match error {
        LendError::TooLarge { .. } | LendError::Nothing { .. } => PyValueError::new_err(text),
        LendError::Full { .. } | LendError::Timeout { .. } => {
            let full = Kind::Full.error(py, text);
            with_holders(py, full, error.holders())
        }
        LendError::ReadOnly { .. } => PyPermissionError::new_err(text),
        LendError::Io { .. } => from_io_or(&error, io_source(&error)),
        _ => Kind::Pool.error(py, text),
    }
}

pub(crate) fn publish(py: Python<'_>, error: PublishError) -> PyErr {
    let text = error.to_string();
    match error {
        PublishError::Absent { .. } | PublishError::Nobody { .. } => PyValueError::new_err(text),
        _ => Kind::Pool.error(py, text),
    }
}

pub(crate) fn join(py: Python<'_>, error: JoinError) -> PyErr {
    match error {
        JoinError::Open(error) => open(py, error, "Pool"),
        JoinError::NoSeat { .. } => PyValueError::new_err(error.to_string()),
        JoinError::Io { .. } => from_io_or(&error, io_source(&error)),
        other => Kind::Pool.error(py, other.to_string()),
    }
}

pub(crate) fn redeem(py: Python<'_>, error: RedeemError) -> PyErr {
    let text = error.to_string();
    match error {
        RedeemError::Stale { .. } | RedeemError::Taken { .. } => Kind::Stale.error(py, text),
        RedeemError::Foreign { .. } | RedeemError::NoSlot { .. } => PyValueError::new_err(text),
        _ => Kind::Pool.error(py, text),
    }
}

pub(crate) fn revoke(py: Python<'_>, error: RevokeError) -> PyErr {
    match error {
        RevokeError::Ticket(error) => redeem(py, error),
        other => Kind::Pool.error(py, other.to_string()),
    }
}

pub(crate) fn remove(py: Python<'_>, error: RemoveError, what: &str) -> PyErr {
    match error {
        RemoveError::Owned { .. } => PyPermissionError::new_err(error.to_string()),
        RemoveError::Open(error) => open(py, error, what),
        RemoveError::Unlink(shm_core::UnlinkError::Stale { name }) => {
            let name = quoted(&name);
            Kind::Pool.error(py, format!("the name {name} was taken away before; nothing was done"))
        }
        RemoveError::Unlink(error) => errors::unlink(py, error),
        other => system(&other),
    }
}

/// An `OSError` with the system's number, as far as the error has one.
pub(crate) fn system(error: &(dyn Error + 'static)) -> PyErr {
    from_io_or(error, io_source(error))
}

pub(crate) fn with_holders(py: Python<'_>, error: PyErr, found: &[SlotHolder]) -> PyErr {
    match holders(py, found) {
        Ok(holders) => with(py, error, "holders", holders),
        Err(error) => error,
    }
}

/// Who has slots, as Python sees it.
fn holders<'py>(py: Python<'py>, holders: &[SlotHolder]) -> PyResult<Bound<'py, PyTuple>> {
    let class = py.import("shm_py._reports")?.getattr("SlotHolder")?;
    let holders = holders.iter().map(|holder| {
        let held_for = holder.held_for.as_secs_f64();
        class.call1((holder.pid, holder.seat, holder.slot, held_for))
    });
    PyTuple::new(py, holders.collect::<PyResult<Vec<_>>>()?)
}

pub(crate) fn with<'py>(
    py: Python<'py>,
    error: PyErr,
    attribute: &str,
    value: impl IntoPyObject<'py>,
) -> PyErr {
    match error.value(py).setattr(attribute, value) {
        Ok(()) => error,
        Err(other) => other,
    }
}

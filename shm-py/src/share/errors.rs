//! What Python is told when something of a share service goes wrong, and what a service is told when
//! Python code does.
//!
//! Upholds invariant 10: the classes are kinds of what Python programs catch already, and carry what is
//! needed to act on them.

use crate::exceptions;
use pyo3::exceptions::{
    PyConnectionError, PyMemoryError, PyOSError, PyRuntimeError, PyTimeoutError,
};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple, PyType};
use rustix::io::Errno;
use shm_cuda::share::{BindError, ClientError, Failure, FailureKind, MemoryError};

/// The classes; all but the first are kinds of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Error,
    Connection,
    Timeout,
    Stale,
    Task,
    Busy,
    Running,
}

impl Class {
    const ALL: [Class; 7] = [
        Class::Error,
        Class::Connection,
        Class::Timeout,
        Class::Stale,
        Class::Task,
        Class::Busy,
        Class::Running,
    ];

    fn name(self) -> &'static str {
        match self {
            Class::Error => "ShareError",
            Class::Connection => "ShareConnectionError",
            Class::Timeout => "ShareTimeoutError",
            Class::Stale => "ShareStaleError",
            Class::Task => "ShareTaskError",
            Class::Busy => "ShareBusyError",
            Class::Running => "ShareServerRunningError",
        }
    }

    fn doc(self) -> &'static str {
        match self {
            Class::Error => {
                "A share service could not do what it was asked. `kind` says what it is about ('Build' for \
                 an exception of the endpoint itself), `code` is its number on the wire, `error_type` the \
                 class name of the endpoint's exception, `details` more of it by name."
            }
            Class::Connection => "No server is there, it is gone, or it is not trusted.",
            Class::Timeout => {
                "No answer came in time; the server was told that nobody waits any more."
            }
            Class::Stale => "The object or lease is gone, or another client's.",
            Class::Task => "The task failed, was cancelled, has no result yet, or is not known.",
            Class::Busy => "A limit of the server was reached: try later, or ask for less.",
            Class::Running => "A live server has the path; `details['pid']` says which process.",
        }
    }

    fn other_base(self, py: Python<'_>) -> Option<Bound<'_, PyType>> {
        match self {
            Class::Error => Some(py.get_type::<PyRuntimeError>()),
            Class::Connection => Some(py.get_type::<PyConnectionError>()),
            Class::Timeout => Some(py.get_type::<PyTimeoutError>()),
            Class::Running => Some(py.get_type::<PyOSError>()),
            Class::Stale | Class::Task | Class::Busy => None,
        }
    }

    fn of(kind: FailureKind) -> Class {
        match kind {
            FailureKind::Stale => Class::Stale,
            FailureKind::Task => Class::Task,
            FailureKind::Busy => Class::Busy,
            _ => Class::Error,
        }
    }

    /// The class object. Exception classes are one per process, as those of the interpreter are.
    fn object(self, py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
        static CLASSES: [PyOnceLock<Py<PyType>>; 7] = [const { PyOnceLock::new() }; 7];
        let make = || -> PyResult<Py<PyType>> {
            let members = PyDict::new(py);
            if self == Class::Error {
                members.set_item("kind", "")?;
                members.set_item("code", 0)?;
                members.set_item("error_type", "")?;
            }
            let own = match self {
                Class::Error => None,
                _ => Some(Class::Error.object(py)?.clone()),
            };
            let bases: Vec<_> = own.into_iter().chain(self.other_base(py)).collect();
            let bases = PyTuple::new(py, bases)?;
            exceptions::class("shm_py.share", self.name(), self.doc(), &bases, &members)
        };
        Ok(CLASSES[self as usize].get_or_try_init(py, make)?.bind(py))
    }
}

/// Makes the classes, and adds them to the module.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    for class in Class::ALL {
        module.add(class.name(), class.object(module.py())?)?;
    }
    Ok(())
}

pub(super) fn failure(py: Python<'_>, failure: &Failure) -> PyErr {
    let kind = format!("{:?}", failure.kind);
    told(py, Class::of(failure.kind), &kind, failure)
}

pub(super) fn client(py: Python<'_>, error: &ClientError) -> PyErr {
    let own = |kind| Failure::new(kind, error.to_string());
    match error {
        ClientError::Failed(failed) => failure(py, failed),
        ClientError::TimedOut => told(py, Class::Timeout, "TimedOut", &own(FailureKind::Cancelled)),
        ClientError::Protocol { path, .. } => {
            let failed = own(FailureKind::Protocol).with("path", path.display());
            told(py, Class::Error, "Protocol", &failed)
        }
        ClientError::Untrusted { path, user, expected } => {
            let failed = own(FailureKind::Permission)
                .with("path", path.display())
                .with("found", user)
                .with("expected", expected);
            told(py, Class::Connection, "Untrusted", &failed)
        }
        ClientError::Gone { path, pid } => {
            let failed = own(FailureKind::Stopping).with("path", path.display()).with("pid", pid);
            told(py, Class::Connection, "Gone", &failed)
        }
        ClientError::Unreachable { path, reason } => {
            let failed =
                own(FailureKind::Stopping).with("path", path.display()).with("reason", reason);
            told(py, Class::Connection, "Unreachable", &failed)
        }
        ClientError::Closed { path, reason } => {
            let failed =
                own(FailureKind::Stopping).with("path", path.display()).with("reason", reason);
            told(py, Class::Connection, "Closed", &failed)
        }
        ClientError::Broken { path, reason } => {
            let failed =
                own(FailureKind::Stopping).with("path", path.display()).with("reason", reason);
            told(py, Class::Connection, "Broken", &failed)
        }
        _ => told(py, Class::Error, "Protocol", &own(FailureKind::Protocol)),
    }
}

pub(super) fn bind(py: Python<'_>, error: &BindError) -> PyErr {
    match error {
        BindError::Taken { path, pid } => {
            let failed = Failure::new(FailureKind::Configuration, error.to_string())
                .with("path", path.display())
                .with("pid", pid);
            told(py, Class::Running, "Taken", &failed)
        }
        BindError::Unsafe { path, expected, found } => {
            let failed = Failure::new(FailureKind::Permission, error.to_string())
                .with("path", path.display())
                .with("expected", expected)
                .with("found", found);
            told(py, Class::Error, "Permission", &failed)
        }
        BindError::Endpoint(failed) => failure(py, failed),
        BindError::System { source, .. } => from_system(error.to_string(), source),
        _ => PyRuntimeError::new_err(error.to_string()),
    }
}

pub(super) fn memory(error: &MemoryError) -> PyErr {
    match error {
        MemoryError::System { source, .. } => from_system(error.to_string(), source),
        _ => PyRuntimeError::new_err(error.to_string()),
    }
}

fn from_system(text: String, source: &std::io::Error) -> PyErr {
    match Errno::from_io_error(source) {
        Some(Errno::NOMEM | Errno::NOSPC) => PyMemoryError::new_err(text),
        Some(errno) => PyOSError::new_err((errno.raw_os_error(), text)),
        None => PyOSError::new_err(text),
    }
}

/// An instance of `class` that says all of `failed`.
fn told(py: Python<'_>, class: Class, kind: &str, failed: &Failure) -> PyErr {
    let make = || -> PyResult<PyErr> {
        let text = failed.message.as_str();
        let object = class.object(py)?;
        let value = object.call1((text,))?;
        if class == Class::Running {
            // As the system would refuse the path.
            value.setattr("errno", Errno::ADDRINUSE.raw_os_error())?;
            value.setattr("strerror", text)?;
        }
        let details = PyDict::new(py);
        for (name, detail) in &failed.details {
            details.set_item(name, detail)?;
        }
        value.setattr("kind", kind)?;
        value.setattr("code", failed.kind.code())?;
        value.setattr("error_type", &failed.error_type)?;
        value.setattr("details", details)?;
        Ok(PyErr::from_value(value))
    };
    make().unwrap_or_else(|error| error)
}

/// What a service is told of an exception that an endpoint raised, whichever it is: one that would end a
/// program ends a build, and nothing else.
pub(super) fn raised(py: Python<'_>, error: &PyErr) -> Failure {
    let name =
        error.get_type(py).name().map_or_else(|_| "Exception".to_owned(), |it| it.to_string());
    let message = error.value(py).str().map_or_else(
        |_| "(its text could not be made)".to_owned(),
        |text| text.to_string_lossy().into_owned(),
    );
    Failure::new(FailureKind::Build, message).of_type(name)
}

/// What a service is told when no Python code can run any more.
pub(super) fn ended() -> Failure {
    Failure::new(
        FailureKind::Build,
        "the server's interpreter is ending, and runs no endpoints any more; ask another server",
    )
}

/// A failure of a call whose time is up.
pub(super) fn late(py: Python<'_>, failed: &Failure) -> PyErr {
    match failed.kind {
        FailureKind::Cancelled => told(py, Class::Timeout, "TimedOut", failed),
        _ => failure(py, failed),
    }
}

//! What Python is told when something goes wrong.
//!
//! Upholds invariant 10: each operation has its own errors, of the types that Python programs expect,
//! and their texts say what to do next.

use pyo3::exceptions::{
    PyException, PyFileExistsError, PyFileNotFoundError, PyNotImplementedError, PyOSError,
    PyPermissionError, PyRuntimeError, PyTimeoutError, PyValueError,
};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use shm_core::{
    ConfigError, CreateError, LockError, OpenError, PublishError, ReadError, UnlinkError,
};
use std::error::Error;
use std::io;

pyo3::create_exception!(
    shm_py,
    InconsistentStreamError,
    PyRuntimeError,
    "A frame could not be had whole: the stream's memory is damaged, or its writer lapped this \
     reader for a second without a break. Read again; give the stream more `cells`."
);
pyo3::create_exception!(
    shm_py,
    FrameOverwrittenError,
    InconsistentStreamError,
    "What was computed from a FrameView may be of several frames: the writer has used its cell \
     again. Compute faster, copy with read(), or create the stream with more `cells`."
);
pyo3::create_exception!(
    shm_py,
    StaleStreamError,
    PyRuntimeError,
    "The stream was unlinked, or its name belongs to a newer stream by now. Open the name again."
);

/// The name under which the caller knows this package: code that was written for pyshmem may have
/// aliased it.
pub(crate) fn imported_as(py: Python<'_>) -> &'static str {
    let aliased = || -> PyResult<bool> {
        let modules = py.import("sys")?.getattr("modules")?.cast_into::<PyDict>()?;
        let (alias, own) = (modules.get_item("pyshmem")?, modules.get_item("shm_py")?);
        Ok(alias.zip(own).is_some_and(|(alias, own)| alias.is(&own)))
    };
    if aliased().unwrap_or(false) { "pyshmem" } else { "shm_py" }
}

/// A name as Python writes it. Not by Python's own `repr`, which runs the handlers of signals: Ctrl-C would
/// be lost with whatever the message is for.
pub(crate) fn quoted(name: &str) -> String {
    let quote = if name.contains('\'') && !name.contains('"') { '"' } else { '\'' };
    let mut text = String::from(quote);
    for character in name.chars() {
        match character {
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\\' => text.push_str("\\\\"),
            _ if character == quote => text.extend(['\\', quote]),
            '\0'..='\x1f' | '\x7f'..='\u{a0}' => {
                text.push_str(&format!("\\x{:02x}", character as u32))
            }
            _ => text.push(character),
        }
    }
    text.push(quote);
    text
}

/// Any object as Python writes it, for a message; one that cannot be written is a question mark. What is no
/// ordinary exception, such as Ctrl-C, goes on in the place of the message.
pub(crate) fn shown(object: &Bound<'_, PyAny>) -> PyResult<String> {
    match object.repr() {
        Ok(text) => Ok(text.to_string()),
        Err(error) if error.is_instance_of::<PyException>(object.py()) => Ok("?".to_owned()),
        Err(interrupt) => Err(interrupt),
    }
}

pub(crate) fn closed(py: Python<'_>, operation: &str, name: &str) -> PyErr {
    let (module, name) = (imported_as(py), quoted(name));
    PyRuntimeError::new_err(format!(
        "cannot {operation} closed shared memory {name}; reopen it with {module}.open({name})"
    ))
}

pub(crate) fn closed_while_waiting(name: &str) -> PyErr {
    let name = quoted(name);
    PyRuntimeError::new_err(format!(
        "shared memory {name} was closed while a read was waiting on it"
    ))
}

pub(crate) fn read_only(py: Python<'_>, operation: &str, name: &str) -> PyErr {
    let (module, name) = (imported_as(py), quoted(name));
    PyPermissionError::new_err(format!(
        "cannot {operation} read-only shared memory {name}; open it with {module}.open({name})"
    ))
}

/// A stream whose frames are on a device, and a handle without one.
pub(crate) fn needs_device(operation: &str, name: &str) -> PyErr {
    PyRuntimeError::new_err(format!(
        "cannot {operation} shared memory {} with this handle: its frames are on a CUDA device; open it \
         with gpu_device='cuda'",
        quoted(name)
    ))
}

pub(crate) fn config(error: ConfigError) -> PyErr {
    PyValueError::new_err(error.to_string())
}

pub(crate) fn create(py: Python<'_>, error: CreateError) -> PyErr {
    match error {
        CreateError::Name(error) => PyValueError::new_err(error.to_string()),
        CreateError::Exists { name } => {
            let (module, name) = (imported_as(py), quoted(&name));
            PyFileExistsError::new_err(format!(
                "shared memory {name} already exists; use {module}.open({name}), unlink it, or pass \
                 replace_existing=True"
            ))
        }
        CreateError::NoSpace { .. } => os_error(libc_enospc(), &error),
        CreateError::NotReplaceable { .. } => PyFileExistsError::new_err(chain(&error)),
        other => from_io_or(&other, io_source(&other)),
    }
}

pub(crate) fn open(py: Python<'_>, error: OpenError) -> PyErr {
    match error {
        OpenError::Name(error) => PyValueError::new_err(error.to_string()),
        OpenError::NotFound { name } => not_found(py, &name),
        OpenError::NotReady { .. } | OpenError::Busy { .. } => {
            PyFileNotFoundError::new_err(error.to_string())
        }
        OpenError::Owner { .. } => PyPermissionError::new_err(error.to_string()),
        OpenError::Io { .. } | OpenError::TooManyOpenFiles { .. } => {
            from_io_or(&error, io_source(&error))
        }
        damaged => PyValueError::new_err(chain(&damaged)),
    }
}

fn not_found(py: Python<'_>, name: &str) -> PyErr {
    let (module, name) = (imported_as(py), quoted(name));
    PyFileNotFoundError::new_err(format!(
        "shared memory {name} does not exist; create it with {module}.create({name}, ...)"
    ))
}

pub(crate) fn unlink(py: Python<'_>, error: UnlinkError) -> PyErr {
    match error {
        UnlinkError::Open(error) => open(py, error),
        UnlinkError::Stale { name } => StaleStreamError::new_err(format!(
            "shared memory {} belongs to a newer generation of the stream by now, or to none; \
             nothing was removed, open the name again",
            quoted(&name)
        )),
        UnlinkError::Busy { .. } => PyOSError::new_err(error.to_string()),
        other => from_io_or(&other, io_source(&other)),
    }
}

pub(crate) fn lock(py: Python<'_>, error: LockError) -> PyErr {
    match error {
        LockError::Timeout { name, holder, waited } => {
            let holder =
                holder.map_or_else(|| "another process".to_owned(), |found| found.to_string());
            PyTimeoutError::new_err(format!(
                "timed out waiting for the lock of shared memory {} after {:.3} s: held by {holder}",
                quoted(&name),
                waited.as_secs_f64()
            ))
        }
        LockError::Stale { name } => stale(py, &name),
        LockError::ReadOnly { name } => read_only(py, "lock", &name),
        other => from_io_or(&other, io_source(&other)),
    }
}

pub(crate) fn publish(py: Python<'_>, error: PublishError) -> PyErr {
    match error {
        PublishError::Stale { name } => stale(py, &name),
        PublishError::External { name } => needs_device("write to", &name),
        other => PyRuntimeError::new_err(other.to_string()),
    }
}

pub(crate) fn read(py: Python<'_>, error: ReadError) -> PyErr {
    match error {
        ReadError::Empty { name } => PyRuntimeError::new_err(format!(
            "shared memory {} has no frame yet; wait for one with read_after(0)",
            quoted(&name)
        )),
        ReadError::Timeout { name, after, waited, .. } => PyTimeoutError::new_err(format!(
            "timed out waiting for a new write on shared memory {} after {:.3} s: its count is \
             still {after}",
            quoted(&name),
            waited.as_secs_f64()
        )),
        ReadError::Stale { name } => stale(py, &name),
        ReadError::NoHostPayload { name } => PyRuntimeError::new_err(format!(
            "shared memory {} has its frames on a CUDA device only; open it with gpu_device='cuda', or \
             create it with cpu_mirror=True",
            quoted(&name)
        )),
        ReadError::Overwritten { name, count } => FrameOverwrittenError::new_err(format!(
            "frame {count} of shared memory {} was overwritten while it was looked at; look again, read \
             a copy, or create the stream with more cells",
            quoted(&name)
        )),
        other => InconsistentStreamError::new_err(other.to_string()),
    }
}

pub(crate) fn stale(py: Python<'_>, name: &str) -> PyErr {
    let (module, name) = (imported_as(py), quoted(name));
    StaleStreamError::new_err(format!(
        "shared memory {name} was unlinked or replaced since this handle was opened; open the name \
         again with {module}.open({name})"
    ))
}

pub(crate) fn listing(error: io::Error) -> PyErr {
    match error.kind() {
        io::ErrorKind::Unsupported => PyNotImplementedError::new_err(
            "this platform cannot list shared memory; remember the names",
        ),
        _ => error.into(),
    }
}

/// The message and everything that led to it.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

pub(crate) fn io_source<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a io::Error> {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(found) = cause.downcast_ref::<io::Error>() {
            return Some(found);
        }
        source = cause.source();
    }
    None
}

/// `OSError` with the system's number, so that Python picks the right subclass.
pub(crate) fn from_io_or(error: &dyn Error, source: Option<&io::Error>) -> PyErr {
    match source.and_then(io::Error::raw_os_error) {
        Some(number) => os_error(number, error),
        None => PyOSError::new_err(chain(error)),
    }
}

fn os_error(number: i32, error: &dyn Error) -> PyErr {
    PyOSError::new_err((number, chain(error)))
}

fn libc_enospc() -> i32 {
    rustix::io::Errno::NOSPC.raw_os_error()
}

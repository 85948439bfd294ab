//! What Python is told when something goes wrong with a server.
//!
//! Upholds invariant 10: kinds of what Python programs catch already, and one class for what has no
//! such kind; the texts are the client's own.

use crate::errors::{self, chain, imported_as};
use crate::exceptions;
use pyo3::exceptions::{
    PyConnectionRefusedError, PyConnectionResetError, PyKeyError, PyRuntimeError, PyTimeoutError,
    PyTypeError, PyValueError,
};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple, PyType};
use shm_triton::wire::Code;
use shm_triton::{
    CallError, CloseError, ConnectError, InferError, InputError, OutputError, RegionError,
    RegisterError,
};

const TRITON_ERROR: &str = "The server, or a model, answered with an error: `code` says of what kind \
(such as 'NOT_FOUND' or 'INTERNAL'), `message` has its words. Both are None where something else is \
wrong: a response that is not what the model declares, a slot that is gone, a client that is closed.";

/// Makes the class, and adds it to the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let class = class(module.py())?;
    module.add(class.name()?, class)
}

fn class(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    // Exception classes are one per process, as those of the interpreter are.
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let make = || -> PyResult<Py<PyType>> {
        let members = PyDict::new(py);
        members.set_item("code", py.None())?;
        members.set_item("message", py.None())?;
        let bases = PyTuple::new(py, [py.get_type::<PyRuntimeError>()])?;
        exceptions::class("shm_py", "TritonError", TRITON_ERROR, &bases, &members)
    };
    Ok(CLASS.get_or_try_init(py, make)?.bind(py))
}

/// A TritonError that no server has answered.
pub(crate) fn own(py: Python<'_>, text: impl Into<String>) -> PyErr {
    exceptions::of_class(class(py), text)
}

fn refused(py: Python<'_>, text: String, code: Code, message: &str) -> PyErr {
    let error = own(py, text);
    let told = || -> PyResult<()> {
        error.value(py).setattr("code", code_name(code))?;
        error.value(py).setattr("message", message)
    };
    told().err().unwrap_or(error)
}

/// The kind of an error as gRPC writes it.
fn code_name(code: Code) -> String {
    let mut name = String::new();
    for letter in code.to_string().chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}

pub(crate) fn closed(py: Python<'_>) -> PyErr {
    call(py, &CallError::Closed)
}

pub(crate) fn connect(error: &ConnectError) -> PyErr {
    match error {
        ConnectError::Io(_) => errors::from_io_or(error, errors::io_source(error)),
        _ => PyValueError::new_err(error.to_string()),
    }
}

pub(crate) fn call(py: Python<'_>, error: &CallError) -> PyErr {
    let text = error.to_string();
    match error {
        CallError::Timeout { .. } => PyTimeoutError::new_err(text),
        CallError::Unavailable { .. } => PyConnectionRefusedError::new_err(text),
        CallError::Lost { .. } => PyConnectionResetError::new_err(text),
        CallError::Refused { code, message, .. } => refused(py, text, *code, message),
        _ => own(py, text),
    }
}

pub(crate) fn register_model(py: Python<'_>, error: RegisterError) -> PyErr {
    match error {
        RegisterError::Call(error) => call(py, &error),
        RegisterError::Region(error) => region(py, error, String::new()),
        RegisterError::Registered { model } => PyValueError::new_err(format!(
            "model '{model}' is registered already; get it with model('{model}'), or unregister it first"
        )),
        other => PyValueError::new_err(other.to_string()),
    }
}

/// `place` says where it happened, where that is not plain.
fn region(py: Python<'_>, error: RegionError, place: String) -> PyErr {
    match error {
        RegionError::Call(error) => call(py, &error),
        RegionError::Create { source, .. } => errors::create(py, source),
        RegionError::Disabled { message } => {
            let module = imported_as(py);
            let text = format!(
                "{place}the server refuses shared memory of clients: {message}; start it with \
                 --allow-client-shm=true, or connect with {module}.TritonClient(url, \
                 shared_memory=\"preferred\") to send tensors in the message"
            );
            refused(py, text, Code::Unimplemented, &message)
        }
        RegionError::Unmapped { ref message, .. } => {
            refused(py, format!("{place}{error}"), Code::Internal, message)
        }
        other => own(py, format!("{place}{}", chain(&other))),
    }
}

pub(crate) fn input(error: &InputError) -> PyErr {
    let text = error.to_string();
    match error {
        InputError::Unknown { .. } => PyKeyError::new_err(text),
        InputError::DataType { .. } => PyTypeError::new_err(text),
        _ => PyValueError::new_err(text),
    }
}

pub(crate) fn infer(py: Python<'_>, error: InferError) -> PyErr {
    let text = error.to_string();
    // Of several chunks the one that failed says of which kind it is, and the text says which it was.
    let (place, error) = match error {
        InferError::Chunk { index, of, source, .. } => {
            (format!("chunk {index} of {of}: "), *source)
        }
        error => (String::new(), error),
    };
    match error {
        InferError::Input(InputError::Unknown { .. }) => PyKeyError::new_err(text),
        InferError::Input(InputError::DataType { .. }) => PyTypeError::new_err(text),
        InferError::Input(_) => PyValueError::new_err(text),
        // It was asked for by a wrong name.
        InferError::Output(OutputError::Unknown { .. }) => PyKeyError::new_err(text),
        InferError::NoSlot { .. } | InferError::Timeout { .. } => PyTimeoutError::new_err(text),
        InferError::Unavailable { .. } => PyConnectionRefusedError::new_err(text),
        InferError::Lost { .. } => PyConnectionResetError::new_err(text),
        InferError::Refused { code, message, .. } => refused(py, text, code, &message),
        InferError::Region(error) => region(py, error, place),
        _ => own(py, text),
    }
}

/// Closing what is closed is no error.
pub(crate) fn close(py: Python<'_>, error: CloseError) -> PyResult<()> {
    match error {
        CloseError::Closed => Ok(()),
        CloseError::InUse { .. } => Err(PyTimeoutError::new_err(error.to_string())),
        other => Err(own(py, other.to_string())),
    }
}

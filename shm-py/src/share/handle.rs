//! The class `_ShareHandle`: a managed object of a server, leased.
//!
//! Upholds invariant 6: arrays and tensors that were made of the object keep their memory, whatever
//! becomes of the handle.

use crate::interpreter;
use crate::share::to_python::{self, Manner};
use crate::share::{asking, errors, reports, waiting};
use crate::wait;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use shm_cuda::share::{Ask, Client, Handle, Health};
use std::sync::Arc;

/// A leased object; shm_py.share.SharedObjectHandle is the class to use.
#[pyclass(frozen, weakref, name = "_ShareHandle", module = "shm_py._native")]
pub(crate) struct ShareHandle {
    client: Client,
    /// `None` while the object goes.
    handle: Option<Arc<Handle>>,
    manner: Manner,
    value: PyOnceLock<Py<PyAny>>,
}

impl ShareHandle {
    pub(super) fn new(client: Client, handle: Handle, manner: Manner) -> ShareHandle {
        let handle = Some(Arc::new(handle));
        ShareHandle { client, handle, manner, value: PyOnceLock::new() }
    }

    fn handle(&self) -> PyResult<&Arc<Handle>> {
        self.handle.as_ref().ok_or_else(|| PyValueError::new_err("the handle is gone"))
    }
}

impl Drop for ShareHandle {
    fn drop(&mut self) {
        // The client may be busy in a thread that wants the interpreter.
        interpreter::drop_released(self.handle.take());
    }
}

#[pymethods]
impl ShareHandle {
    /// Which object.
    #[getter]
    fn object_id(&self) -> PyResult<u64> {
        Ok(self.handle()?.object())
    }

    /// The lease on it.
    #[getter]
    fn lease(&self) -> PyResult<u64> {
        Ok(self.handle()?.lease())
    }

    /// The object, made once.
    #[getter]
    fn value(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        if let Some(value) = self.value.get(py) {
            return Ok(value.clone_ref(py));
        }
        let made = to_python::value(py, self.handle()?.value(), self.manner)?.unbind();
        // Of two threads that made one, both have the first.
        let _ = self.value.set(py, made.clone_ref(py));
        Ok(self.value.get(py).unwrap_or(&made).clone_ref(py))
    }

    /// Which server gave it.
    #[getter]
    fn server_id(&self) -> PyResult<String> {
        Ok(reports::hex(&self.handle()?.server_id()))
    }

    /// True once the lease was given back.
    #[getter]
    fn released(&self, py: Python<'_>) -> PyResult<bool> {
        let handle = self.handle()?;
        Ok(py.detach(|| handle.health()) == Health::Released)
    }

    /// True if the object stays readable when the server is gone.
    #[getter]
    fn survives_server(&self) -> PyResult<bool> {
        Ok(self.handle()?.survives_server())
    }

    /// What has become of it, without asking the server: "live", "released", "server gone" (the object
    /// stays readable), or "lost".
    #[getter]
    fn health(&self, py: Python<'_>) -> PyResult<&'static str> {
        let handle = self.handle()?;
        Ok(match py.detach(|| handle.health()) {
            Health::Live => "live",
            Health::Released => "released",
            Health::ServerGone => "server gone",
            Health::Lost => "lost",
        })
    }

    /// Gives the lease back; True the first time.
    #[pyo3(signature = (timeout))]
    fn release(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        let (handle, deadline) = (self.handle()?.clone(), wait::deadline(timeout)?);
        waiting::aside(py, move || handle.release(deadline))?
            .map_err(|error| errors::client(py, &error))
    }

    /// What the server says of the object; None if it does not know it.
    #[pyo3(signature = (timeout))]
    fn info<'py>(&self, py: Python<'py>, timeout: Option<f64>) -> PyResult<Bound<'py, PyAny>> {
        let ask = Ask::Object(self.handle()?.object());
        let response = waiting::ask(py, &self.client, ask, wait::deadline(timeout)?)?;
        let response = response.map_err(|error| errors::client(py, &error))?;
        asking::answer(py, &self.client, response, self.manner)
    }
}

//! The class `_ShareClient`: a connection to a server.
//!
//! Upholds invariant 5: everything that waits has a deadline, releases the interpreter and hears signals.

use crate::interpreter;
use crate::share::pending::{Callback, Sent, SharePending};
use crate::share::to_python::Manner;
use crate::share::{asking, endpoint, errors, lent, reports, waiting};
use crate::wait;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use shm_core::Deadline;
use shm_cuda::share::{Access, Ask, Client, ClientConfig, ClientError, Limits};
use std::ffi::OsString;
use std::os::fd::{AsRawFd, RawFd};
use std::path::PathBuf;
use std::sync::Arc;

/// A connection; shm_py.share.SharedTensorClient is the class to use.
#[pyclass(frozen, weakref, name = "_ShareClient", module = "shm_py._native")]
pub(crate) struct ShareClient {
    /// There until it is dropped.
    client: Option<Client>,
    manner: Manner,
    tasks: Arc<lent::Tasks>,
}

impl ShareClient {
    fn client(&self) -> &Client {
        self.client.as_ref().expect("a client is there until it is dropped")
    }

    fn ask<'py>(
        &self,
        py: Python<'py>,
        ask: Ask,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let deadline = wait::deadline(timeout)?;
        let (mut lent, task) = (lent::of(&ask), lent::task_of(&ask));
        let outcome = waiting::ask(py, self.client(), ask, deadline)?;
        self.tasks.note(&outcome, &mut lent, task);
        let response = outcome.map_err(|error| errors::client(py, &error))?;
        asking::answer(py, self.client(), response, self.manner)
    }
}

impl Drop for ShareClient {
    fn drop(&mut self) {
        // Whoever is the last to go joins a thread.
        interpreter::drop_released(self.client.take());
    }
}

#[pymethods]
impl ShareClient {
    #[new]
    #[pyo3(signature = (path, *, connect_timeout, name, trust_users, writable, opaque, max_storage))]
    #[expect(clippy::too_many_arguments, reason = "one for each of the client's options")]
    fn new(
        py: Python<'_>,
        path: PathBuf,
        connect_timeout: f64,
        name: String,
        trust_users: Vec<u32>,
        writable: bool,
        opaque: bool,
        max_storage: usize,
    ) -> PyResult<ShareClient> {
        let deadline = wait::deadline(Some(connect_timeout))?;
        let mut config = ClientConfig::new(path);
        config.name = name;
        config.trust_users = trust_users;
        config.limits = Limits { storage: max_storage, opaque, ..Limits::default() };
        config.access = if writable { Access::Write } else { Access::Read };
        let client = connect(py, config, deadline)?;
        Ok(ShareClient {
            client: Some(client),
            manner: Manner { writable, opaque },
            tasks: Arc::default(),
        })
    }

    /// Round trip.
    #[pyo3(signature = (timeout))]
    fn ping<'py>(&self, py: Python<'py>, timeout: Option<f64>) -> PyResult<Bound<'py, PyAny>> {
        self.ask(py, Ask::Ping, timeout)
    }

    /// What the server says of itself.
    #[pyo3(signature = (timeout))]
    fn info<'py>(&self, py: Python<'py>, timeout: Option<f64>) -> PyResult<Bound<'py, PyAny>> {
        self.ask(py, Ask::ServerInfo, timeout)
    }

    /// What there is to be called.
    #[pyo3(signature = (timeout))]
    fn endpoints<'py>(&self, py: Python<'py>, timeout: Option<f64>) -> PyResult<Bound<'py, PyAny>> {
        self.ask(py, Ask::Endpoints, timeout)
    }

    /// Calls an endpoint: its value, or a handle if it is managed.
    #[pyo3(signature = (name, args, kwargs, timeout))]
    fn call<'py>(
        &self,
        py: Python<'py>,
        name: String,
        args: &Bound<'py, PyTuple>,
        kwargs: &Bound<'py, PyDict>,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let arguments = endpoint::arguments(args, Some(kwargs), self.manner.opaque)?;
        self.ask(py, Ask::Call(name, arguments), timeout)
    }

    /// Makes a task of a call: its number.
    #[pyo3(signature = (name, args, kwargs, timeout))]
    fn submit<'py>(
        &self,
        py: Python<'py>,
        name: String,
        args: &Bound<'py, PyTuple>,
        kwargs: &Bound<'py, PyDict>,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let arguments = endpoint::arguments(args, Some(kwargs), self.manner.opaque)?;
        self.ask(py, Ask::Submit(name, arguments), timeout)
    }

    /// What the server says of a task.
    #[pyo3(signature = (id, timeout))]
    fn task<'py>(
        &self,
        py: Python<'py>,
        id: u64,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.ask(py, Ask::Task(id), timeout)
    }

    /// The result of a task that is over.
    #[pyo3(signature = (id, timeout))]
    fn task_result<'py>(
        &self,
        py: Python<'py>,
        id: u64,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.ask(py, Ask::TaskResult(id), timeout)
    }

    /// The result of a task when it is over.
    #[pyo3(signature = (id, timeout))]
    fn wait_task<'py>(
        &self,
        py: Python<'py>,
        id: u64,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.ask(py, Ask::WaitTask(id), timeout)
    }

    /// Cancels a task that has not begun; asks one that has to stop.
    #[pyo3(signature = (id, timeout))]
    fn cancel_task<'py>(
        &self,
        py: Python<'py>,
        id: u64,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.ask(py, Ask::CancelTask(id), timeout)
    }

    /// All tasks, or those of one state.
    #[pyo3(signature = (state, timeout))]
    fn tasks<'py>(
        &self,
        py: Python<'py>,
        state: Option<&str>,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.ask(py, Ask::Tasks(reports::state(state)?), timeout)
    }

    /// Gives leases back; for each whether it was held.
    #[pyo3(signature = (leases, timeout))]
    fn release<'py>(
        &self,
        py: Python<'py>,
        leases: Vec<u64>,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.ask(py, Ask::Release(leases), timeout)
    }

    /// A lease on an object: a handle.
    #[pyo3(signature = (object_id, timeout))]
    fn acquire<'py>(
        &self,
        py: Python<'py>,
        object_id: u64,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.ask(py, Ask::Acquire(object_id), timeout)
    }

    /// What the server says of an object; None if it does not know it.
    #[pyo3(signature = (object_id, timeout))]
    fn object_info<'py>(
        &self,
        py: Python<'py>,
        object_id: u64,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.ask(py, Ask::Object(object_id), timeout)
    }

    /// Forgets what is cached for these arguments; how many results.
    #[pyo3(signature = (name, args, kwargs, timeout))]
    fn invalidate_call<'py>(
        &self,
        py: Python<'py>,
        name: String,
        args: &Bound<'py, PyTuple>,
        kwargs: &Bound<'py, PyDict>,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let arguments = endpoint::arguments(args, Some(kwargs), self.manner.opaque)?;
        self.ask(py, Ask::InvalidateCall(name, arguments), timeout)
    }

    /// Forgets what is cached of an endpoint; how many results.
    #[pyo3(signature = (name, timeout))]
    fn invalidate_endpoint<'py>(
        &self,
        py: Python<'py>,
        name: String,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.ask(py, Ask::InvalidateEndpoint(name), timeout)
    }

    /// True until the server is gone or the connection closed.
    #[getter]
    fn alive(&self, py: Python<'_>) -> bool {
        py.detach(|| self.client().is_alive())
    }

    /// Which server it is, in 32 hexadecimal digits.
    #[getter]
    fn server_id(&self) -> String {
        reports::hex(&self.client().server_id())
    }

    /// The server's process.
    #[getter]
    fn server_pid(&self) -> u32 {
        self.client().server_pid()
    }

    /// Where the server is.
    #[getter]
    fn path(&self) -> OsString {
        self.client().path().into()
    }

    /// Calls `callback()` once, in a thread of the client, when the server is gone; at once if it is.
    #[pyo3(signature = (callback))]
    fn on_gone(&self, py: Python<'_>, callback: Py<PyAny>) {
        let callback = Callback::new(callback);
        py.detach(|| self.client().on_gone(Box::new(move || callback.call())));
    }

    /// Ends the connection, and with it all its leases.
    fn close(&self, py: Python<'_>) {
        py.detach(|| self.client().close());
        self.tasks.clear();
    }

    /// The socket, for an event loop: when it is readable, drive() has something to do.
    fn fileno(&self) -> RawFd {
        self.client().descriptor().as_raw_fd()
    }

    /// Takes in what has arrived, without waiting.
    fn drive(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.client().drive()).map_err(|error| errors::client(py, &error))
    }

    /// Sends what the method `operation` sends, with its arguments but for the timeout, and does not wait
    /// for the answer.
    #[pyo3(signature = (operation, *args))]
    fn start(
        &self,
        py: Python<'_>,
        operation: &str,
        args: &Bound<'_, PyTuple>,
    ) -> PyResult<SharePending> {
        let ask = asking::operation(operation, args, self.manner.opaque)?;
        let sent =
            Sent { lent: lent::of(&ask), task: lent::task_of(&ask), tasks: self.tasks.clone() };
        let pending =
            py.detach(|| self.client().start(ask)).map_err(|error| errors::client(py, &error))?;
        Ok(SharePending::new(self.client().clone(), pending, self.manner, sent))
    }
}

/// Connects, or waits in slices for a server that is not there yet.
fn connect(py: Python<'_>, config: ClientConfig, deadline: Deadline) -> PyResult<Client> {
    loop {
        let slice = ClientConfig { connect_within: wait::slice(deadline), ..config.clone() };
        match py.detach(|| Client::connect(slice)) {
            Err(ClientError::Unreachable { .. }) if !deadline.has_passed() => py.check_signals()?,
            outcome => return outcome.map_err(|error| errors::client(py, &error)),
        }
    }
}

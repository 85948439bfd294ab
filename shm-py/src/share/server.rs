//! The class `_ShareServer`: endpoints of this process, served to others.
//!
//! Upholds invariants 5 (waits release the interpreter and hear signals) and 10 (the server's threads end
//! with the object).

use crate::interpreter;
use crate::share::endpoint::{self, Described, First, Options};
use crate::share::{errors, reports, to_python, waiting};
use crate::wait;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use shm_cuda::share::{Limits, Server, ServerConfig, Stop};
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A running server; shm_py.share.SharedTensorServer is the class to use.
#[pyclass(frozen, weakref, name = "_ShareServer", module = "shm_py._native")]
pub(crate) struct ShareServer {
    /// `None` while the object goes.
    server: Option<Arc<Server>>,
    opaque: bool,
}

impl ShareServer {
    fn server(&self) -> PyResult<&Arc<Server>> {
        self.server.as_ref().ok_or_else(|| PyValueError::new_err("the server is gone"))
    }
}

impl Drop for ShareServer {
    fn drop(&mut self) {
        // Its workers may want the interpreter before they end.
        interpreter::drop_released(self.server.take());
    }
}

#[pymethods]
impl ShareServer {
    #[new]
    #[pyo3(signature = (path, *, workers, connections, allow_users, cache_entries, cache_bytes,
                        cache_age, max_tasks, result_age, queue, max_body, max_storage, opaque,
                        endpoints = None))]
    #[expect(clippy::too_many_arguments, reason = "one for each of the server's options")]
    fn new(
        py: Python<'_>,
        path: PathBuf,
        workers: usize,
        connections: usize,
        allow_users: Vec<u32>,
        cache_entries: usize,
        cache_bytes: usize,
        cache_age: Option<f64>,
        max_tasks: usize,
        result_age: f64,
        queue: usize,
        max_body: usize,
        max_storage: usize,
        opaque: bool,
        endpoints: Option<Vec<First<'_>>>,
    ) -> PyResult<ShareServer> {
        for (name, given) in [("workers", workers), ("connections", connections)] {
            if given == 0 {
                return Err(PyValueError::new_err(format!("{name} is 0; expected at least 1")));
            }
        }
        let limits = Limits { body: max_body, storage: max_storage, opaque, ..Limits::default() };
        let mut config = ServerConfig::new(path);
        config.workers = workers;
        config.connections = connections;
        config.allow_users = allow_users;
        config.limits = limits;
        config.service.limits = limits;
        config.service.cache_entries = cache_entries;
        config.service.cache_bytes = cache_bytes;
        config.service.cache_age = cache_age.map(|age| seconds("cache_age", age)).transpose()?;
        config.service.tasks = max_tasks;
        config.service.result_age = seconds("result_age", result_age)?;
        config.service.queue = queue;
        let endpoints = endpoints.into_iter().flatten().map(|(name, build, keywords)| {
            let options = Options::of_keywords(&keywords)?;
            endpoint::endpoint(name, &build, options, opaque)
        });
        // There before the first client is: one that waits for a server finds all of it.
        let endpoints = endpoints.collect::<PyResult<Vec<_>>>()?;
        let server = py.detach(|| Server::start(config, endpoints));
        let server = server.map_err(|error| errors::bind(py, &error))?;
        Ok(ShareServer { server: Some(Arc::new(server)), opaque })
    }

    /// Offers `build(args, kwargs, cancelled)` by a name. `key` is None (all arguments), a format, or a
    /// function `key(args, kwargs)` that returns a str; `parameters` are (name, kind, has_default,
    /// default), the kind being 'either', 'positional', 'named', 'rest' or 'others'.
    #[pyo3(signature = (name, build, *, execution, managed, cache, key, singleflight, concurrency,
                        keep_unleased, parameters))]
    #[expect(clippy::too_many_arguments, reason = "one for each of an endpoint's options")]
    fn register(
        &self,
        py: Python<'_>,
        name: String,
        build: &Bound<'_, PyAny>,
        execution: String,
        managed: bool,
        cache: bool,
        key: Option<Bound<'_, PyAny>>,
        singleflight: bool,
        concurrency: String,
        keep_unleased: bool,
        parameters: Option<Vec<Described<'_>>>,
    ) -> PyResult<()> {
        let options = Options {
            execution,
            managed,
            cache,
            key,
            singleflight,
            concurrency,
            keep_unleased,
            parameters,
        };
        let endpoint = endpoint::endpoint(name, build, options, self.opaque)?;
        let server = self.server()?;
        py.detach(|| server.register(endpoint)).map_err(|failed| errors::failure(py, &failed))
    }

    /// Where clients find it.
    #[getter]
    fn path(&self) -> PyResult<OsString> {
        Ok(self.server()?.path().into())
    }

    /// Which server it is, in 32 hexadecimal digits.
    #[getter]
    fn server_id(&self) -> PyResult<String> {
        Ok(reports::hex(&self.server()?.id()))
    }

    /// Calls an endpoint from this process, with the same cache and the same checks.
    #[pyo3(signature = (name, args, kwargs, timeout))]
    fn invoke<'py>(
        &self,
        py: Python<'py>,
        name: String,
        args: &Bound<'py, PyTuple>,
        kwargs: &Bound<'py, PyDict>,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let deadline = wait::deadline(timeout)?;
        let arguments = endpoint::arguments(args, Some(kwargs), self.opaque)?;
        let server = self.server()?.clone();
        let done = waiting::aside(py, move || server.invoke(&name, arguments, deadline))?;
        let value = done.map_err(|failed| match deadline.has_passed() {
            true => errors::late(py, &failed),
            false => errors::failure(py, &failed),
        })?;
        to_python::value(py, &value, endpoint::manner(self.opaque))
    }

    /// Forgets what is cached for these arguments; how many results.
    #[pyo3(signature = (name, args, kwargs))]
    fn invalidate_call(
        &self,
        py: Python<'_>,
        name: String,
        args: &Bound<'_, PyTuple>,
        kwargs: &Bound<'_, PyDict>,
    ) -> PyResult<u64> {
        let arguments = endpoint::arguments(args, Some(kwargs), self.opaque)?;
        let server = self.server()?.clone();
        waiting::aside(py, move || server.invalidate_call(&name, arguments))?
            .map_err(|failed| errors::failure(py, &failed))
    }

    /// Forgets what is cached of an endpoint; how many results.
    #[pyo3(signature = (name))]
    fn invalidate_endpoint(&self, py: Python<'_>, name: &str) -> PyResult<u64> {
        let server = self.server()?;
        py.detach(|| server.invalidate_endpoint(name))
            .map_err(|failed| errors::failure(py, &failed))
    }

    /// What clients are told about it.
    fn info<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let server = self.server()?;
        let info = py.detach(|| server.info());
        to_python::value(py, &info, endpoint::manner(false))
    }

    /// What has happened so far.
    fn counters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let server = self.server()?;
        let counters = py.detach(|| server.counters());
        reports::counters(py, &counters)
    }

    /// Takes no more calls, finishes (drain) or gives up what there is, and ends; False if some build
    /// took too long, whose thread is left to end by itself.
    #[pyo3(signature = (drain, timeout))]
    fn stop(&self, py: Python<'_>, drain: bool, timeout: f64) -> PyResult<bool> {
        let (how, within) =
            (if drain { Stop::Drain } else { Stop::Abort }, seconds("timeout", timeout)?);
        let server = self.server()?.clone();
        waiting::aside(py, move || server.stop(how, within))
    }

    /// Waits until it has been stopped; False if it was not in time.
    #[pyo3(signature = (timeout))]
    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        let (server, deadline) = (self.server()?, wait::deadline(timeout)?);
        loop {
            let slice = wait::slice(deadline);
            if py.detach(|| server.wait(slice.into())) {
                return Ok(true);
            }
            py.check_signals()?;
            if deadline.has_passed() {
                return Ok(false);
            }
        }
    }
}

fn seconds(name: &str, given: f64) -> PyResult<Duration> {
    if given.is_nan() || given < 0.0 {
        return Err(PyValueError::new_err(format!(
            "{name} is {given}; expected seconds from 0 on"
        )));
    }
    // Longer than any clock can say is for ever.
    Ok(Duration::try_from_secs_f64(given).unwrap_or(Duration::MAX))
}

/// The path of a service by its name, in the user's runtime folder, which is made if it is missing.
///
/// Raises ValueError for a name that is no file's, OSError where the folder cannot be made, ShareError
/// where it is not this user's alone.
#[pyfunction]
#[pyo3(signature = (name))]
pub(super) fn _share_socket_path(py: Python<'_>, name: &str) -> PyResult<OsString> {
    let path = py.detach(|| shm_cuda::share::socket_path(name));
    path.map(PathBuf::into_os_string).map_err(|error| errors::bind(py, &error))
}

//! The class `TritonClient`: a server, and the models that were registered with it.
//!
//! Upholds invariants 5 and 10: what it has made it takes away, at the latest when the interpreter ends.

use crate::triton::call::aside_of_interpreter;
use crate::triton::keywords::{Patience, entries};
use crate::triton::model::TritonModel;
use crate::triton::{aside, errors, reports, specs};
use crate::wait;
use parking_lot::RwLock;
use pyo3::exceptions::{PyKeyError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyMapping;
use shm_core::{Deadline, fork_generation};
use shm_triton::{CallError, ClientConfig, ModelConfig, ModelSpec, SharedMemory};
use std::time::{Duration, Instant};

/// How long one try to find the server ready takes: Ctrl-C leaves nothing behind for longer.
const TRY: Duration = Duration::from_secs(2);

/// A client of a Triton Inference Server (or any that speaks its protocol) on this machine: tensors go
/// through shared memory. Any thread may use it.
///
/// url: 'host:port' or 'http://host:port', 'grpc://host:port', 'http+unix:///path', 'grpc+unix:///path';
/// HTTP is the faster one. timeout: seconds for calls that name none of their own, None for ever.
/// shared_memory: 'required' (a server that refuses it is an error), 'preferred' (tensors go in the
/// message then, which stats() counts) or 'never'. sweep: the first registration removes what dead
/// clients of this user have left, here and on the server.
///
/// Nothing is sent before the first call. Leaving a `with` block, close(), and the end of the
/// interpreter unregister and unlink everything. What a killed client leaves is removed by the next one.
///
/// Raises ValueError for a bad argument.
#[pyclass(frozen, weakref, module = "shm_py")]
pub(crate) struct TritonClient {
    client: RwLock<Option<shm_triton::TritonClient>>,
    address: String,
    usual: Option<Duration>,
    born: u64,
}

impl TritonClient {
    fn client(&self, py: Python<'_>) -> PyResult<shm_triton::TritonClient> {
        let client = self.client.read().clone();
        client.ok_or_else(|| errors::closed(py))
    }

    /// Asks the server something; Ctrl-C is heard.
    fn ask<T: Send + 'static>(
        &self,
        py: Python<'_>,
        question: impl FnOnce(&shm_triton::TritonClient) -> Result<T, CallError> + Send + 'static,
    ) -> PyResult<T> {
        let client = self.client(py)?;
        let answer = aside::run(py, move || question(&client))?;
        answer.map_err(|error| errors::call(py, &error))
    }

    fn end(&self, py: Python<'_>, deadline: Deadline) -> PyResult<()> {
        let Some(client) = self.client.write().take() else { return Ok(()) };
        let ended = aside::run(py, move || client.close(deadline))?;
        ended.or_else(|error| errors::close(py, error))
    }
}

impl Drop for TritonClient {
    fn drop(&mut self) {
        if let Some(client) = self.client.get_mut().take() {
            aside_of_interpreter(client);
        }
    }
}

#[pymethods]
impl TritonClient {
    #[new]
    #[pyo3(signature = (url, *, timeout = Some(60.0), shared_memory = "required", sweep = true),
           text_signature = "(url, *, timeout=60.0, shared_memory='required', sweep=True)")]
    fn new(
        url: &str,
        timeout: Option<f64>,
        shared_memory: &str,
        sweep: bool,
    ) -> PyResult<TritonClient> {
        wait::deadline(timeout)?;
        // Longer than any clock can say is for ever.
        let usual = timeout.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let shared_memory = match shared_memory {
            "required" => SharedMemory::Required,
            "preferred" => SharedMemory::Preferred,
            "never" => SharedMemory::Never,
            other => {
                return Err(PyValueError::new_err(format!(
                    "shared_memory is '{other}'; expected 'required', 'preferred' or 'never'"
                )));
            }
        };
        let config =
            ClientConfig::new(url).timeout(usual).shared_memory(shared_memory).sweep(sweep);
        let client = config.connect().map_err(|error| errors::connect(&error))?;
        Ok(TritonClient {
            address: client.address().to_string(),
            client: RwLock::new(Some(client)),
            usual,
            born: fork_generation(),
        })
    }

    /// Registers a model: makes its slots in shared memory, and has the server map them. Returns a
    /// TritonModel.
    ///
    /// What the model takes and gives is asked of the server; or it is given, as sequences of (name,
    /// shape of one sample, dtype) together with max_batch_size, and compared with what the server says
    /// unless compare=False. A dtype is NumPy's or the protocol's name ('FP32', 'BYTES').
    ///
    /// slots: how many requests can be in flight at once. batch: samples of one slot, the model's most
    /// unless told. max_dims: for tensors with dimensions of -1, by name, the largest dims of one sample.
    /// byte_capacity: for BYTES and others whose size is not known beforehand, by name, bytes per slot.
    /// Without these, slots begin small and grow as they have to. timeout: as for every call.
    ///
    /// Raises ValueError for a model that is registered already, that differs, or that answers one
    /// request many times; TritonError, with `code`, if the server does not know it or refuses shared
    /// memory; TimeoutError, ConnectionError; OSError with errno ENOSPC if shared memory is too small.
    /// Nothing is left behind then.
    #[pyo3(signature = (
        name, *, version = "", inputs = None, outputs = None, max_batch_size = None, slots = 4,
        batch = None, max_dims = None, byte_capacity = None, compare = true, timeout = Patience::Usual
    ), text_signature = "($self, name, *, version='', inputs=None, outputs=None, max_batch_size=None, \
slots=4, batch=None, max_dims=None, byte_capacity=None, compare=True, timeout=...)")]
    #[expect(clippy::too_many_arguments, reason = "Python's keywords")]
    fn register_model(
        slf: &Bound<'_, Self>,
        name: &str,
        version: &str,
        inputs: Option<&Bound<'_, PyAny>>,
        outputs: Option<&Bound<'_, PyAny>>,
        max_batch_size: Option<usize>,
        slots: usize,
        batch: Option<usize>,
        max_dims: Option<&Bound<'_, PyMapping>>,
        byte_capacity: Option<&Bound<'_, PyMapping>>,
        compare: bool,
        timeout: Patience,
    ) -> PyResult<TritonModel> {
        let config = match (inputs, outputs, max_batch_size) {
            (None, None, None) => ModelConfig::new(name),
            (Some(inputs), Some(outputs), Some(max_batch_size)) => {
                let mut spec = ModelSpec::new(name, max_batch_size);
                spec.inputs = specs::from_python("inputs", inputs)?;
                spec.outputs = specs::from_python("outputs", outputs)?;
                ModelConfig::explicit(spec)
            }
            _ => {
                return Err(PyValueError::new_err(
                    "give inputs, outputs and max_batch_size together, or none of them and the server \
                     is asked",
                ));
            }
        };
        let mut config = config.version(version).slots(slots).compare(compare);
        if let Some(samples) = batch {
            config = config.batch(samples);
        }
        for (tensor, dims) in max_dims.map(entries).transpose()?.into_iter().flatten() {
            config = config.max_dims(tensor, &dims.extract::<Vec<i64>>()?);
        }
        for (tensor, bytes) in byte_capacity.map(entries).transpose()?.into_iter().flatten() {
            config = config.byte_capacity(tensor, bytes.extract()?);
        }
        let (py, this) = (slf.py(), slf.get());
        let (client, deadline) = (this.client(py)?, timeout.deadline(this.usual));
        // From here on there is something to be taken away when the interpreter ends.
        py.import("shm_py._triton")?.getattr("remember")?.call1((slf,))?;
        let model = aside::run(py, move || client.register_model_within(config, deadline))?;
        let model = model.map_err(|error| errors::register_model(py, error))?;
        Ok(TritonModel::new(model, this.usual))
    }

    /// A model that is registered.
    ///
    /// Raises KeyError if there is none of that name; TritonError after close().
    #[pyo3(signature = (name), text_signature = "($self, name)")]
    fn model(&self, py: Python<'_>, name: &str) -> PyResult<TritonModel> {
        match self.client(py)?.model(name) {
            Some(model) => Ok(TritonModel::new(model, self.usual)),
            None => Err(PyKeyError::new_err(format!(
                "model '{name}' is not registered; call register_model('{name}')"
            ))),
        }
    }

    /// The names of the models that are registered.
    ///
    /// Raises TritonError after close().
    fn models(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        Ok(self.client(py)?.models())
    }

    /// True if the server lives.
    ///
    /// Raises ConnectionError if nobody listens; TimeoutError and TritonError.
    fn is_live(&self, py: Python<'_>) -> PyResult<bool> {
        self.ask(py, shm_triton::TritonClient::is_live)
    }

    /// True if the server is ready.
    ///
    /// Raises as is_live() does.
    fn is_ready(&self, py: Python<'_>) -> PyResult<bool> {
        self.ask(py, shm_triton::TritonClient::is_ready)
    }

    /// True if the model is ready; an empty version is any.
    ///
    /// Raises as is_live() does.
    #[pyo3(signature = (name, version = ""), text_signature = "($self, name, version='')")]
    fn model_ready(&self, py: Python<'_>, name: String, version: &str) -> PyResult<bool> {
        let version = version.to_owned();
        self.ask(py, move |client| client.model_ready(&name, &version))
    }

    /// Waits until the server is ready, which need not even listen yet, for at most `timeout` seconds
    /// (None for ever; the client's unless told).
    ///
    /// Raises as is_live() does, for the last try: ConnectionError or TimeoutError.
    #[pyo3(signature = (timeout = Patience::Usual), text_signature = "($self, timeout=...)")]
    fn wait_ready(&self, py: Python<'_>, timeout: Patience) -> PyResult<()> {
        let (deadline, began) = (timeout.deadline(self.usual), Instant::now());
        loop {
            let slice = deadline.remaining().map_or(TRY, |left| left.min(TRY));
            let client = self.client(py)?;
            let Err(mut error) = aside::run(py, move || client.wait_ready(slice))? else {
                return Ok(());
            };
            if deadline.has_passed() || matches!(error, CallError::Closed) {
                if let CallError::Timeout { after, .. } = &mut error {
                    *after = began.elapsed();
                }
                return Err(errors::call(py, &error));
            }
        }
    }

    /// What the server says about itself: a TritonServer.
    ///
    /// Raises as is_live() does.
    fn server_metadata<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        reports::server(py, &self.ask(py, shm_triton::TritonClient::server_metadata)?)
    }

    /// What the server says about a model: a TritonModelMetadata. An empty version is any.
    ///
    /// Raises as is_live() does.
    #[pyo3(signature = (name, version = ""), text_signature = "($self, name, version='')")]
    fn model_metadata<'py>(
        &self,
        py: Python<'py>,
        name: String,
        version: &str,
    ) -> PyResult<Bound<'py, PyAny>> {
        let version = version.to_owned();
        let found = self.ask(py, move |client| client.model_metadata(&name, &version))?;
        reports::metadata(py, &found)
    }

    /// How the server is configured to run a model: a TritonModelConfig. An empty version is any.
    ///
    /// Raises as is_live() does.
    #[pyo3(signature = (name, version = ""), text_signature = "($self, name, version='')")]
    fn model_config<'py>(
        &self,
        py: Python<'py>,
        name: String,
        version: &str,
    ) -> PyResult<Bound<'py, PyAny>> {
        let version = version.to_owned();
        let found = self.ask(py, move |client| client.model_config(&name, &version))?;
        reports::configuration(py, &found)
    }

    /// What a model has done since the server started, one TritonStatistics per version; an empty name
    /// is all models.
    ///
    /// Raises as is_live() does.
    #[pyo3(signature = (name = ""), text_signature = "($self, name='')")]
    fn statistics<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let name = name.to_owned();
        reports::statistics(py, &self.ask(py, move |client| client.statistics(&name))?)
    }

    /// The regions of system shared memory that the server has mapped, of all clients: a list of
    /// TritonRegion.
    ///
    /// Raises as is_live() does.
    fn regions<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        reports::regions(py, &self.ask(py, shm_triton::TritonClient::regions)?)
    }

    /// Removes what dead clients of this user have left, here and on the server: a TritonSwept. The
    /// first registration does so by itself, unless told not to. Only where client and server see the
    /// same /dev/shm.
    ///
    /// Raises as is_live() does.
    fn sweep<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        reports::swept(py, &self.ask(py, shm_triton::TritonClient::sweep)?)
    }

    /// What happened to this client's calls, beyond the usual: a TritonClientStats.
    ///
    /// Raises TritonError after close().
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        reports::stats(py, &self.client(py)?.stats())
    }

    /// Ends everything: no more calls begin, those that run are waited for until `timeout` (seconds,
    /// None for ever), the server lets go of the memory. Closing twice is fine. Arrays that were handed
    /// out stay valid.
    ///
    /// Raises TimeoutError if slots are still lent or requests open then: they are given back when they
    /// end. TritonError if the server cannot be told; the next client that registers a model will.
    #[pyo3(signature = (timeout = Some(2.0)), text_signature = "($self, timeout=2.0)")]
    fn close(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<()> {
        self.end(py, wait::deadline(timeout)?)
    }

    /// True after close(), and in a forked child.
    #[getter]
    fn closed(&self) -> bool {
        self.born != fork_generation() || self.client.read().is_none()
    }

    /// Where the server is.
    #[getter]
    fn url(&self) -> &str {
        &self.address
    }

    /// Seconds for calls that name none of their own; None for ever.
    #[getter]
    fn timeout(&self) -> Option<f64> {
        self.usual.map(|usual| usual.as_secs_f64())
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    #[pyo3(signature = (exc_type, exc, tb))]
    fn __exit__(
        &self,
        py: Python<'_>,
        exc_type: &Bound<'_, PyAny>,
        exc: &Bound<'_, PyAny>,
        tb: &Bound<'_, PyAny>,
    ) -> PyResult<bool> {
        let _ = (exc_type, exc, tb);
        let ended = self.end(py, Deadline::after(TRY));
        match ended {
            // Whoever wants to know whether something is still open closes.
            Err(error)
                if error.is_instance_of::<pyo3::exceptions::PyTimeoutError>(py)
                    || error.is_instance_of::<pyo3::exceptions::PyRuntimeError>(py) => {}
            other => other?,
        }
        Ok(false)
    }

    fn __repr__(&self) -> String {
        let state = if self.closed() { ", closed" } else { "" };
        format!("TritonClient('{}'{state})", self.address)
    }
}

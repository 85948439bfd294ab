//! What travels in the place of a tensor.
//!
//! Upholds invariant 2 through [`Proxy::from_bytes`], which believes nothing.

use crate::cuda::transport::errors;
use crate::dtype;
use crate::pool::errors as host;
use numpy::PyArrayDescr;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyTuple, PyType};
use shm_cuda::transport::Proxy;
use std::sync::atomic::{AtomicBool, Ordering};

/// Stands for one tensor on its way to another process: dtype, shape, and where its bytes are to be had.
/// It travels by any channel that pickles, or as bytes(proxy). Each consumer unwraps it once, with
/// shm_py.transport.Receiver or reconstruct_on_device().
#[pyclass(frozen, module = "shm_py.transport")]
pub(crate) struct TensorProxy {
    pub(super) proxy: Proxy,
    unwrapped: AtomicBool,
}

impl TensorProxy {
    pub(super) fn new(proxy: Proxy) -> TensorProxy {
        TensorProxy { proxy, unwrapped: AtomicBool::new(false) }
    }

    /// The proxy, once.
    pub(super) fn take(&self, py: Python<'_>) -> PyResult<Proxy> {
        match self.unwrapped.swap(true, Ordering::AcqRel) {
            false => Ok(self.proxy.clone()),
            true => Err(host::Kind::Stale.error(
                py,
                format!("{} was unwrapped here before; unwrap each proxy once", self.__repr__()),
            )),
        }
    }
}

#[pymethods]
impl TensorProxy {
    /// The proxy that bytes(proxy) was.
    ///
    /// Raises ValueError that names the field which makes no sense.
    #[classmethod]
    #[pyo3(signature = (data))]
    fn from_bytes(cls: &Bound<'_, PyType>, data: &Bound<'_, PyAny>) -> PyResult<TensorProxy> {
        let _ = cls;
        let bytes = data.cast::<PyBytes>().map_err(|_| {
            PyTypeError::new_err(format!("a proxy is made of bytes, not of {}", data.get_type()))
        })?;
        let proxy = Proxy::from_bytes(bytes.as_bytes());
        proxy.map(TensorProxy::new).map_err(|error| errors::proxy(&error))
    }

    /// Makes the tensor: a DeviceTensor on `device`, or a numpy array if it was in host memory. It is
    /// there when the call returns, or with `stream` in the order of that stream, one of `device`. The
    /// sender learns that it is not needed any more when the copy is done. `receiver` is a
    /// shm_py.transport.Receiver; without it one of this process's own is used.
    ///
    /// Raises as Receiver.unwrap() does.
    #[pyo3(signature = (device, *, stream = None, receiver = None))]
    fn reconstruct_on_device<'py>(
        slf: &Bound<'py, Self>,
        device: &Bound<'py, PyAny>,
        stream: Option<&Bound<'py, PyAny>>,
        receiver: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let receiver = match receiver {
            Some(receiver) => receiver.clone(),
            None => py.import("shm_py._transport")?.call_method0("own_receiver")?,
        };
        let keywords = PyDict::new(py);
        keywords.set_item("stream", stream)?;
        receiver.call_method("unwrap", (slf, device), Some(&keywords))
    }

    /// Shape of the tensor: a tuple of int.
    #[getter]
    fn shape<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.proxy.desc().shape())
    }

    /// Element type of the tensor: a numpy.dtype.
    #[getter]
    fn dtype<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArrayDescr>> {
        dtype::to_numpy(py, self.proxy.desc().dtype())
    }

    /// Bytes of the tensor.
    #[getter]
    fn nbytes(&self) -> usize {
        self.proxy.desc().byte_len()
    }

    /// True if the tensor was on a device, and comes back on one.
    #[getter]
    fn on_device(&self) -> bool {
        self.proxy.on_device()
    }

    /// Which way the tensor takes: "inline" (in the proxy), "host_pool", "cuda_ipc" (in the sender's own
    /// memory) or "cuda_ipc_pool".
    #[getter]
    fn route(&self) -> &'static str {
        self.proxy.route().name()
    }

    fn __bytes__<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.proxy.to_bytes())
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let make = py.get_type::<TensorProxy>().getattr("from_bytes")?;
        (make, (self.__bytes__(py),)).into_pyobject(py)
    }

    fn __repr__(&self) -> String {
        let desc = self.proxy.desc();
        format!(
            "TensorProxy(shape={}, dtype='{}', route='{}')",
            crate::array::shape_text(desc.shape()),
            desc.dtype().name(),
            self.proxy.route().name()
        )
    }
}

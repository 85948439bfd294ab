//! What other libraries are given of a device tensor: its memory, by DLPack and by
//! `__cuda_array_interface__`.
//!
//! Upholds invariant 6: what is exported keeps the memory, not the Python object.

use crate::cuda::copying::copy_device;
use crate::cuda::{DeviceTensor, layout};
use crate::dtype;
use dlpark::allocation::dynamic::Initialized;
use dlpark::ffi::{DLDevice, DLManagedTensor, DLManagedTensorVersioned};
use dlpark::metadata::Dynamic;
use dlpark::python::producer::ExportRequest;
use dlpark::{DlpackFlags, Managed, ManagedTensorBase};
use pyo3::exceptions::{PyAttributeError, PyBufferError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use shm_core::Dtype;

/// DLPack's number of host memory.
const HOST: (u32, i32) = (1, 0);

#[pymethods]
impl DeviceTensor {
    /// Version 3 of the interface. `stream` is None: what this package put into the tensor is there.
    ///
    /// Raises AttributeError for bfloat16, which has no type string; use DLPack.
    #[getter]
    fn __cuda_array_interface__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        if self.core_dtype() == Dtype::Bf16 {
            return Err(PyAttributeError::new_err(
                "bfloat16 has no type string in __cuda_array_interface__; use DLPack",
            ));
        }
        let layout = self.layout();
        let strides = match layout.is_contiguous() {
            true => None,
            false => Some(PyTuple::new(py, self.byte_strides())?),
        };
        let interface = PyDict::new(py);
        interface.set_item("shape", PyTuple::new(py, &layout.shape)?)?;
        interface.set_item("typestr", dtype::to_numpy(py, layout.dtype)?.getattr("str")?)?;
        interface.set_item("data", (self.address(), !self.is_writable()))?;
        interface.set_item("strides", strides)?;
        interface.set_item("stream", py.None())?;
        interface.set_item("version", 3)?;
        Ok(interface)
    }

    /// (2, N): memory of CUDA device N.
    fn __dlpack_device__(&self) -> (u32, usize) {
        (2, self.lane().device.ordinal())
    }

    /// A DLPack capsule over the tensor's memory, which it keeps. `stream` is the consumer's, as the
    /// protocol has it; the data is ready on every stream. `max_version` of (1, 0) or later gives a
    /// versioned capsule, which alone can say that the memory is read-only. dl_device=(1, 0) copies to
    /// the host; copy=True copies.
    ///
    /// Raises BufferError for what cannot be given without a copy when copy=False, or at all;
    /// ValueError for a stream that the protocol forbids.
    #[pyo3(signature = (*, stream = None, max_version = None, dl_device = None, copy = None))]
    fn __dlpack__<'py>(
        &self,
        py: Python<'py>,
        stream: Option<&Bound<'py, PyAny>>,
        max_version: Option<(u32, u32)>,
        dl_device: Option<(u32, i32)>,
        copy: Option<bool>,
    ) -> PyResult<Py<PyAny>> {
        if dl_device == Some(HOST) {
            return self.export_to_host(py, max_version, copy);
        }
        check_stream(stream)?;
        if copy == Some(true) {
            return self.duplicate(py)?.export(py, max_version, dl_device, DlpackFlags::IS_COPIED);
        }
        let flags = match self.is_writable() {
            true => DlpackFlags::empty(),
            false => DlpackFlags::READ_ONLY,
        };
        self.export(py, max_version, dl_device, flags)
    }
}

/// The protocol's streams: -1 for no waiting, 1 and 2 for the default ones, handles. Nothing has to be
/// waited for, so they are only checked.
fn check_stream(stream: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
    let Some(stream) = stream else { return Ok(()) };
    match stream.extract::<i64>() {
        Ok(handle) if handle == -1 || handle > 0 => Ok(()),
        Ok(handle) => Err(PyValueError::new_err(format!(
            "stream is {handle}; the protocol has -1, 1, 2 and handles of CUDA streams"
        ))),
        Err(_) => crate::cuda::queue::Queue::parse(Some(stream)).map(drop),
    }
}

impl DeviceTensor {
    fn export(
        &self,
        py: Python<'_>,
        max_version: Option<(u32, u32)>,
        dl_device: Option<(u32, i32)>,
        flags: DlpackFlags,
    ) -> PyResult<Py<PyAny>> {
        let request = ExportRequest::parse(None, max_version, dl_device, None)?;
        let device = DLDevice::cuda(self.lane().device.ordinal() as i32);
        // That a copy is one is no reason to refuse it.
        let checked = flags.difference(DlpackFlags::IS_COPIED);
        request.export_zero_copy(
            py,
            device,
            checked,
            || self.managed::<DLManagedTensor>(device, DlpackFlags::empty()),
            || self.managed::<DLManagedTensorVersioned>(device, flags),
        )
    }

    fn managed<M: ManagedTensorBase>(
        &self,
        device: DLDevice,
        flags: DlpackFlags,
    ) -> PyResult<Managed<M>> {
        let layout = self.layout();
        let metadata = Dynamic::new(layout.shape.as_slice(), layout.strides.as_slice());
        // The lane too: memory is freed in its device's context.
        let kept = Box::new((self.owner(), self.lane().clone()));
        let mut tensor: Initialized<M> = metadata
            .initialize_as(kept)
            .map_err(|error| PyBufferError::new_err(error.to_string()))?;
        tensor
            .set_data(self.address() as usize as *mut std::ffi::c_void)
            .set_device(device)
            .set_dtype(layout::to_dlpack(layout.dtype));
        // SAFETY: `IS_COPIED` is only passed for a tensor that was just made for the consumer, and that
        // nobody else keeps; `READ_ONLY` is never taken away.
        unsafe { tensor.set_flags_unchecked(flags) };
        // SAFETY: address, shape and strides are those of memory that `kept` keeps until the deleter
        // runs.
        Ok(unsafe { tensor.finish() })
    }

    /// A copy of its own.
    fn duplicate(&self, py: Python<'_>) -> PyResult<DeviceTensor> {
        self.layout().check_contiguous()?;
        let copy = DeviceTensor::new(py, self.lane().clone(), self.layout().clone())?;
        copy_device(py, copy.bytes(), self.bytes(), self.lane().queue.as_ref())?;
        Ok(copy)
    }

    fn export_to_host(
        &self,
        py: Python<'_>,
        max_version: Option<(u32, u32)>,
        copy: Option<bool>,
    ) -> PyResult<Py<PyAny>> {
        if copy == Some(false) {
            return Err(PyBufferError::new_err(
                "a device tensor cannot be had in host memory without a copy; leave out copy=False",
            ));
        }
        let array = self.to_host(py)?;
        let keywords = PyDict::new(py);
        // Only arrays of NumPy 2.1 and later know of versions.
        if max_version.is_some() && array.hasattr("device")? {
            keywords.set_item("max_version", max_version)?;
        }
        Ok(array.call_method("__dlpack__", (), Some(&keywords))?.unbind())
    }
}

//! Host memory that devices copy from and to without a detour.

use crate::cuda::errors;
use crate::cuda::side::OnDevice;
use crate::handle::SharedMemory;
use numpy::PyUntypedArray;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use shm_cuda::PinnedBuffer;

/// The base of an array over pinned memory.
#[pyclass(frozen, module = "shm_py._native")]
pub(crate) struct PinnedMemory {
    #[expect(dead_code, reason = "owns the memory")]
    buffer: PinnedBuffer,
}

#[pymethods]
impl SharedMemory {
    /// An array of the stream's dtype and shape in pinned host memory, the same at every call of this
    /// handle, all zeros at first: writing it to the stream, or reading a DeviceTensor into it with
    /// to_numpy(out), goes without the driver's detour through pinned memory of its own.
    ///
    /// Raises RuntimeError on a handle without a device, MemoryError if the system has no memory to pin.
    fn pinned_buffer(&self, py: Python<'_>) -> PyResult<Py<PyUntypedArray>> {
        let attachment = self.attached(py, "allocate a pinned buffer for")?;
        let Some(on_device) = &attachment.device else {
            return Err(PyRuntimeError::new_err(
                "pinned_buffer() requires a GPU-attached stream handle; this one has no device",
            ));
        };
        let array = on_device.pinned.get_or_try_init(py, || self.pin(py, on_device))?;
        Ok(array.clone_ref(py))
    }
}

impl SharedMemory {
    fn pin(&self, py: Python<'_>, on_device: &OnDevice) -> PyResult<Py<PyUntypedArray>> {
        let device = &on_device.side.lane.device;
        let buffer = py.detach(|| PinnedBuffer::new(device, self.form.byte_len));
        let buffer = buffer.map_err(errors::cuda)?;
        let start = buffer.as_mut_ptr();
        let base = Bound::new(py, PinnedMemory { buffer })?.into_any();
        // SAFETY: as many zeroed bytes, page-aligned, that `base` owns.
        Ok(unsafe { self.form.over(py, start, true, base) }?.unbind())
    }
}

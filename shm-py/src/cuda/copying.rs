//! Copies between host arrays and device tensors, and between device tensors.
//!
//! Upholds invariant 6: memory that a copy uses is kept until the copy is done, which is waited for
//! with the interpreter released.

use crate::array::{self, ArrayForm, Bytes};
use crate::cuda::foreign::Source;
use crate::cuda::layout::Layout;
use crate::cuda::pool::payload;
use crate::cuda::queue::Queue;
use crate::cuda::{DeviceTensor, errors};
use crate::dtype;
use numpy::{PyUntypedArray, PyUntypedArrayMethods};
use pyo3::prelude::*;
use shm_cuda::{CudaError, DeviceSlice, StreamRef};

/// A host array in C order, to be copied to a device.
pub(crate) struct HostFrame<'py> {
    array: Bound<'py, PyUntypedArray>,
}

impl<'py> HostFrame<'py> {
    /// What `numpy.ascontiguousarray` makes of a value, in this machine's byte order.
    pub(crate) fn of(value: &Bound<'py, PyAny>) -> PyResult<HostFrame<'py>> {
        let array = array::as_array(value, None)?;
        let descr = dtype::native(&array.dtype())?;
        let keywords = pyo3::types::PyDict::new(value.py());
        keywords.set_item("dtype", descr)?;
        keywords.set_item("order", "C")?;
        // Unlike ascontiguousarray, this leaves a scalar without dimensions.
        let array =
            value.py().import("numpy")?.call_method("asarray", (array,), Some(&keywords))?;
        Ok(HostFrame { array: array.cast_into()? })
    }

    pub(crate) fn layout(&self) -> PyResult<Layout> {
        Layout::contiguous(dtype::to_core(&self.array.dtype())?, self.array.shape())
    }

    /// Where its bytes lie, for as long as this is kept.
    pub(crate) fn bytes(&self, len: usize) -> Bytes {
        Bytes::of(&self.array, len)
    }

    /// Copies it into `target`, of the same layout, in the order of `queue`.
    pub(crate) fn upload(&self, target: &DeviceTensor, queue: StreamRef<'_>) -> PyResult<()> {
        let bytes = Bytes::of(&self.array, target.layout().byte_len());
        let copy = || {
            // SAFETY: as many bytes of an array that is alive until the copy is done, which is waited
            // for below; other threads that write it meanwhile are as for any copy of NumPy's.
            unsafe { target.bytes().upload_from(bytes.start(), queue)? };
            queue.synchronize(&target.lane().device)
        };
        self.array.py().detach(copy).map_err(errors::cuda)
    }
}

/// Copies `from` to `target`, both on devices, in the order of `queue`, and waits for it.
pub(crate) fn copy_device(
    py: Python<'_>,
    target: DeviceSlice<'_>,
    from: DeviceSlice<'_>,
    queue: StreamRef<'_>,
) -> PyResult<()> {
    let copy = || -> Result<(), CudaError> {
        target.copy_from(from, queue)?;
        queue.synchronize(target.device())
    };
    py.detach(copy).map_err(errors::cuda)
}

#[pymethods]
impl DeviceTensor {
    /// A new host array with its elements, or `out`, which must have exactly its dtype and shape, be
    /// C-contiguous and writable. `stream` is the stream whose work so far is waited for: a handle, or
    /// an object with `__cuda_stream__()`, `cuda_stream` or `ptr`; without it, queued work of other
    /// libraries is not waited for.
    ///
    /// Raises ValueError for a tensor that is not C-contiguous, or an unfit `out`; RuntimeError if the
    /// device fails.
    #[pyo3(signature = (out = None, *, stream = None))]
    fn to_numpy<'py>(
        &self,
        py: Python<'py>,
        out: Option<&Bound<'py, PyAny>>,
        stream: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyUntypedArray>> {
        let queue = self.queue(stream)?;
        self.download(py, out, queue)
    }

    /// Copies the elements of `x` into this tensor: a DeviceTensor, any object with `__dlpack__` or
    /// `__cuda_array_interface__` on a CUDA device, which must be C-contiguous, or anything that
    /// numpy.asarray understands; of exactly this dtype and shape. The data is there when the call
    /// returns. `stream` is as for to_numpy().
    ///
    /// Raises ValueError for a wrong shape, for a source that is not C-contiguous (pass what its
    /// .contiguous() gives) and for a read-only target; TypeError for a wrong dtype; RuntimeError if
    /// the device fails.
    #[pyo3(signature = (x, *, stream = None))]
    fn copy_from(
        &self,
        py: Python<'_>,
        x: &Bound<'_, PyAny>,
        stream: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let queue = self.queue(stream)?;
        self.check_target()?;
        let (dtype, shape) = (self.core_dtype(), self.layout().shape.as_slice());
        let Some(source) = Source::of(x)? else {
            let host = HostFrame::of(x)?;
            host.layout()?.check_same(dtype, shape)?;
            return host.upload(self, queue);
        };
        let lane = crate::cuda::device::Lane::of(py, source.ordinal())?;
        let foreign = source.take(py, &self.lane().device, queue)?;
        foreign.layout.check_same(dtype, shape)?;
        foreign.layout.check_contiguous()?;
        copy_device(py, self.bytes(), payload::bytes(&foreign, &lane), queue)?;
        drop(foreign.owner);
        Ok(())
    }
}

impl DeviceTensor {
    /// A new host array with its elements.
    pub(super) fn to_host<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyUntypedArray>> {
        self.download(py, None, self.lane().queue.as_ref())
    }

    /// The stream that `stream=` names, else this package's own.
    fn queue(&self, stream: Option<&Bound<'_, PyAny>>) -> PyResult<StreamRef<'_>> {
        let given = Queue::parse(stream)?;
        Ok(given.map_or_else(|| self.lane().queue.as_ref(), |queue| queue.get()))
    }

    fn download<'py>(
        &self,
        py: Python<'py>,
        out: Option<&Bound<'py, PyAny>>,
        queue: StreamRef<'_>,
    ) -> PyResult<Bound<'py, PyUntypedArray>> {
        self.layout().check_contiguous()?;
        let form = ArrayForm {
            descr: dtype::to_numpy(py, self.core_dtype())?.unbind(),
            shape: self.layout().shape.clone(),
            byte_len: self.layout().byte_len(),
        };
        let array = match out {
            Some(out) => form.check_out(out)?,
            None => form.empty(py)?,
        };
        let bytes = Bytes::of(&array, form.byte_len);
        let copy = || {
            // SAFETY: as many writable bytes of an array that is alive until the copy is done, which is
            // waited for.
            unsafe { self.bytes().download_to(bytes.start().cast_mut(), queue)? };
            queue.synchronize(&self.lane().device)
        };
        py.detach(copy).map_err(errors::cuda)?;
        Ok(array)
    }
}

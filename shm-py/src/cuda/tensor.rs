//! The class `DeviceTensor`: memory of a device with a dtype and a shape.
//!
//! Upholds invariant 6: a tensor keeps its memory, whoever owns that, and so does everything that was
//! exported of it.

use crate::array::{self, shape_text};
use crate::creation::DefaultDtype;
use crate::cuda::device::Lane;
use crate::cuda::errors;
use crate::cuda::foreign::{Foreign, Source};
use crate::cuda::layout::Layout;
use crate::dtype;
use crate::interpreter;
use numpy::PyArrayDescr;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyTuple, PyType};
use shm_core::Dtype;
use shm_cuda::{DeviceBuffer, DeviceSlice};
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A tensor in the memory of a CUDA device; what a device stream's reads return.
///
/// It hands its memory, without a copy, to every library that knows DLPack or
/// `__cuda_array_interface__`: torch.from_dlpack(tensor), cupy.from_dlpack(tensor),
/// jax.dlpack.from_dlpack(tensor), numba.cuda.as_cuda_array(tensor). Its memory lives as long as it, or
/// anything that was made from it. What this package puts into it is there when the call returns; what
/// other libraries queue on streams of their own is theirs to wait for, or to name with `stream=`.
#[pyclass(frozen, weakref, module = "shm_py")]
pub(crate) struct DeviceTensor {
    lane: Arc<Lane>,
    layout: Layout,
    address: u64,
    writable: AtomicBool,
    owner: Arc<dyn Any + Send + Sync>,
}

impl DeviceTensor {
    /// New memory with whatever was there before.
    pub(crate) fn new(py: Python<'_>, lane: Arc<Lane>, layout: Layout) -> PyResult<DeviceTensor> {
        let len = layout.byte_len();
        let buffer = py.detach(|| DeviceBuffer::new(&lane.device, len)).map_err(errors::cuda)?;
        let address = buffer.address();
        Ok(DeviceTensor::over(lane, layout, address, true, Arc::new(buffer)))
    }

    /// Memory of another library's, as soon as its data is ready.
    fn borrowed(value: &Bound<'_, PyAny>, source: Source<'_>) -> PyResult<DeviceTensor> {
        let py = value.py();
        let lane = Lane::of(py, source.ordinal())?;
        let foreign = source.take(py, &lane.device, lane.queue.as_ref())?;
        py.detach(|| lane.queue.synchronize()).map_err(errors::cuda)?;
        let Foreign { address, layout, writable, owner } = foreign;
        Ok(DeviceTensor { lane, layout, address, writable: writable.into(), owner })
    }

    /// Memory that `owner` keeps, as long as `layout` says.
    pub(crate) fn over(
        lane: Arc<Lane>,
        layout: Layout,
        address: u64,
        writable: bool,
        owner: Arc<dyn Any + Send + Sync>,
    ) -> DeviceTensor {
        DeviceTensor { lane, layout, address, writable: writable.into(), owner }
    }

    /// From now on nothing is written through it, nor through what is exported of it.
    pub(crate) fn make_read_only(&self) {
        self.writable.store(false, Ordering::Relaxed);
    }

    pub(crate) fn lane(&self) -> &Arc<Lane> {
        &self.lane
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    pub(crate) fn address(&self) -> u64 {
        self.address
    }

    pub(crate) fn is_writable(&self) -> bool {
        self.writable.load(Ordering::Relaxed)
    }

    /// What keeps the memory.
    pub(crate) fn owner(&self) -> Arc<dyn Any + Send + Sync> {
        self.owner.clone()
    }

    /// The memory for a copy that this package makes.
    pub(crate) fn lend(&self) -> Foreign {
        Foreign {
            address: self.address,
            layout: self.layout.clone(),
            writable: self.is_writable(),
            owner: self.owner(),
        }
    }

    /// Its bytes, in the order in which they lie.
    ///
    /// The layout has to be contiguous.
    pub(crate) fn bytes(&self) -> DeviceSlice<'_> {
        // SAFETY: as long as the layout says, by the allocation or by the driver's word, and kept by
        // the owner for as long as this tensor.
        unsafe { DeviceSlice::from_raw(&self.lane.device, self.address, self.layout.byte_len()) }
    }

    /// Refuses a tensor that must not be written, or is not of one piece.
    pub(crate) fn check_target(&self) -> PyResult<()> {
        if !self.is_writable() {
            return Err(PyValueError::new_err(
                "the device tensor is read-only; copy into one that DeviceTensor.empty() makes",
            ));
        }
        self.layout.check_contiguous()
    }
}

impl Drop for DeviceTensor {
    fn drop(&mut self) {
        // Freeing waits for queued work of the device, whoever queued it.
        if Arc::strong_count(&self.owner) == 1 {
            interpreter::drop_released(core::mem::replace(&mut self.owner, Arc::new(())));
        }
    }
}

#[pymethods]
impl DeviceTensor {
    /// A new tensor whose elements are whatever was there before. `shape` is as for create(), `dtype`
    /// too; `device` is "cuda:N" or N.
    ///
    /// Raises MemoryError if the device has no room, ValueError or TypeError for a bad argument,
    /// RuntimeError where there is no CUDA.
    #[classmethod]
    #[pyo3(
        signature = (shape, dtype = DefaultDtype::FLOAT32, device = DeviceArgument::FIRST),
        text_signature = "(shape, dtype='float32', device='cuda:0')"
    )]
    fn empty(
        _cls: &Bound<'_, PyType>,
        py: Python<'_>,
        shape: &Bound<'_, PyAny>,
        dtype: DefaultDtype<'_>,
        device: DeviceArgument<'_>,
    ) -> PyResult<DeviceTensor> {
        let shape = array::shape_argument(shape)?;
        let layout = Layout::contiguous(dtype::to_core(&dtype.descr(py)?)?, &shape)?;
        DeviceTensor::new(py, device.lane(py)?, layout)
    }

    /// A new tensor with the elements of `array`, anything that numpy.asarray understands.
    ///
    /// Raises as empty() does.
    #[classmethod]
    #[pyo3(
        signature = (array, device = DeviceArgument::FIRST),
        text_signature = "(array, device='cuda:0')"
    )]
    fn from_numpy(
        _cls: &Bound<'_, PyType>,
        array: &Bound<'_, PyAny>,
        device: DeviceArgument<'_>,
    ) -> PyResult<DeviceTensor> {
        let py = array.py();
        let host = crate::cuda::copying::HostFrame::of(array)?;
        let tensor = DeviceTensor::new(py, device.lane(py)?, host.layout()?)?;
        host.upload(&tensor, tensor.lane.queue.as_ref())?;
        Ok(tensor)
    }

    /// A tensor over the memory of `x`, an object with `__dlpack__` of another library, without a copy;
    /// it keeps that memory. Waits until the data is ready.
    ///
    /// Raises TypeError for an object without the protocol or of a dtype that streams do not have,
    /// ValueError for memory that is on no CUDA device, BufferError as the producer does.
    #[classmethod]
    #[pyo3(signature = (x))]
    fn from_dlpack(_cls: &Bound<'_, PyType>, x: &Bound<'_, PyAny>) -> PyResult<DeviceTensor> {
        match Source::of(x)? {
            Some(source @ (Source::Dlpack { .. } | Source::Tensor(_))) => {
                DeviceTensor::borrowed(x, source)
            }
            _ if x.hasattr("__dlpack_device__")? => Err(PyValueError::new_err(
                "x is in host memory; copy it to a device with DeviceTensor.from_numpy(x)",
            )),
            _ => Err(PyTypeError::new_err(format!(
                "x is {}, which has no __dlpack__ and __dlpack_device__",
                x.get_type()
            ))),
        }
    }

    /// As from_dlpack(), for an object with `__cuda_array_interface__`.
    ///
    /// Raises as from_dlpack() does.
    #[classmethod]
    #[pyo3(signature = (x))]
    fn from_interface(_cls: &Bound<'_, PyType>, x: &Bound<'_, PyAny>) -> PyResult<DeviceTensor> {
        if !x.hasattr("__cuda_array_interface__")? {
            return Err(PyTypeError::new_err(format!(
                "x is {}, which has no __cuda_array_interface__",
                x.get_type()
            )));
        }
        DeviceTensor::borrowed(x, Source::of_interface(x)?)
    }

    /// Shape: a tuple of int.
    #[getter]
    fn shape<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, &self.layout.shape)
    }

    /// Element type: a numpy.dtype.
    #[getter]
    fn dtype<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArrayDescr>> {
        dtype::to_numpy(py, self.layout.dtype)
    }

    /// Distances of neighbours in each dimension, in bytes as in NumPy: a tuple of int.
    #[getter]
    fn strides<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.byte_strides())
    }

    /// Number of dimensions.
    #[getter]
    fn ndim(&self) -> usize {
        self.layout.shape.len()
    }

    /// Number of elements.
    #[getter]
    fn size(&self) -> usize {
        self.layout.shape.iter().product()
    }

    /// Size of its elements in bytes.
    #[getter]
    fn nbytes(&self) -> usize {
        self.layout.byte_len()
    }

    /// The device that it is on, "cuda:N", as this process counts them.
    #[getter]
    fn device(&self) -> String {
        self.lane.name()
    }

    /// Address of the first element on the device: an int.
    #[getter]
    fn ptr(&self) -> u64 {
        self.address
    }

    /// True if it must not be written: a frame of a stream, or what a library lends read-only.
    #[getter]
    fn readonly(&self) -> bool {
        !self.is_writable()
    }

    /// True under the simulated driver, which has no GPU behind it.
    #[getter]
    fn simulated(&self) -> bool {
        self.lane.device.is_simulated()
    }

    fn __repr__(&self) -> String {
        let sim = if self.lane.device.is_simulated() { " (sim)" } else { "" };
        format!(
            "DeviceTensor(shape={}, dtype='{}', device='{}'{sim})",
            shape_text(&self.layout.shape),
            self.layout.dtype.name(),
            self.lane.name(),
        )
    }
}

impl DeviceTensor {
    pub(crate) fn byte_strides(&self) -> Vec<i64> {
        let size = self.layout.dtype.size() as i64;
        self.layout.strides.iter().map(|stride| stride * size).collect()
    }

    pub(crate) fn core_dtype(&self) -> Dtype {
        self.layout.dtype
    }
}

/// `device=`, the first one if it is left out.
pub(crate) enum DeviceArgument<'py> {
    First,
    Given(Bound<'py, PyAny>),
}

impl DeviceArgument<'_> {
    const FIRST: DeviceArgument<'static> = DeviceArgument::First;

    fn lane(&self, py: Python<'_>) -> PyResult<Arc<Lane>> {
        match self {
            DeviceArgument::First => Lane::of(py, 0),
            DeviceArgument::Given(given) => Lane::named(given),
        }
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for DeviceArgument<'py> {
    type Error = PyErr;

    fn extract(given: Borrowed<'a, 'py, PyAny>) -> PyResult<DeviceArgument<'py>> {
        Ok(DeviceArgument::Given(given.to_owned()))
    }
}

//! Device memory of other libraries, by DLPack and by `__cuda_array_interface__`.
//!
//! Upholds invariants 2 (what a library says of its memory is checked, and the driver is asked whose it
//! is) and 6 (the memory is kept by what it came with), and that data is never used before it is ready:
//! a producer is told on which stream, or says on which stream itself.

use crate::cuda::device::Lane;
use crate::cuda::layout::{self, Layout};
use crate::cuda::queue::Queue;
use crate::cuda::{DeviceTensor, errors};
use crate::dtype;
use dlpark::DlpackFlags;
use dlpark::ffi::{DLDeviceType, DLPACK_MAJOR_VERSION, DLPACK_MINOR_VERSION};
use dlpark::python::consumer::from_dlpack;
use numpy::PyArrayDescr;
use pyo3::exceptions::{PyBufferError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use shm_core::Dtype;
use shm_cuda::{Device, Event, PointerInfo, StreamRef};
use std::any::Any;
use std::sync::Arc;

/// Memory on a device, and what keeps it.
pub(crate) struct Foreign {
    pub(crate) address: u64,
    pub(crate) layout: Layout,
    pub(crate) writable: bool,
    pub(crate) owner: Arc<dyn Any + Send + Sync>,
}

/// An object that offers memory of a device, before it was taken.
pub(crate) enum Source<'py> {
    Tensor(Bound<'py, DeviceTensor>),
    Dlpack { value: Bound<'py, PyAny>, ordinal: usize },
    Interface { offer: Box<Interface>, value: Bound<'py, PyAny> },
}

/// What a `__cuda_array_interface__` says.
pub(crate) struct Interface {
    address: u64,
    layout: Layout,
    ordinal: usize,
    writable: bool,
    ready: Ready,
}

/// When the data of an interface is there.
#[derive(Clone, Copy, Debug)]
enum Ready {
    Now,
    /// After what this stream holds.
    After(Queue),
    /// Interfaces before version 3 do not say.
    Unknown,
}

impl<'py> Source<'py> {
    /// What `value` offers; `None` if that is no memory of a device.
    pub(crate) fn of(value: &Bound<'py, PyAny>) -> PyResult<Option<Source<'py>>> {
        if let Ok(tensor) = value.cast::<DeviceTensor>() {
            return Ok(Some(Source::Tensor(tensor.clone())));
        }
        if value.hasattr("__dlpack_device__")? && value.hasattr("__dlpack__")? {
            let (kind, ordinal): (u32, i32) = value.call_method0("__dlpack_device__")?.extract()?;
            return match DLDeviceType(kind) {
                DLDeviceType::CUDA | DLDeviceType::CUDAMANAGED => {
                    let ordinal = usize::try_from(ordinal).map_err(|_| {
                        PyValueError::new_err(format!("__dlpack_device__ names device {ordinal}"))
                    })?;
                    Ok(Some(Source::Dlpack { value: value.clone(), ordinal }))
                }
                DLDeviceType::CPU | DLDeviceType::CUDAHOST => Ok(None),
                _ => Err(PyValueError::new_err(format!(
                    "the tensor is on a device of DLPack's type {kind}; only host and CUDA memory are \
                     supported, copy it there first"
                ))),
            };
        }
        match value.hasattr("__cuda_array_interface__")? {
            true => Source::of_interface(value).map(Some),
            false => Ok(None),
        }
    }

    pub(crate) fn of_interface(value: &Bound<'py, PyAny>) -> PyResult<Source<'py>> {
        let interface = value.getattr("__cuda_array_interface__")?;
        let offer = Interface::parse(
            interface
                .cast::<PyDict>()
                .map_err(|_| PyTypeError::new_err("__cuda_array_interface__ is no dict"))?,
        )?;
        Ok(Source::Interface { offer: Box::new(offer), value: value.clone() })
    }

    /// Number of the device that the memory is on.
    pub(crate) fn ordinal(&self) -> usize {
        match self {
            Source::Tensor(tensor) => tensor.get().lane().device.ordinal(),
            Source::Dlpack { ordinal, .. } => *ordinal,
            Source::Interface { offer, .. } => offer.ordinal,
        }
    }

    /// Takes hold of the memory. What is queued on `queue`, of `device`, from now on finds the data
    /// ready.
    pub(crate) fn take(
        self,
        py: Python<'_>,
        device: &Device,
        queue: StreamRef<'_>,
    ) -> PyResult<Foreign> {
        if self.ordinal() == device.ordinal() {
            return self.take_on(device, queue);
        }
        // A producer can only be told of a stream of its own device.
        let lane = Lane::of(py, self.ordinal())?;
        let foreign = self.take_on(&lane.device, lane.queue.as_ref())?;
        let arrived = Event::new(&lane.device).map_err(errors::cuda)?;
        arrived.record(lane.queue.as_ref()).map_err(errors::cuda)?;
        queue.wait_for(&arrived).map_err(errors::cuda)?;
        Ok(foreign)
    }

    fn take_on(self, device: &Device, queue: StreamRef<'_>) -> PyResult<Foreign> {
        match self {
            Source::Tensor(tensor) => Ok(tensor.get().lend()),
            Source::Dlpack { value, .. } => take_dlpack(&value, device, queue),
            Source::Interface { offer, value } => offer.take(value, device, queue),
        }
    }
}

/// Calls the producer, which makes `queue` wait for the data.
fn take_dlpack(
    value: &Bound<'_, PyAny>,
    device: &Device,
    queue: StreamRef<'_>,
) -> PyResult<Foreign> {
    let py = value.py();
    let keywords = PyDict::new(py);
    // In this protocol the legacy default stream is 1, because 0 is taken for a mistake.
    keywords.set_item("stream", queue.as_raw().max(1))?;
    keywords.set_item("max_version", (DLPACK_MAJOR_VERSION, DLPACK_MINOR_VERSION))?;
    let capsule = match value.call_method("__dlpack__", (), Some(&keywords)) {
        // A producer from before version 1.
        Err(error) if error.is_instance_of::<PyTypeError>(py) => {
            keywords.del_item("max_version")?;
            value.call_method("__dlpack__", (), Some(&keywords))?
        }
        outcome => outcome?,
    };
    let imported = from_dlpack(capsule.as_borrowed(), None, None)?;
    let bad = |error: dlpark::tensor::Error| PyBufferError::new_err(error.to_string());
    let (address, layout) = {
        let tensor = imported.validate().map_err(bad)?;
        let dtype = layout::from_dlpack(tensor.dtype())?;
        let layout = Layout::foreign(dtype, tensor.shape(), tensor.strides())?;
        let address = (tensor.data_ptr().addr() as u64).checked_add(tensor.byte_offset());
        (address.ok_or_else(|| PyValueError::new_err("the tensor has no address"))?, layout)
    };
    let writable = !imported.flags().contains(DlpackFlags::READ_ONLY);
    let ordinal = check_memory(address, &layout)?;
    if ordinal != device.ordinal() {
        return Err(PyValueError::new_err(format!(
            "the tensor says that it is on cuda:{}, and its memory is on cuda:{ordinal}",
            device.ordinal()
        )));
    }
    Ok(Foreign { address, layout, writable, owner: Arc::new(imported) })
}

impl Interface {
    /// Reads the dict that the protocol describes.
    fn parse(offer: &Bound<'_, PyDict>) -> PyResult<Interface> {
        let py = offer.py();
        let field = |name: &str| offer.get_item(name).map(|found| found.filter(|it| !it.is_none()));
        let required = |name: &str| {
            field(name)?.ok_or_else(|| {
                PyValueError::new_err(format!("__cuda_array_interface__ has no {name}"))
            })
        };
        if field("mask")?.is_some() {
            return Err(PyValueError::new_err(
                "masked arrays are not supported: fill the masked elements first",
            ));
        }
        let typestr = required("typestr")?;
        let descr = PyArrayDescr::new(py, typestr.cast::<PyString>()?)?;
        let dtype = dtype::to_core(&descr)?;
        let shape: Vec<i64> = required("shape")?.extract()?;
        let strides =
            field("strides")?.map(|strides| element_strides(&strides, dtype)).transpose()?;
        let layout = Layout::foreign(dtype, &shape, strides.as_deref())?;
        let (address, readonly): (u64, bool) = required("data")?.extract()?;
        let version: u32 = required("version")?.extract()?;
        let ready = match field("stream")? {
            Some(stream) => match stream.extract::<usize>()? {
                0 => {
                    return Err(PyValueError::new_err(
                        "__cuda_array_interface__ names stream 0, which the protocol forbids: the \
                         default streams are 1 and 2",
                    ));
                }
                handle => Ready::After(Queue::from_handle(handle)),
            },
            None if version >= 3 => Ready::Now,
            None => Ready::Unknown,
        };
        let ordinal = check_memory(address, &layout)?;
        Ok(Interface { address, layout, ordinal, writable: !readonly, ready })
    }

    fn take(
        self,
        value: Bound<'_, PyAny>,
        device: &Device,
        queue: StreamRef<'_>,
    ) -> PyResult<Foreign> {
        let py = value.py();
        match self.ready {
            Ready::Now => {}
            Ready::After(producer) if producer.get() == queue => {}
            Ready::After(producer) => {
                let arrived = Event::new(device).map_err(errors::cuda)?;
                arrived.record(producer.get()).map_err(errors::cuda)?;
                queue.wait_for(&arrived).map_err(errors::cuda)?;
            }
            Ready::Unknown => py.detach(|| device.synchronize()).map_err(errors::cuda)?,
        }
        let Interface { address, layout, writable, .. } = self;
        Ok(Foreign { address, layout, writable, owner: Arc::new(value.unbind()) })
    }
}

/// Strides of bytes as strides of elements.
fn element_strides(strides: &Bound<'_, PyAny>, dtype: Dtype) -> PyResult<Vec<i64>> {
    let size = dtype.size() as i64;
    let bytes: Vec<i64> = strides.extract()?;
    bytes
        .into_iter()
        .map(|stride| match stride % size {
            0 => Ok(stride / size),
            _ => Err(PyValueError::new_err(format!(
                "a stride of {stride} bytes is no multiple of the element's {size} bytes"
            ))),
        })
        .collect()
}

/// Asks the driver whether all of a tensor is memory of one device, and of which.
fn check_memory(address: u64, layout: &Layout) -> PyResult<usize> {
    shm_cuda::Driver::load().map_err(|error| errors::driver(&error))?;
    let (first, end) = layout.extent()?;
    let not_there = || {
        PyValueError::new_err(format!(
            "no device of this process has {} bytes of memory at {address:#x}; the tensor may be of \
             another process, freed, or in host memory",
            end - first
        ))
    };
    let ordinal_at = |offset: i64| {
        let byte = address.checked_add_signed(offset).ok_or_else(not_there)?;
        let info = PointerInfo::of(byte).map_err(|_| not_there())?;
        if info.on_device || info.managed { Ok(info.ordinal) } else { Err(not_there()) }
    };
    let (ordinal, last) = (ordinal_at(first)?, ordinal_at(end - 1)?);
    if ordinal == last { Ok(ordinal) } else { Err(not_there()) }
}

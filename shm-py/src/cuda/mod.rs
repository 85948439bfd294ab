//! Device memory for Python: tensors, and the frames of device streams.
//!
//! Nothing of CUDA is loaded before a call asks for it. Everything crosses by protocol: DLPack and
//! `__cuda_array_interface__` in both directions, so that no library of tensors is imported.
//!
//! ```text
//!   devices, gpu_available ── device    who is there; a lane: a device, and a queue of our own on it
//!   DeviceTensor           ── tensor    memory of a device with a shape
//!                             copying   to and from host arrays, and between devices
//!                             export    what other libraries are given
//!                             foreign   what other libraries give
//!                             queue     their streams of work
//!   DevicePool, ...        ── pool      device memory that is lent between processes
//!   shm_py.transport       ── transport nested data with tensors in it
//!   SharedMemory           ── side      a device stream, one for all handles of the process
//!                             kept      its frames, once the handle that created it is closed
//!                             reading, writing, loan, held: what its methods do on a device
//! ```

mod copying;
mod device;
mod errors;
mod export;
mod facts;
mod foreign;
mod held;
mod kept;
mod layout;
mod loan;
mod opening;
mod pinned;
mod pool;
mod queue;
mod reading;
mod side;
mod tensor;
mod transport;
mod writing;

pub(crate) use device::{Lane, Wanted};
pub(crate) use errors::{creator_gone, cuda as refused, read as read_error};
pub(crate) use facts::Facts;
pub(crate) use foreign::{Foreign, Source};
pub(crate) use held::DeviceHeld;
pub(crate) use kept::Kept;
pub(crate) use layout::{Layout, from_dlpack as dtype_of_dlpack};
pub(crate) use loan::DeviceLoan;
pub(crate) use opening::{DeviceWish, create, side_of};
pub(crate) use queue::Queue;
pub(crate) use side::{OnDevice, Side};
pub(crate) use tensor::DeviceTensor;
pub(crate) use writing::{Payload, Until};

use pyo3::prelude::*;

/// Adds everything of devices to the extension module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<DeviceTensor>()?;
    pool::register(module)?;
    transport::register(module)?;
    module.add_function(wrap_pyfunction!(device::gpu_available, module)?)?;
    module.add_function(wrap_pyfunction!(device::devices, module)?)
}

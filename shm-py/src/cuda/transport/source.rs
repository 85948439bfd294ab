//! Where the tensors of a call lie.
//!
//! Upholds invariant 6: what is borrowed is kept until the call is over, and longer where others use it.

use crate::array::Bytes;
use crate::cuda::copying::HostFrame;
use crate::cuda::device::Lane;
use crate::cuda::foreign::{Foreign, Source};
use crate::cuda::layout::Layout;
use crate::cuda::pool::payload;
use crate::cuda::queue::Queue;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use shm_core::TensorDesc;
use shm_cuda::transport::SourceTensor;
use std::sync::Arc;

/// One tensor, ready to be read without the interpreter.
pub(super) struct Part {
    desc: TensorDesc,
    memory: Memory,
}

enum Memory {
    Host(Bytes),
    Device { foreign: Foreign, lane: Arc<Lane> },
}

/// A tensor as it was given.
pub(super) enum Given<'py> {
    Host(HostFrame<'py>),
    Device(Source<'py>),
}

impl<'py> Given<'py> {
    pub(super) fn of(value: &Bound<'py, PyAny>) -> PyResult<Given<'py>> {
        Ok(match Source::of(value)? {
            Some(source) => Given::Device(source),
            None => Given::Host(HostFrame::of(value)?),
        })
    }

    /// Number of the device that it is on.
    pub(super) fn ordinal(&self) -> Option<usize> {
        match self {
            Given::Device(source) => Some(source.ordinal()),
            Given::Host(_) => None,
        }
    }
}

impl Part {
    /// An array of the host, which the caller keeps.
    pub(super) fn host(frame: &HostFrame<'_>) -> PyResult<Part> {
        let layout = frame.layout()?;
        let desc = desc_of(&layout)?;
        let memory = Memory::Host(frame.bytes(desc.byte_len()));
        Ok(Part { desc, memory })
    }

    /// Memory of a device: what is queued on `queue`, of the device of `lane`, finds it ready.
    pub(super) fn device(
        py: Python<'_>,
        source: Source<'_>,
        lane: &Lane,
        queue: Queue,
    ) -> PyResult<Part> {
        let own = Lane::of(py, source.ordinal())?;
        let foreign = source.take(py, &lane.device, queue.get())?;
        foreign.layout.check_contiguous()?;
        let desc = desc_of(&foreign.layout)?;
        Ok(Part { desc, memory: Memory::Device { foreign, lane: own } })
    }

    /// The tensor, for as long as this and the arrays of the call are kept.
    pub(super) fn tensor(&self) -> Result<SourceTensor<'_>, PyErr> {
        let refused =
            |error: shm_cuda::transport::SourceError| PyValueError::new_err(error.to_string());
        let (desc, len) = (self.desc.clone(), self.desc.byte_len());
        match &self.memory {
            Memory::Host(bytes) => {
                // SAFETY: as many bytes of an array in C order that the caller keeps until the call is
                // over, and that nobody writes meanwhile, as the documentation of wrap() demands.
                let bytes = unsafe { core::slice::from_raw_parts(bytes.start(), len) };
                SourceTensor::host(desc, bytes).map_err(refused)
            }
            Memory::Device { foreign, lane } => {
                let memory = payload::bytes(foreign, lane);
                let tensor = SourceTensor::device(desc, memory).map_err(refused)?;
                Ok(tensor.owned_by(foreign.owner.clone()))
            }
        }
    }

    /// What keeps memory of a device.
    pub(super) fn into_foreign(self) -> Option<Foreign> {
        match self.memory {
            Memory::Device { foreign, .. } => Some(foreign),
            Memory::Host(_) => None,
        }
    }
}

fn desc_of(layout: &Layout) -> PyResult<TensorDesc> {
    let desc = TensorDesc::new(layout.dtype, &layout.shape);
    desc.map_err(|error| PyValueError::new_err(error.to_string()))
}

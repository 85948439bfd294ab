//! What is put into slots.

use crate::cuda::copying::HostFrame;
use crate::cuda::device::Lane;
use crate::cuda::foreign::{Foreign, Source};
use crate::cuda::layout::Layout;
use crate::cuda::queue::Queue;
use pyo3::prelude::*;
use shm_cuda::DeviceSlice;
use std::sync::Arc;

/// A tensor to be copied into a slot.
pub(crate) enum Payload<'py> {
    Device { foreign: Foreign, lane: Arc<Lane> },
    Host(HostFrame<'py>),
}

impl<'py> Payload<'py> {
    /// Takes hold of a value; what is queued on `queue`, of the device of `lane`, finds it ready.
    pub(crate) fn of(
        value: &Bound<'py, PyAny>,
        lane: &Lane,
        queue: Queue,
    ) -> PyResult<Payload<'py>> {
        let py = value.py();
        let Some(source) = Source::of(value)? else {
            return HostFrame::of(value).map(Payload::Host);
        };
        let own = Lane::of(py, source.ordinal())?;
        let foreign = source.take(py, &lane.device, queue.get())?;
        foreign.layout.check_contiguous()?;
        Ok(Payload::Device { foreign, lane: own })
    }

    pub(crate) fn layout(&self) -> PyResult<Layout> {
        match self {
            Payload::Host(frame) => frame.layout(),
            Payload::Device { foreign, .. } => {
                Layout::contiguous(foreign.layout.dtype, &foreign.layout.shape)
            }
        }
    }
}

/// The bytes of memory that is of one piece.
pub(crate) fn bytes<'a>(foreign: &'a Foreign, lane: &'a Lane) -> DeviceSlice<'a> {
    // SAFETY: the producer says so and the driver agreed; the borrowed `foreign` keeps the memory.
    unsafe { DeviceSlice::from_raw(&lane.device, foreign.address, foreign.layout.byte_len()) }
}

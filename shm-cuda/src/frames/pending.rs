//! A read of a device stream that is under way.
//!
//! Upholds invariants 2 and 6: it owns the handle that it reads from, and is believed only afterwards.

use super::Inner;
use super::error::DeviceReadError;
use super::reader::check_creator;
use crate::event::Event;
use shm_core::{FrameInfo, Glance};
use std::sync::Arc;

/// A copy that was queued by [`DeviceReader::start`](super::DeviceReader::start). Until
/// [`finish`](PendingRead::finish) said so, the target holds nothing that can be believed; work that is
/// queued after it may use the target on condition that it does.
///
/// Dropping it leaves the copy to its end.
#[derive(Debug)]
#[must_use = "what was read is not to be believed before `finish`"]
pub struct PendingRead {
    event: Event,
    glance: Glance,
    info: FrameInfo,
    inner: Arc<Inner>,
}

impl PendingRead {
    pub(super) fn new(
        inner: Arc<Inner>,
        glance: Glance,
        info: FrameInfo,
        event: Event,
    ) -> PendingRead {
        PendingRead { event, glance, info, inner }
    }

    /// Numbers and times of the frame.
    pub fn info(&self) -> &FrameInfo {
        &self.info
    }

    /// Tells whether the copy has ended.
    ///
    /// # Errors
    /// [`DeviceReadError::Cuda`] if the device failed.
    pub fn is_done(&self) -> Result<bool, DeviceReadError> {
        self.event.is_reached().map_err(|source| self.failed(source))
    }

    /// Waits until the copy has ended, and tells whether it is one frame.
    ///
    /// # Errors
    /// [`ReadError::Overwritten`](shm_core::ReadError) as [`DeviceReadError::Read`] if the frame was
    /// overwritten meanwhile; [`DeviceReadError::CreatorGone`] if the frames went with their process;
    /// [`DeviceReadError::Cuda`] if the device failed.
    pub fn finish(self) -> Result<FrameInfo, DeviceReadError> {
        self.event.synchronize().map_err(|source| self.failed(source))?;
        check_creator(&self.inner)?;
        self.glance.validate()?;
        Ok(self.info)
    }

    fn failed(&self, source: crate::CudaError) -> DeviceReadError {
        DeviceReadError::Cuda { name: self.inner.name(), source }
    }
}

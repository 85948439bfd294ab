//! A frame of a device stream, looked at in its cell.
//!
//! Upholds invariants 2 and 6: it owns the handle, and says afterwards whether the frame was still there.

use super::Inner;
use super::error::DeviceReadError;
use super::reader::check_creator;
use crate::buffer::DeviceSlice;
use crate::cuda_stream::StreamRef;
use crate::event::Event;
use shm_core::{FrameInfo, Glance};
use std::sync::Arc;

/// A frame in place, taken by [`DeviceReader::view`](super::DeviceReader::view).
///
/// What is read through a view may be overwritten meanwhile: K - 1 frames later its cell is used again.
/// So queue the work that reads it, then [`validate_after`](DeviceView::validate_after), and only then
/// believe the result.
#[derive(Clone, Debug)]
pub struct DeviceView {
    glance: Glance,
    info: FrameInfo,
    inner: Arc<Inner>,
}

impl DeviceView {
    pub(super) fn new(inner: Arc<Inner>, glance: Glance, info: FrameInfo) -> DeviceView {
        DeviceView { glance, info, inner }
    }

    /// The payload. Write to it never.
    pub fn slice(&self) -> DeviceSlice<'_> {
        self.inner.cell(self.glance.cell())
    }

    /// Numbers and times of the frame.
    pub fn info(&self) -> &FrameInfo {
        &self.info
    }

    /// Waits for what is queued on `stream` by now, and fails if the frame was overwritten before its
    /// end: whatever that work read may then be of several frames.
    ///
    /// # Errors
    /// As for [`DeviceView::validate`], and [`DeviceReadError::Cuda`] if the device failed.
    pub fn validate_after(&self, stream: StreamRef<'_>) -> Result<(), DeviceReadError> {
        let ended = Event::new(&self.inner.device).and_then(|event| {
            event.record(stream)?;
            event.synchronize()
        });
        ended.map_err(|source| DeviceReadError::Cuda { name: self.inner.name(), source })?;
        self.validate()
    }

    /// Fails if the frame was overwritten since the view was taken. Work that has not ended yet may
    /// still read other bytes.
    ///
    /// # Errors
    /// [`ReadError::Overwritten`](shm_core::ReadError) as [`DeviceReadError::Read`];
    /// [`DeviceReadError::CreatorGone`] if the frames went with their process.
    pub fn validate(&self) -> Result<(), DeviceReadError> {
        check_creator(&self.inner)?;
        Ok(self.glance.validate()?)
    }
}

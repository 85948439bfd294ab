//! What a handle says about where its frames are, with a device or without.

use crate::cuda::device;
use pyo3::prelude::*;
use shm_core::Stream;
use shm_cuda::{Device, Placement};
use std::sync::OnceLock;

/// Where the frames of a stream are.
#[derive(Debug)]
pub(crate) struct Facts {
    placement: Option<Placement>,
    pub(crate) mirrored: bool,
    /// Asked for once: it may mean to start the driver.
    name: OnceLock<String>,
}

impl Facts {
    pub(crate) fn of(stream: &Stream) -> PyResult<Facts> {
        let placement = crate::cuda::side::placement(stream)?;
        let mirrored = stream.has_host_payload();
        Ok(Facts { placement, mirrored, name: OnceLock::new() })
    }

    /// As [`Facts::of`], for a handle with a device.
    pub(crate) fn with_device(stream: &Stream, device: &Device) -> PyResult<Facts> {
        let facts = Facts::of(stream)?;
        let _ = facts.name.set(device::name(device));
        Ok(facts)
    }

    /// True if the frames are on a device.
    pub(crate) fn is_on_device(&self) -> bool {
        self.placement.is_some()
    }

    /// "cuda:N" as this process counts; the device's identity if this process does not see it.
    pub(crate) fn device_name(&self, py: Python<'_>) -> Option<String> {
        let placement = self.placement.as_ref()?;
        Some(match self.name.get() {
            Some(name) => name.clone(),
            None => match device::name_of(py, placement.device()) {
                Some(name) => self.name.get_or_init(|| name).clone(),
                None => placement.device().to_string(),
            },
        })
    }
}

//! `create` and `open`, with a device.
//!
//! Upholds invariants 9 through [`shm_cuda::DeviceStream`], and that devices are told apart by identity:
//! two processes may number them differently.

use crate::cuda::device::{Lane, Wanted};
use crate::cuda::errors;
use crate::cuda::side::{Side, placement};
use crate::errors::quoted;
use crate::lock::StreamLock;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use shm_core::Stream;
use shm_cuda::{DeviceStream, DeviceStreamConfig};
use std::sync::Arc;

/// How a handle comes to its device.
pub(crate) enum DeviceWish {
    /// The stream was created there just now.
    Created(Arc<Side>),
    /// The stream is on this one.
    Open(Arc<Lane>),
}

/// Creates a device stream.
pub(crate) fn create(
    py: Python<'_>,
    name: &str,
    config: &DeviceStreamConfig,
    wanted: Wanted,
) -> PyResult<(Stream, DeviceWish)> {
    let lane = lane_of(py, wanted)?;
    let stream = py.detach(|| DeviceStream::create(name, config, &lane.device));
    let stream = stream.map_err(|error| errors::create(py, error))?;
    let host = stream.host().clone();
    Ok((host, DeviceWish::Created(Side::new(stream, lane))))
}

fn lane_of(py: Python<'_>, wanted: Wanted) -> PyResult<Arc<Lane>> {
    match wanted {
        Wanted::Ordinal(ordinal) => Lane::of(py, ordinal),
        Wanted::Uuid(uuid) => Lane::of_uuid(py, uuid),
        Wanted::Any | Wanted::Nothing | Wanted::Host => Lane::of(py, 0),
    }
}

impl DeviceWish {
    /// What `open(gpu_device=)` gives for a stream that was found; `None` for a handle without a device.
    pub(crate) fn for_open(
        py: Python<'_>,
        stream: &Stream,
        wanted: Wanted,
    ) -> PyResult<Option<DeviceWish>> {
        if matches!(wanted, Wanted::Nothing | Wanted::Host) {
            return Ok(None);
        }
        let Some(placement) = placement(stream)? else { return Ok(None) };
        if wanted == Wanted::Any {
            return Lane::of_uuid(py, placement.device()).map(DeviceWish::Open).map(Some);
        }
        let lane = lane_of(py, wanted)?;
        if lane.device.uuid() == placement.device() {
            return Ok(Some(DeviceWish::Open(lane)));
        }
        Err(PyValueError::new_err(format!(
            "shared memory {} is on device {}, and gpu_device='{}' is {} here; open it with \
             gpu_device='cuda', or without a device",
            quoted(stream.name()),
            placement.device(),
            lane.name(),
            lane.device.uuid()
        )))
    }
}

/// The process's part in a device stream, which all its handles share.
pub(crate) fn side_of(
    py: Python<'_>,
    stream: &Stream,
    lock: Option<&StreamLock>,
    wish: DeviceWish,
) -> PyResult<Arc<Side>> {
    let lane = match &wish {
        DeviceWish::Created(side) => side.lane.clone(),
        DeviceWish::Open(lane) => lane.clone(),
    };
    let open = || match wish {
        DeviceWish::Created(side) => Ok(side),
        DeviceWish::Open(lane) => Side::open(py, stream, lane),
    };
    let side = match lock {
        Some(lock) => lock.side(|side| side.lane.device == lane.device, open)?,
        None => open()?,
    };
    match stream.creator_alive() {
        // Another handle may have it open from before.
        Some(false) => Err(errors::creator_gone(stream.name())),
        _ => Ok(side),
    }
}

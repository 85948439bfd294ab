//! Devices as Python programs name them, and what this package has on each while it is used.
//!
//! Upholds invariants 6 (a lane keeps its device's context) and 10 (asking for CUDA where there is
//! none says what is missing).

use crate::cuda::errors;
use parking_lot::Mutex;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyInt};
use shm_core::fork_generation;
use shm_cuda::{CudaStream, Device, DeviceUuid};
use std::sync::{Arc, Weak};

/// True if this process can use CUDA: a driver is installed, starts, and shows a device. The first
/// call loads the driver. The simulated driver counts: devices() says which it is.
#[pyfunction]
pub(crate) fn gpu_available(py: Python<'_>) -> bool {
    py.detach(|| Device::count().is_ok_and(|count| count > 0))
}

/// The CUDA devices that this process sees: a list of DeviceInfo, in the order of their numbers. Each
/// is started to ask for its free memory, which takes a moment.
///
/// Raises RuntimeError where there is no CUDA, and says what is missing.
#[pyfunction]
pub(crate) fn devices(py: Python<'_>) -> PyResult<Vec<Bound<'_, PyAny>>> {
    let count = py.detach(Device::count).map_err(errors::device)?;
    let record = py.import("shm_py._devices")?.getattr("DeviceInfo")?;
    let mut found = Vec::with_capacity(count);
    for ordinal in 0..count {
        let device = py.detach(|| Device::open(ordinal)).map_err(errors::device)?;
        let memory = py.detach(|| device.memory()).map_err(errors::cuda)?;
        found.push(record.call1((
            ordinal,
            device.name(),
            device.uuid().to_string(),
            memory.total,
            memory.free,
            device.is_simulated(),
        ))?);
    }
    Ok(found)
}

/// What `gpu_device=` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// None: whatever needs no device.
    Nothing,
    /// False: explicitly no device.
    Host,
    /// "cuda": the device that suits.
    Any,
    /// "cuda:N" or N.
    Ordinal(usize),
    /// "GPU-...": the device of that identity.
    Uuid(DeviceUuid),
}

impl Wanted {
    pub(crate) fn parse(given: Option<&Bound<'_, PyAny>>) -> PyResult<Wanted> {
        let Some(given) = given else { return Ok(Wanted::Nothing) };
        if given.is_instance_of::<PyBool>() && !given.is_truthy()? {
            return Ok(Wanted::Host);
        }
        let is_number = given.is_instance_of::<PyInt>() && !given.is_instance_of::<PyBool>();
        if let (true, Ok(ordinal)) = (is_number, given.extract::<u16>()) {
            return Ok(Wanted::Ordinal(ordinal.into()));
        }
        // A torch.device says its name as text.
        let text = given.str()?.to_string();
        let rest = text.strip_prefix("cuda").map(|rest| rest.strip_prefix(':').unwrap_or(rest));
        match rest {
            Some("") => Ok(Wanted::Any),
            Some(number) if number.parse::<u16>().is_ok() => {
                Ok(Wanted::Ordinal(number.parse::<u16>()?.into()))
            }
            _ => parse_uuid(&text).map(Wanted::Uuid).map_or_else(
                || {
                    Err(PyValueError::new_err(format!(
                        "gpu_device is {}; only CUDA devices are supported: 'cuda:0' or 0",
                        given.repr()?
                    )))
                },
                Ok,
            ),
        }
    }
}

/// A device in use, and a queue of this package's own on it.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) device: Device,
    pub(crate) queue: CudaStream,
    /// A forked child may not use what its parent opened.
    generation: u64,
}

/// The lanes in use: opening a device costs much, and tensors of one device share its queue. One of
/// the process's tables, because the device's context is the process's.
static LANES: Mutex<Vec<Weak<Lane>>> = Mutex::new(Vec::new());

impl Lane {
    /// The lane of the device with that number.
    pub(crate) fn of(py: Python<'_>, ordinal: usize) -> PyResult<Arc<Lane>> {
        py.detach(|| {
            let mut lanes = LANES.lock();
            lanes.retain(|lane| lane.strong_count() > 0);
            let present = lanes.iter().filter_map(Weak::upgrade).find(|lane| {
                lane.device.ordinal() == ordinal && lane.generation == fork_generation()
            });
            if let Some(lane) = present {
                return Ok(lane);
            }
            let device = Device::open(ordinal).map_err(errors::device)?;
            let queue = CudaStream::new(&device).map_err(errors::cuda)?;
            let lane = Arc::new(Lane { device, queue, generation: fork_generation() });
            lanes.push(Arc::downgrade(&lane));
            Ok(lane)
        })
    }

    /// The lane of the device with that identity.
    pub(crate) fn of_uuid(py: Python<'_>, uuid: DeviceUuid) -> PyResult<Arc<Lane>> {
        let device = py.detach(|| Device::by_uuid(uuid)).map_err(errors::device)?;
        Lane::of(py, device.ordinal())
    }

    /// The lane that `device=` names.
    pub(crate) fn named(given: &Bound<'_, PyAny>) -> PyResult<Arc<Lane>> {
        match Wanted::parse(Some(given))? {
            Wanted::Any => Lane::of(given.py(), 0),
            Wanted::Ordinal(ordinal) => Lane::of(given.py(), ordinal),
            Wanted::Uuid(uuid) => Lane::of_uuid(given.py(), uuid),
            Wanted::Nothing | Wanted::Host => Err(PyValueError::new_err(format!(
                "device is {}; expected a CUDA device: 'cuda:0' or 0",
                given.repr()?
            ))),
        }
    }

    /// The device's name as `gpu_device=` takes it.
    pub(crate) fn name(&self) -> String {
        name(&self.device)
    }
}

/// A device as `gpu_device=` names it.
pub(crate) fn name(device: &Device) -> String {
    format!("cuda:{}", device.ordinal())
}

/// The same for an identity; `None` if this process does not see the device, or has no driver.
pub(crate) fn name_of(py: Python<'_>, uuid: DeviceUuid) -> Option<String> {
    py.detach(|| {
        let present = LANES
            .lock()
            .iter()
            .filter_map(Weak::upgrade)
            .find(|lane| lane.device.uuid() == uuid && lane.generation == fork_generation());
        match present {
            Some(lane) => Some(lane.name()),
            None => Device::by_uuid(uuid).ok().map(|device| name(&device)),
        }
    })
}

/// Reads what [`DeviceUuid`] shows.
fn parse_uuid(text: &str) -> Option<DeviceUuid> {
    let digits: String = text.strip_prefix("GPU-")?.chars().filter(|&it| it != '-').collect();
    let number = u128::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 32)?;
    Some(DeviceUuid(number.to_be_bytes()))
}

//! The driver, the device and the queue that a run measures.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use shm_cuda::{CudaStream, Device, DeviceBuffer, Driver};

use super::bare::Bare;
use crate::measure::{Cores, Plan, pin};

/// What every group is given.
pub(super) struct Place {
    pub(super) plan: Plan,
    pub(super) cores: Cores,
    pub(super) simulated: bool,
    pub(super) access: Access,
}

/// How a process comes to the device: also what its children are told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Access {
    /// The driver's library, if it is not the usual one.
    pub(super) library: Option<PathBuf>,
}

/// One process on the device.
pub(super) struct Site {
    // Queues and events end before the device.
    pub(super) bare: Bare,
    pub(super) queue: CudaStream,
    pub(super) device: Device,
}

/// What a run was measured on.
#[derive(Clone, Debug, Serialize)]
pub struct Described {
    /// The driver's name for the device.
    pub device: String,
    /// The CUDA version that the driver speaks, as it counts: 12040 is 12.4.
    pub driver_version: u32,
    /// True if there is no GPU behind it.
    pub simulated: bool,
    /// Bytes on the device.
    pub memory: usize,
    /// What the figures stand for.
    pub remark: &'static str,
}

const SIMULATED: &str = "sim: simulated driver, no GPU: host-side cost only";
const REAL: &str = "a driver with a device";

impl Access {
    /// The library that is named, the one of `SHM_CUDA_DRIVER`, or the installed driver.
    pub(super) fn new(library: Option<&Path>) -> Result<Access> {
        let library = library.map(std::path::absolute).transpose().context("bad path of --sim")?;
        Ok(Access { library })
    }

    fn driver(&self) -> Result<Driver> {
        let driver = match &self.library {
            Some(library) => Driver::load_from(library),
            None => Driver::load(),
        };
        driver.context(
            "there is no CUDA driver; `cargo xtask bench cuda` builds the simulated one, `--sim \
             LIBRARY` names one",
        )
    }

    pub(super) fn described(&self) -> Result<Described> {
        let driver = self.driver()?;
        let device = Device::open(0)?;
        let simulated = driver.is_simulated();
        Ok(Described {
            device: device.name().to_owned(),
            driver_version: driver.version(),
            simulated,
            memory: device.memory()?.total,
            remark: if simulated { SIMULATED } else { REAL },
        })
    }

    /// Sets up a process whose measuring thread runs on `cpu`, and the threads of the driver on `other`.
    pub(super) fn enter(&self, cpu: usize, other: usize) -> Result<Site> {
        pin(other)?;
        let driver = self.driver()?;
        let device = Device::open(0)?;
        let queue = CudaStream::new(&device)?;
        // What a driver sets up at the first use of a queue.
        DeviceBuffer::new(&device, 4096)?.as_slice().fill(0, queue.as_ref())?;
        queue.synchronize()?;
        pin(cpu)?;
        let bare = Bare::of(&driver, &device)?;
        bare.no_delay();
        Ok(Site { bare, queue, device })
    }
}

impl Place {
    /// The process that measures.
    pub(super) fn site(&self) -> Result<Site> {
        self.access.enter(self.cores.near, self.cores.far)
    }
}

impl Site {
    /// One more queue, whose threads, if it has any, run where those of the first do.
    pub(super) fn another_queue(&self, place: &Place) -> Result<CudaStream> {
        pin(place.cores.far)?;
        let queue = CudaStream::new(&self.device)?;
        pin(place.cores.near)?;
        Ok(queue)
    }

    /// Device memory of which every byte is `value`.
    pub(super) fn filled(&self, len: usize, value: u8) -> Result<DeviceBuffer> {
        let buffer = DeviceBuffer::new(&self.device, len)?;
        buffer.as_slice().fill(value, self.queue.as_ref())?;
        self.queue.synchronize()?;
        Ok(buffer)
    }
}

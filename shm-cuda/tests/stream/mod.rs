//! What the tests of device streams share: turns, a device with a queue, data that can be recognised.

#![allow(dead_code, reason = "each test program uses its part")]

pub mod frames;

use crate::simulation;

use shm_cuda::{
    CudaStream, Device, DeviceBuffer, DeviceStream, DeviceStreamConfig, Driver, Mirror,
};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub const SOON: Duration = Duration::from_secs(20);

/// One test at a time: the simulation's delays and failures belong to the process.
pub struct Turn {
    _turn: MutexGuard<'static, ()>,
}

/// Loads the driver and waits for the other tests of this program. `None`, said aloud, where the tests
/// are to run on a real driver and there is none.
pub fn turn() -> Option<Turn> {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    simulation::driver()?;
    simulation::reset();
    Some(Turn { _turn: turn })
}

pub fn is_simulated() -> bool {
    Driver::load().unwrap().is_simulated()
}

/// A name that nobody else uses.
pub fn name(what: &str) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!("cuda-test-{what}-{}-{number}", std::process::id())
}

/// A device with a queue of work.
pub struct Rig {
    pub device: Device,
    pub queue: CudaStream,
}

impl Rig {
    pub fn new() -> Rig {
        let device = Device::open(0).unwrap();
        let queue = CudaStream::new(&device).unwrap();
        Rig { device, queue }
    }

    pub fn queue(&self) -> CudaStream {
        CudaStream::new(&self.device).unwrap()
    }

    /// Memory of the device that holds `bytes`.
    pub fn upload(&self, bytes: &[u8]) -> DeviceBuffer {
        let buffer = DeviceBuffer::new(&self.device, bytes.len()).unwrap();
        buffer.as_slice().upload(bytes, self.queue.as_ref()).unwrap();
        buffer
    }

    pub fn room(&self, len: usize) -> DeviceBuffer {
        self.upload(&vec![0xEE; len])
    }

    pub fn bytes(&self, buffer: &DeviceBuffer) -> Vec<u8> {
        buffer.as_slice().to_vec(self.queue.as_ref()).unwrap()
    }

    pub fn stream(&self, what: &str, len: usize, mirror: Mirror) -> Named {
        self.stream_of(what, &DeviceStreamConfig::of::<u8>(&[len], mirror).unwrap())
    }

    pub fn stream_of(&self, what: &str, config: &DeviceStreamConfig) -> Named {
        Named(config.create(&name(what), &self.device).unwrap())
    }
}

/// A stream whose name goes with it.
pub struct Named(pub DeviceStream);

impl core::ops::Deref for Named {
    type Target = DeviceStream;

    fn deref(&self) -> &DeviceStream {
        &self.0
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        let _ = self.0.unlink();
    }
}

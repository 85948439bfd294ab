//! What the tests of pools and of the transport share: turns, a device with a stream, data that can be
//! recognised.
#![allow(dead_code, reason = "each test program uses a part of it")]

use crate::peer::{self, Peer};
use crate::simulation;
use shm_cuda::{CudaStream, Device, DeviceBuffer};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Longer than anything takes that does not hang.
pub const LONG: Duration = Duration::from_secs(20);

static ALONE: Mutex<()> = Mutex::new(());

/// A device and a stream, for one test at a time: delays and mutations are the process's.
pub struct Scene {
    pub device: Device,
    pub stream: CudaStream,
    _alone: MutexGuard<'static, ()>,
}

/// `None`, after saying so, where the tests were to run on a real driver and there is none.
pub fn scene() -> Option<Scene> {
    let alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let device = simulation::device()?;
    simulation::reset();
    let stream = CudaStream::new(&device).unwrap();
    Some(Scene { device, stream, _alone: alone })
}

pub fn name(of: &str) -> String {
    format!("test-cuda-{of}-{}-{}", std::process::id(), fastrand::u32(..))
}

pub fn buffer(scene: &Scene, bytes: &[u8]) -> DeviceBuffer {
    let buffer = DeviceBuffer::new(&scene.device, bytes.len()).unwrap();
    buffer.as_slice().upload(bytes, scene.stream.as_ref()).unwrap();
    buffer
}

/// Bytes that differ from one number to the next in every place.
pub fn pattern(number: u64, len: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let mut bytes = vec![0; len];
    random.fill(&mut bytes);
    bytes
}

/// Looks until it is so.
pub fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < LONG, "not within {LONG:?}: {what}");
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// The words that this process was started with, if it is a child.
pub fn role() -> Option<Vec<String>> {
    peer::role().map(|(words, _)| words.split(' ').map(str::to_owned).collect())
}

/// Starts the test `entry` of this program in another process, with those words.
pub fn start(entry: &str, words: &[&str]) -> Peer {
    Peer::playing(entry, &words.join(" "), "", &[])
}

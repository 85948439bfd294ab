//! Device streams: latest-value streams whose frames live on a device.
//!
//! ```text
//!   shared memory (shm_core::Stream)                 one allocation on the device
//!   ┌──────────────────────────────────────┐         ┌────────┬────────┬────────┐
//!   │ numbers of each cell, newest, lock,  │ ──────▶ │ cell 0 │ cell 1 │ cell 2 │   K cells
//!   │ wake-ups  [, host cells: the mirror] │         └────────┴────────┴────────┘
//!   └──────────────────────────────────────┘
//! ```
//!
//! A publish is queued on the caller's queue of work and waits for nothing: *begin* words, copy into the
//! cell, copy to the mirror, *finish* words. The device makes the stores itself, in that order, so a frame
//! is the newest exactly when its payload is there ([`Publication`]). Frames of one writer are carried
//! out in their order, on whatever queues they were put.
//!
//! A read looks at the numbers, copies the cell on the caller's queue, waits for that, and asks whether
//! the cell still holds that frame. Nobody ever gets parts of two frames.
//!
//! Upholds invariants 1 (what fails half-way leaves the newest complete frame the newest), 2, 3, 6 and 7
//! (no frame is announced as complete ahead of its bytes).

mod config;
mod error;
#[cfg(feature = "testing")]
pub mod fault;
#[cfg(not(feature = "testing"))]
mod fault;
mod loan;
mod memory;
#[cfg(feature = "testing")]
pub mod mutate;
#[cfg(not(feature = "testing"))]
mod mutate;
mod pending;
mod placement;
mod publication;
mod reader;
mod view;
mod writer;

pub use config::{DeviceStreamConfig, Mirror};
pub use error::{
    DeviceCreateError, DeviceLockError, DeviceOpenError, DevicePublishError, DeviceReadError,
};
pub use loan::{DeviceFrameMut, DeviceLoan};
pub use pending::PendingRead;
pub use placement::{Placement, PlacementError};
pub use publication::Publication;
pub use reader::DeviceReader;
pub use view::DeviceView;
pub use writer::DeviceWriter;

use crate::buffer::{DeviceBuffer, DeviceSlice};
use crate::cuda_stream::CudaStream;
use crate::device::Device;
use crate::error::{CudaError, CudaErrorKind};
use crate::ipc;
use memory::Memory;
use mutate::{Mutation, left_out};
use publication::Habit;
use shm_core::{Deadline, Stream, TensorDesc, UnlinkError};
use std::sync::Arc;

/// A handle on a device stream: create or open it, then take a [`DeviceWriter`] or [`DeviceReader`]s
/// from it.
///
/// The frames are memory of the process that created the stream. They are there as long as that process
/// lives and any handle of any process is left; when it dies, reading says so
/// ([`DeviceReadError::CreatorGone`]), and only a mirror stays readable.
///
/// Cloning is cheap. Writers, readers, views and reads under way keep the stream open.
///
/// ```no_run
/// use shm_cuda::{CudaStream, Device, DeviceBuffer, DeviceStream, DeviceStreamConfig, Mirror};
/// use shm_core::Deadline;
///
/// let device = Device::open(0)?;
/// let queue = CudaStream::new(&device)?;
/// let config = DeviceStreamConfig::of::<f32>(&[256], Mirror::None)?;
/// let stream = DeviceStream::create("weights", &config, &device)?;
///
/// let data = DeviceBuffer::new(&device, 1024)?;
/// let mut writer = stream.writer(Deadline::NOW)?;
/// writer.publish(data.as_slice(), queue.as_ref())?;            // queued, not waited for
///
/// let stream = DeviceStream::open("weights", &device)?;        // usually in another process
/// let mut reader = stream.reader();
/// let out = DeviceBuffer::new(&device, 1024)?;
/// let info = reader.read_after(0, out.as_slice(), queue.as_ref(), Deadline::NEVER)?;
/// assert_eq!(info.count, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct DeviceStream {
    inner: Arc<Inner>,
}

/// What all users of one handle share. Registered pages go before the memory, the memory before the
/// segment, and everything before the device.
#[derive(Debug)]
pub(crate) struct Inner {
    habit: Habit,
    memory: Memory,
    stream: Stream,
    placement: Placement,
    device: Device,
}

impl DeviceStream {
    /// Creates a stream that other processes can open, all zero, with no frame in it.
    ///
    /// # Errors
    /// [`DeviceCreateError::Memory`] if the device has no room; [`DeviceCreateError::Stream`] if the
    /// name is taken; see [`DeviceCreateError`] for the rest. Nothing is left behind on error.
    pub fn create(
        name: &str,
        config: &DeviceStreamConfig,
        device: &Device,
    ) -> Result<DeviceStream, DeviceCreateError> {
        let (cells, frame_len) = (config.cells_count(), config.desc().byte_len());
        let Some((stride, total)) = placement::extent(frame_len, cells) else {
            let error = shm_core::ConfigError::TooLarge { cells, frame: frame_len };
            return Err(error.into());
        };
        let buffer = zeroed(device, total).map_err(|source| DeviceCreateError::Memory {
            name: name.to_owned(),
            device: device.uuid(),
            need: total,
            source,
        })?;
        fault::hit("cuda.create.allocated");
        let memory = ipc::export(buffer.as_slice())
            .map_err(|source| DeviceCreateError::Ipc { name: name.to_owned(), source })?;
        fault::hit("cuda.create.exported");
        let placement = Placement::new(memory, config.mirror, cells, frame_len, stride);
        let mirrored = config.mirror == Mirror::Host;
        let host = config.host.clone().external(&placement.to_bytes(), mirrored)?;
        let stream = Stream::create(name, &host)?;
        let memory = Memory::created(buffer, stream.clone());
        let (habit, device) = (Habit::new(config.via_host), device.clone());
        let inner = Inner { habit, memory, stream, placement, device };
        Ok(DeviceStream { inner: Arc::new(inner) })
    }

    /// Opens a stream, for use by `device`: the one that has the frames, or one that can reach it.
    ///
    /// # Errors
    /// [`DeviceOpenError::Stream`] if there is none; [`DeviceOpenError::CreatorGone`] if the frames went
    /// with their process; see [`DeviceOpenError`] for the rest.
    pub fn open(name: &str, device: &Device) -> Result<DeviceStream, DeviceOpenError> {
        DeviceStream::open_within(name, device, Deadline::NOW)
    }

    /// Opens a stream, waiting until `deadline` for somebody to create it.
    ///
    /// # Errors
    /// As for [`DeviceStream::open`], once the deadline has passed.
    pub fn open_within(
        name: &str,
        device: &Device,
        deadline: impl Into<Deadline>,
    ) -> Result<DeviceStream, DeviceOpenError> {
        let stream = Stream::open_within(name, deadline)?;
        let placement = Placement::of(&stream)?;
        let memory = Memory::open(&stream, &placement, device)?;
        let (habit, device) = (Habit::new(false), device.clone());
        let inner = Inner { habit, memory, stream, placement, device };
        Ok(DeviceStream { inner: Arc::new(inner) })
    }

    /// Takes the writer lock and becomes the stream's only writer until the result is dropped.
    ///
    /// What a killed predecessor had in flight is taken back; its frames that were complete stay.
    ///
    /// # Errors
    /// [`DeviceLockError::Lock`] as for [`Stream::writer`]; [`DeviceLockError::Cuda`] if the device
    /// cannot be used.
    pub fn writer(&self, deadline: impl Into<Deadline>) -> Result<DeviceWriter, DeviceLockError> {
        DeviceWriter::lock(self.inner.clone(), deadline.into())
    }

    /// A reader that shares this handle.
    pub fn reader(&self) -> DeviceReader {
        DeviceReader::new(self.inner.clone())
    }

    /// The stream's part in shared memory: metadata, locks, waiting, and the frames themselves if they
    /// are mirrored.
    pub fn host(&self) -> &Stream {
        &self.inner.stream
    }

    /// The device that this handle's work is done by.
    pub fn device(&self) -> &Device {
        &self.inner.device
    }

    /// Where the frames live.
    pub fn placement(&self) -> &Placement {
        &self.inner.placement
    }

    /// Whether frames are also kept in shared memory.
    pub fn mirror(&self) -> Mirror {
        self.inner.placement.mirror()
    }

    /// Who makes frames of this handle readable.
    pub fn publication(&self) -> Publication {
        self.inner.habit.publication(&self.inner.device)
    }

    /// Publishes through host functions from now on, even where the device could store the words itself,
    /// or again as the device can. Belongs to this handle and its clones.
    pub fn set_via_host_functions(&self, via_host: bool) {
        self.inner.habit.set_via_host(via_host);
    }

    /// How many frames this handle published through host functions although nobody asked for that:
    /// the device, or the driver, could not store the words itself.
    pub fn fallbacks(&self) -> u64 {
        self.inner.habit.fallbacks()
    }

    /// True if the frames are this process's own memory.
    pub fn is_own(&self) -> bool {
        self.inner.memory.is_own()
    }

    /// Whether the process whose memory the frames are still has them; `None` if the system cannot
    /// tell.
    pub fn creator_alive(&self) -> Option<bool> {
        self.inner.stream.creator_alive()
    }

    /// Takes the stream's name away: see [`Stream::unlink`]. The memory stays until its last user lets
    /// go.
    ///
    /// # Errors
    /// [`UnlinkError::Stale`] if the name leads to another stream by now; that one is left alone.
    pub fn unlink(&self) -> Result<(), UnlinkError> {
        self.inner.stream.unlink()
    }

    /// The name as its creator gave it.
    pub fn name(&self) -> &str {
        self.inner.stream.name()
    }

    /// Dtype and shape of every frame.
    pub fn desc(&self) -> &TensorDesc {
        self.inner.stream.desc()
    }

    /// Number of frame cells, K.
    pub fn cells(&self) -> usize {
        self.inner.stream.cells()
    }

    /// The creator's own bytes, fixed at creation.
    pub fn metadata(&self) -> &[u8] {
        self.inner.stream.metadata()
    }

    /// Number of complete frames so far.
    pub fn count(&self) -> u64 {
        self.inner.stream.count()
    }
}

impl Inner {
    /// The payload of a cell.
    fn cell(&self, cell: usize) -> DeviceSlice<'_> {
        let begin = cell * self.placement.stride();
        self.memory.as_slice().slice(begin..begin + self.placement.frame_len())
    }

    fn name(&self) -> String {
        self.stream.name().to_owned()
    }

    /// False once the frames are nobody's. A forked child cannot tell, and is refused by what comes
    /// next: locks and device are its parent's.
    fn has_creator(&self) -> bool {
        left_out(Mutation::CreatorLives)
            || !self.device.is_ours()
            || self.stream.creator_alive() != Some(false)
    }
}

/// Device memory without a trace of who had it before.
fn zeroed(device: &Device, len: usize) -> Result<DeviceBuffer, CudaError> {
    let buffer = match DeviceBuffer::new(device, len) {
        Err(error) if error.kind() == CudaErrorKind::OutOfMemory && ipc::collect().freed > 0 => {
            DeviceBuffer::new(device, len)?
        }
        outcome => outcome?,
    };
    let queue = CudaStream::new(device)?;
    buffer.as_slice().fill(0, queue.as_ref())?;
    queue.synchronize()?;
    Ok(buffer)
}

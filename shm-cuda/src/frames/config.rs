//! What a new device stream shall be. Upholds invariant 2 at the source: only checked geometry is
//! written.

use super::DeviceStream;
use super::error::DeviceCreateError;
use crate::device::Device;
use shm_core::{ConfigError, Dtype, Element, StreamConfig, TensorDesc};

/// Whether frames of a device stream are also kept in shared memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mirror {
    /// Frames live on the device only; shared memory holds their numbers and nothing of their size.
    #[default]
    None,
    /// Every publish also copies the frame to shared memory, where readers without a device find it:
    /// with [`shm_core::Reader`], as any stream.
    Host,
}

/// Describes a device stream to be created.
///
/// ```no_run
/// use shm_cuda::{Device, DeviceStreamConfig, Mirror};
///
/// let config = DeviceStreamConfig::of::<f32>(&[1080, 1920], Mirror::None)?
///     .history(4)?                       // the newest 4 frames stay readable
///     .metadata(br#"{"camera": "left"}"#)?;
/// let stream = config.create("camera", &Device::open(0)?)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct DeviceStreamConfig {
    pub(super) host: StreamConfig,
    pub(super) mirror: Mirror,
    pub(super) via_host: bool,
}

impl DeviceStreamConfig {
    /// Frames of the given dtype and shape, in three cells.
    ///
    /// # Errors
    /// [`ConfigError`] if a dimension is 0, there are too many, or the size overflows.
    pub fn new(
        dtype: Dtype,
        shape: &[usize],
        mirror: Mirror,
    ) -> Result<DeviceStreamConfig, ConfigError> {
        let host = StreamConfig::new(dtype, shape)?;
        Ok(DeviceStreamConfig { host, mirror, via_host: false })
    }

    /// As [`DeviceStreamConfig::new`], with the dtype that stands for `T`.
    ///
    /// # Errors
    /// As for [`DeviceStreamConfig::new`].
    pub fn of<T: Element>(
        shape: &[usize],
        mirror: Mirror,
    ) -> Result<DeviceStreamConfig, ConfigError> {
        DeviceStreamConfig::new(T::DTYPE, shape, mirror)
    }

    /// Number of frame cells, K: see [`StreamConfig::cells`].
    ///
    /// # Errors
    /// [`ConfigError::Cells`] below 2.
    pub fn cells(self, cells: usize) -> Result<DeviceStreamConfig, ConfigError> {
        Ok(DeviceStreamConfig { host: self.host.cells(cells)?, ..self })
    }

    /// As many cells as it takes for the newest `frames` frames to be readable at any moment.
    ///
    /// # Errors
    /// [`ConfigError::Cells`] if that is too many.
    pub fn history(self, frames: usize) -> Result<DeviceStreamConfig, ConfigError> {
        Ok(DeviceStreamConfig { host: self.host.history(frames)?, ..self })
    }

    /// Bytes of the creator's own that every reader can see, fixed at creation.
    ///
    /// # Errors
    /// [`ConfigError::Metadata`] beyond 64 KiB.
    pub fn metadata(self, bytes: &[u8]) -> Result<DeviceStreamConfig, ConfigError> {
        Ok(DeviceStreamConfig { host: self.host.metadata(bytes)?, ..self })
    }

    /// Replaces a stream of the same name, in one step; whoever is attached to the old one is told
    /// (`Stale`), and its device memory stays until its last user lets go.
    pub fn replace_existing(self, replace: bool) -> DeviceStreamConfig {
        DeviceStreamConfig { host: self.host.replace_existing(replace), ..self }
    }

    /// Makes the stream garbage once no process is attached: see [`StreamConfig::temporary`].
    pub fn temporary(self, temporary: bool) -> DeviceStreamConfig {
        DeviceStreamConfig { host: self.host.temporary(temporary), ..self }
    }

    /// Publishes through host functions even where the device could store the words itself: see
    /// [`Publication`](super::Publication). For devices and drivers in doubt, and for comparing.
    pub fn via_host_functions(self, via_host: bool) -> DeviceStreamConfig {
        DeviceStreamConfig { via_host, ..self }
    }

    /// Creates the stream: see [`DeviceStream::create`].
    ///
    /// # Errors
    /// As for [`DeviceStream::create`].
    pub fn create(&self, name: &str, device: &Device) -> Result<DeviceStream, DeviceCreateError> {
        DeviceStream::create(name, self, device)
    }

    /// Dtype and shape of every frame.
    pub fn desc(&self) -> &TensorDesc {
        self.host.desc()
    }

    /// The number of cells decided on.
    pub fn cells_count(&self) -> usize {
        self.host.cells_count()
    }

    /// Whether frames are also kept in shared memory.
    pub fn mirror(&self) -> Mirror {
        self.mirror
    }
}

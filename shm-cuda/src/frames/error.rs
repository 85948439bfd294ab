//! What can go wrong with a device stream, per operation.
//!
//! Upholds invariant 10: each says what was found and what to do next.

use crate::device::DeviceUuid;
use crate::error::CudaError;
use crate::ipc::IpcError;
use shm_core::{ConfigError, CreateError, LockError, OpenError, PublishError, ReadError};

/// Why a device stream could not be created. Nothing is left behind then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceCreateError {
    /// It cannot be as described.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Its segment could not be created, for example because the name is taken.
    #[error(transparent)]
    Stream(#[from] CreateError),
    /// The device has no room for the cells, or refused them.
    #[error("stream '{name}' needs {need} bytes of {device}'s memory")]
    Memory {
        /// The name as given.
        name: String,
        /// The device.
        device: DeviceUuid,
        /// Bytes of all its cells.
        need: usize,
        /// What the driver said.
        source: CudaError,
    },
    /// The cells cannot be described to other processes.
    #[error("the cells of stream '{name}' cannot be shared")]
    Ipc {
        /// The name as given.
        name: String,
        /// Why.
        source: IpcError,
    },
}

/// Why a device stream could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceOpenError {
    /// Its segment could not be opened, for example because there is none of that name.
    #[error(transparent)]
    Stream(#[from] OpenError),
    /// The frames live in shared memory.
    #[error(
        "stream '{name}' is no device stream: its frames live in shared memory; open it with \
         shm_core::Stream"
    )]
    NotOnDevice {
        /// The name as given.
        name: String,
    },
    /// What the creator said of its device memory makes no sense.
    #[error(
        "stream '{name}': {field} of its device memory is {found}, expected {expected}; the segment is \
         damaged or of another version, create the stream anew"
    )]
    Placement {
        /// The name as given.
        name: String,
        /// Which field.
        field: &'static str,
        /// What it should be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// The frames live on a device that this one cannot reach.
    #[error(
        "frames of stream '{name}' live on device {found}, which {wanted} cannot reach; open the stream \
         on its own device (Device::by_uuid)"
    )]
    WrongDevice {
        /// The name as given.
        name: String,
        /// Identity of the device that has the frames.
        found: DeviceUuid,
        /// Identity of the device that was to use them.
        wanted: DeviceUuid,
    },
    /// The process whose memory holds the frames has ended, or freed them.
    #[error(
        "the process that created device stream '{name}' has ended or closed it, and the frames went \
         with it; create the stream anew, or read its mirror, if it has one, with shm_core::Reader"
    )]
    CreatorGone {
        /// The name as given.
        name: String,
    },
    /// As many handles as can be have it open.
    #[error("device stream '{name}' is open {most} times already; close handles, or clone one")]
    TooManyUsers {
        /// The name as given.
        name: String,
        /// How many there can be.
        most: u64,
    },
    /// The frames cannot be mapped.
    #[error("the frames of stream '{name}' cannot be mapped")]
    Ipc {
        /// The name as given.
        name: String,
        /// Why.
        source: IpcError,
    },
    /// The driver refused.
    #[error("the device cannot use the frames of stream '{name}'")]
    Cuda {
        /// The name as given.
        name: String,
        /// What the driver said.
        source: CudaError,
    },
    /// The operating system refused a lock.
    #[error("cannot sign in as a user of device stream '{name}'")]
    Io {
        /// The name as given.
        name: String,
        /// The system's answer.
        source: std::io::Error,
    },
}

/// Why the right to publish was not obtained.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceLockError {
    /// The writer lock was not obtained.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The driver refused.
    #[error("the device cannot publish frames of stream '{name}'")]
    Cuda {
        /// The stream.
        name: String,
        /// What the driver said.
        source: CudaError,
    },
}

/// Why a frame was not published.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DevicePublishError {
    /// The stream does not take it; nothing was changed.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The data lies on a device that the stream's cannot reach; nothing was changed.
    #[error(
        "data lies on device {found}, which {expected}, the device of this handle on stream '{name}', \
         cannot reach; copy it there first"
    )]
    WrongDevice {
        /// The stream.
        name: String,
        /// Identity of the stream's device.
        expected: DeviceUuid,
        /// Identity of the data's device.
        found: DeviceUuid,
    },
    /// The process whose memory holds the frames has ended, or freed them; nothing was changed.
    #[error(
        "the process that created device stream '{name}' has ended or closed it, and the frames went \
         with it; create the stream anew"
    )]
    CreatorGone {
        /// The stream.
        name: String,
    },
    /// A loan is out, see [`DeviceWriter::lend`](super::DeviceWriter::lend); nothing was changed.
    #[error(
        "frame {count} of stream '{name}' is lent; commit or return the loan before the next frame"
    )]
    Lent {
        /// The stream.
        name: String,
        /// The frame.
        count: u64,
    },
    /// The driver refused or failed. Frame `count` is not published, and neither is any frame that
    /// was in flight; the newest complete frame stays the newest.
    #[error("frame {count} of stream '{name}' was not carried out")]
    Cuda {
        /// The stream.
        name: String,
        /// The first frame that is missing.
        count: u64,
        /// What the driver said.
        source: CudaError,
    },
}

/// Why no frame was read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceReadError {
    /// As for every stream.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The target lies on a device that the stream's cannot reach.
    #[error(
        "the target lies on device {found}, which {expected}, the device of this handle on stream \
         '{name}', cannot reach; read into memory of that device and copy"
    )]
    WrongDevice {
        /// The stream.
        name: String,
        /// Identity of the stream's device.
        expected: DeviceUuid,
        /// Identity of the target's device.
        found: DeviceUuid,
    },
    /// The process whose memory holds the frames has ended, or freed them.
    #[error(
        "the process that created device stream '{name}' has ended or closed it, and the frames went \
         with it; create the stream anew, or read its mirror, if it has one, through `host()`"
    )]
    CreatorGone {
        /// The stream.
        name: String,
    },
    /// The driver refused or failed.
    #[error("no frame of stream '{name}' could be copied")]
    Cuda {
        /// The stream.
        name: String,
        /// What the driver said.
        source: CudaError,
    },
}

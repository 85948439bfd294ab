//! What can go wrong on the way.

use crate::error::CudaError;
use crate::ipc::IpcError;
use crate::pool::{CopyError, DeviceLendError, DevicePoolError, DevicePublishError, RedeemError};

/// Why nothing was wrapped. Everything that had been taken for it was given back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WrapError {
    /// The pool on the device lent nothing.
    #[error("the pool on the device lends nothing for a tensor of {bytes} bytes")]
    Lend {
        /// Bytes of the tensor.
        bytes: usize,
        /// What the pool says.
        source: DeviceLendError,
    },
    /// The pool in host memory, or the ledger of shared memory, lent nothing.
    #[error("no room for a tensor of {bytes} bytes")]
    HostLend {
        /// Bytes of the tensor.
        bytes: usize,
        /// What the pool says.
        source: shm_pool::LendError,
    },
    /// Memory that is to be shared in place, and might be freed at any time.
    #[error(
        "mode cuda_ipc lends the memory at {address:#x} in place, and nobody keeps it meanwhile; give its \
         owner with `SourceTensor::owned_by`"
    )]
    NoOwner {
        /// Where it lies.
        address: u64,
    },
    /// Memory that cannot be shared in place.
    #[error("the tensor cannot be shared in place; set `fallback` to send it through host memory")]
    Export(#[from] IpcError),
    /// A copy was refused.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// Nobody is there to receive it, or the slot was revoked.
    #[error(transparent)]
    Publish(#[from] shm_pool::PublishError),
    /// The same, of a pool on a device.
    #[error(transparent)]
    DevicePublish(#[from] DevicePublishError),
    /// The driver refused.
    #[error("the driver refused")]
    Cuda(#[from] CudaError),
}

/// Why something could not be unwrapped. Every proxy was acknowledged all the same.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnwrapError {
    /// The pool on the device cannot be opened.
    #[error("the pool '{name}' that the tensor lies in cannot be used")]
    Pool {
        /// Its name.
        name: String,
        /// What stands in the way.
        source: DevicePoolError,
    },
    /// The pool in host memory, or the sender's ledger, cannot be opened.
    #[error("the pool '{name}' that the tensor lies in cannot be used")]
    HostPool {
        /// Its name.
        name: String,
        /// What stands in the way.
        source: shm_pool::JoinError,
    },
    /// The tensor is not there any more, or never came.
    #[error(transparent)]
    Redeem(#[from] RedeemError),
    /// The same, of a pool in host memory, or of the sender's ledger.
    #[error(transparent)]
    HostRedeem(#[from] shm_pool::RedeemError),
    /// A publication has another length than its proxy says.
    #[error(
        "the tensor has {expected} bytes, its publication in '{name}' has {found}; the proxy is another's"
    )]
    Length {
        /// Name of the pool.
        name: String,
        /// As the proxy says.
        expected: usize,
        /// As the pool says.
        found: usize,
    },
    /// The sender's memory cannot be opened.
    #[error("the sender's memory cannot be used")]
    Import(#[from] IpcError),
    /// The sender died, and its memory with it.
    #[error("the sender of '{name}' has ended, and its memory with it")]
    SenderGone {
        /// Name of the sender's ledger.
        name: String,
    },
    /// A copy was refused.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// The driver refused.
    #[error("the driver refused")]
    Cuda(#[from] CudaError),
}

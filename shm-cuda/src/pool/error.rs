//! What can go wrong with a pool on a device, per operation. Each message names what was expected, what
//! was found, and what to do next.

use crate::error::CudaError;
use crate::ipc::IpcError;
use core::ops::Range;
use std::io;

/// Why a pool could not be created, opened or joined.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DevicePoolError {
    /// The bookkeeping could not be created.
    #[error(transparent)]
    Create(#[from] shm_pool::CreateError),
    /// The bookkeeping could not be opened.
    #[error(transparent)]
    Open(#[from] shm_pool::OpenError),
    /// No seat could be taken.
    #[error(transparent)]
    Join(#[from] shm_pool::JoinError),
    /// The memory could not be exported or imported.
    #[error("the memory of the pool cannot be shared")]
    Ipc(#[from] IpcError),
    /// The driver refused.
    #[error("the driver refused to make the pool's memory")]
    Cuda(#[from] CudaError),
    /// The process whose memory it is has died.
    #[error(
        "pool '{name}' has lost its memory: the process that created it has ended; create it anew"
    )]
    OwnerGone {
        /// Name of the pool.
        name: String,
    },
}

/// Why nothing was lent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceLendError {
    /// For the reasons that every pool has.
    #[error(transparent)]
    Pool(#[from] shm_pool::LendError),
    /// What is free is still being stored to by earlier producers' devices.
    #[error(
        "pool '{name}' has no room for {bytes} bytes: work of earlier producers is still going on in \
         {slots} slots that are free; wait for longer, or find out what their streams wait for"
    )]
    Unsettled {
        /// Name of the pool.
        name: String,
        /// What was asked for.
        bytes: usize,
        /// How many slots were looked at.
        slots: usize,
    },
}

impl DeviceLendError {
    /// True if there was no room, now or in time.
    pub fn is_full(&self) -> bool {
        use shm_pool::LendError::{Full, Timeout};
        matches!(
            self,
            DeviceLendError::Unsettled { .. } | DeviceLendError::Pool(Full { .. } | Timeout { .. })
        )
    }
}

/// Why a copy was not queued.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// The two have different lengths.
    #[error("{expected} bytes are copied to or from {found}; give as many")]
    Length {
        /// What there is room for.
        expected: usize,
        /// What was given.
        found: usize,
    },
    /// There are no such bytes.
    #[error("bytes {range:?} lie outside of {bytes}")]
    Range {
        /// The bytes that were named.
        range: Range<usize>,
        /// How many there are.
        bytes: usize,
    },
    /// The process whose memory it is has died.
    #[error("pool '{name}' has lost its memory: the process that created it has ended")]
    OwnerGone {
        /// Name of the pool.
        name: String,
    },
    /// The driver refused.
    #[error("the driver refused the copy")]
    Cuda(#[from] CudaError),
}

/// Why a slot was not published. It is given back then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DevicePublishError {
    /// For the reasons that every pool has.
    #[error(transparent)]
    Pool(#[from] shm_pool::PublishError),
    /// The driver refused to say when the bytes are there.
    #[error("the driver refused to publish in the order of the stream")]
    Cuda(#[from] CudaError),
}

/// Why a ticket was not redeemed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RedeemError {
    /// For the reasons that every pool has.
    #[error(transparent)]
    Pool(#[from] shm_pool::RedeemError),
    /// The bytes were not there in time. The ticket may be redeemed again.
    #[error(
        "slot {slot} of pool '{name}' is published, and its bytes were not there before the deadline; \
         wait for longer, or find out what its producer's stream waits for"
    )]
    NotReady {
        /// Name of the pool.
        name: String,
        /// The slot.
        slot: usize,
    },
    /// The producer died before the bytes were there. The ticket is used up.
    #[error("slot {slot} of pool '{name}' will never be filled: its producer died before it was")]
    ProducerGone {
        /// Name of the pool.
        name: String,
        /// The slot.
        slot: usize,
    },
    /// The process whose memory it is has died.
    #[error("pool '{name}' has lost its memory: the process that created it has ended")]
    OwnerGone {
        /// Name of the pool.
        name: String,
    },
    /// The system refused the thread that keeps the stream from waiting for ever.
    #[error("no thread can be started to watch over a stream that waits for pool '{name}'")]
    Watcher {
        /// Name of the pool.
        name: String,
        /// The system's answer.
        source: io::Error,
    },
    /// The driver refused to make the stream wait.
    #[error("the driver refused to make the stream wait")]
    Cuda(#[from] CudaError),
}

/// Why what a stream waited for is not there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ArrivalError {
    /// The producer died before.
    #[error(
        "slot {slot} was never filled: its producer died before it was; throw away what was copied"
    )]
    ProducerGone {
        /// The slot.
        slot: usize,
    },
    /// The deadline passed before, or the consumer was let go.
    #[error("slot {slot} was not filled before the deadline; throw away what was copied")]
    Late {
        /// The slot.
        slot: usize,
    },
    /// The stream is still waiting.
    #[error("the stream is still waiting for slot {slot}; synchronise it before asking")]
    Pending {
        /// The slot.
        slot: usize,
    },
}

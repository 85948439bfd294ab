//! How tensors are to travel.
//!
//! Upholds invariant 8: what happens when the chosen way is not open is chosen too, and never silent.

use crate::pool::DevicePool;
use shm_pool::Pool;
use std::time::Duration;

/// Which way tensors on a device take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Through host memory.
    Default,
    /// In place: the receiver opens the sender's memory.
    CudaIpc,
    /// Through a pool on the device.
    CudaIpcPool,
}

impl Mode {
    /// Every mode.
    pub const ALL: [Mode; 3] = [Mode::Default, Mode::CudaIpc, Mode::CudaIpcPool];

    /// The mode's name in text: `default`, `cuda_ipc`, `cuda_ipc_pool`.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Default => "default",
            Mode::CudaIpc => "cuda_ipc",
            Mode::CudaIpcPool => "cuda_ipc_pool",
        }
    }

    /// The mode of that name.
    pub fn from_name(name: &str) -> Option<Mode> {
        Mode::ALL.into_iter().find(|mode| mode.name() == name)
    }
}

/// What to do when a pool has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// Wait in line for as long, then refuse.
    Block(Duration),
    /// Refuse at once.
    Fail,
    /// Send through host memory instead, which is counted: into the proxy where the host pool is the
    /// one that is full.
    Host,
}

/// What to do with memory that cannot take the chosen way: that cannot be exported, or is longer than the
/// pool's longest slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fallback {
    /// Say so.
    #[default]
    Refuse,
    /// Send it through host memory, which is counted.
    Host,
}

/// How a [`Sender`](super::Sender) sends.
#[derive(Clone, Debug)]
pub struct TransportConfig {
    /// Which way tensors on a device take.
    pub mode: Mode,
    /// The pool of [`Mode::CudaIpcPool`].
    pub pool: Option<DevicePool>,
    /// A pool for what goes through host memory; without it, everything of that kind travels in the
    /// proxies.
    pub host_pool: Option<Pool>,
    /// Consumers, each of which acknowledges each tensor: the size of a tensor-parallel group.
    pub consumers: usize,
    /// What to do when a pool has no room.
    pub when_full: WhenFull,
    /// What to do with memory that cannot take the chosen way.
    pub fallback: Fallback,
    /// Tensors in host memory of up to so many bytes travel in the proxy.
    pub inline_up_to: usize,
    /// The most tensors that are lent at once in [`Mode::CudaIpc`].
    pub shares: usize,
}

/// Why nothing can be sent that way.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The mode needs a pool.
    #[error("mode cuda_ipc_pool needs a pool, none was given; set `pool`, or choose another mode")]
    NoPool,
    /// A pool is for another number of consumers.
    #[error(
        "{field} expects {found} consumers, the transport has {expected}; create it with \
         `PoolConfig::consumers({expected})`"
    )]
    Consumers {
        /// Which pool.
        field: &'static str,
        /// As the transport has.
        expected: usize,
        /// As the pool has.
        found: usize,
    },
    /// The bookkeeping of [`Mode::CudaIpc`] is impossible.
    #[error("consumers or shares cannot be that many")]
    Shares(#[from] shm_pool::ConfigError),
    /// The bookkeeping of [`Mode::CudaIpc`] could not be made.
    #[error("the ledger of shared memory cannot be made")]
    Ledger(#[from] shm_pool::CreateError),
}

impl TransportConfig {
    /// One consumer, waits of up to 30 seconds, nothing that falls back, no pools.
    pub fn new(mode: Mode) -> TransportConfig {
        TransportConfig {
            mode,
            pool: None,
            host_pool: None,
            consumers: 1,
            when_full: WhenFull::Block(Duration::from_secs(30)),
            fallback: Fallback::Refuse,
            inline_up_to: 16 << 10,
            shares: 4096,
        }
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if self.mode == Mode::CudaIpcPool && self.pool.is_none() {
            return Err(ConfigError::NoPool);
        }
        let pool = self.pool.as_ref().map(|pool| ("pool", pool.ledger().describe()));
        let host = self.host_pool.as_ref().map(|pool| ("host_pool", pool.describe()));
        for (field, info) in pool.into_iter().chain(host) {
            let (expected, found) = (self.consumers, info.expected_consumers);
            if expected != found {
                return Err(ConfigError::Consumers { field, expected, found });
            }
        }
        Ok(())
    }
}

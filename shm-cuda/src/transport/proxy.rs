//! What travels in the place of a tensor.

use super::wire::{self, ProxyError};
use crate::ipc::MemoryDescriptor;
use shm_core::TensorDesc;
use shm_pool::Ticket;

/// Stands for one tensor: dtype, shape, and where its bytes are to be had.
///
/// It is plain bytes, so that any language can pass it on. Each consumer unwraps it once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    pub(super) desc: TensorDesc,
    /// Whether the tensor comes back on a device.
    pub(super) on_device: bool,
    pub(super) body: Body,
}

/// Where the bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Body {
    Inline(Vec<u8>),
    Legacy { descriptor: Box<MemoryDescriptor>, ledger: Place },
    Pool(Place),
    HostPool(Place),
}

/// A publication of a named pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) name: String,
    pub(super) ticket: Ticket,
}

/// Which way a tensor takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// In the proxy itself.
    Inline,
    /// In the sender's own memory, opened by the receiver.
    Legacy,
    /// In a slot of a pool on a device.
    Pool,
    /// In a slot of a pool in host memory.
    HostPool,
}

impl Route {
    /// The way's name in text.
    pub fn name(self) -> &'static str {
        match self {
            Route::Inline => "inline",
            Route::Legacy => "cuda_ipc",
            Route::Pool => "cuda_ipc_pool",
            Route::HostPool => "host_pool",
        }
    }
}

impl Proxy {
    /// Dtype and shape of the tensor.
    pub fn desc(&self) -> &TensorDesc {
        &self.desc
    }

    /// True if the tensor comes back on a device.
    pub fn on_device(&self) -> bool {
        self.on_device
    }

    /// Which way the tensor takes.
    pub fn route(&self) -> Route {
        match self.body {
            Body::Inline(_) => Route::Inline,
            Body::Legacy { .. } => Route::Legacy,
            Body::Pool(_) => Route::Pool,
            Body::HostPool(_) => Route::HostPool,
        }
    }

    /// The proxy as bytes, with a version and a checksum.
    pub fn to_bytes(&self) -> Vec<u8> {
        wire::encode(self)
    }

    /// The proxy that bytes stand for. Believes nothing.
    ///
    /// # Errors
    /// [`ProxyError`] names the field that makes no sense.
    pub fn from_bytes(bytes: &[u8]) -> Result<Proxy, ProxyError> {
        wire::decode(bytes)
    }
}

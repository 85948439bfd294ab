//! Nested data with tensors in it, from one process to others: each tensor is replaced by a proxy of a few
//! hundred bytes, which travels by any channel, and comes back as a tensor on the other side.
//!
//! ```text
//!   {"pixels": [tensor, tensor], "text": b".."}          {"pixels": [tensor, tensor], "text": b".."}
//!            │ Sender::wrap                                         ▲ Receiver::unwrap
//!            ▼                                                      │
//!   {"pixels": [proxy, proxy], "text": b".."} ──any channel──▶ the same bytes
//! ```
//!
//! | mode            | a tensor on a device                                              | what it costs                   |
//! |-----------------|-------------------------------------------------------------------|---------------------------------|
//! | `default`       | is copied to host memory: a slot of a pool, or into the proxy      | two copies over the bus         |
//! | `cuda_ipc`      | is lent as it is, until every consumer has said that it is done    | an opening per allocation       |
//! | `cuda_ipc_pool` | is copied to a slot of a [`DevicePool`](crate::pool::DevicePool)   | two copies on the device        |
//!
//! Each tensor has a lease of its own, so that proxies can be taken apart, sent on and unwrapped one by one
//! and each is acknowledged by itself; what is unwrapped together is acknowledged together, by a single
//! function that the device calls behind the last copy.
//!
//! ```no_run
//! use shm_core::{Dtype, TensorDesc};
//! use shm_cuda::pool::DevicePool;
//! use shm_cuda::transport::{Mode, Nested, Proxy, Receiver, Sender, SourceTensor, TransportConfig};
//! use shm_cuda::{CudaStream, Device, DeviceBuffer};
//! use shm_pool::PoolConfig;
//!
//! let device = Device::open(0)?;
//! let stream = CudaStream::new(&device)?;
//! let pool = DevicePool::create("images", &PoolConfig::chunks(1 << 30)?, &device)?;
//! let config = TransportConfig { pool: Some(pool), ..TransportConfig::new(Mode::CudaIpcPool) };
//! let sender = Sender::new(config)?;
//!
//! let pixels = DeviceBuffer::new(&device, 3 * 224 * 224)?;
//! let desc = TensorDesc::new(Dtype::U8, &[3, 224, 224])?;
//! let request = Nested::Map(vec![
//!     ("pixels".into(), Nested::Tensor(SourceTensor::device(desc, pixels.as_slice())?)),
//!     ("text".into(), Nested::Leaf(b"what is this?".to_vec())),
//! ]);
//! let wrapped = sender.wrap(&request, stream.as_ref())?;
//! let bytes: Nested<Vec<u8>> = wrapped.map(|proxy| proxy.to_bytes());        // into any message
//!
//! // Usually in another process.
//! let receiver = Receiver::new(None);
//! let wrapped = bytes.try_map(|bytes| Proxy::from_bytes(&bytes))?;
//! let request = receiver.unwrap(wrapped, &device, stream.as_ref())?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Upholds invariants 1, 2 (a proxy is checked before anything is done with it), 5 and 8.

mod config;
mod error;
mod host;
mod nested;
mod proxy;
mod receiver;
mod sender;
mod shares;
mod source;
mod wire;

pub use config::{ConfigError, Fallback, Mode, TransportConfig, WhenFull};
pub use error::{UnwrapError, WrapError};
pub use nested::Nested;
pub use proxy::{Proxy, Route};
pub use receiver::{Received, Receiver, ReceiverStats};
pub use sender::{Sender, SenderStats};
pub use source::{SourceError, SourceTensor};
pub use wire::ProxyError;

//! Tensors on a GPU, shared between processes: latest-value streams and pools of device memory.
//!
//! One binary runs everywhere: the driver is looked for at run time ([`Driver`]), and where there is none
//! everything but CUDA works. Nothing here waits for the device on behalf of a producer: a frame or a
//! slot becomes readable by a store that the device itself makes, behind the copy, in the order of the
//! producer's own stream of work.
//!
//! ```text
//!  writer's process         the stream's segment (host)            the device             readers' processes
//!  ┌───────────────┐     ┌──────────────────────────────┐   ┌─────────────────────┐     ┌──────────────────┐
//!  │ publish(slice,│  ┌─▶│ cell words, latest, lock     │   │ cell 0 │ cell 1 │ … │────▶│ read_into(slice) │
//!  │   cuda stream)│  │  │ host cells (Mirror::Host)    │   └──────────▲──────────┘     │ view()           │
//!  └───────┬───────┘  │  └──────────────────────────────┘              │                └──────────────────┘
//!          │ queued   └─ 1 mark   3 refresh mirror   4 "it is there" ──┤
//!          └────────────────────── 2 copy ─────────────────────────────┘   all four in stream order
//! ```
//!
//! ```no_run
//! use shm_cuda::{CudaStream, Device, DeviceBuffer, DeviceStream, DeviceStreamConfig, Mirror};
//! use std::time::Duration;
//!
//! // The camera's process: its kernels fill `image` on `work`.
//! let device = Device::open(0)?;
//! let work = CudaStream::new(&device)?;
//! let image = DeviceBuffer::new(&device, 480 * 640)?;
//! let config = DeviceStreamConfig::of::<u8>(&[480, 640], Mirror::None)?;
//! let stream = DeviceStream::create("camera", &config, &device)?;
//! let mut writer = stream.writer(Duration::from_secs(1))?;
//! writer.publish(image.as_slice(), work.as_ref())?;          // returns at once
//!
//! // Any other process.
//! let mut reader = DeviceStream::open("camera", &device)?.reader();
//! let copy = DeviceBuffer::new(&device, 480 * 640)?;
//! let info = reader.read_into(copy.as_slice(), work.as_ref())?;   // never torn
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | to                                            | use                                                  |
//! |-----------------------------------------------|------------------------------------------------------|
//! | find the driver and its devices               | [`Driver`], [`Device`]                               |
//! | publish and read frames on a device           | [`DeviceStream`], [`DeviceWriter`], [`DeviceReader`] |
//! | lend device memory and get it back            | `pool` (feature `pool`)                              |
//! | send nested data with tensors in it           | `transport` (feature `pool`)                         |
//! | give another process any device memory        | [`ipc`], [`VmmBuffer`], [`Event::export`]            |
//! | work with memory and streams of other libraries | [`DeviceSlice::from_raw`], [`StreamRef`]           |
//!
//! # What belongs to the process
//! The driver has one state per process, and so has this crate: the library that was loaded, the
//! allocations of other processes that are mapped, those of its own that other processes may still have
//! mapped when their owner is done with them ([`ipc::collect`]). Nothing else is global.
//!
//! # Building
//! `cust` looks for a CUDA installation when it is built. Where there is none, point it to a folder
//! whose `lib64/libcuda.so` is a text file with a linker comment, as the `.cargo/config.toml` of this
//! workspace does: `[env] CUDA_LIBRARY_PATH`. Nothing of CUDA is linked.
//!
//! # Platforms
//! Tested on Linux x86-64 with a simulated driver, which has no GPU behind it; see the README for what was
//! run on one. Elsewhere everything compiles and says that there is no driver.
#![cfg_attr(docsrs, feature(doc_cfg))]

// The README's example runs with the doctests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

mod buffer;
mod cuda_stream;
mod device;
mod driver;
mod error;
mod event;
mod frames;
pub mod ipc;
mod memop;
mod pinned;
mod pointer;
#[cfg(feature = "pool")]
pub mod pool;
#[cfg(all(feature = "share", target_os = "linux"))]
pub mod share;
#[cfg(feature = "pool")]
pub mod transport;
#[cfg(unix)]
mod vmm;

pub use buffer::{DeviceBuffer, DeviceSlice};
pub use cuda_stream::{CudaStream, StreamRef};
pub use cust;
pub use device::{Current, Device, DeviceError, DeviceMemory, DeviceUuid};
pub use driver::Driver;
pub use error::{CudaError, CudaErrorKind, DriverError};
pub use event::{Event, IpcEventHandle};
pub use frames::{
    DeviceCreateError, DeviceFrameMut, DeviceLoan, DeviceLockError, DeviceOpenError,
    DevicePublishError, DeviceReadError, DeviceReader, DeviceStream, DeviceStreamConfig,
    DeviceView, DeviceWriter, Mirror, PendingRead, Placement, PlacementError, Publication,
};
#[cfg(feature = "testing")]
pub use frames::{fault, mutate};
pub use pinned::{PinnedBuffer, Registration};
pub use pointer::PointerInfo;
#[cfg(unix)]
pub use vmm::{Permission, VmmBuffer};

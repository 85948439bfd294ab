//! Tensors between processes, through shared memory, without torn frames and without hangs.
//!
//! A **stream** is a named place in shared memory where one process publishes frames of a fixed
//! dtype and shape, and any number of processes read the newest complete one. A writer may be
//! killed or stopped at any instruction: readers keep the last complete frame, and the next writer
//! goes on. A reader may be killed or stopped at any instruction: nobody notices.
//!
//! The frames of an **external** stream live elsewhere, for example on a device, and only their numbers
//! and times are in shared memory: a writer announces a frame, and it is complete when the device has
//! carried it out.
//!
//! ```text
//!   writer process                    shared memory                       reader processes
//!  ┌──────────────┐  copy in   ┌───────────────────────────┐  copy out   ┌──────────────┐
//!  │ publish(&[T])├───────────▶│ cell 0 │ cell 1 │ cell 2  │────────────▶│ read()       │
//!  │ loan()       │  in place  │ n = 6  │ n = 7  │ n = 8 … │  in place   │ view()       │
//!  └──────┬───────┘            └────────────▲──────────────┘             │ read_new()   │
//!         │ kernel lock, dies with holder   │ latest = 7                 └──────▲───────┘
//!         └── event: one atomic addition, a system call only if somebody sleeps ─┘
//! ```
//!
//! ```
//! use shm_core::{Reader, Stream, StreamConfig};
//! use std::time::Duration;
//! # let name = format!("doc-crate-{}", std::process::id());
//!
//! // The camera's process.
//! let stream = Stream::create(&name, &StreamConfig::of::<u8>(&[480, 640])?)?;
//! let mut writer = stream.writer(Duration::from_secs(1))?;
//! writer.publish(&vec![128_u8; 480 * 640])?;
//!
//! // Any other process.
//! let mut reader = Reader::open(&name)?;
//! let frame = reader.read::<u8>()?;
//! assert_eq!((frame.info.count, frame.data.len()), (1, 307_200));
//! # stream.unlink()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | to                                   | use                                                    |
//! |--------------------------------------|--------------------------------------------------------|
//! | publish                              | [`Stream::create`], [`Stream::writer`], [`Writer`]     |
//! | read                                 | [`Reader::open`], [`Reader`], [`View`]                 |
//! | wait                                 | [`Reader::read_new`], [`Reader::into_async`]           |
//! | find, inspect and remove segments    | [`list`], [`stat`], [`unlink()`], [`gc`]               |
//! | see what a writer left, and damage   | [`check_stream`]                                       |
//! | publish frames that live elsewhere   | [`StreamConfig::external`], [`Writer::announce`], [`Glance`] |
//! | copy to and from shared memory       | [`copy`]                                               |
//! | build another kind of segment        | [`segment`]                                            |
//!
//! # Platforms
//! Tested on Linux x86-64. Linux on other processors uses the same code with portable copies.
//! Elsewhere the portable backing (`shared_memory`, `raw_sync`, file locks) stands in; it is tested
//! on Linux only.
#![cfg_attr(docsrs, feature(doc_cfg))]

// The README's example runs with the doctests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

#[cfg(not(loom))]
pub mod clock;
#[cfg(not(loom))]
pub mod copy;
#[cfg(not(loom))]
mod deadline;
#[cfg(not(loom))]
mod dtype;
mod event;
#[cfg(all(not(loom), feature = "testing"))]
pub mod fault;
#[cfg(all(not(loom), not(feature = "testing")))]
mod fault;
mod flight;
mod lock_word;
#[cfg(not(loom))]
mod name;
#[cfg(not(loom))]
mod os;
#[cfg(not(loom))]
mod process;
#[cfg(not(loom))]
pub mod segment;
mod seqlock;
#[cfg(not(loom))]
mod stream;
mod sync;
#[cfg(not(loom))]
mod tensor;

#[cfg(not(loom))]
pub use deadline::Deadline;
#[cfg(not(loom))]
pub use dtype::{Bool, Dtype, Element};
#[cfg(not(loom))]
pub use name::{MAX_NAME_BYTES, NameError};
#[cfg(not(loom))]
#[cfg(target_os = "linux")]
pub use os::NotInherited;
#[cfg(not(loom))]
pub use process::fork_generation;
#[cfg(not(loom))]
pub use segment::{
    CounterValue, CreateError, GcReport, Holder, OpenError, Role, SegmentInfo, UnlinkError, gc,
    list, stat, unlink, unlink_unused,
};
#[cfg(not(loom))]
pub use stream::{
    Announced, AsyncReader, CellCheck, CellState, ConfigError, External, Frame, FrameInfo,
    FrameMut, FrameTag, Glance, Loan, LockCheck, LockError, LockHolder, Naps, PublishError,
    ReadError, ReadFuture, Reader, Stream, StreamCheck, StreamConfig, StreamShape, View, WordStore,
    WriteError, Writer, check_stream,
};
#[cfg(not(loom))]
pub use tensor::{MAX_DIMS, TensorDesc, TensorError};

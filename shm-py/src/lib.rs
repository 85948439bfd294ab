//! Python bindings of the workspace: the extension module `shm_py._native`, which the Python package
//! `shm_py` re-exports.
//!
//! ```text
//!   shm_py (Python)        locked_many, stream, purge, asyncio glue
//!      │
//!   _native (this crate)   SharedMemory ── Attachment ─┬─ Reader     reads, views, waits
//!      │                        │                      ├─ OnDevice   the same on a CUDA device
//!      │                        │                      ├─ StreamLock one per stream and process
//!      │                        │                      ├─ Shelf      memory of large arrays
//!      │                        │                      └─ Notifier   a thread, for event loops
//!      │                   DeviceTensor             what device streams give and take
//!      │                   Pool ─┬─ Slot, Ticket, Consumer, Lease
//!      │                         ├─ Queue, packed trees
//!      │                         └─ Wish       what is waited for, in turns of 50 ms
//!      │                   Store ── Reservation, Retrieved
//!      │                   TritonClient ── TritonModel ── TritonSlot
//!      │                   share     values of a service: servers, clients, handles
//!      │                   arrays, views: a base object owns the mapping, and what is lent with it
//!   shm-core, shm-pool,    segments, seqlock, lock, events; slots, tickets, queues, entries;
//!   shm-cuda, shm-triton   device memory; regions and requests of inference servers
//! ```
//!
//! From Python, see the package's own documentation. A Rust program that embeds an interpreter makes
//! the module built-in:
//!
//! ```no_run
//! use pyo3::prelude::*;
//! use shm_py::_native;
//!
//! pyo3::append_to_inittab!(_native);
//! Python::initialize();
//! Python::attach(|py| py.import("_native").map(drop))?;
//! # Ok::<(), PyErr>(())
//! ```
//!
//! | to                                   | Python                                            |
//! |--------------------------------------|---------------------------------------------------|
//! | publish                              | `create`, `write`, `write_view`                   |
//! | read                                 | `open`, `read`, `view`, `history`                 |
//! | wait                                 | `read_new`, `read_after`, `await read_new_async`  |
//! | find, inspect and remove streams     | `list_streams`, `stat`, `unlink`, `gc`, `purge`   |
//! | keep frames on a GPU                 | `create(gpu_device=)`, `DeviceTensor`, `devices`  |
//! | hand over work that must not be lost | `Pool`, `Consumer`, `Ticket`, `Queue`            |
//! | share arrays under keys              | `Store`                                           |
//! | run models on an inference server    | `TritonClient`, `TritonSHMClient`                 |
//! | look at all of it from a shell       | `shm`, `python -m shm_py`                         |
//! | serve tensors and modules            | `share.SharedTensorProvider`, `share.SharedTensorClient` |
//!
//! # Platforms
//! CPython 3.9 and later through the stable ABI. Tested on Linux x86-64.

mod array;
mod attributes;
mod casting;
mod command_line;
mod creation;
mod cuda;
mod discovery;
mod dtype;
mod errors;
mod exceptions;
mod handle;
mod interop;
mod interpreter;
mod lock;
mod locking;
mod module;
mod notifier;
mod pool;
mod publication;
mod reading;
mod recycling;
mod share;
mod triton;
mod view;
mod wait;
mod write_view;
mod writing;

pub use module::_native;

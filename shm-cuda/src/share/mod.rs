//! Tensors and modules that one process owns and others use: served over a Unix socket, leased, cached, and
//! released when a client dies.
//!
//! ```text
//!  client's process                          server's process
//!  ┌──────────────────────┐   requests,     ┌──────────────────────────────────────────────┐
//!  │ Client ── Channel ───┼── a few hundred │ one thread: Channel ── Service (who holds     │
//!  │   │                  │   bytes ───────▶│   what, what is cached, who waits)            │
//!  │   ▼                  │◀── answers, and │      │ jobs            ▲ values               │
//!  │ Outcome: a value, or │   descriptors   │      ▼                 │                      │
//!  │ a Handle with a lease│                 │   workers: endpoints build                    │
//!  └─────────┬────────────┘                 └───────────────────────────────┬──────────────┘
//!            └──────────▶ the same memory: memfd, device allocation ◀───────┘
//! ```
//!
//! Tensors are never sent: a result on the host lies in anonymous shared memory of sealed size whose
//! descriptor travels with the answer; one on a device goes by the descriptor of its allocation, or by a
//! handle of the driver's where it has none ([`Route`]).
//!
//! ```
//! use shm_core::{Deadline, Dtype};
//! use shm_cuda::share::{
//!     Arguments, Client, ClientConfig, Endpoint, EndpointOptions, Outcome, Server, ServerConfig, Tensor,
//!     Value, socket_path,
//! };
//! use std::time::Duration;
//!
//! // The process that owns the weights.
//! let managed = EndpointOptions { managed: true, ..EndpointOptions::default() };
//! let load = Endpoint::new("weights", |_, _| {
//!     let bytes: Vec<u8> = (0..64u8).collect();
//!     let layer = Tensor::copy_of(Dtype::F32, &[4, 4], &bytes)?;
//!     Ok(Value::Map(vec![("layer".into(), Value::Tensor(layer))]))
//! });
//! # let name = format!("doctest-{}", std::process::id());
//! # let name = name.as_str();
//! let path = socket_path(name)?;                                   // the user's own folder
//! let server = Server::start(ServerConfig::new(&path), vec![load.with(managed)])?;
//!
//! // Any other process.
//! let client = Client::connect(ClientConfig::new(&path))?;
//! let deadline = Deadline::after(Duration::from_secs(5));
//! let Outcome::Handle(handle) = client.call("weights", Arguments::default(), deadline)? else {
//!     unreachable!("a managed endpoint gives handles")
//! };
//! let Value::Map(entries) = handle.value() else { unreachable!() };
//! let Value::Tensor(layer) = &entries[0].1 else { unreachable!() };
//! assert_eq!(layer.to_vec().unwrap()[..4], [0, 1, 2, 3]);          // the server's memory, read-only
//! assert!(handle.release(deadline)?);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | to                                              | use                                                     |
//! |-------------------------------------------------|---------------------------------------------------------|
//! | offer something by name                         | [`Endpoint`], [`EndpointOptions`], [`Server`]           |
//! | make memory that travels without a copy         | [`HostMemory`], [`DeviceStorage`], [`Tensor`]           |
//! | call, submit, wait, cancel                      | [`Client`], [`Ask`], [`Pending`]                        |
//! | hold on to what was given, and know how it is   | [`Handle`], [`Health`]                                  |
//! | write a client in another language              | `docs/share-protocol.md`, `docs/share-vectors.json`     |
//!
//! # What is promised
//! A lease belongs to its connection: when a client dies, exactly its leases end, once. When the server
//! dies every waiting call ends at once with [`ClientError::Gone`], and what was mapped of host memory (and
//! of device memory by [`Route::Vmm`]) stays readable. A call that waits for a build, and a client that says
//! nothing, cost no thread. No code ever comes from the wire, and limits are checked before memory is taken.
//!
//! Upholds invariants 1 (a peer may die at any instruction), 2 (what a peer sends is checked first), 3 (a
//! peer is dead when the kernel says that its socket is closed), 5 and 8.
mod client;
mod device;
mod endpoint;
mod failure;
mod key;
mod limits;
mod memory;
mod server;
mod service;
mod tensor;
mod unshared;
mod value;
pub mod wire;

pub use client::{
    Ask, Client, ClientConfig, ClientError, Handle, Health, Outcome, Pending, Response,
};
pub use device::{DeviceStorage, Passage, Route};
pub use endpoint::{
    BuildFunction, Cancellation, Concurrency, Endpoint, EndpointOptions, Execution, KeyFunction,
    KeyRule, Parameter, ParameterKind,
};
pub use failure::{Failure, FailureKind};
pub use limits::Limits;
pub use memory::{Access, HostMemory, MemoryError};
pub use server::{BindError, Counters, Server, ServerConfig, socket_path};
pub use service::{ServiceConfig, Stop};
pub use tensor::{LayoutError, Storage, Tensor};
pub use value::{Arguments, Bundle, Opaque, Value};
pub use wire::{ObjectId, ObjectInfo, TaskId, TaskInfo, TaskState};

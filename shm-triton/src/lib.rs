//! Inference through shared memory: a client of Triton Inference Server (and of everything else that speaks
//! the KServe protocol v2 with Triton's extensions), and the server side for Rust programs.
//!
//! ```text
//!   client process                                                          server process
//!  ┌───────────────────────┐        one request: a few hundred bytes       ┌────────────────┐
//!  │ slot.input("INPUT0")  │ ────────── HTTP/1.1 or gRPC, TCP or Unix ───▶ │ model          │
//!  │ slot.run()            │ ◀───────── names, shapes, "done" ──────────── │  reads INPUT0  │
//!  │ outputs.get("OUTPUT0")│                                               │  writes OUTPUT0│
//!  └──────────┬────────────┘                                               └───────┬────────┘
//!             │ writes and reads in place                           maps the same  │ pages
//!  ┌──────────▼────────────────────────────────────────────────────────────────────▼────────┐
//!  │ region: one segment   │ slot 0: INPUT0 │ OUTPUT0 ┆ slot 1: INPUT0 │ OUTPUT0 ┆ ...        │
//!  └────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! The server comes in two forms: any Triton (2.45 and later), or [`server`], which this example runs in the
//! same process:
//!
//! ```
//! # #[cfg(feature = "server")] {
//! use shm_triton::server::{Call, Model, ModelError, Server};
//! use shm_triton::{DataType, Inputs, ModelConfig, ModelSpec, Options, TritonClient};
//! use std::time::Duration;
//!
//! struct Identity(ModelSpec);
//! impl Model for Identity {
//!     fn spec(&self) -> &ModelSpec {
//!         &self.0
//!     }
//!     fn infer(&self, call: &mut Call<'_>) -> Result<(), ModelError> {
//!         let input = call.input("INPUT0")?;
//!         call.output("OUTPUT0", DataType::Fp32, input.shape())?.copy_from_input(input)
//!     }
//! }
//! let spec = ModelSpec::new("identity", 8)
//!     .input("INPUT0", DataType::Fp32, &[16])
//!     .output("OUTPUT0", DataType::Fp32, &[16]);
//! let server = Server::builder().model(Identity(spec)).http("127.0.0.1:0").start()?;
//!
//! let client = TritonClient::connect(server.http_addr().unwrap().to_string())?;
//! let model = client.register_model(ModelConfig::new("identity").slots(4))?;
//!
//! // In place: no copy on the client's side. The slot can be run again and again.
//! let mut slot = model.slot(Duration::from_secs(1))?;
//! slot.input::<f32>("INPUT0", &[2, 16])?.fill(0.5);
//! let outputs = slot.run(&Options::new().within(Duration::from_secs(1)))?;
//! assert_eq!(outputs.get::<f32>("OUTPUT0")?, [0.5; 32]);
//!
//! // With copies: any number of samples, cut into requests of 8 that run over all slots.
//! let pixels: Vec<f32> = (0..100 * 16).map(|i| i as f32).collect();
//! let outputs = model.infer(&Inputs::new().tensor("INPUT0", &[100, 16], &pixels)?, &Options::new())?;
//! assert_eq!(outputs.shape("OUTPUT0")?, [100, 16]);
//! assert_eq!(outputs.get::<f32>("OUTPUT0")?, pixels);
//! # drop(slot);
//! client.close(Duration::from_secs(1))?;
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is right when something goes wrong
//!
//! | what happens | what the caller sees | what becomes of the memory |
//! |---|---|---|
//! | no answer before the deadline | [`InferError::Timeout`]; the request stays open | the slot comes back when the server answers, never before |
//! | the connection ends after the request was sent | [`InferError::Lost`] | nobody gets that memory again: the next call has a new region |
//! | the server was restarted | nothing: the region is registered again, once, and the request sent again | stays |
//! | the server is not there | [`InferError::Unavailable`]; nothing was sent | stays |
//! | an output is missing, too short, of another type or shape | [`InferError::Output`]; no byte of it is shown | stays |
//! | somebody truncates or unlinks the region | [`InferError::Region`] before anything is sent | the next call has a new region |
//! | this client is killed | — | the next client to register a model has the server let go of it, and unlinks it |
//! | the server refuses shared memory of clients | one error that says so, or tensors in the message ([`SharedMemory::Preferred`]), counted | — |
//!
//! A deadline is never sent to the server: its expiry there ends the request without ending the writing, and
//! crashes servers before 2.53. Answers are the only proof that the server is done; see the module `generation`
//! for what follows from that.
//!
//! # Features
//! `grpc` (default): gRPC beside HTTP. `server` (default): the server side. Without both the client needs no
//! asynchronous runtime.

mod address;
mod alarm;
mod aside;
mod chunks;
mod client;
mod config;
mod copying;
mod datatype;
mod debts;
mod error;
mod flight;
mod generation;
mod hub;
mod inputs;
mod items;
mod layout;
mod lent;
mod memory;
mod model;
mod options;
mod outputs;
mod region;
mod registration;
mod response;
mod run;
#[cfg(all(feature = "server", unix))]
pub mod server;
mod slot;
mod spec;
mod specification;
mod sweep;
mod transport;
pub mod wire;

pub use address::{Address, AddressError, Protocol, Socket};
pub use client::{ClientStats, TritonClient};
pub use config::{ClientConfig, ModelConfig, SharedMemory};
pub use datatype::{DataType, UnknownDataType, elements};
pub use error::{
    CallError, CloseError, ConnectError, InferError, InputError, OutputError, RegionError,
    RegisterError,
};
pub use inputs::Inputs;
pub use memory::SlotMemory;
pub use model::{Chunk, Model};
pub use options::{Options, Sequence};
pub use outputs::Outputs;
pub use slot::InferSlot;
pub use spec::{ModelSpec, TensorSpec};
pub use sweep::Swept;

#[cfg(all(doctest, feature = "server", unix))]
#[doc = include_str!("../README.md")]
mod readme {}

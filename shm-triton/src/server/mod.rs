//! The server side: an inference service for any Rust program, which the official clients talk to.
//!
//! It speaks the KServe predict protocol v2 with Triton's extensions, over HTTP and (feature `grpc`)
//! gRPC. Tensors in registered shared memory are lent to the [`Model`] where they are.
//!
//! ```
//! use shm_triton::server::{Call, Model, ModelError, Placement, Server};
//! use shm_triton::{DataType, ModelSpec};
//! use std::time::Duration;
//!
//! struct Identity(ModelSpec);
//!
//! impl Model for Identity {
//!     fn spec(&self) -> &ModelSpec {
//!         &self.0
//!     }
//!
//!     fn placement(&self) -> Placement {
//!         Placement::Inline
//!     }
//!
//!     fn infer(&self, call: &mut Call<'_>) -> Result<(), ModelError> {
//!         let input = call.input("INPUT0")?;
//!         call.output("OUTPUT0", DataType::Fp32, input.shape())?.copy_from_input(input)
//!     }
//! }
//!
//! let spec = ModelSpec::new("identity", 8)
//!     .input("INPUT0", DataType::Fp32, &[16])
//!     .output("OUTPUT0", DataType::Fp32, &[16]);
//! let mut server = Server::builder().model(Identity(spec)).http("127.0.0.1:0").start()?;
//! println!("http://{}", server.http_addr().unwrap());
//! server.shutdown(Duration::from_secs(5))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! To serve from an HTTP stack of one's own, build an [`InferenceService`] and hand it requests:
//! [`InferenceService::http`], [`InferenceService::grpc`].
//!
//! # What clients can do to the process
//! - They have the server map their shared memory, and write it while a model reads it. Copies
//!   ([`Input::copy_to`], [`Output::copy_from`]) are sound all the same; slices over it are `unsafe`.
//! - They can cut it short while it is in use, which is the signal SIGBUS. **The one process-wide thing
//!   here** is a handler for it, installed when the first service is built (unless
//!   [`sigbus_guard(false)`](ServerBuilder::sigbus_guard)) and never removed: it puts zeros where the
//!   memory was, and the request is answered with an error. Signals about any other memory go to the
//!   handler that was installed before. Whoever installs another handler later should call this one.
//! - Whoever can connect can do all this; [`client_shared_memory(false)`](ServerBuilder::client_shared_memory)
//!   refuses regions altogether.

mod admission;
mod call;
mod catalog;
mod http;
mod input;
mod job;
mod listener;
mod memory;
mod model;
mod output;
mod refusal;
mod service;
mod standalone;
mod statistics;
mod strings;
mod validation;

#[cfg(feature = "grpc")]
mod grpc;

pub use call::{Call, Sequence, SequenceId};
#[cfg(feature = "grpc")]
pub use grpc::GrpcService;
pub use input::Input;
pub use model::{Model, ModelError, Placement};
pub use output::Output;
pub use refusal::Refusal;
pub use service::{BuildError, InferenceService, ServiceBuilder};
pub use standalone::{Server, ServerBuilder, ShutdownError, StartError};

//! Triton servers to test against, and what a peer does with them.
//!
//! A test of the client is a function of a [`Place`]: one server of some kind, spoken to in some protocol.
//! [`FakeServer`] is for what no server of these would ever answer.

mod actor;
mod embedded;
mod fake;
mod keeper;
mod place;
pub mod real;
mod server;
mod values;

pub(crate) use actor::TritonActor;

pub use embedded::{EmbeddedOptions, EmbeddedServer};
pub use fake::{FakeReply, FakeRequest, FakeServer};
pub use place::{Place, Wire};
pub use server::{Kind, TestServer};
pub use values::{check, samples, tag};

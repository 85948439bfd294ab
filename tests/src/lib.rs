//! What the suites in this package share: real child processes, frames that betray tearing, and a
//! check that nothing is left behind.
//!
//! A test begins with a [`Scene`]. It lends unique names, starts [`Peer`] processes, bounds how long
//! the test may hang (never how fast it must be) and, when it ends, fails if any of its names or any
//! draft of its processes is still in shared memory.
//!
//! ```no_run
//! use shm_tests::{Peer, Scene};
//! let scene = Scene::new("example");
//! let name = scene.name("camera");
//! let mut writer: Peer = scene.peer();
//! writer.ask(&format!("create {name} 8")).unwrap();     // 8 words of 8 bytes
//! writer.ask("writer 1000").unwrap();
//! writer.ask("publish 1").unwrap();
//! writer.kill();
//! shm_core::unlink(&name).unwrap();
//! ```
//!
//! The commands that a peer understands are listed at [`serve`]. The kill rounds of the suite and of
//! the program `shm-crash` are in [`rounds`].

// The workspace README's example runs with the doctests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
mod readme {}

mod device;
mod failure;
mod leftovers;
mod payload;
mod peer;
pub mod pool;
pub mod rounds;
mod scene;
pub mod triton;
mod watchdog;

pub use device::{carry_out, carry_out_on_host};
pub use failure::Failure;
pub use leftovers::leftovers;
pub use payload::{Payload, Torn, tag, verify};
pub use peer::{Peer, serve};
pub use scene::Scene;
pub use watchdog::Watchdog;

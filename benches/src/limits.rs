//! What the hardware and the kernel allow: the same work with nothing around it.

mod copies;
mod futex_hop;
mod hop;
mod mapping;

pub use copies::CopyKind;
pub use futex_hop::{FUTEX_SLEEPER, FutexHop};
pub use hop::{HOP_ECHO, Hop, Shape};
pub use mapping::Mapping;

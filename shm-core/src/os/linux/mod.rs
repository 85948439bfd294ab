//! Linux: files in `/dev/shm`, OFD locks, shared futexes.
//!
//! Upholds invariants 1, 3, 5, 6 and 9; each file says which.

pub(crate) mod directory;
mod fork;
mod futex;
mod mapping;
mod ofd;

pub use fork::NotInherited;
pub(crate) use fork::generation;
pub(crate) use mapping::{LinuxBacking, attach, create_draft};
pub(crate) use ofd::is_held;

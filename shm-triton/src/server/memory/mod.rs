//! Clients' shared memory: which regions are registered, and lending bytes of them.

mod guard;
mod key;
mod mapping;
mod region;
mod registry;

pub(super) use guard::install as install_guard;
pub(super) use region::Lent;
pub(super) use registry::Registry;

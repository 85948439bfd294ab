//! What this process allocated through this crate: it may be asked to import its own memory, and the
//! driver refuses to open a handle in the process that exported it.
//!
//! One of the three tables that belong to the process and not to a handle.

use parking_lot::Mutex;
use std::collections::BTreeSet;

static OWN: Mutex<BTreeSet<u64>> = Mutex::new(BTreeSet::new());

/// Notes an allocation.
pub(crate) fn remember(address: u64) {
    OWN.lock().insert(address);
}

/// Notes that an allocation is about to be freed.
pub(crate) fn forget(address: u64) {
    OWN.lock().remove(&address);
}

/// True if an allocation begins at `address`.
pub(super) fn is_allocated(address: u64) -> bool {
    OWN.lock().contains(&address)
}

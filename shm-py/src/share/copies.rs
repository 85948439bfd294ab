//! How much was copied, for those who want none of it.
//!
//! Upholds invariant 8: every copy that is made so that a value can travel is counted.

use pyo3::prelude::*;
use std::sync::atomic::{AtomicU64, Ordering};

static NUMBER: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

pub(super) fn count(bytes: usize) {
    NUMBER.fetch_add(1, Ordering::Relaxed);
    BYTES.fetch_add(bytes as u64, Ordering::Relaxed);
}

/// What this process has copied so far to let tensors travel: how often, and how many bytes. A tensor
/// that lies in shared memory, or on a device, is not copied.
#[pyfunction]
pub(super) fn _share_copies() -> (u64, u64) {
    (NUMBER.load(Ordering::Relaxed), BYTES.load(Ordering::Relaxed))
}

//! loom's atomics, without its blind spot.
//!
//! loom explores another order of two accesses when it has noted both, but of all loads since the last
//! write of a word it notes the latest only. A thread that loads a word and then exchanges it, as most
//! code here does, hides from loom with its own load that another thread had loaded the word before,
//! and the model never sees the exchange come first. Here each load passes by a turnstile, which
//! orders nothing in the memory model, so that loom notes every one of them.

use loom::sync::atomic::{AtomicU64 as Word, Ordering};

/// A word whose loads are all noticed.
#[derive(Debug)]
pub(crate) struct AtomicU64 {
    word: Word,
    turnstile: Word,
}

impl Default for AtomicU64 {
    fn default() -> AtomicU64 {
        AtomicU64::new(0)
    }
}

#[allow(dead_code, reason = "an atomic is whole, whichever of its operations are used")]
impl AtomicU64 {
    pub(crate) fn new(value: u64) -> AtomicU64 {
        AtomicU64 { word: Word::new(value), turnstile: Word::new(0) }
    }

    pub(crate) fn load(&self, order: Ordering) -> u64 {
        self.turnstile.fetch_add(0, Ordering::Relaxed);
        self.word.load(order)
    }

    pub(crate) fn store(&self, value: u64, order: Ordering) {
        self.word.store(value, order);
    }

    pub(crate) fn compare_exchange(
        &self,
        from: u64,
        to: u64,
        success: Ordering,
        failure: Ordering,
    ) -> Result<u64, u64> {
        self.word.compare_exchange(from, to, success, failure)
    }

    pub(crate) fn fetch_add(&self, by: u64, order: Ordering) -> u64 {
        self.word.fetch_add(by, order)
    }

    pub(crate) fn fetch_sub(&self, by: u64, order: Ordering) -> u64 {
        self.word.fetch_sub(by, order)
    }

    pub(crate) fn fetch_and(&self, mask: u64, order: Ordering) -> u64 {
        self.word.fetch_and(mask, order)
    }

    pub(crate) fn fetch_or(&self, mask: u64, order: Ordering) -> u64 {
        self.word.fetch_or(mask, order)
    }

    pub(crate) fn fetch_max(&self, value: u64, order: Ordering) -> u64 {
        self.word.fetch_max(value, order)
    }

    pub(crate) fn swap(&self, value: u64, order: Ordering) -> u64 {
        self.word.swap(value, order)
    }
}

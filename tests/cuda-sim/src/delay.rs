//! How late queued work runs.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::settings::SETTINGS;

static BOUNDS: LazyLock<[AtomicU64; 2]> = LazyLock::new(|| {
    let (low, high) = SETTINGS.delay_us;
    [AtomicU64::new(low), AtomicU64::new(high)]
});

pub fn set(low: u64, high: u64) {
    BOUNDS[0].store(low.min(high), Ordering::Relaxed);
    BOUNDS[1].store(high, Ordering::Relaxed);
}

/// The time one piece of work takes: half of it is to be spent before it and half in the middle.
pub fn halves() -> Duration {
    let (low, high) = (BOUNDS[0].load(Ordering::Relaxed), BOUNDS[1].load(Ordering::Relaxed));
    let micros = if high == 0 { 0 } else { fastrand::u64(low.min(high)..=high) };
    Duration::from_nanos(micros.saturating_mul(500))
}

pub fn spend(half: Duration) {
    if !half.is_zero() {
        thread::sleep(half);
    }
}

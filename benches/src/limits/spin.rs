//! Waiting for another process without giving the processor away, for as long as one may wait.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Longer than anything that is waited for this way takes.
const PATIENCE: Duration = Duration::from_secs(10);
/// Looks between two readings of the clock.
const LOOKS: u32 = 100_000;

/// Looks until there is something to see; `what` names it in the error that ends too long a wait.
#[inline]
pub fn spin_until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> Result<T> {
    let mut deadline = None;
    loop {
        for _ in 0..LOOKS {
            if let Some(seen) = look() {
                return Ok(seen);
            }
            std::hint::spin_loop();
        }
        let now = Instant::now();
        if now > *deadline.get_or_insert(now + PATIENCE) {
            bail!("{what} did not come within {PATIENCE:?}");
        }
    }
}

//! Sleeping on a shared word. Upholds invariant 5: idle waiters cost no CPU, waits are bounded.

use crate::event::Park;
use core::sync::atomic::{AtomicU32, AtomicU64};
use rustix::thread::futex;
use rustix::time::Timespec;
use std::time::Duration;

/// The kernel's futex, in its shared form: waiters and wakers are different processes.
#[derive(Debug)]
pub(crate) struct Futex;

impl Park for Futex {
    type Timeout = Duration;

    fn park(&self, word: &AtomicU64, epoch: u32, timeout: Duration) {
        let timeout = Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        };
        // Woken, epoch already advanced, interrupted or timed out: in every case the caller looks.
        let _ = futex::wait(epoch_half(word), futex::Flags::empty(), epoch, Some(&timeout));
    }

    fn unpark(&self, word: &AtomicU64, count: u32) {
        // Fails only for a bad address, which a live mapping is not.
        let _ = futex::wake(epoch_half(word), futex::Flags::empty(), count);
    }
}

/// The low 32 bits of an event word, which hold its epoch.
fn epoch_half(word: &AtomicU64) -> &AtomicU32 {
    let low = usize::from(cfg!(target_endian = "big"));
    // SAFETY: the half lies inside the 8 aligned bytes that `word` borrows and is aligned to 4; the
    // kernel alone accesses it through this reference, comparing it with the epoch.
    unsafe { &*core::ptr::from_ref(word).cast::<AtomicU32>().add(low) }
}

//! How threads wake the event loop: one system call for any number of things they have for it.
//!
//! Upholds invariant 5: who waits for the bell costs nothing.

use rustix::event::{EventfdFlags, eventfd};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// An eventfd that is written to once until it is heard.
#[derive(Debug)]
pub(super) struct Bell {
    descriptor: OwnedFd,
    rung: AtomicBool,
}

impl Bell {
    pub(super) fn new() -> io::Result<Bell> {
        let descriptor = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Bell { descriptor, rung: AtomicBool::new(false) })
    }

    /// Call it after the thing has been put where the loop looks for it.
    pub(super) fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            // It cannot fail for long: the counter holds 2^64 - 2 rings, and there is one at a time.
            let _ = rustix::io::write(&self.descriptor, &1_u64.to_ne_bytes());
        }
    }

    /// Call it before looking for things: what is put there after the look rings again.
    pub(super) fn hear(&self) {
        let mut count = [0; 8];
        let _ = rustix::io::read(&self.descriptor, &mut count[..]);
        // An exchange, so that what was put there before a ring that found the flag set is seen.
        self.rung.swap(false, Ordering::AcqRel);
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

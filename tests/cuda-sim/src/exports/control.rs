//! What the real driver does not have: how tests steer this one, and what it tells them.

use std::ffi::c_char;
use std::slice;

use crate::driver::driver;
use crate::{delay, inject, report};

/// Its presence says that the driver is simulated.
#[unsafe(no_mangle)]
pub extern "C" fn shm_cuda_sim_version() -> u32 {
    1
}

/// How long queued work takes from now on, at least and at most.
#[unsafe(no_mangle)]
pub extern "C" fn shm_cuda_sim_set_delay_us(low: u64, high: u64) {
    delay::set(low, high);
}

/// Asks for a failure; kind nil takes all of them back, also those that contexts keep.
#[unsafe(no_mangle)]
pub extern "C" fn shm_cuda_sim_inject(kind: u32, after: u64) {
    if inject::ask(kind, after) {
        return;
    }
    inject::clear();
    if let Ok(driver) = driver() {
        let contexts: Vec<_> = driver.state().contexts.values().cloned().collect();
        for context in contexts {
            context.heal();
        }
    }
}

/// The report as JSON with a nul, cut to `len` bytes. Returns its whole length without the nul.
#[unsafe(no_mangle)]
pub extern "C" fn shm_cuda_sim_report(buffer: *mut c_char, len: usize) -> usize {
    let text = report::text();
    if !buffer.is_null() && len > 0 {
        // SAFETY: the C caller says that `buffer` has room for `len` bytes.
        let buffer = unsafe { slice::from_raw_parts_mut(buffer.cast::<u8>(), len) };
        let copied = text.len().min(len - 1);
        buffer[..copied].copy_from_slice(&text.as_bytes()[..copied]);
        buffer[copied] = 0;
    }
    text.len()
}

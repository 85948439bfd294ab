//! How a C entry point begins and ends.

use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::sync::atomic::Ordering;

use crate::driver::{driver, is_in_host_function};
use crate::settings::SETTINGS;
use crate::status::{self, Result, Status};

/// A C pointer to write one value to; null is `None`.
pub type Out<'a, T> = Option<&'a mut MaybeUninit<T>>;

/// Runs a call and turns its outcome into a code. Host functions may make no calls.
pub fn answer(name: &str, body: impl FnOnce() -> Result) -> c_int {
    if let Ok(driver) = driver() {
        driver.calls.fetch_add(1, Ordering::Relaxed);
    }
    let outcome = if is_in_host_function() { Err(Status::NOT_PERMITTED) } else { body() };
    match outcome {
        Ok(()) => 0,
        Err(status) => {
            if SETTINGS.log && status != Status::NOT_READY {
                eprintln!("cuda sim: {name}: {:?}", status::name(status.0));
            }
            status.0
        }
    }
}

/// Gives a value to a caller that must have said where it goes.
pub fn give<T>(out: Out<'_, T>, value: T) -> Result {
    out.ok_or(Status::INVALID_VALUE)?.write(value);
    Ok(())
}

/// Gives a value to a caller that may not want it.
pub fn offer<T>(out: Out<'_, T>, value: T) {
    if let Some(out) = out {
        out.write(value);
    }
}

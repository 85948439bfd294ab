//! Values that tell which call they belong to.

use crate::Failure;
use std::sync::atomic::{AtomicU32, Ordering};

/// A whole number that a 32-bit float holds exactly stays below this.
const EXACT: u32 = 1 << 24;

/// A tag that no other call of this process has had for a long time.
pub fn tag() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    NEXT.fetch_add(7, Ordering::Relaxed).wrapping_mul(2_654_435_761)
}

/// `count` values of the call with that tag: each depends on the tag and on its place.
pub fn samples(tag: u32, count: usize) -> Vec<f32> {
    (0..count).map(|at| value(tag, at)).collect()
}

/// Checks that `found` are the values of the call with that tag, every one.
///
/// # Errors
/// [`Failure::Torn`] with the first that is not.
pub fn check(tag: u32, count: usize, found: &[f32]) -> Result<(), Failure> {
    if found.len() != count {
        return Err(Failure::Torn(format!("{} values instead of {count}", found.len())));
    }
    match found.iter().enumerate().find(|&(at, &found)| found != value(tag, at)) {
        Some((at, found)) => {
            let expected = value(tag, at);
            Err(Failure::Torn(format!("value {at} is {found}, not {expected}")))
        }
        None => Ok(()),
    }
}

fn value(tag: u32, at: usize) -> f32 {
    let mixed = tag.wrapping_add((at as u32).wrapping_mul(40_503));
    (mixed % EXACT) as f32
}

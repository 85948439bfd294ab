//! Running sums, one for each sequence.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::fault::Fault;
use crate::ffi;
use crate::request::{Correlation, Request};

/// The sums of the sequences that have begun and not ended.
#[derive(Default)]
pub struct Sequences(Mutex<HashMap<Correlation, i32>>);

impl Sequences {
    /// The sum after one more value of the request's sequence.
    pub fn add(&self, request: &Request, value: i32) -> Result<i32, Fault> {
        let flags = request.flags()?;
        let correlation = request.correlation()?;
        let mut sums = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = if flags & ffi::SEQUENCE_START == 0 {
            *sums.get(&correlation).ok_or_else(|| {
                Fault::invalid(
                    "the sequence has not begun: its first request carries the start flag",
                )
            })?
        } else {
            0
        };
        let sum = before.wrapping_add(value);
        if flags & ffi::SEQUENCE_END == 0 {
            sums.insert(correlation, sum);
        } else {
            sums.remove(&correlation);
        }
        Ok(sum)
    }
}

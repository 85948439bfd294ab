//! Copies and fills: late, and in two halves.

use std::ptr;

use crate::address::Place;
use crate::context::Context;
use crate::delay;
use crate::driver::driver;
use crate::status::{Result, Status};
use crate::stream::Work;

/// A run of bytes, in one or more parts side by side.
pub struct Span {
    parts: Vec<(Place, usize)>,
    /// Bytes that were taken when the work was queued, instead of places.
    _snapshot: Option<Vec<u8>>,
}

impl Span {
    pub fn device(address: u64, bytes: usize) -> Result<Self> {
        let parts = driver()?.state().map.device_range(address, bytes as u64)?;
        Ok(Self { parts, _snapshot: None })
    }

    pub fn host(address: usize, bytes: usize) -> Result<Self> {
        if address == 0 || address.checked_add(bytes).is_none() {
            return Err(Status::INVALID_VALUE);
        }
        let place = driver()?.state().map.host_range(address as u64, bytes as u64)?;
        Ok(Self { parts: vec![(place, bytes)], _snapshot: None })
    }

    /// Whatever lies there: memory of a device, or of the host.
    pub fn unified(address: u64, bytes: usize) -> Result<Self> {
        let is_known = driver()?.state().map.at(address).is_some();
        if is_known { Self::device(address, bytes) } else { Self::host(address as usize, bytes) }
    }

    /// Host memory that is not page-locked, which is therefore not read or written late.
    pub fn is_pageable(&self) -> bool {
        self.parts.iter().any(|(place, _)| place.region.is_none())
    }

    /// Memory that the host may look at as soon as a synchronous call has returned.
    pub fn is_host(&self) -> bool {
        self.parts
            .iter()
            .any(|(place, _)| place.region.as_ref().is_none_or(|region| region.is_seen_by_host()))
    }

    /// The bytes of pageable host memory as they are now.
    pub fn snapshot(self) -> Self {
        let mut bytes = vec![0; self.parts.iter().map(|(_, bytes)| bytes).sum()];
        let mut filled = 0;
        for (place, part) in &self.parts {
            move_bytes(bytes.as_mut_ptr().expose_provenance() + filled, place.at, *part);
            filled += part;
        }
        let at = bytes.as_ptr().expose_provenance();
        let parts = vec![(Place { region: None, at }, bytes.len())];
        Self { parts, _snapshot: Some(bytes) }
    }

    fn check(&self, context: &Context, write: bool) -> Result {
        for (place, _) in &self.parts {
            place.check(context, write)?;
        }
        Ok(())
    }

    /// The parts of `from..to`, as addresses and lengths.
    fn slices(&self, from: usize, to: usize) -> Vec<(usize, usize)> {
        let mut start = 0;
        let mut slices = Vec::new();
        for (place, bytes) in &self.parts {
            let (first, last) = (from.clamp(start, start + bytes), to.clamp(start, start + bytes));
            if last > first {
                slices.push((place.at + first - start, last - first));
            }
            start += bytes;
        }
        slices
    }
}

impl Place {
    /// Work that would go wrong breaks the context and is written down.
    pub fn check(&self, context: &Context, write: bool) -> Result {
        let Some(region) = &self.region else { return Ok(()) };
        match region.wrong(context.device, write) {
            None => Ok(()),
            Some(text) => {
                driver()?.violation(text);
                Err(Status::ILLEGAL_ADDRESS)
            }
        }
    }
}

/// The work of copying `bytes` bytes.
pub fn copy(to: Span, from: Span, bytes: usize) -> Work {
    Box::new(move |context| {
        let half = delay::halves();
        let middle = bytes / 2;
        for (begin, end) in [(0, middle), (middle, bytes)] {
            delay::spend(half);
            context.touch(|| {
                to.check(context, true)?;
                from.check(context, false)?;
                copy_part(&to.slices(begin, end), &from.slices(begin, end));
                Ok(())
            })?;
        }
        Ok(())
    })
}

/// The work of storing `pattern` again and again over `bytes` bytes.
pub fn fill(to: Span, pattern: Vec<u8>, bytes: usize) -> Work {
    Box::new(move |context| {
        let half = delay::halves();
        let unit = pattern.len();
        let middle = bytes / 2 / unit * unit;
        for (begin, end) in [(0, middle), (middle, bytes)] {
            delay::spend(half);
            context.touch(|| {
                to.check(context, true)?;
                let source = pattern.repeat((end - begin) / unit);
                let slices = [(source.as_ptr().expose_provenance(), source.len())];
                copy_part(&to.slices(begin, end), &slices);
                Ok(())
            })?;
        }
        Ok(())
    })
}

fn copy_part(to: &[(usize, usize)], from: &[(usize, usize)]) {
    let (mut to, mut from) = (to.iter().copied(), from.iter().copied());
    let (mut target, mut source) = (to.next(), from.next());
    while let (Some((into, room)), Some((out, left))) = (target, source) {
        let bytes = room.min(left);
        move_bytes(into, out, bytes);
        target = if room > bytes { Some((into + bytes, room - bytes)) } else { to.next() };
        source = if left > bytes { Some((out + bytes, left - bytes)) } else { from.next() };
    }
}

fn move_bytes(to: usize, from: usize, bytes: usize) {
    let to = ptr::with_exposed_provenance_mut::<u8>(to);
    let from = ptr::with_exposed_provenance::<u8>(from);
    // SAFETY: device ranges were checked against their regions, which the caller's places keep
    // mapped; host ranges are the C caller's promise. Both may overlap, and a simulated program
    // that fails to synchronise sees what a device would show it.
    unsafe { ptr::copy(from, to, bytes) }
}

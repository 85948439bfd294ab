//! Turns: what is measured, and its limits, one slice after the other, several times over.

use super::interrupt::Interrupt;
use super::samples::Samples;
use crate::cli::exit::{Exit, Failure};
use std::time::{Duration, Instant};

/// How long to measure.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    rounds: u32,
    slice: Duration,
}

impl Plan {
    /// Fifteen seconds in all, or three.
    pub(super) fn new(quick: bool) -> Plan {
        match quick {
            true => Plan { rounds: 3, slice: Duration::from_millis(25) },
            false => Plan { rounds: 5, slice: Duration::from_millis(155) },
        }
    }

    /// Gives every contender a slice a round. Every other round goes backwards, so that nobody always
    /// follows the same one.
    pub(super) fn alternate(&self, contenders: &mut [&mut dyn Contender]) -> Result<(), Failure> {
        for round in 0..self.rounds {
            let count = contenders.len();
            for step in 0..count {
                let which = if round % 2 == 0 { step } else { count - 1 - step };
                contenders[which].slice(self.slice)?;
            }
        }
        Ok(())
    }
}

/// Something that is measured for a while.
pub(super) trait Contender {
    fn slice(&mut self, slice: Duration) -> Result<(), Failure>;
}

impl<F: FnMut(Duration) -> Result<(), Failure>> Contender for F {
    fn slice(&mut self, slice: Duration) -> Result<(), Failure> {
        self(slice)
    }
}

/// So many samples at least, however short the slice.
pub(super) const SAMPLES_MIN: u32 = 3;

/// Times `once` again and again for as long as `slice`, after a tenth of that to warm up.
#[inline]
pub(super) fn repeat(
    slice: Duration,
    samples: &mut Samples,
    interrupt: &Interrupt,
    mut once: impl FnMut() -> Result<(), Failure>,
) -> Result<(), Failure> {
    let begun = Instant::now();
    let warm = begun + slice / 10;
    let end = begun + slice;
    let mut before = begun;
    let mut taken = 0;
    loop {
        once()?;
        let now = Instant::now();
        if now >= warm {
            samples.record(now - before);
            taken += 1;
        }
        if now >= end && taken >= SAMPLES_MIN {
            return Ok(());
        }
        interrupt.check()?;
        before = now;
    }
}

/// Marks a failure that only means that shared memory is short.
pub(super) fn no_space(error: &shm_core::CreateError) -> Failure {
    match error {
        shm_core::CreateError::NoSpace { .. } => {
            Failure::new(Exit::Findings, error.to_string(), "")
        }
        _ => Failure::new(Exit::System, error.to_string(), ""),
    }
}

/// True of what [`no_space`] marked.
pub(super) fn lacks_space(failure: &Failure) -> bool {
    failure.exit == Exit::Findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_turn_round() {
        let order = std::cell::RefCell::new(String::new());
        let note = |what: char| {
            order.borrow_mut().push(what);
            Ok(())
        };
        let (mut a, mut b) = (|_: Duration| note('a'), |_: Duration| note('b'));
        Plan::new(true).alternate(&mut [&mut a, &mut b]).unwrap();
        assert_eq!(*order.borrow(), "abbaab");
    }

    #[test]
    fn a_slice_has_some_samples_however_slow_they_are() {
        let interrupt = Interrupt::default();
        let mut samples = Samples::of(1);
        let slow = || {
            std::thread::sleep(Duration::from_millis(2));
            Ok(())
        };
        repeat(Duration::from_millis(1), &mut samples, &interrupt, slow).unwrap();
        assert!(samples.count() >= u64::from(SAMPLES_MIN));
        assert!(samples.p50() >= 2e6);
    }
}

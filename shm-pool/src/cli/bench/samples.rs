//! The durations of single operations.

use hdrhistogram::Histogram;
use std::time::Duration;

/// Longer durations count as this.
const LONGEST_NS: u64 = 60_000_000_000;

/// Durations in nanoseconds, to three significant figures.
#[derive(Clone, Debug)]
pub(super) struct Samples {
    durations: Histogram<u64>,
    /// What is recorded lasted so many operations.
    operations: f64,
}

impl Samples {
    /// Of operations that are timed so many at a time.
    pub(super) fn of(operations: u32) -> Samples {
        let durations = Histogram::new_with_bounds(1, LONGEST_NS, 3);
        // The bounds are right (1 < a minute, 3 <= 5 figures), so this cannot fail.
        Samples {
            durations: durations.expect("the bounds are valid"),
            operations: f64::from(operations),
        }
    }

    #[inline]
    pub(super) fn record(&mut self, duration: Duration) {
        self.record_ns(duration.as_nanos().try_into().unwrap_or(LONGEST_NS));
    }

    #[inline]
    pub(super) fn record_ns(&mut self, nanoseconds: u64) {
        // No operation takes no time; the clock may be coarser than it.
        self.durations.saturating_record(nanoseconds.max(1));
    }

    pub(super) fn count(&self) -> u64 {
        self.durations.len()
    }

    pub(super) fn p50(&self) -> f64 {
        self.durations.value_at_quantile(0.5) as f64 / self.operations
    }

    pub(super) fn p99(&self) -> f64 {
        self.durations.value_at_quantile(0.99) as f64 / self.operations
    }

    pub(super) fn max(&self) -> f64 {
        self.durations.max() as f64 / self.operations
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_single_operations_and_in_order() {
        let mut samples = Samples::of(2);
        for duration in (1..=100).chain([u64::MAX]) {
            samples.record_ns(duration);
        }
        assert_eq!(samples.count(), 101);
        assert_eq!((samples.p50(), samples.p99()), (25.5, 50.0));
        assert!(samples.max() >= 3e10);
    }

    #[test]
    fn nothing_takes_no_time() {
        let mut samples = Samples::of(1);
        samples.record(Duration::ZERO);
        assert_eq!((samples.p50(), samples.max()), (1.0, 1.0));
    }
}

//! How everything here is measured: alternating rounds, medians of rounds, percentiles of single
//! operations, each process on a processor of its own.

mod cores;
mod latency;
mod quantiles;
mod spent;

pub use cores::{Cores, pin};
pub use latency::{Echo, Exchange, LAST, Latency, PingPong, echo, ping_pong};
pub use quantiles::{Quantiles, SHARES};
pub use spent::Spent;

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use hdrhistogram::Histogram;

/// How long and how often to measure.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Cut everything short: shows that a suite works, not how fast anything is.
    pub quick: bool,
}

impl Plan {
    /// The number for this plan.
    pub fn pick<T>(&self, quick: T, full: T) -> T {
        if self.quick { quick } else { full }
    }

    /// How many alternating rounds a row takes.
    pub fn rounds(&self) -> usize {
        self.pick(5, 15)
    }

    /// How long one contender runs within one round.
    pub fn slice(&self) -> Duration {
        Duration::from_millis(self.pick(20, 100))
    }
}

/// Runs every contender once a round, so that a slow minute of the machine is slow for all, and
/// gives each one's results. Every other round goes backwards: nobody always follows the same one.
pub fn alternate<T>(
    rounds: usize,
    contenders: usize,
    mut run: impl FnMut(usize) -> Result<T>,
) -> Result<Vec<Vec<T>>> {
    let mut results: Vec<Vec<T>> = (0..contenders).map(|_| Vec::with_capacity(rounds)).collect();
    for round in 0..rounds {
        for step in 0..contenders {
            let which = if round % 2 == 0 { step } else { contenders - 1 - step };
            results[which].push(run(which)?);
        }
    }
    Ok(results)
}

/// The middle of some figures, the mean of the two middle ones if their number is even.
///
/// # Panics
/// If there are none.
pub fn median(figures: impl IntoIterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.into_iter().collect();
    assert!(!figures.is_empty(), "the median of no figures was asked for");
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    if figures.len() % 2 == 1 {
        figures[middle]
    } else {
        f64::midpoint(figures[middle - 1], figures[middle])
    }
}

/// Calls `once` for at least `slice` and gives the nanoseconds of one call: the median of batches
/// of `batch` calls. The clock is read between batches only, so that reading it costs nothing that
/// shows; a mean would tell how often something else wanted the processor.
pub fn repeat(slice: Duration, batch: u32, mut once: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut batches = Vec::new();
    let begun = Instant::now();
    let mut before = begun;
    while batches.is_empty() || before - begun < slice {
        for _ in 0..batch {
            once()?;
        }
        let now = Instant::now();
        batches.push((now - before).as_nanos() as f64 / f64::from(batch));
        before = now;
    }
    Ok(median(batches))
}

/// The durations of single operations, in nanoseconds, to three significant figures.
#[derive(Clone, Debug)]
pub struct Samples(Histogram<u64>);

impl Default for Samples {
    fn default() -> Samples {
        // The bounds are right (1 < a minute, 3 <= 5 figures), so this cannot fail.
        Samples(Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("the bounds are valid"))
    }
}

impl Samples {
    /// Adds one duration; what is longer than a minute counts as a minute.
    #[inline]
    pub fn record(&mut self, nanoseconds: u64) {
        self.0.saturating_record(nanoseconds);
    }

    /// Adds those of another series.
    pub fn add(&mut self, other: &Samples) -> Result<()> {
        self.0.add(&other.0).map_err(|error| anyhow!("two series do not add up: {error}"))
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The value that a share of them, between 0 and 1, does not exceed.
    pub fn quantile(&self, share: f64) -> f64 {
        self.0.value_at_quantile(share) as f64
    }

    /// The median.
    pub fn p50(&self) -> f64 {
        self.quantile(0.5)
    }

    /// The 99th percentile.
    pub fn p99(&self) -> f64 {
        self.quantile(0.99)
    }

    /// The worst.
    pub fn max(&self) -> f64 {
        self.0.max() as f64
    }
}

impl FromIterator<u64> for Samples {
    fn from_iter<I: IntoIterator<Item = u64>>(durations: I) -> Samples {
        let mut samples = Samples::default();
        for duration in durations {
            samples.record(duration);
        }
        samples
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_alternate_and_turn_round() {
        let mut order = Vec::new();
        let results = alternate(3, 2, |which| {
            order.push(which);
            Ok(order.len())
        })
        .unwrap();
        assert_eq!(order, [0, 1, 1, 0, 0, 1]);
        assert_eq!(results, [[1, 4, 5], [2, 3, 6]]);
    }

    #[test]
    fn a_contender_that_fails_ends_the_rounds() {
        let mut calls = 0;
        let result = alternate(3, 2, |which| {
            calls += 1;
            if which == 1 { Err(anyhow!("peer died")) } else { Ok(()) }
        });
        assert!(result.is_err());
        assert_eq!(calls, 2);
    }

    #[test]
    fn medians_of_odd_and_even_numbers() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    #[test]
    fn repeat_counts_every_call() {
        let mut calls = 0_u32;
        let each = repeat(Duration::from_millis(2), 10, || {
            calls += 1;
            Ok(())
        })
        .unwrap();
        assert!(calls >= 10 && calls.is_multiple_of(10), "{calls}");
        assert!(each > 0.0 && each < 2e6, "{each} ns");
    }

    #[test]
    fn percentiles_come_from_all_samples_and_long_ones_are_kept() {
        let mut samples: Samples = (1..=100).collect();
        samples.add(&Samples::from_iter([u64::MAX])).unwrap();
        assert_eq!(samples.count(), 101);
        assert_eq!(samples.p50(), 51.0);
        assert_eq!(samples.p99(), 100.0);
        assert!(samples.max() >= 6e10);
    }
}

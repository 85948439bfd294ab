//! Contenders in turns, every operation with a reading of the clock.

use std::time::Instant;

use anyhow::Result;

use crate::measure::{Plan, Quantiles, Samples, alternate, median};
use crate::report::{Row, US};

/// Something that is measured.
pub(super) type Contender<'a> = &'a mut dyn FnMut() -> Result<()>;

/// What came out for one contender, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Figures {
    /// The median of the rounds' medians.
    pub(super) p50: f64,
    /// Of all operations.
    pub(super) p99: f64,
    pub(super) max: f64,
    /// Of all operations.
    pub(super) quantiles: Quantiles,
}

/// Lets the contenders take turns, each for a slice of a round. The first round warms up.
pub(super) fn side_by_side(plan: Plan, contenders: &mut [Contender<'_>]) -> Result<Vec<Figures>> {
    let rounds = alternate(1 + plan.rounds(), contenders.len(), |which| {
        one_by_one(plan, contenders[which])
    })?;
    rounds.iter().map(|rounds| Figures::of(&rounds[1..])).collect()
}

/// Three operations at least, however long they take.
fn one_by_one(plan: Plan, once: &mut dyn FnMut() -> Result<()>) -> Result<Samples> {
    let mut samples = Samples::default();
    let begun = Instant::now();
    let mut before = begun;
    while samples.count() < 3 || before - begun < plan.slice() {
        once()?;
        let now = Instant::now();
        samples.record((now - before).as_nanos() as u64);
        before = now;
    }
    Ok(samples)
}

impl Figures {
    /// Of rounds of single operations in nanoseconds.
    pub(super) fn of(rounds: &[Samples]) -> Result<Figures> {
        let mut all = Samples::default();
        rounds.iter().try_for_each(|round| all.add(round))?;
        let p50 = median(rounds.iter().map(Samples::p50));
        Ok(Figures {
            p50: p50 / US,
            p99: all.p99() / US,
            max: all.max() / US,
            quantiles: Quantiles::of(&all, US),
        })
    }

    /// A row of times.
    pub(super) fn row(self, name: impl Into<String>) -> Row {
        Row::new(name, self.p50, "us").with_tail(self.p99, self.max).with_quantiles(self.quantiles)
    }

    /// A row of rates: so many bytes in each operation. The slowest operation is the worst rate.
    pub(super) fn rate_row(self, name: impl Into<String>, bytes: usize) -> Row {
        let [p50, p99, max] = [self.p50, self.p99, self.max].map(|time| rate(bytes, time));
        Row::new(name, p50, "MB/s").with_tail(p99, max)
    }
}

/// Bytes in so many microseconds, as megabytes per second.
pub(super) fn rate(bytes: usize, microseconds: f64) -> f64 {
    bytes as f64 / microseconds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_has_a_turn_and_every_operation_counts() {
        let (mut first, mut second) = (0_u64, 0_u64);
        let mut one = || {
            first += 1;
            Ok(())
        };
        let mut two = || {
            second += 1;
            std::thread::sleep(std::time::Duration::from_millis(1));
            Ok(())
        };
        let plan = Plan { quick: true };
        let figures = side_by_side(plan, &mut [&mut one, &mut two]).unwrap();
        assert!(figures[0].p50 < figures[1].p50 && figures[1].p50 >= 1000.0, "{figures:?}");
        assert!(first > second && second >= 3 * 6, "{first} {second}");
    }

    #[test]
    fn rates_fall_as_times_grow() {
        let figures = Figures { p50: 10.0, p99: 20.0, max: 40.0, ..Figures::default() };
        let row = figures.rate_row("x", 1000);
        assert_eq!((row.value, row.p99, row.max), (100.0, Some(50.0), Some(25.0)));
    }
}

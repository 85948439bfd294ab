//! A distribution as a few points of its curve, in a form that a row can carry.

use serde::{Serialize, Serializer};

use super::Samples;

/// The shares of the points, the worst last.
pub const SHARES: [f64; 6] = [0.5, 0.9, 0.99, 0.999, 0.9999, 1.0];

/// The value that each of [`SHARES`] does not exceed, where there are samples enough to tell.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Quantiles([Option<f64>; SHARES.len()]);

impl Quantiles {
    /// Of durations in nanoseconds, in a unit of so many of them. A share has a value where at least
    /// one sample lies above it: else it would only repeat the worst.
    pub fn of(samples: &Samples, nanoseconds: f64) -> Quantiles {
        let count = samples.count() as f64;
        Quantiles(SHARES.map(|share| {
            let told = count > 0.0 && (share == 1.0 || count * (1.0 - share) >= 1.0);
            told.then(|| {
                // The bucket of the worst sample reaches beyond it.
                samples.quantile(share).min(samples.max()) / nanoseconds
            })
        }))
    }

    /// The same in a unit that is so many times as large.
    #[must_use]
    pub fn per(self, larger: f64) -> Quantiles {
        Quantiles(self.0.map(|value| value.map(|value| value / larger)))
    }

    /// Whether no share has a value.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    /// The points: a share and its value.
    pub fn points(&self) -> impl Iterator<Item = [f64; 2]> {
        SHARES.into_iter().zip(self.0).filter_map(|(share, value)| Some([share, value?]))
    }
}

/// As a list of pairs.
impl Serialize for Quantiles {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.points())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_told_where_something_lies_above_it() {
        let samples: Samples = (1..=1000).map(|each| each * 1000).collect();
        let points: Vec<_> = Quantiles::of(&samples, 1000.0).points().collect();
        let shares: Vec<f64> = points.iter().map(|point| point[0]).collect();
        assert_eq!(shares, [0.5, 0.9, 0.99, 0.999, 1.0]);
        for ([share, value], expected) in points.iter().zip([500.0, 900.0, 990.0, 999.0, 1000.0]) {
            assert!((value / expected - 1.0).abs() < 0.002, "{share}: {value}");
        }
    }

    #[test]
    fn nothing_is_told_of_no_samples() {
        let none = Quantiles::of(&Samples::default(), 1.0);
        assert!(none.is_empty());
        assert_eq!(serde_json::to_value(none).unwrap(), serde_json::json!([]));
    }

    #[test]
    fn units_scale_every_point() {
        let one = Quantiles::of(&Samples::from_iter([4000]), 1.0);
        let values: Vec<f64> = one.per(1000.0).points().map(|point| point[1].round()).collect();
        assert_eq!(values, [4.0]);
    }
}

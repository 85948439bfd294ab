//! When each frame is due: at absolute times, so that nothing adds up.

use super::reading::Recorded;
use std::time::{Duration, Instant};

/// Frames a second where nothing says how many.
const DEFAULT_RATE: f64 = 30.0;

/// The pace of a replay.
#[derive(Debug)]
pub(crate) struct Pace {
    begun: Instant,
    /// Frames a second; `None`: as recorded.
    rate: Option<f64>,
    frames: u64,
    /// Where this lap begins.
    lap: Duration,
    in_lap: u64,
    first_ns: u64,
    /// How far the lap has come. Wall clocks are set back now and then; frames are not.
    furthest: Duration,
}

impl Pace {
    /// Begins now: at that rate, or as recorded if the recording has times.
    pub(crate) fn new(rate: Option<f64>, has_times: bool) -> Pace {
        let rate = rate.or_else(|| (!has_times).then_some(DEFAULT_RATE));
        let (lap, furthest) = (Duration::ZERO, Duration::ZERO);
        Pace { begun: Instant::now(), rate, frames: 0, lap, in_lap: 0, first_ns: 0, furthest }
    }

    /// When the next frame is due; `None` if no clock goes that far.
    pub(crate) fn due(&mut self, frame: &Recorded) -> Option<Instant> {
        let offset = match self.rate {
            Some(rate) => Duration::try_from_secs_f64(self.frames as f64 / rate).ok()?,
            None => self.recorded(frame.published_ns.unwrap_or_default())?,
        };
        self.frames += 1;
        self.begun.checked_add(offset)
    }

    /// The next frame is the first again: one average step after the last.
    pub(crate) fn next_lap(&mut self) {
        let steps = u32::try_from(self.in_lap.saturating_sub(1)).unwrap_or(u32::MAX);
        let step = match steps {
            0 => Duration::from_secs_f64(1.0 / DEFAULT_RATE),
            _ => self.furthest / steps,
        };
        self.lap = self.lap.saturating_add(self.furthest).saturating_add(step);
        (self.in_lap, self.furthest) = (0, Duration::ZERO);
    }

    fn recorded(&mut self, published_ns: u64) -> Option<Duration> {
        if self.in_lap == 0 {
            self.first_ns = published_ns;
        }
        self.in_lap += 1;
        let offset = Duration::from_nanos(published_ns.saturating_sub(self.first_ns));
        self.furthest = self.furthest.max(offset);
        self.lap.checked_add(self.furthest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offsets(pace: &mut Pace, times: &[u64]) -> Vec<u128> {
        let begun = pace.begun;
        let at = |&published_ns: &u64| Recorded {
            published_ns: Some(published_ns),
            ..Recorded::default()
        };
        times.iter().map(|time| (pace.due(&at(time)).unwrap() - begun).as_nanos()).collect()
    }

    #[test]
    fn recorded_times_are_kept_and_never_go_back() {
        let mut pace = Pace::new(None, true);
        assert_eq!(offsets(&mut pace, &[1000, 1010, 1005, 1040]), [0, 10, 10, 40]);
        pace.next_lap();
        assert_eq!(offsets(&mut pace, &[1000, 1010]), [53, 63]);
    }

    #[test]
    fn a_rate_goes_on_over_laps() {
        let mut pace = Pace::new(Some(1000.0), true);
        assert_eq!(offsets(&mut pace, &[7, 1]), [0, 1_000_000]);
        pace.next_lap();
        assert_eq!(offsets(&mut pace, &[7]), [2_000_000]);
        assert_eq!(offsets(&mut Pace::new(None, false), &[0, 0]), [0, 33_333_333]);
    }

    #[test]
    fn times_that_no_clock_reaches_are_told() {
        let mut pace = Pace::new(Some(1e-300), false);
        assert!(pace.due(&Recorded::default()).is_some());
        assert_eq!(pace.due(&Recorded::default()), None);
    }
}

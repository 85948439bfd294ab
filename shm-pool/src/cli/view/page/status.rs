//! How a stream fares, in numbers and in words.
//!
//! Upholds invariant 3: that nobody writes any more is what the kernel's locks say; that it is long since
//! the last frame says only that.

use serde::Serialize;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The rate is that of this time.
const WINDOW: Duration = Duration::from_secs(3);
/// A stream is silent after this, or after some of its own periods.
const SILENCE: Duration = Duration::from_secs(2);
const PERIODS: f64 = 5.0;

/// What `/status.json` tells.
#[derive(Debug, Serialize)]
pub(crate) struct Status {
    pub(crate) name: String,
    /// Which of the streams that had this name.
    pub(crate) stream: String,
    pub(crate) state: State,
    pub(crate) words: String,
    pub(crate) count: u64,
    pub(crate) id: Option<u64>,
    /// When the newest frame was published, nanoseconds since 1970 UTC.
    pub(crate) time_ns: Option<u64>,
    pub(crate) age_us: Option<u64>,
    /// Frames a second.
    pub(crate) rate: Option<f64>,
    /// How old the last frame that was shown was when it was read.
    pub(crate) latency_us: Option<u64>,
    /// Frames that nobody was shown.
    pub(crate) missed: u64,
    pub(crate) writer_alive: Option<bool>,
    pub(crate) dtype: &'static str,
    pub(crate) shape: Vec<usize>,
    pub(crate) width: usize,
    pub(crate) height: usize,
    /// What became black and white.
    pub(crate) range: Option<(f64, f64)>,
    pub(crate) not_finite: usize,
}

/// How a stream fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// Nothing was published yet.
    Waiting,
    Live,
    /// Somebody could write, and does not.
    Silent,
    /// Nobody is attached who writes.
    WriterDied,
    /// It was unlinked or replaced.
    Gone,
}

impl State {
    pub(crate) fn words(self, age: Option<Duration>) -> String {
        let since = || age.map_or_else(|| "ever".to_owned(), ago);
        match self {
            State::Waiting => "no frame yet".to_owned(),
            State::Live => "live".to_owned(),
            State::Silent => format!("silent since {}", since()),
            State::WriterDied => format!("writer died or left, last frame {} ago", since()),
            State::Gone => "the stream is gone; it is shown again when it comes back".to_owned(),
        }
    }
}

/// Counts of frames and when they were seen.
#[derive(Default)]
pub(crate) struct Pulse {
    beats: VecDeque<(Instant, u64)>,
}

impl Pulse {
    /// Notes the count of the newest frame.
    pub(crate) fn beat(&mut self, count: u64) {
        let now = Instant::now();
        // One that is older than the window stays, so that there is a whole window.
        while self.beats.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= WINDOW) {
            self.beats.pop_front();
        }
        if self.beats.back().is_none_or(|(at, _)| now.duration_since(*at) >= WINDOW / 30) {
            self.beats.push_back((now, count));
        }
    }

    /// Frames a second, lately; `None` before that can be said.
    pub(crate) fn rate(&self) -> Option<f64> {
        let ((from, first), (to, last)) = (self.beats.front()?, self.beats.back()?);
        let seconds = to.duration_since(*from).as_secs_f64();
        (seconds >= 0.5).then(|| last.saturating_sub(*first) as f64 / seconds)
    }

    pub(crate) fn state(
        &self,
        count: u64,
        age: Option<Duration>,
        writer_alive: Option<bool>,
    ) -> State {
        let Some(age) = age.filter(|_| count > 0) else { return State::Waiting };
        if writer_alive == Some(false) {
            return State::WriterDied;
        }
        let rate = self.rate().filter(|rate| *rate > 0.0);
        let patience = rate.map_or(0.0, |rate| PERIODS / rate).max(SILENCE.as_secs_f64());
        if age.as_secs_f64() <= patience { State::Live } else { State::Silent }
    }
}

fn ago(age: Duration) -> String {
    match age.as_secs() {
        0..60 => format!("{:.1} s", age.as_secs_f64()),
        seconds @ 60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        seconds => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_follow_from_the_age_and_the_writer() {
        let pulse = Pulse::default();
        let age = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(pulse.state(0, None, Some(true)), State::Waiting);
        assert_eq!(pulse.state(1, age(1), Some(true)), State::Live);
        assert_eq!(pulse.state(1, age(3), Some(true)), State::Silent);
        assert_eq!(pulse.state(1, age(3), None), State::Silent);
        assert_eq!(pulse.state(1, age(1), Some(false)), State::WriterDied);
    }

    #[test]
    fn slow_streams_are_silent_later() {
        let now = Instant::now();
        let pulse = Pulse { beats: [(now, 0), (now + Duration::from_secs(4), 2)].into() };
        assert_eq!(pulse.rate(), Some(0.5));
        assert_eq!(pulse.state(2, Some(Duration::from_secs(9)), Some(true)), State::Live);
        assert_eq!(pulse.state(2, Some(Duration::from_secs(11)), Some(true)), State::Silent);
    }

    #[test]
    fn ages_are_readable() {
        let words = |seconds| State::Silent.words(Some(Duration::from_secs(seconds)));
        assert_eq!(words(3), "silent since 3.0 s");
        assert_eq!(words(61), "silent since 1 min 1 s");
        assert_eq!(words(7260), "silent since 2 h 1 min");
    }
}

//! A stream, interval by interval.
//!
//! Upholds invariant 4: it is a reader among others, and takes no payload.

use super::super::exit::Failure;
use super::super::subject::Subject;
use super::arrivals::{Arrivals, Arrived, Latency};
use super::state::{State, seems_dead};
use serde::Serialize;
use shm_core::Reader;
use std::time::Instant;

/// A stream that is watched.
pub(crate) struct StreamWatch {
    arrivals: Arrivals,
    reader: Reader,
    count: u64,
    at: Instant,
    before: Option<Subject>,
}

/// What a stream did in one interval; in JSON the keys of a line `stream`.
#[derive(Debug, Serialize)]
pub(crate) struct StreamLine {
    /// When, nanoseconds since 1970 UTC.
    pub(crate) time_ns: u64,
    pub(crate) name: String,
    pub(crate) state: State,
    /// Length of the interval.
    pub(crate) seconds: f64,
    /// Frames that were published in it.
    pub(crate) frames: u64,
    pub(crate) frames_per_s: f64,
    /// Payload in millions of bytes a second.
    pub(crate) mb_per_s: f64,
    /// Count of the newest frame.
    pub(crate) count: u64,
    /// Frames that this watcher saw in the interval, and those that were gone before it looked.
    pub(crate) seen: u64,
    pub(crate) missed: u64,
    /// From publishing to being seen here; `null` if nothing was seen.
    pub(crate) latency: Option<Latency>,
    /// Age of the newest frame; `null` before the first.
    pub(crate) age_ms: Option<f64>,
    /// Handles of others.
    pub(crate) readers: usize,
    pub(crate) writers: usize,
    /// Who holds the writer lock, or died with it; `null` if nobody.
    pub(crate) writer_pid: Option<u64>,
    pub(crate) writer_locked: bool,
    /// Frames that are announced and that the device has not completed; `null` for a stream whose
    /// frames are in shared memory.
    pub(crate) in_flight: Option<u64>,
    /// What keeps this watcher from seeing frames; `null` if nothing does.
    pub(crate) trouble: Option<String>,
}

impl StreamWatch {
    pub(crate) fn begin(name: &str) -> Result<StreamWatch, Failure> {
        let arrivals = Arrivals::watch(name)?;
        let reader = arrivals.stream().reader();
        let (count, at) = (arrivals.stream().count(), Instant::now());
        Ok(StreamWatch { arrivals, reader, count, at, before: None })
    }

    pub(crate) fn instance(&self) -> String {
        self.arrivals.stream().instance().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Frames published since the last line, and what this watcher saw of them: for the last interval
    /// of a stream whose name is gone.
    pub(crate) fn rest(&mut self) -> Result<(u64, Arrived), Failure> {
        let count = self.arrivals.stream().count();
        let frames = count.saturating_sub(self.count);
        self.count = count;
        Ok((frames, self.arrivals.take()?))
    }

    pub(crate) fn line(&mut self, subject: Subject) -> Result<(StreamLine, Arrived), Failure> {
        let elapsed = self.at.elapsed();
        self.at += elapsed;
        let (frames, arrived) = self.rest()?;
        let seconds = elapsed.as_secs_f64();
        let frames_per_s = frames as f64 / seconds.max(1e-9);
        let (age, frame_bytes) = (self.reader.age(), self.reader.desc().byte_len());
        let in_flight =
            subject.counters.get("announced").map(|announced| announced.saturating_sub(self.count));
        let before = match seems_dead(&subject) {
            // A moment apart is enough to tell a dead writer from one that begins.
            true => Subject::of(&subject.name).ok(),
            false => self.before.take(),
        };
        let others = |role| {
            let own = std::process::id();
            subject.holders.iter().filter(|one| one.role == role && one.pid != own).count()
        };
        let line = StreamLine {
            time_ns: shm_core::clock::wall_ns(),
            name: subject.name.clone(),
            state: State::of_stream(&subject, before.as_ref(), age),
            seconds,
            frames,
            frames_per_s,
            mb_per_s: frames_per_s * frame_bytes as f64 / 1e6,
            count: self.count,
            seen: arrived.seen,
            missed: arrived.missed,
            latency: Latency::of(&arrived.latency),
            age_ms: age.map(|age| age.as_secs_f64() * 1e3),
            readers: others("reader"),
            writers: others("writer"),
            writer_pid: Some(subject.counter("writer_pid")).filter(|&pid| pid != 0),
            writer_locked: subject.writer_locked,
            in_flight,
            trouble: arrived.failure.clone(),
        };
        self.before = Some(subject);
        Ok((line, arrived))
    }
}

impl StreamLine {
    pub(crate) fn header() -> String {
        format!(
            "{:<11} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>7} {:>7}  {}",
            "state",
            "frames/s",
            "MB/s",
            "p50 us",
            "p99 us",
            "max us",
            "age",
            "missed",
            "r/w",
            "writer"
        )
    }

    pub(crate) fn text(&self) -> String {
        let us = |of: fn(&Latency) -> f64| {
            self.latency
                .as_ref()
                .map_or_else(|| "-".to_owned(), |found| format!("{:.1}", of(found)))
        };
        let mut line = format!(
            "{:<11} {:>9.1} {:>9.2} {:>9} {:>9} {:>9} {:>9} {:>7} {:>7}  {}",
            self.state,
            self.frames_per_s,
            self.mb_per_s,
            us(|latency| latency.p50_us),
            us(|latency| latency.p99_us),
            us(|latency| latency.max_us),
            self.age_ms.map_or_else(|| "-".to_owned(), |ms| age(ms / 1e3)),
            self.missed,
            format!("{}/{}", self.readers, self.writers),
            self.writer(),
        );
        if let Some(in_flight) = self.in_flight.filter(|&frames| frames > 0) {
            line.push_str(&format!(", {in_flight} in flight"));
        }
        if let Some(trouble) = &self.trouble {
            line.push_str(&format!("  {trouble}"));
        }
        line
    }

    fn writer(&self) -> String {
        match (self.writer_pid, self.writer_locked) {
            (Some(pid), true) => format!("{pid} locked"),
            (Some(pid), false) => format!("{pid} gone"),
            (None, true) => "locked".to_owned(),
            (None, false) => "unlocked".to_owned(),
        }
    }
}

/// `3 ms`, `12 s`, `5 min`.
pub(crate) fn age(seconds: f64) -> String {
    match seconds {
        s if s < 1.0 => format!("{:.0} ms", s * 1e3),
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.0} h", s / 3600.0),
        s => format!("{:.0} d", s / 86_400.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_short() {
        for (seconds, text) in
            [(0.0, "0 ms"), (0.9, "900 ms"), (60.0, "60 s"), (600.0, "10 min"), (1e5, "28 h")]
        {
            assert_eq!(age(seconds), text);
        }
        assert_eq!(age(1e6), "12 d");
    }
}

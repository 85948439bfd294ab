//! A reader in a thread of its own that sees every frame come, and copies none.
//!
//! Upholds invariants 4 (payload and frame headers are mapped read-only) and 5 (it sleeps in the kernel
//! until a frame comes, and looks up ten times a second for its own end).

use super::super::exit::{Exit, Failure};
use hdrhistogram::Histogram;
use parking_lot::Mutex;
use serde::Serialize;
use shm_core::{FrameInfo, ReadError, Reader, Stream, clock};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How soon the thread notices that it is to end.
const NAP: Duration = Duration::from_millis(100);
/// Latencies are told apart up to an hour; what is later counts as an hour.
const LONGEST_NS: u64 = 3_600_000_000_000;

/// Frames of one stream as they arrive.
pub(crate) struct Arrivals {
    stream: Stream,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    is_over: AtomicBool,
    tally: Mutex<Tally>,
}

/// What has arrived since somebody last asked.
struct Tally {
    latency: Histogram<u64>,
    seen: u64,
    missed: u64,
    failure: Option<String>,
}

/// Latencies of frames: from the moment each was published to when this process saw it, microseconds. A
/// frame on a device bears the time of its announcement.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Latency {
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) max_us: f64,
}

/// What has arrived in one interval.
pub(crate) struct Arrived {
    pub(crate) seen: u64,
    pub(crate) missed: u64,
    pub(crate) latency: Histogram<u64>,
    /// Why nothing more will arrive, if so.
    pub(crate) failure: Option<String>,
}

impl Arrivals {
    /// Attaches to a stream as a reader. Frames that are there already do not count.
    pub(crate) fn watch(name: &str) -> Result<Arrivals, Failure> {
        let mut reader = Reader::open(name)?;
        // Rare looks at what may be the only core: sleep rather than spin.
        reader.set_spin(Duration::ZERO);
        let stream = reader.stream().clone();
        let tally = Tally { latency: latencies()?, seen: 0, missed: 0, failure: None };
        let shared = Arc::new(Shared { is_over: AtomicBool::new(false), tally: Mutex::new(tally) });
        let theirs = shared.clone();
        let thread = thread::Builder::new()
            .name("arrivals".to_owned())
            .spawn(move || theirs.attend(&mut reader))
            .map_err(|error| Failure::system("start a thread", &error))?;
        Ok(Arrivals { stream, shared, thread: Some(thread) })
    }

    /// The stream.
    pub(crate) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Takes what has arrived since the last call.
    pub(crate) fn take(&self) -> Result<Arrived, Failure> {
        let empty = latencies()?;
        let mut tally = self.shared.tally.lock();
        Ok(Arrived {
            seen: std::mem::take(&mut tally.seen),
            missed: std::mem::take(&mut tally.missed),
            latency: std::mem::replace(&mut tally.latency, empty),
            failure: tally.failure.clone(),
        })
    }
}

impl Drop for Arrivals {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn attend(&self, reader: &mut Reader) {
        let mut count = reader.count();
        loop {
            match self.next(reader, count) {
                Ok(Some(info)) => {
                    self.note(&info, count);
                    count = count.max(info.count);
                }
                Ok(None) => return,
                // Lapped for a while, by a writer that is faster than any look: the next one counts.
                Err(ReadError::Overrun { .. } | ReadError::Empty { .. }) => {}
                Err(error) => {
                    self.tally.lock().failure = Some(error.to_string());
                    return;
                }
            }
        }
    }

    /// Waits for a frame above `count`; `None` when the watch is over.
    fn next(&self, reader: &Reader, count: u64) -> Result<Option<FrameInfo>, ReadError> {
        let mut naps = reader.naps_after(count);
        while !self.is_over.load(Ordering::Relaxed) {
            if naps.sleep(NAP)?.is_some() {
                return Ok(Some(*reader.look()?.info()));
            }
        }
        Ok(None)
    }

    fn note(&self, info: &FrameInfo, before: u64) {
        let latency = clock::monotonic_ns().saturating_sub(info.written_mono_ns);
        let mut tally = self.tally.lock();
        tally.latency.saturating_record(latency);
        tally.seen += 1;
        tally.missed += info.count.saturating_sub(before).saturating_sub(1);
    }
}

impl Latency {
    /// What a histogram of nanoseconds says; `None` if it is empty.
    pub(crate) fn of(histogram: &Histogram<u64>) -> Option<Latency> {
        let us = |ns: u64| ns as f64 / 1e3;
        (!histogram.is_empty()).then(|| Latency {
            p50_us: us(histogram.value_at_quantile(0.5)),
            p99_us: us(histogram.value_at_quantile(0.99)),
            max_us: us(histogram.max()),
        })
    }
}

/// A histogram of nanoseconds with three digits.
pub(crate) fn latencies() -> Result<Histogram<u64>, Failure> {
    Histogram::new_with_max(LONGEST_NS, 3)
        .map_err(|error| Failure::new(Exit::System, format!("no histogram: {error}"), ""))
}

//! The stream behind the page, opened again when it comes back, and its newest frame, made into a picture
//! once for all who look.
//!
//! Upholds invariants 4 (it only reads) and 5 (nobody waits for a frame longer than [`LONGEST_POLL`]).

use super::LOOK;
use super::status::{Pulse, State, Status};
use crate::cli::exit::Failure;
use crate::cli::view::png;
use crate::cli::view::source::{Next, Shot, Source};
use parking_lot::{Condvar, Mutex};
use shm_core::{Deadline, ReadError, Reader};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How long a request waits for a frame.
const LONGEST_POLL: Duration = Duration::from_secs(10);

/// The stream and what was shown of it.
pub(crate) struct Live {
    name: String,
    range: Option<(f64, f64)>,
    current: Mutex<Current>,
    /// How many wait for a frame.
    waiting: AtomicUsize,
    /// Rung when somebody begins to.
    asked: Condvar,
    /// Rung when there may be a newer frame.
    newer: Condvar,
    closed: AtomicBool,
}

struct Current {
    source: Source,
    stream: String,
    shown: Option<Arc<Shown>>,
    pulse: Pulse,
    /// Why it is gone, if it is.
    gone: Option<String>,
}

/// A frame that is shown.
pub(crate) struct Shown {
    pub(crate) shot: Shot,
    /// Which of the streams that had this name it was of.
    pub(crate) stream: String,
    png: Mutex<Option<Arc<Vec<u8>>>>,
}

impl Live {
    pub(crate) fn new(source: Source, range: Option<(f64, f64)>) -> Live {
        let name = source.name().to_owned();
        Live {
            name,
            range,
            current: Mutex::new(Current::new(source)),
            waiting: AtomicUsize::new(0),
            asked: Condvar::new(),
            newer: Condvar::new(),
            closed: AtomicBool::new(false),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Waits for a frame newer than the one with this count of that stream, not for ever.
    pub(crate) fn wait_for_newer(&self, stream: Option<&str>, after: u64) {
        let deadline = Instant::now() + LONGEST_POLL;
        let mut current = self.current.lock();
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.asked.notify_all();
        while !self.closed.load(Ordering::Relaxed) && !current.has_newer(stream, after) {
            if self.newer.wait_until(&mut current, deadline).timed_out() {
                break;
            }
        }
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    /// Wakes those who wait for a frame, and notices whether the stream lives, until it is closed.
    pub(crate) fn watch(&self) {
        while !self.closed.load(Ordering::Relaxed) {
            let somebody_waits = || self.waiting.load(Ordering::Relaxed) > 0;
            if !somebody_waits() {
                self.asked.wait_for(&mut self.current.lock(), 2 * LOOK);
            }
            self.observe(if somebody_waits() { LOOK / 2 } else { LOOK / 10 });
            self.newer.notify_all();
        }
    }

    /// Nobody waits any more.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        self.asked.notify_all();
        self.newer.notify_all();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// The newest frame; none before the first.
    pub(crate) fn newest(&self) -> Result<Option<Arc<Shown>>, Failure> {
        let mut current = self.current.lock();
        let seen = current.shown.as_ref().map_or(0, |shown| shown.shot.info.count);
        if current.source.reader().count() > seen
            && let Next::Frame(shot) = current.source.next(seen, Deadline::NOW)?
        {
            let stream = current.stream.clone();
            let png = Mutex::new(None);
            current.shown = Some(Arc::new(Shown { shot: *shot, stream, png }));
        }
        Ok(current.shown.clone())
    }

    /// Waits so long for a frame, and notices whether the stream lives.
    fn observe(&self, patience: Duration) {
        let reader = {
            let mut current = self.current.lock();
            let count = current.source.reader().count();
            current.pulse.beat(count);
            if current.gone.is_some() {
                current.open_again(&self.name, self.range);
            }
            current.source.reader().stream().reader()
        };
        // A handle of its own, so that nobody waits for who waits.
        if let Err(error @ ReadError::Stale { .. }) = wait(&reader, patience) {
            let mut current = self.current.lock();
            if current.source.reader().stream().instance() == reader.stream().instance() {
                current.gone = Some(error.to_string());
                drop(current);
                // Nothing to wait for; not in a hurry either.
                std::thread::sleep(patience);
            }
        }
    }

    /// Everything that the page tells.
    pub(crate) fn status(&self) -> Status {
        let current = self.current.lock();
        let source = &current.source;
        let newest = source.reader().peek().ok();
        let count = source.reader().count();
        let age = source.reader().age();
        let writer_alive = source.writer_alive();
        let state = match &current.gone {
            Some(_) => State::Gone,
            None => current.pulse.state(count, age, writer_alive),
        };
        let shown = current.shown.as_ref();
        let desc = source.reader().desc();
        Status {
            name: self.name.clone(),
            stream: current.stream.clone(),
            state,
            words: state.words(age),
            count,
            id: newest.map(|info| info.frame_id),
            time_ns: newest.map(|info| info.written_wall_ns),
            age_us: age.map(|age| age.as_micros() as u64),
            rate: current.pulse.rate(),
            latency_us: shown.map(|shown| shown.shot.latency.as_micros() as u64),
            missed: source.reader().missed_total(),
            writer_alive,
            dtype: desc.dtype().name(),
            shape: desc.shape().to_vec(),
            width: source.arrangement().width,
            height: source.arrangement().height,
            range: shown.and_then(|shown| shown.shot.picture.range),
            not_finite: shown.map_or(0, |shown| shown.shot.picture.not_finite),
        }
    }
}

impl Current {
    fn new(source: Source) -> Current {
        let instance = source.reader().stream().instance();
        let stream = instance.iter().map(|byte| format!("{byte:02x}")).collect();
        Current { source, stream, shown: None, pulse: Pulse::default(), gone: None }
    }

    fn has_newer(&self, stream: Option<&str>, after: u64) -> bool {
        is_newer(&self.stream, self.source.reader().count(), stream, after)
    }

    /// Takes up the stream that has the name now; until there is one that can be shown, the last frame
    /// of the old one stays.
    fn open_again(&mut self, name: &str, range: Option<(f64, f64)>) {
        if let Ok(source) = Source::open(name, range)
            && !source.reader().stream().is_retired()
        {
            *self = Current::new(source);
        }
    }
}

impl Shown {
    /// True if it is newer than the one with this count of that stream.
    pub(crate) fn is_newer(&self, stream: Option<&str>, after: u64) -> bool {
        is_newer(&self.stream, self.shot.info.count, stream, after)
    }

    /// The frame as PNG, made once for all who ask.
    pub(crate) fn png(&self) -> Result<Arc<Vec<u8>>, Failure> {
        let mut made = self.png.lock();
        if let Some(png) = &*made {
            return Ok(png.clone());
        }
        let png = Arc::new(png::encode(&self.shot.picture, ::png::Compression::Fast)?);
        Ok(made.insert(png).clone())
    }
}

/// Any frame is newer than those of an earlier stream of the same name.
fn is_newer(stream: &str, count: u64, other: Option<&str>, after: u64) -> bool {
    match other {
        Some(other) if !other.is_empty() && other != stream => count > 0,
        _ => count > after,
    }
}

fn wait(reader: &Reader, patience: Duration) -> Result<(), ReadError> {
    match reader.wait_after(reader.count(), Deadline::after(patience)) {
        Ok(_) | Err(ReadError::Timeout { .. } | ReadError::Empty { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

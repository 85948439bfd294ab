//! Waiting for a frame, in one go or one sleep at a time.
//!
//! Upholds invariant 5: every sleep is bounded, and what comes between is the caller's.

use super::Reader;
use super::error::ReadError;
use super::in_flight::Watch;
use super::waiting::Waited;
use crate::deadline::Deadline;
use crate::event::Armed;
use std::time::{Duration, Instant};

/// A wait in pieces; made by [`Reader::naps_after`].
#[derive(Debug)]
pub struct Naps<'a> {
    reader: &'a Reader,
    count: u64,
    armed: Option<Armed>,
    watch: Watch,
}

impl Naps<'_> {
    /// Sleeps at most once and at most `longest`; `None` if it woke for anything but a frame, be it
    /// the time, a signal or nothing at all. A wake-up that was lost with a killed peer is found after
    /// `longest`.
    ///
    /// # Errors
    /// [`ReadError::Stale`] as for [`Reader::wait_after`].
    pub fn sleep(&mut self, longest: Duration) -> Result<Option<u64>, ReadError> {
        let (reader, count) = (self.reader, self.count);
        let shared = &**reader.stream().shared();
        let (event, ring) = (shared.segment.wake_event(), shared.ring());
        let (in_flight, longest) = match self.watch.next_nap(shared, count) {
            Some(nap) => (true, longest.min(nap)),
            None => (false, longest),
        };
        let (watch, armed) = (&self.watch, &mut self.armed);
        let ready = || ring.newest() > count || (!in_flight && watch.is_in_flight(shared, count));
        match shared.nap(event, reader.spin, longest, armed, ready) {
            Waited::Ready => Ok(Some(reader.count()).filter(|&newest| newest > count)),
            Waited::Retired => Err(reader.stale()),
            Waited::TimedOut => Ok(None),
        }
    }
}

impl Reader {
    /// Waits until there is a frame with a count above `count`; returns the newest count.
    ///
    /// # Errors
    /// [`ReadError::Timeout`] when the deadline passes, [`ReadError::Stale`] at once when the
    /// stream is unlinked or replaced.
    #[inline]
    pub fn wait_after(&self, count: u64, deadline: impl Into<Deadline>) -> Result<u64, ReadError> {
        let newest = self.count();
        if newest > count {
            return Ok(newest);
        }
        self.wait_slowly(count, deadline.into())
    }

    fn wait_slowly(&self, count: u64, deadline: Deadline) -> Result<u64, ReadError> {
        let shared = &**self.stream().shared();
        let begun = Instant::now();
        match shared.wait_for_frame(count, deadline, self.spin, || false) {
            Waited::Ready => Ok(self.count()),
            Waited::Retired => Err(self.stale()),
            Waited::TimedOut => Err(ReadError::Timeout {
                name: self.name().to_owned(),
                after: count,
                waited: begun.elapsed(),
                writer_alive: shared.is_writer_alive(),
            }),
        }
    }

    /// As [`Reader::wait_after`], for a caller that owns the reader: waits until there is a frame with a
    /// count above `after`, wherever its payload lives; returns the newest count.
    ///
    /// # Errors
    /// As for [`Reader::wait_after`].
    pub fn wait_for(
        &mut self,
        after: u64,
        deadline: impl Into<Deadline>,
    ) -> Result<u64, ReadError> {
        self.wait_after(after, deadline)
    }

    /// As [`Reader::wait_after`], one sleep at a time: for callers who have something to look after in
    /// between, such as an interpreter's signals.
    ///
    /// ```
    /// use shm_core::{Deadline, Stream, StreamConfig};
    /// use std::time::Duration;
    /// let stream = Stream::process_local("doc", &StreamConfig::of::<u8>(&[3])?)?;
    /// let reader = stream.reader();
    /// let mut naps = reader.naps_after(0);
    /// assert_eq!(naps.sleep(Duration::from_millis(1))?, None);      // nothing yet
    /// stream.writer(Deadline::NOW)?.publish(b"abc")?;
    /// assert_eq!(naps.sleep(Duration::from_secs(1))?, Some(1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn naps_after(&self, count: u64) -> Naps<'_> {
        Naps { reader: self, count, armed: None, watch: Watch::default() }
    }
}

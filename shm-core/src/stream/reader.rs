//! Readers: the newest complete frame, whatever the writer is doing.
//!
//! Upholds invariants 1 (bounded retries, never a wait for a writer's progress), 2 (every word of a
//! cell is checked) and 4 (no store outside the control page).

use super::error::ReadError;
use super::frame::{Frame, FrameInfo};
use super::view::View;
use super::waiting::SPIN;
use super::{AsyncReader, Shared, Stream};
use crate::clock;
use crate::deadline::Deadline;
use crate::dtype::Element;
use crate::os::Access;
use crate::segment::{OpenError, Role};
use crate::seqlock::{Look, Stamp};
use crate::tensor::TensorDesc;
use crossbeam_utils::Backoff;
use std::time::{Duration, Instant};

/// A writer that laps a reader for this long without a break is reported.
const PATIENCE: Duration = Duration::from_secs(1);
/// Retries before the reader lets others run between them.
const EAGER: u32 = 8;

/// Reads a stream. Every reader has its own place; any number of them cost the writer nothing.
///
/// * [`read`](Reader::read) never waits: the newest complete frame, at once.
/// * [`read_new`](Reader::read_new) waits for a frame published after the call began.
/// * [`read_after`](Reader::read_after) waits for a frame newer than the one you name.
/// * [`view`](Reader::view) copies nothing and is checked afterwards.
#[derive(Debug)]
pub struct Reader {
    stream: Stream,
    seen: u64,
    missed: u64,
    pub(super) spin: Duration,
}

impl Reader {
    /// Opens a stream for reading: payload and frame headers are mapped read-only.
    ///
    /// # Errors
    /// As for [`Stream::open`].
    pub fn open(name: &str) -> Result<Reader, OpenError> {
        Reader::open_within(name, Deadline::NOW)
    }

    /// As [`Reader::open`], waiting until `deadline` for somebody to create the stream.
    ///
    /// # Errors
    /// As for [`Stream::open`], once the deadline has passed.
    pub fn open_within(name: &str, deadline: impl Into<Deadline>) -> Result<Reader, OpenError> {
        Stream::open_for(name, Access::Attached, deadline.into()).map(Reader::new)
    }

    /// Opens a stream without any write access, not even to the wake-up words: it wakes by looking
    /// every 5 ms, and is not listed among the participants.
    ///
    /// # Errors
    /// As for [`Stream::open`].
    pub fn open_read_only(name: &str) -> Result<Reader, OpenError> {
        Stream::open_for(name, Access::ReadOnly, Deadline::NOW).map(Reader::new)
    }

    pub(crate) fn new(stream: Stream) -> Reader {
        stream.set_role(Role::Reader);
        Reader { stream, seen: 0, missed: 0, spin: SPIN }
    }

    /// Copies the newest complete frame into `out`.
    ///
    /// # Errors
    /// [`ReadError::Empty`] before the first frame; [`ReadError::Stale`] once the stream was
    /// unlinked or replaced and its last frame was read. On error `out` may hold parts of a frame.
    #[inline]
    pub fn read_into<T: Element>(&mut self, out: &mut [T]) -> Result<FrameInfo, ReadError> {
        self.check_buffer(out)?;
        self.take_newest(bytemuck::cast_slice_mut(out))
    }

    /// As [`Reader::read_into`] for callers that know the dtype at run time.
    ///
    /// # Errors
    /// As for [`Reader::read_into`], the length being counted in bytes.
    pub fn read_bytes_into(&mut self, out: &mut [u8]) -> Result<FrameInfo, ReadError> {
        let expected = self.desc().byte_len();
        if out.len() != expected {
            return Err(self.wrong_length("bytes", expected, out.len()));
        }
        self.check_payload()?;
        self.take_newest(out)
    }

    /// Calls `use_it` with the address of the newest complete frame, again and again until it was not
    /// overwritten meanwhile: for callers whose memory no slice may stand for, such as the bindings
    /// of another language. What the last call saw is the frame; what earlier ones saw is void.
    ///
    /// The address is aligned to 64 and good for the call. Another process may change the bytes at
    /// any time: copy them with [`crate::copy`].
    ///
    /// ```
    /// use shm_core::{Deadline, Stream, StreamConfig, copy};
    /// let stream = Stream::process_local("doc", &StreamConfig::of::<u8>(&[3])?)?;
    /// stream.writer(Deadline::NOW)?.publish(b"abc")?;
    /// let mut bytes = [0_u8; 3];
    /// // SAFETY: three bytes on both sides, which do not overlap.
    /// stream.reader().read_with(|payload| unsafe { copy::copy_out(bytes.as_mut_ptr(), payload, 3) })?;
    /// assert_eq!(&bytes, b"abc");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As for [`Reader::read_into`].
    #[inline]
    pub fn read_with(&mut self, mut use_it: impl FnMut(*const u8)) -> Result<FrameInfo, ReadError> {
        self.check_payload()?;
        let stamp = self.newest(|shared, stamp| use_it(shared.payload(stamp.index)))?;
        Ok(self.count_in(&stamp))
    }

    /// The newest complete frame, copied into a new vector.
    ///
    /// # Errors
    /// As for [`Reader::read_into`].
    pub fn read<T: Element>(&mut self) -> Result<Frame<T>, ReadError> {
        self.check_dtype::<T>()?;
        let mut data = bytemuck::zeroed_vec::<T>(self.desc().elements());
        let info = self.take_newest(bytemuck::cast_slice_mut(&mut data))?;
        Ok(Frame { info, data })
    }

    /// Waits for a frame published after this call began, and copies the newest into `out`.
    ///
    /// # Errors
    /// [`ReadError::Timeout`] when the deadline passes; otherwise as for [`Reader::read_into`].
    pub fn read_new_into<T: Element>(
        &mut self,
        out: &mut [T],
        deadline: impl Into<Deadline>,
    ) -> Result<FrameInfo, ReadError> {
        self.read_after_into(self.count(), out, deadline)
    }

    /// As [`Reader::read_new_into`], into a new vector.
    ///
    /// # Errors
    /// As for [`Reader::read_new_into`].
    pub fn read_new<T: Element>(
        &mut self,
        deadline: impl Into<Deadline>,
    ) -> Result<Frame<T>, ReadError> {
        self.read_after(self.count(), deadline)
    }

    /// Waits until there is a frame with a count above `count`, and copies the newest into `out`.
    ///
    /// # Errors
    /// As for [`Reader::read_new_into`].
    #[inline]
    pub fn read_after_into<T: Element>(
        &mut self,
        count: u64,
        out: &mut [T],
        deadline: impl Into<Deadline>,
    ) -> Result<FrameInfo, ReadError> {
        self.check_buffer(out)?;
        self.wait_after(count, deadline)?;
        self.take_newest(bytemuck::cast_slice_mut(out))
    }

    /// As [`Reader::read_after_into`], into a new vector.
    ///
    /// # Errors
    /// As for [`Reader::read_new_into`].
    pub fn read_after<T: Element>(
        &mut self,
        count: u64,
        deadline: impl Into<Deadline>,
    ) -> Result<Frame<T>, ReadError> {
        self.check_dtype::<T>()?;
        self.wait_after(count, deadline)?;
        self.read()
    }

    /// Copies out the frame with exactly this count.
    ///
    /// # Errors
    /// [`ReadError::Overwritten`] if it is no longer in the ring, or not yet.
    pub fn read_frame<T: Element>(&mut self, count: u64) -> Result<Frame<T>, ReadError> {
        self.check_dtype::<T>()?;
        let mut data = bytemuck::zeroed_vec::<T>(self.desc().elements());
        let out = bytemuck::cast_slice_mut(&mut data);
        let found = self.take_frame(count, |shared, stamp| shared.take(stamp.index, out))?;
        let overwritten = || ReadError::Overwritten { name: self.name().to_owned(), count };
        let stamp = found.ok_or_else(overwritten)?;
        Ok(Frame { info: FrameInfo::new(&stamp.header, 0), data })
    }

    /// Calls `use_it` with the address of the frame with exactly this count: as [`Reader::read_with`],
    /// once, and without counting as read. Any number of callers may read at a time.
    ///
    /// # Errors
    /// [`ReadError::Overwritten`] if it is no longer in the ring, or not yet, or was overwritten
    /// meanwhile.
    pub fn frame_with(
        &self,
        count: u64,
        use_it: impl FnOnce(*const u8),
    ) -> Result<FrameInfo, ReadError> {
        self.check_payload()?;
        let found = self.take_frame(count, |shared, stamp| use_it(shared.payload(stamp.index)))?;
        let stamp =
            found.ok_or_else(|| ReadError::Overwritten { name: self.name().to_owned(), count })?;
        Ok(FrameInfo::new(&stamp.header, 0))
    }

    /// The newest frames, at most `frames`, oldest first, without gaps. Fewer if the stream has
    /// fewer cells or fewer frames; does not change which frame counts as seen.
    ///
    /// # Errors
    /// As for [`Reader::read`].
    pub fn history<T: Element>(&mut self, frames: usize) -> Result<Vec<Frame<T>>, ReadError> {
        self.check_dtype::<T>()?;
        let mut found = Vec::new();
        let newest = self.count();
        if newest == 0 {
            return Err(self.empty());
        }
        let most = frames.min(self.stream.cells()) as u64;
        for count in (1..=newest).rev().take(most as usize) {
            match self.read_frame(count) {
                Ok(frame) => found.push(frame),
                Err(ReadError::Overwritten { .. }) => break,
                Err(error) => return Err(error),
            }
        }
        if found.is_empty() && most > 0 {
            // Lapped already: the newest frame can always be had.
            let (seen, missed) = (self.seen, self.missed);
            found.push(self.read()?);
            (self.seen, self.missed) = (seen, missed);
        }
        found.reverse();
        Ok(found)
    }

    /// Looks at the newest complete frame without copying it; see [`View`].
    ///
    /// # Errors
    /// As for [`Reader::read_into`].
    pub fn view(&mut self) -> Result<View, ReadError> {
        self.check_payload()?;
        let stamp = self.newest(|_, _| {})?;
        let info = self.count_in(&stamp);
        Ok(View::new(self.stream.clone(), stamp, info))
    }

    /// Numbers and times of the newest complete frame, without its payload; it does not count as
    /// read.
    ///
    /// # Errors
    /// As for [`Reader::read_into`].
    pub fn peek(&self) -> Result<FrameInfo, ReadError> {
        let stamp = self.newest(|_, _| {})?;
        Ok(FrameInfo::new(&stamp.header, self.seen))
    }

    /// Turns this reader into one whose waits are futures.
    pub fn into_async(self) -> AsyncReader {
        AsyncReader::new(self)
    }

    /// Count of the newest complete frame; 0 before the first.
    #[inline]
    pub fn count(&self) -> u64 {
        self.stream.shared().ring().newest()
    }

    /// Count of the frame that this reader read last; 0 before its first.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// Frames that this reader has not seen, between its first read and its last.
    pub fn missed_total(&self) -> u64 {
        self.missed
    }

    /// How long ago the newest frame was published; `None` before the first.
    pub fn age(&self) -> Option<Duration> {
        let ring = self.stream.shared().ring();
        for _ in 0..EAGER {
            let newest = ring.newest();
            if newest == 0 {
                return None;
            }
            let Look::Stable(stamp) = ring.look(newest) else { continue };
            if ring.validate(&stamp) {
                let age = clock::monotonic_ns().saturating_sub(stamp.header.written_mono_ns);
                return Some(Duration::from_nanos(age));
            }
        }
        // Overwritten again and again: it cannot be newer.
        Some(Duration::ZERO)
    }

    /// True when nothing was published within `max_age`, or ever.
    pub fn is_stale(&self, max_age: Duration) -> bool {
        self.age().is_none_or(|age| age > max_age)
    }

    /// True while a process holds the writer lock; `None` if the system cannot tell.
    pub fn writer_alive(&self) -> Option<bool> {
        self.stream.shared().is_writer_alive()
    }

    /// How long a wait spins before it sleeps in the kernel: 2 us by default. Longer saves the
    /// wake-up at the price of a busy core, zero sleeps at once.
    pub fn set_spin(&mut self, spin: Duration) {
        self.spin = spin;
    }

    /// The stream that is read.
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Dtype and shape of every frame.
    pub fn desc(&self) -> &TensorDesc {
        self.stream.desc()
    }

    /// The name of the stream.
    pub fn name(&self) -> &str {
        self.stream.name()
    }

    #[inline]
    fn take_newest(&mut self, out: &mut [u8]) -> Result<FrameInfo, ReadError> {
        let stamp = self.newest(|shared, stamp| shared.take(stamp.index, out))?;
        Ok(self.count_in(&stamp))
    }

    /// The newest frame for which `use_it` ran between two looks that agree.
    #[inline]
    pub(super) fn newest(
        &self,
        mut use_it: impl FnMut(&Shared, &Stamp),
    ) -> Result<Stamp, ReadError> {
        let backoff = Backoff::new();
        for _ in 0..EAGER {
            if let Some(stamp) = self.attempt(&mut use_it)? {
                return Ok(stamp);
            }
            backoff.spin();
        }
        self.newest_patiently(use_it)
    }

    /// As `newest`, letting others run between the attempts.
    #[cold]
    fn newest_patiently(
        &self,
        mut use_it: impl FnMut(&Shared, &Stamp),
    ) -> Result<Stamp, ReadError> {
        let begun = Instant::now();
        let mut attempts = EAGER;
        while begun.elapsed() < PATIENCE {
            std::thread::yield_now();
            attempts += 1;
            if let Some(stamp) = self.attempt(&mut use_it)? {
                return Ok(stamp);
            }
        }
        Err(ReadError::Overrun { name: self.name().to_owned(), attempts })
    }

    /// One attempt at the newest frame; `None` if it was overwritten meanwhile.
    #[inline]
    fn attempt(
        &self,
        use_it: &mut impl FnMut(&Shared, &Stamp),
    ) -> Result<Option<Stamp>, ReadError> {
        let shared = &**self.stream.shared();
        let ring = shared.ring();
        let newest = ring.newest();
        if newest <= self.seen {
            self.check_alive(newest)?;
        }
        let Look::Stable(stamp) = ring.look(newest) else { return Ok(None) };
        self.check_stamp(&stamp)?;
        use_it(shared, &stamp);
        Ok(ring.validate(&stamp).then_some(stamp))
    }

    /// There is a frame, and it is unseen or the stream still has its name.
    #[inline]
    fn check_alive(&self, newest: u64) -> Result<(), ReadError> {
        match (self.stream.is_retired(), newest) {
            (true, _) => Err(self.stale()),
            (false, 0) => Err(self.empty()),
            (false, _) => Ok(()),
        }
    }

    pub(super) fn take_frame(
        &self,
        count: u64,
        use_it: impl FnOnce(&Shared, &Stamp),
    ) -> Result<Option<Stamp>, ReadError> {
        let shared = self.stream.shared();
        let ring = shared.ring();
        if count == 0 || count > ring.newest() {
            return Ok(None);
        }
        let Look::Stable(stamp) = ring.look(count) else { return Ok(None) };
        self.check_stamp(&stamp)?;
        use_it(shared, &stamp);
        Ok(ring.validate(&stamp).then_some(stamp))
    }

    #[inline]
    pub(super) fn count_in(&mut self, stamp: &Stamp) -> FrameInfo {
        let info = FrameInfo::new(&stamp.header, self.seen);
        self.missed = self.missed.saturating_add(info.missed);
        self.seen = info.count;
        info
    }

    #[inline]
    fn check_stamp(&self, stamp: &Stamp) -> Result<(), ReadError> {
        let expected = self.desc().byte_len() as u64;
        if stamp.header.byte_len == expected {
            return Ok(());
        }
        // Only believed if the cell is still the one that was looked at.
        if !self.stream.shared().ring().validate(stamp) {
            return Ok(());
        }
        Err(ReadError::Corrupt {
            name: self.name().to_owned(),
            count: stamp.header.count,
            field: "byte_len",
            expected,
            found: stamp.header.byte_len,
        })
    }

    #[inline]
    fn check_dtype<T: Element>(&self) -> Result<(), ReadError> {
        self.check_payload()?;
        let expected = self.desc().dtype();
        if T::DTYPE == expected {
            return Ok(());
        }
        Err(ReadError::Dtype { name: self.name().to_owned(), expected, found: T::DTYPE })
    }

    /// The frames are in the segment.
    #[inline]
    pub(super) fn check_payload(&self) -> Result<(), ReadError> {
        match self.stream.shared().layout.host_payload {
            true => Ok(()),
            false => Err(self.no_host_payload()),
        }
    }

    #[inline]
    fn check_buffer<T: Element>(&self, out: &[T]) -> Result<(), ReadError> {
        self.check_dtype::<T>()?;
        let expected = self.desc().elements();
        if out.len() == expected {
            return Ok(());
        }
        Err(self.wrong_length("elements", expected, out.len()))
    }

    #[cold]
    fn wrong_length(&self, unit: &'static str, expected: usize, found: usize) -> ReadError {
        let (name, shape) = (self.name().to_owned(), self.desc().shape().to_vec());
        ReadError::Length { name, shape, unit, expected, found }
    }

    #[cold]
    fn no_host_payload(&self) -> ReadError {
        ReadError::NoHostPayload { name: self.name().to_owned() }
    }

    #[cold]
    fn empty(&self) -> ReadError {
        ReadError::Empty { name: self.name().to_owned() }
    }

    #[cold]
    pub(super) fn stale(&self) -> ReadError {
        ReadError::Stale { name: self.name().to_owned() }
    }
}

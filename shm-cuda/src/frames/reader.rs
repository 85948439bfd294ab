//! Readers of a device stream: the newest complete frame, copied on the caller's queue of work.
//!
//! Upholds invariants 1 (bounded retries, never a wait for a writer's progress) and 2: a copy is believed
//! only if its frame was still in its cell when the copy had ended.

use super::Inner;
use super::error::DeviceReadError;
use super::mutate::{Mutation, left_out};
use super::pending::PendingRead;
use super::view::DeviceView;
use crate::buffer::DeviceSlice;
use crate::cuda_stream::StreamRef;
use crate::device::Device;
use crate::error::CudaError;
use crate::event::Event;
use shm_core::{Deadline, FrameInfo, Glance, ReadError, Reader};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A writer that laps a reader for this long without a break is reported.
const PATIENCE: Duration = Duration::from_secs(1);
/// But not before so many attempts.
const ATTEMPTS: u32 = 8;
/// How often a wait asks whether the memory's process lives.
const DOUBT: Duration = Duration::from_millis(250);

/// Reads a device stream. Every reader has its own place; any number of them cost the writer nothing.
#[derive(Debug)]
pub struct DeviceReader {
    reader: Reader,
    /// Made by the first read.
    event: Option<Event>,
    inner: Arc<Inner>,
}

impl DeviceReader {
    pub(super) fn new(inner: Arc<Inner>) -> DeviceReader {
        DeviceReader { reader: inner.stream.reader(), event: None, inner }
    }

    /// Copies the newest complete frame to `out`, in the order of `stream`, and waits until it is there.
    ///
    /// # Errors
    /// [`ReadError::Empty`] before the first frame and [`ReadError::Stale`] once the stream was
    /// unlinked or replaced and its last frame was read, both as [`DeviceReadError::Read`];
    /// [`DeviceReadError::CreatorGone`] if the frames went with their process. On error `out` may hold
    /// parts of a frame.
    pub fn read_into(
        &mut self,
        out: DeviceSlice<'_>,
        stream: StreamRef<'_>,
    ) -> Result<FrameInfo, DeviceReadError> {
        self.check_target(out)?;
        self.read_with(stream, |cell| cell.copy_to(out, stream))
    }

    /// Copies the newest complete frame to memory of the host, after what is queued on `stream`, and
    /// waits until it is there.
    ///
    /// # Errors
    /// As for [`DeviceReader::read_into`].
    pub fn read_to_host(
        &mut self,
        out: &mut [u8],
        stream: StreamRef<'_>,
    ) -> Result<FrameInfo, DeviceReadError> {
        self.check_len(out.len())?;
        let target = out.as_mut_ptr();
        self.read_with(stream, |cell| {
            // SAFETY: `out` is borrowed for the whole read, which does not end before the copy has, and
            // has the length of the cell.
            unsafe { cell.download_to(target, stream) }
        })
    }

    /// Waits for a frame published after this call began, and reads the newest as
    /// [`DeviceReader::read_into`].
    ///
    /// # Errors
    /// [`ReadError::Timeout`] when the deadline passes; otherwise as for [`DeviceReader::read_into`].
    pub fn read_new(
        &mut self,
        out: DeviceSlice<'_>,
        stream: StreamRef<'_>,
        deadline: impl Into<Deadline>,
    ) -> Result<FrameInfo, DeviceReadError> {
        self.read_after(self.count(), out, stream, deadline)
    }

    /// Waits until there is a frame with a count above `after`, and reads the newest as
    /// [`DeviceReader::read_into`].
    ///
    /// # Errors
    /// As for [`DeviceReader::read_new`].
    pub fn read_after(
        &mut self,
        after: u64,
        out: DeviceSlice<'_>,
        stream: StreamRef<'_>,
        deadline: impl Into<Deadline>,
    ) -> Result<FrameInfo, DeviceReadError> {
        self.check_target(out)?;
        self.wait_after(after, deadline)?;
        self.read_into(out, stream)
    }

    /// Waits until there is a frame with a count above `after`; returns the newest count.
    ///
    /// # Errors
    /// As for [`DeviceReader::read_new`].
    pub fn wait_after(
        &self,
        after: u64,
        deadline: impl Into<Deadline>,
    ) -> Result<u64, DeviceReadError> {
        let (deadline, begun) = (deadline.into(), Instant::now());
        loop {
            let left = deadline.remaining().unwrap_or(DOUBT);
            match self.reader.wait_after(after, left.min(DOUBT)) {
                Ok(count) => return Ok(count),
                Err(ReadError::Timeout { name, after, writer_alive, .. }) => {
                    self.check_creator()?;
                    if deadline.has_passed() {
                        let waited = begun.elapsed();
                        let error = ReadError::Timeout { name, after, waited, writer_alive };
                        return Err(error.into());
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Queues a copy of the newest complete frame to `out`, and waits for nothing. The frame counts as
    /// read from now on; whether it came through is told by [`PendingRead::finish`].
    ///
    /// # Errors
    /// As for [`DeviceReader::read_into`].
    pub fn start(
        &mut self,
        out: DeviceSlice<'_>,
        stream: StreamRef<'_>,
    ) -> Result<PendingRead, DeviceReadError> {
        self.check_target(out)?;
        self.check_creator()?;
        let glance = self.reader.look()?;
        let queued = Event::new(&self.inner.device).and_then(|event| {
            self.inner.cell(glance.cell()).copy_to(out, stream)?;
            event.record(stream).map(|()| event)
        });
        let event = queued.map_err(|source| self.failed(source))?;
        let info = self.reader.note(&glance);
        Ok(PendingRead::new(self.inner.clone(), glance, info, event))
    }

    /// Looks at the newest complete frame without copying it; see [`DeviceView`].
    ///
    /// # Errors
    /// As for [`DeviceReader::read_into`].
    pub fn view(&mut self) -> Result<DeviceView, DeviceReadError> {
        self.check_creator()?;
        let glance = self.reader.look()?;
        let info = self.reader.note(&glance);
        Ok(DeviceView::new(self.inner.clone(), glance, info))
    }

    /// Views of the newest frames, at most `frames`, oldest first, without gaps. Fewer if the stream has
    /// fewer cells or fewer frames; does not change which frame counts as seen.
    ///
    /// # Errors
    /// As for [`DeviceReader::read_into`].
    pub fn history(&self, frames: usize) -> Result<Vec<DeviceView>, DeviceReadError> {
        self.check_creator()?;
        let view = |glance: Glance| {
            let mut info = *glance.info();
            info.missed = 0;
            DeviceView::new(self.inner.clone(), glance, info)
        };
        let newest = self.count();
        let most = frames.min(self.inner.stream.cells());
        let mut found = Vec::new();
        for count in (1..=newest).rev().take(most) {
            match self.reader.look_at(count) {
                Ok(glance) => found.push(view(glance)),
                Err(ReadError::Overwritten { .. }) => break,
                Err(error) => return Err(error.into()),
            }
        }
        if found.is_empty() && most > 0 {
            // None yet, or lapped already: the newest frame can always be had.
            found.push(view(self.reader.look()?));
        }
        found.reverse();
        Ok(found)
    }

    /// Count of the newest complete frame; 0 before the first.
    pub fn count(&self) -> u64 {
        self.reader.count()
    }

    /// Count of the frame that this reader read last; 0 before its first.
    pub fn seen(&self) -> u64 {
        self.reader.seen()
    }

    /// How long ago the newest frame was published; `None` before the first.
    pub fn age(&self) -> Option<Duration> {
        self.reader.age()
    }

    /// Frames that this reader has not seen, between its first read and its last.
    pub fn missed_total(&self) -> u64 {
        self.reader.missed_total()
    }

    /// How long a wait spins before it sleeps: see [`Reader::set_spin`].
    pub fn set_spin(&mut self, spin: Duration) {
        self.reader.set_spin(spin);
    }

    /// The reader of the stream's part in shared memory: waiting, ages, and the frames themselves if they
    /// are mirrored ([`Stream::reader`](shm_core::Stream::reader) makes one of one's own).
    pub fn host(&self) -> &Reader {
        &self.reader
    }

    /// The device that this reader's work is done by.
    pub fn device(&self) -> &Device {
        &self.inner.device
    }

    /// The newest frame that `copy` queued a copy of, and that was not overwritten before its end.
    fn read_with(
        &mut self,
        stream: StreamRef<'_>,
        mut copy: impl FnMut(DeviceSlice<'_>) -> Result<(), CudaError>,
    ) -> Result<FrameInfo, DeviceReadError> {
        self.check_creator()?;
        let _current = self.inner.device.enter().map_err(|source| self.failed(source))?;
        let begun = Instant::now();
        let mut attempts = 0;
        loop {
            let glance = self.reader.look()?;
            let copied = self.copied(glance.cell(), stream, &mut copy);
            copied.map_err(|source| self.failed(source))?;
            self.check_creator()?;
            if left_out(Mutation::Validate) || glance.validate().is_ok() {
                return Ok(self.reader.note(&glance));
            }
            attempts += 1;
            if attempts >= ATTEMPTS && begun.elapsed() >= PATIENCE {
                let name = self.inner.name();
                return Err(ReadError::Overrun { name, attempts }.into());
            }
        }
    }

    /// Has `copy` queued and waits until it is done; whatever the outcome, nothing of it goes on.
    fn copied(
        &mut self,
        cell: usize,
        stream: StreamRef<'_>,
        copy: &mut impl FnMut(DeviceSlice<'_>) -> Result<(), CudaError>,
    ) -> Result<(), CudaError> {
        let event = match self.event.take() {
            Some(event) => event,
            None => Event::new(&self.inner.device)?,
        };
        let event = self.event.insert(event);
        let waited =
            copy(self.inner.cell(cell)).and_then(|()| event.record(stream)).and_then(|()| {
                match left_out(Mutation::AwaitCopy) {
                    true => Ok(()),
                    false => event.synchronize(),
                }
            });
        // Without the event, everything on the device; if that fails its context is lost, and nothing
        // goes on in it.
        waited.inspect_err(|_| drop(self.inner.device.synchronize()))
    }

    fn check_creator(&self) -> Result<(), DeviceReadError> {
        check_creator(&self.inner)
    }

    fn failed(&self, source: CudaError) -> DeviceReadError {
        DeviceReadError::Cuda { name: self.inner.name(), source }
    }

    fn check_target(&self, out: DeviceSlice<'_>) -> Result<(), DeviceReadError> {
        self.check_len(out.len())?;
        let (ours, theirs) = (&self.inner.device, out.device());
        if theirs == ours || ours.can_access(theirs) {
            return Ok(());
        }
        let (name, expected, found) = (self.inner.name(), ours.uuid(), theirs.uuid());
        Err(DeviceReadError::WrongDevice { name, expected, found })
    }

    fn check_len(&self, found: usize) -> Result<(), DeviceReadError> {
        let desc = self.inner.stream.desc();
        let expected = desc.byte_len();
        if found == expected {
            return Ok(());
        }
        let (name, shape) = (self.inner.name(), desc.shape().to_vec());
        Err(ReadError::Length { name, shape, unit: "bytes", expected, found }.into())
    }
}

/// The frames are there. A stream that was replaced says so in the first place.
pub(super) fn check_creator(inner: &Inner) -> Result<(), DeviceReadError> {
    if inner.has_creator() {
        return Ok(());
    }
    let name = inner.name();
    match inner.stream.is_retired() {
        true => Err(ReadError::Stale { name }.into()),
        false => Err(DeviceReadError::CreatorGone { name }),
    }
}

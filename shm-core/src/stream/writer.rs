//! The one writer of a stream.
//!
//! Upholds invariants 1 and 7: whatever happens to a writer, at any instruction, the newest
//! complete frame stays the newest. A publish makes no system call unless somebody sleeps.

use super::Shared;
use super::error::{LockError, PublishError};
use super::frame::FrameTag;
use super::layout::HOT;
use crate::clock::WallClock;
use crate::copy::CopyPath;
use crate::deadline::Deadline;
use crate::dtype::Element;
use crate::fault;
use crate::os::generation;
use crate::seqlock::{CellHeader, Writing};
use crate::sync::Ordering;
use crate::tensor::TensorDesc;
use std::sync::Arc;

/// The right to publish, exclusive from [`Stream::writer`](crate::Stream::writer) until dropped.
///
/// Several writers share a stream by each taking a `Writer` for one frame or a few: taking and
/// dropping one costs no system call unless somebody else has or wants the lock.
///
/// ```
/// use shm_core::{Deadline, Stream, StreamConfig};
/// let stream = Stream::process_local("doc", &StreamConfig::of::<u16>(&[4])?)?;
/// let mut writer = stream.writer(Deadline::NOW)?;
///
/// writer.publish(&[1_u16, 2, 3, 4])?;                   // one copy in
/// let mut frame = writer.loan()?;                       // no copy: write in place
/// frame.as_mut_slice::<u16>()?.fill(7);
/// assert_eq!(frame.commit(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    /// The process generation that the lock was taken in.
    generation: u64,
    next: u64,
    clock: WallClock,
    /// `None`: the size decides.
    path: Option<CopyPath>,
}

impl Writer {
    pub(crate) fn lock(shared: Arc<Shared>, deadline: Deadline) -> Result<Writer, LockError> {
        let generation = shared.lock_writer(deadline)?;
        // From here on, dropping the writer unlocks.
        let mut writer =
            Writer { shared, generation, next: 1, clock: WallClock::default(), path: None };
        let shared = &*writer.shared;
        let before = shared.ring().newest();
        let newest = shared.ring().recover();
        fault::hit("lock.recovered");
        if shared.layout.external.is_some() {
            // Nobody carries out what a predecessor announced any more; see `lock_writer`.
            shared.flight().settle(newest);
        }
        if newest != before {
            shared.segment.wake_event().ring(shared.segment.backing().parker());
        }
        writer.next = newest.wrapping_add(1);
        Ok(writer)
    }

    /// Publishes one frame: `data` in C order. Returns its count.
    ///
    /// # Errors
    /// [`PublishError`] if dtype or length differ, if the stream was unlinked or replaced, or if
    /// this writer was inherited over `fork`. Nothing was changed then.
    #[inline]
    pub fn publish<T: Element>(&mut self, data: &[T]) -> Result<u64, PublishError> {
        self.publish_tagged(data, FrameTag::default())
    }

    /// As [`Writer::publish`], with the producer's own number and time of acquisition.
    ///
    /// # Errors
    /// As for [`Writer::publish`].
    #[inline]
    pub fn publish_tagged<T: Element>(
        &mut self,
        data: &[T],
        tag: FrameTag,
    ) -> Result<u64, PublishError> {
        let desc = self.desc();
        if T::DTYPE != desc.dtype() {
            return Err(self.wrong_dtype::<T>());
        }
        if data.len() != desc.elements() {
            return Err(self.wrong_length("elements", desc.elements(), data.len()));
        }
        self.publish_checked(bytemuck::cast_slice(data), tag)
    }

    /// Publishes one frame given as bytes, whatever the dtype: for callers that know it at run time.
    ///
    /// # Errors
    /// As for [`Writer::publish`], the length being counted in bytes.
    pub fn publish_bytes(&mut self, data: &[u8], tag: FrameTag) -> Result<u64, PublishError> {
        let expected = self.desc().byte_len();
        if data.len() != expected {
            return Err(self.wrong_length("bytes", expected, data.len()));
        }
        self.publish_checked(data, tag)
    }

    /// Publishes one frame that `fill` writes: it is given the address of the payload, aligned to 64,
    /// and must write all of it, with [`crate::copy`] if others may be writing the source. What it
    /// leaves out is what an older frame left there.
    ///
    /// # Errors
    /// As for [`Writer::publish`].
    #[inline]
    pub fn publish_with(
        &mut self,
        tag: FrameTag,
        fill: impl FnOnce(*mut u8),
    ) -> Result<u64, PublishError> {
        let writing = self.begin()?;
        fill(self.shared.payload(writing.index));
        fault::hit("publish.copied");
        Ok(self.finish(writing, tag))
    }

    /// Publishes a frame of zeroes.
    ///
    /// # Errors
    /// As for [`Writer::publish`].
    pub fn clear(&mut self) -> Result<u64, PublishError> {
        self.clear_tagged(FrameTag::default())
    }

    /// As [`Writer::clear`], with the producer's own number and time of acquisition.
    ///
    /// # Errors
    /// As for [`Writer::publish`].
    pub fn clear_tagged(&mut self, tag: FrameTag) -> Result<u64, PublishError> {
        let writing = self.begin()?;
        self.shared.fill_zero(writing.index);
        Ok(self.finish(writing, tag))
    }

    /// Lends the next cell for writing in place. Its bytes are those of an old frame, or zero.
    ///
    /// Nobody sees the frame before [`FrameMut::commit`]; dropping it gives the cell back unseen.
    ///
    /// # Errors
    /// As for [`Writer::publish`].
    pub fn loan(&mut self) -> Result<FrameMut<'_>, PublishError> {
        let writing = self.begin()?;
        Ok(FrameMut { writer: self, writing: Some(writing) })
    }

    /// Chooses how frames are copied in; `None`, the default, lets the size decide.
    ///
    /// The default is the fastest copy for a writer whose reader shares its caches. Where the reader
    /// runs on a distant core, frames of some ten kilobytes to some megabytes arrive sooner through
    /// [`CopyPath::NonTemporal`], because no line has to be taken back from that core's cache first.
    /// `cargo xtask bench stream` measures both.
    ///
    /// # Errors
    /// [`PublishError::CopyPath`] if this machine cannot copy that way; nothing changes then.
    pub fn set_copy_path(&mut self, path: Option<CopyPath>) -> Result<(), PublishError> {
        if let Some(path) = path.filter(|path| !path.available()) {
            return Err(PublishError::CopyPath { path });
        }
        self.path = path;
        Ok(())
    }

    /// Dtype and shape of every frame.
    pub fn desc(&self) -> &TensorDesc {
        &self.shared.layout.desc
    }

    /// The name of the stream.
    pub fn name(&self) -> &str {
        self.shared.segment.name()
    }

    #[inline]
    fn publish_checked(&mut self, data: &[u8], tag: FrameTag) -> Result<u64, PublishError> {
        let writing = self.begin()?;
        self.shared.fill(writing.index, data, self.path);
        fault::hit("publish.copied");
        Ok(self.finish(writing, tag))
    }

    #[inline]
    pub(super) fn begin(&mut self) -> Result<Writing, PublishError> {
        self.check_usable()?;
        if self.shared.layout.external.is_some() {
            return Err(self.external());
        }
        fault::hit("publish.begin");
        let writing = self.shared.ring().begin(self.next);
        fault::hit("publish.odd");
        Ok(writing)
    }

    /// The lock is this process's, and the stream has its name.
    #[inline]
    pub(super) fn check_usable(&self) -> Result<(), PublishError> {
        if self.generation != generation() {
            return Err(PublishError::Forked { name: self.name().to_owned() });
        }
        if self.shared.is_retired() {
            return Err(PublishError::Stale { name: self.name().to_owned() });
        }
        Ok(())
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The count that the next frame will have.
    pub(super) fn next_count(&self) -> u64 {
        self.next
    }

    pub(super) fn set_next_count(&mut self, next: u64) {
        self.next = next;
    }

    /// The process generation that the lock was taken in.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    #[inline]
    pub(super) fn finish(&mut self, writing: Writing, tag: FrameTag) -> u64 {
        let count = writing.count;
        let header = self.header_of(count, tag);
        let shared = &*self.shared;
        let ring = shared.ring();
        ring.seal(&writing, header);
        fault::hit("publish.even");
        ring.hand_over(count);
        fault::hit("publish.latest");
        shared.segment.wake_event().ring(shared.segment.backing().parker());
        fault::hit("publish.woken");
        self.next = count.wrapping_add(1);
        count
    }

    /// What frame `count` carries besides its payload if it is published now.
    #[inline]
    pub(super) fn header_of(&mut self, count: u64, tag: FrameTag) -> CellHeader {
        let (written_mono_ns, written_wall_ns) = self.clock.now();
        CellHeader {
            count,
            frame_id: tag.id.unwrap_or(count),
            written_mono_ns,
            written_wall_ns,
            acquired_wall_ns: tag.acquired_wall_ns,
            byte_len: self.desc().byte_len() as u64,
        }
    }

    /// The cell stays unreadable; the next frame takes it again.
    fn give_up(&mut self, _unfinished: Writing) {
        self.shared.segment.hot(HOT.aborted).fetch_add(1, Ordering::Relaxed);
    }

    #[cold]
    pub(super) fn external(&self) -> PublishError {
        PublishError::External { name: self.name().to_owned() }
    }

    #[cold]
    fn wrong_dtype<T: Element>(&self) -> PublishError {
        let (name, expected) = (self.name().to_owned(), self.desc().dtype());
        PublishError::Dtype { name, expected, found: T::DTYPE }
    }

    #[cold]
    fn wrong_length(&self, unit: &'static str, expected: usize, found: usize) -> PublishError {
        let (name, shape) = (self.name().to_owned(), self.desc().shape().to_vec());
        PublishError::Length { name, shape, unit, expected, found }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.unlock_writer(self.generation);
    }
}

/// A cell that is being written in place.
///
/// Only this process may write it (it holds the writer lock) and nobody may read it (its sequence
/// is odd), so a slice over it is sound.
#[derive(Debug)]
pub struct FrameMut<'a> {
    writer: &'a mut Writer,
    writing: Option<Writing>,
}

impl FrameMut<'_> {
    /// The elements, C-contiguous.
    ///
    /// # Errors
    /// [`PublishError::Dtype`] if `T` is not the stream's element type.
    pub fn as_mut_slice<T: Element>(&mut self) -> Result<&mut [T], PublishError> {
        if T::DTYPE != self.writer.desc().dtype() {
            return Err(self.writer.wrong_dtype::<T>());
        }
        Ok(bytemuck::cast_slice_mut(self.bytes_mut()))
    }

    /// The payload as bytes, aligned to 64.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let Some(writing) = &self.writing else { return &mut [] };
        let shared = &*self.writer.shared;
        let len = shared.layout.desc.byte_len();
        let payload = shared.segment.region().bytes(shared.payload_at(writing.index), len);
        // SAFETY: `len` writable bytes of a cell, borrowed for as long as `self`, which holds the
        // writer exclusively; other processes neither write nor read it while it is odd: a reader
        // that copies from it discards the copy, and does so outside the language.
        unsafe { core::slice::from_raw_parts_mut(payload, len) }
    }

    /// Publishes the frame; returns its count.
    pub fn commit(self) -> u64 {
        self.commit_tagged(FrameTag::default())
    }

    /// Publishes the frame with the producer's own number and time of acquisition.
    pub fn commit_tagged(mut self, tag: FrameTag) -> u64 {
        match self.writing.take() {
            Some(writing) => self.writer.finish(writing, tag),
            None => unreachable!("a frame in place is consumed by its commit"),
        }
    }
}

impl Drop for FrameMut<'_> {
    fn drop(&mut self) {
        if let Some(writing) = self.writing.take() {
            self.writer.give_up(writing);
        }
    }
}

//! Publishing frames that somebody else carries out: a device in the order of its own queue, or a
//! function on the host that the device calls.
//!
//! Upholds invariants 1 (what a dead or failed writer announced is taken back) and 7: the frame is
//! readable when the last of its stores is made, whoever makes them.

use super::Shared;
use super::error::PublishError;
use super::frame::FrameTag;
use super::layout::HOT;
use super::writer::Writer;
use crate::fault;
use crate::os::generation;
use crate::seqlock::{CellHeader, Store, Writing};
use crate::sync::Ordering;
use std::sync::Arc;

/// One store that carries out a part of a frame: 64 bits at an address in this process's mapping.
#[derive(Clone, Copy, Debug)]
pub struct WordStore {
    /// Where, aligned to 8; inside [`Stream::publication_pages`](crate::Stream::publication_pages).
    pub address: *mut u64,
    /// What.
    pub value: u64,
}

/// One frame to be carried out by somebody else: the stores of [`begin`](Announced::begin), the payload,
/// then the stores of [`finish`](Announced::finish).
///
/// Frames are carried out in the order in which they were announced. Dropping this does nothing: who
/// has the stores carries them out, and what nobody will is [withdrawn](Writer::withdraw).
#[derive(Debug)]
#[must_use = "the frame stays in flight until it is carried out or withdrawn"]
pub struct Announced {
    shared: Arc<Shared>,
    pub(super) writing: Writing,
    pub(super) header: CellHeader,
    /// The process generation that it was announced in.
    generation: u64,
}

impl Announced {
    /// The count that the frame has once it is complete.
    pub fn count(&self) -> u64 {
        self.writing.count
    }

    /// The cell that its payload belongs in.
    pub fn cell(&self) -> usize {
        self.writing.index
    }

    /// What to store before the payload, with a release fence after it.
    pub fn begin(&self) -> [WordStore; 1] {
        self.shared.ring().beginning(&self.writing).map(WordStore::from)
    }

    /// What to store after the payload, in this order, with a release fence before each of the last
    /// two. The times are those of the announcement.
    pub fn finish(&self) -> [WordStore; 7] {
        self.shared.ring().completion(&self.writing, &self.header).map(WordStore::from)
    }

    /// Makes the stores of [`begin`](Announced::begin), with their fence.
    pub fn begin_on_host(&self) {
        if self.generation != generation() {
            return;
        }
        let Writing { .. } = self.shared.ring().begin(self.writing.count);
        fault::hit("announce.begun");
    }

    /// Makes the stores of [`finish`](Announced::finish), with their fences, and wakes who waits. Does
    /// nothing in a forked child of the process that announced.
    pub fn finish_on_host(self) {
        if self.generation != generation() {
            return;
        }
        let shared = &*self.shared;
        let ring = shared.ring();
        ring.seal(&self.writing, self.header);
        ring.hand_over(self.writing.count);
        fault::hit("announce.finished");
        shared.segment.wake_event().ring(shared.segment.backing().parker());
    }
}

impl Writer {
    /// Announces the next frame of an external stream, and wakes who waits for it: from now on they look
    /// for it every millisecond at the latest. Returns what to store, in which order.
    ///
    /// Any number of frames may be in flight, each later one overwriting the cell that comes next. Let
    /// them settle before the writer is dropped, or [`withdraw`](Writer::withdraw) them: the next
    /// writer waits for frames in flight while the process lives that announced them.
    ///
    /// # Errors
    /// [`PublishError::NotExternal`] on an ordinary stream; [`PublishError::Stale`] and
    /// [`PublishError::Forked`] as for [`Writer::publish`]. Nothing was changed then.
    pub fn announce(&mut self, tag: FrameTag) -> Result<Announced, PublishError> {
        self.check_usable()?;
        if self.shared().layout.external.is_none() {
            return Err(PublishError::NotExternal { name: self.name().to_owned() });
        }
        let count = self.next_count();
        let header = self.header_of(count, tag);
        self.set_next_count(count.wrapping_add(1));
        let (shared, generation) = (self.shared().clone(), self.generation());
        let writing = shared.ring().reserve(count);
        shared.flight().announce(count);
        fault::hit("announce.stored");
        shared.segment.wake_event().ring(shared.segment.backing().parker());
        fault::hit("announce.rung");
        Ok(Announced { shared, writing, header, generation })
    }

    /// How many of the frames that this writer announced are not yet complete.
    pub fn in_flight(&self) -> u64 {
        let newest = self.shared().ring().newest();
        self.next_count().wrapping_sub(1).saturating_sub(newest)
    }

    /// Takes back what was announced and will not be carried out; the next frame takes the first count
    /// that is free again.
    ///
    /// Call it only when nothing that was announced is still going on: a store that comes later would
    /// publish a frame that was withdrawn.
    pub fn withdraw(&mut self) {
        if self.generation() != generation() || self.in_flight() == 0 {
            return;
        }
        let shared = self.shared().clone();
        let before = shared.ring().newest();
        let newest = shared.ring().recover();
        self.set_next_count(newest.wrapping_add(1));
        let withdrawn = shared.flight().announced().saturating_sub(newest);
        shared.segment.hot(HOT.aborted).fetch_add(withdrawn, Ordering::Relaxed);
        shared.flight().settle(newest);
        if newest != before {
            shared.segment.wake_event().ring(shared.segment.backing().parker());
        }
    }
}

impl From<Store<'_>> for WordStore {
    fn from(store: Store<'_>) -> WordStore {
        WordStore { address: store.word.as_ptr(), value: store.value }
    }
}

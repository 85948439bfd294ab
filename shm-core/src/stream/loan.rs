//! A cell lent apart from its writer.
//!
//! Upholds invariants 6 (a loan owns its mapping) and 7 (its frame is unreadable until committed).

use super::Shared;
use super::error::PublishError;
use super::frame::FrameTag;
use super::layout::HOT;
use super::writer::Writer;
use crate::seqlock::Writing;
use crate::sync::Ordering;
use std::sync::Arc;

/// The next cell, for callers that cannot hold a borrow of the [`Writer`] while they fill it, such
/// as the bindings of another language. Where you can, use [`Writer::loan`].
///
/// Nobody sees the frame before [`Writer::commit_loan`]; dropping the loan gives the cell back
/// unseen. Whatever the writer publishes meanwhile takes the same cell, and the loan can then no
/// longer be committed.
///
/// ```
/// use shm_core::{Deadline, FrameTag, Stream, StreamConfig};
/// let stream = Stream::process_local("doc", &StreamConfig::of::<u8>(&[4])?)?;
/// let mut writer = stream.writer(Deadline::NOW)?;
///
/// let loan = writer.lend()?;
/// // SAFETY: four bytes of a cell that nobody else writes while `writer` is held and idle.
/// unsafe { loan.as_mut_ptr().write_bytes(7, loan.byte_len()) };
/// assert_eq!(writer.commit_loan(loan, FrameTag::default())?, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping a loan publishes nothing"]
pub struct Loan {
    shared: Arc<Shared>,
    writing: Option<Writing>,
    index: usize,
}

impl Loan {
    /// Address of the payload, aligned to 64; valid for as long as the loan lives. Write through it
    /// only while the writer that lent it is held and has published nothing since.
    pub fn as_mut_ptr(&self) -> *mut u8 {
        self.shared.payload(self.index)
    }

    /// Payload size in bytes.
    pub fn byte_len(&self) -> usize {
        self.shared.layout.desc.byte_len()
    }
}

impl Writer {
    /// Lends the next cell. Its bytes are those of an old frame, or zero.
    ///
    /// # Errors
    /// As for [`Writer::publish`].
    pub fn lend(&mut self) -> Result<Loan, PublishError> {
        let writing = self.begin()?;
        let index = writing.index;
        Ok(Loan { shared: self.shared().clone(), writing: Some(writing), index })
    }

    /// Publishes what was written into the loan; returns the frame's count.
    ///
    /// # Errors
    /// [`PublishError::Loan`] if the loan is another writer's, or if this writer published since;
    /// [`PublishError::Stale`] if the stream was unlinked or replaced; [`PublishError::Forked`] in a
    /// child of the process that took the lock. Nothing was published then.
    pub fn commit_loan(&mut self, mut loan: Loan, tag: FrameTag) -> Result<u64, PublishError> {
        self.check_usable()?;
        if self.shared().layout.external.is_some() {
            return Err(self.external());
        }
        let found = loan.writing.as_ref().map_or(0, |writing| writing.count);
        if !Arc::ptr_eq(self.shared(), &loan.shared) || found != self.next_count() {
            let (name, expected) = (self.name().to_owned(), self.next_count());
            return Err(PublishError::Loan { name, expected, found });
        }
        match loan.writing.take() {
            Some(writing) => Ok(self.finish(writing, tag)),
            None => unreachable!("a loan is consumed by its commit"),
        }
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        if self.writing.take().is_some() {
            self.shared.segment.hot(HOT.aborted).fetch_add(1, Ordering::Relaxed);
        }
    }
}

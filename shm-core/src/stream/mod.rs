//! Latest-value tensor streams: one writer at a time, any number of readers, no frame ever torn.
//!
//! Upholds invariants 1, 2, 4, 5 and 7. The layout is fixed at creation and described by the
//! segment's geometry; [`layout`] turns it into offsets, `seqlock` moves frames through the cells,
//! `event` lets readers sleep, and the writer lock is a kernel lock that dies with its holder.

mod announcing;
mod asynchronous;
mod awaiting;
mod check;
mod config;
mod copying;
mod error;
mod external;
mod frame;
mod glance;
mod in_flight;
mod layout;
mod loan;
mod lock;
mod reader;
mod view;
mod waiting;
mod writer;

pub use announcing::{Announced, WordStore};
pub use asynchronous::{AsyncReader, ReadFuture};
pub use awaiting::Naps;
pub use check::{CellCheck, CellState, LockCheck, StreamCheck, check_stream};
pub use config::{ConfigError, StreamConfig};
pub use error::{LockError, LockHolder, PublishError, ReadError, WriteError};
pub use external::{External, StreamShape};
pub use frame::{Frame, FrameInfo, FrameTag};
pub use glance::Glance;
pub use loan::Loan;
pub use reader::Reader;
pub use view::View;
pub use writer::{FrameMut, Writer};

use crate::deadline::Deadline;
use crate::dtype::Element;
use crate::os::Access;
use crate::segment::{CreateError, OpenError, Role, Segment, UnlinkError};
use crate::tensor::TensorDesc;
use layout::{Layout, STREAM_KIND};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A handle on a stream: create or open it, then take a [`Writer`] or [`Reader`]s from it.
///
/// Cloning is cheap and shares the mapping. The mapping lives as long as any handle, reader,
/// writer, view or frame in place that came from it. Dropping handles never removes the stream:
/// that is what [`Stream::unlink`] is for.
///
/// ```
/// use shm_core::{Reader, Stream, StreamConfig};
/// use std::time::Duration;
/// # let name = format!("doc-stream-{}", std::process::id());
///
/// let stream = Stream::create(&name, &StreamConfig::of::<f32>(&[2, 3])?)?;
/// let mut writer = stream.writer(Duration::from_secs(1))?;
/// writer.publish(&[1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0])?;
///
/// let mut reader = Reader::open(&name)?;          // usually in another process
/// let frame = reader.read::<f32>()?;
/// assert_eq!((frame.info.count, frame.data[5]), (1, 6.0));
/// stream.unlink()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Stream {
    shared: Arc<Shared>,
}

/// What all users of one handle share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) segment: Segment,
    pub(crate) layout: Layout,
    /// Set by a waiter that found the file without a name, though nobody has said so.
    nameless: AtomicBool,
}

impl Shared {
    fn new(segment: Segment, layout: Layout) -> Arc<Shared> {
        Arc::new(Shared { segment, layout, nameless: AtomicBool::new(false) })
    }

    /// True once the stream was unlinked or replaced, as far as this handle knows.
    #[inline]
    pub(crate) fn is_retired(&self) -> bool {
        self.segment.is_retired() || self.nameless.load(Ordering::Relaxed)
    }

    /// Asks the system whether the file still has a name, which costs a call: for waiters, in case
    /// it was removed by something that tells nobody.
    pub(crate) fn look_for_name(&self) {
        if !self.segment.backing().is_linked() {
            self.nameless.store(true, Ordering::Relaxed);
        }
    }
}

impl Stream {
    /// Creates a stream that other processes can open, all zero, with no frame in it.
    ///
    /// # Errors
    /// [`CreateError::Exists`] if the name is taken, [`CreateError::NoSpace`] if shared memory is
    /// too small; see [`CreateError`] for the rest. Nothing is left behind on error.
    pub fn create(name: &str, config: &StreamConfig) -> Result<Stream, CreateError> {
        Stream::from_new(Segment::create(name, config.spec())?, config)
    }

    /// A stream inside this process, under no name: the same code without a file.
    ///
    /// # Errors
    /// [`CreateError`] if the name or the size is impossible.
    pub fn process_local(name: &str, config: &StreamConfig) -> Result<Stream, CreateError> {
        Stream::from_new(Segment::process_local(name, config.spec())?, config)
    }

    /// A stream on the backing for platforms without futex and OFD locks.
    ///
    /// # Errors
    /// As for [`Stream::create`].
    #[cfg(feature = "testing")]
    pub fn create_portable(name: &str, config: &StreamConfig) -> Result<Stream, CreateError> {
        Stream::from_new(Segment::create_portable(name, config.spec())?, config)
    }

    /// Opens a stream on the backing for platforms without futex and OFD locks.
    ///
    /// # Errors
    /// As for [`Stream::open`].
    #[cfg(feature = "testing")]
    pub fn open_portable(name: &str) -> Result<Stream, OpenError> {
        Stream::from_segment(Segment::open_portable(name, STREAM_KIND, Access::Full)?)
    }

    /// Takes the name of a stream on that backing away.
    ///
    /// # Errors
    /// As for [`Stream::unlink`].
    #[cfg(feature = "testing")]
    pub fn unlink_portable(&self) -> Result<(), UnlinkError> {
        self.shared.segment.unlink_portable()
    }

    /// Opens a stream for reading and writing.
    ///
    /// # Errors
    /// [`OpenError::NotFound`] if there is none; see [`OpenError`] for the rest.
    pub fn open(name: &str) -> Result<Stream, OpenError> {
        Stream::open_within(name, Deadline::NOW)
    }

    /// Opens a stream, waiting until `deadline` for somebody to create it.
    ///
    /// # Errors
    /// As for [`Stream::open`], once the deadline has passed.
    pub fn open_within(name: &str, deadline: impl Into<Deadline>) -> Result<Stream, OpenError> {
        Stream::open_for(name, Access::Full, deadline.into())
    }

    pub(crate) fn open_for(
        name: &str,
        access: Access,
        deadline: Deadline,
    ) -> Result<Stream, OpenError> {
        Stream::from_segment(Segment::open_within(name, STREAM_KIND, access, deadline)?)
    }

    fn from_segment(segment: Segment) -> Result<Stream, OpenError> {
        let layout = Layout::from_segment(&segment)?;
        Ok(Stream { shared: Shared::new(segment, layout) })
    }

    fn from_new(segment: Segment, config: &StreamConfig) -> Result<Stream, CreateError> {
        Ok(Stream { shared: Shared::new(segment, config.layout().clone()) })
    }

    /// Takes the writer lock and becomes the stream's only writer until the result is dropped.
    ///
    /// The lock belongs to the kernel: it is free at once when its holder dies, and only then. A
    /// holder that is stopped or slow keeps it, and is named in the error. A frame that a killed
    /// predecessor had finished but not handed over is handed over now.
    ///
    /// # Errors
    /// [`LockError::Timeout`] names the holder; [`LockError::Stale`] if the stream was unlinked or
    /// replaced; [`LockError::ReadOnly`] on a handle that was opened for reading.
    pub fn writer(&self, deadline: impl Into<Deadline>) -> Result<Writer, LockError> {
        Writer::lock(self.shared.clone(), deadline.into())
    }

    /// Takes the writer lock, publishes one frame, and lets go: how several writers share a stream.
    /// Returns the frame's count.
    ///
    /// # Errors
    /// [`WriteError`]: as for [`Stream::writer`] and [`Writer::publish`].
    pub fn write<T: Element>(
        &self,
        data: &[T],
        deadline: impl Into<Deadline>,
    ) -> Result<u64, WriteError> {
        Ok(self.writer(deadline)?.publish(data)?)
    }

    /// A reader that shares this handle's mapping.
    pub fn reader(&self) -> Reader {
        Reader::new(self.clone())
    }

    /// Takes the stream's name away: see [`unlink`](crate::unlink()).
    ///
    /// # Errors
    /// [`UnlinkError::Stale`] if the name leads to another stream by now; that one is left alone.
    pub fn unlink(&self) -> Result<(), UnlinkError> {
        self.shared.segment.unlink()
    }

    /// The name as its creator gave it.
    pub fn name(&self) -> &str {
        self.shared.segment.name()
    }

    /// Dtype and shape of every frame.
    pub fn desc(&self) -> &TensorDesc {
        &self.shared.layout.desc
    }

    /// Number of frame cells, K: the newest frame and K - 2 before it stay readable while the next
    /// is written.
    pub fn cells(&self) -> usize {
        self.shared.layout.cells
    }

    /// The creator's own bytes, fixed at creation.
    pub fn metadata(&self) -> &[u8] {
        self.shared.segment.metadata()
    }

    /// Random id: two streams that ever had the same name differ in it.
    pub fn instance(&self) -> [u8; 16] {
        self.shared.segment.instance()
    }

    /// Its creator's process id, as seen in the creator's own pid namespace.
    pub fn creator_pid(&self) -> u32 {
        self.shared.segment.creator_pid()
    }

    /// True if the stream was created as [`temporary`](StreamConfig::temporary).
    pub fn is_temporary(&self) -> bool {
        self.shared.segment.is_temporary()
    }

    /// Bytes of shared memory that the stream occupies.
    pub fn segment_len(&self) -> usize {
        self.shared.segment.total_len()
    }

    /// Number of complete frames so far.
    pub fn count(&self) -> u64 {
        self.shared.ring().newest()
    }

    /// True once the stream was unlinked or replaced.
    pub fn is_retired(&self) -> bool {
        self.shared.is_retired()
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(crate) fn set_role(&self, role: Role) {
        self.shared.segment.set_role(role);
    }
}

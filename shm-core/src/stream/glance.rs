//! A first look at a frame whose payload is read elsewhere.
//!
//! Upholds invariants 2 and 6: it owns its mapping, and says afterwards whether the frame was still
//! there.

use super::Stream;
use super::error::ReadError;
use super::frame::FrameInfo;
use super::reader::Reader;
use crate::seqlock::Stamp;

/// A frame of which only the numbers were looked at, by [`Reader::look`]: which cell holds it, and,
/// once its payload was read, whether it still does.
///
/// ```
/// use shm_core::{Deadline, Stream, StreamConfig};
/// let stream = Stream::process_local("doc", &StreamConfig::of::<u8>(&[3])?)?;
/// stream.writer(Deadline::NOW)?.publish(b"abc")?;
/// let mut reader = stream.reader();
///
/// let glance = reader.look()?;
/// // Copy the payload out of cell `glance.cell()`, wherever that lies; then:
/// glance.validate()?;                     // what was copied is this one frame
/// assert_eq!(reader.note(&glance).count, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Glance {
    stream: Stream,
    stamp: Stamp,
    info: FrameInfo,
}

impl Glance {
    /// Numbers and times of the frame.
    pub fn info(&self) -> &FrameInfo {
        &self.info
    }

    /// The cell that holds its payload.
    pub fn cell(&self) -> usize {
        self.stamp.index
    }

    /// Fails if the frame was overwritten since the look: whatever was read of its payload may then be
    /// of several frames.
    ///
    /// # Errors
    /// [`ReadError::Overwritten`].
    #[inline]
    pub fn validate(&self) -> Result<(), ReadError> {
        match self.stream.shared().ring().validate(&self.stamp) {
            true => Ok(()),
            false => Err(ReadError::Overwritten {
                name: self.stream.name().to_owned(),
                count: self.info.count,
            }),
        }
    }
}

impl Reader {
    /// Looks at the newest complete frame, wherever its payload lives; it does not count as read before
    /// [`Reader::note`].
    ///
    /// # Errors
    /// As for [`Reader::peek`].
    pub fn look(&self) -> Result<Glance, ReadError> {
        let stamp = self.newest(|_, _| {})?;
        Ok(self.glance(stamp))
    }

    /// Looks at the frame with exactly this count.
    ///
    /// # Errors
    /// [`ReadError::Overwritten`] if it is no longer in the ring, or not yet.
    pub fn look_at(&self, count: u64) -> Result<Glance, ReadError> {
        let found = self.take_frame(count, |_, _| {})?;
        let overwritten = || ReadError::Overwritten { name: self.name().to_owned(), count };
        Ok(self.glance(found.ok_or_else(overwritten)?))
    }

    /// Counts a frame that was looked at as read, and says how many this reader has missed before it. A
    /// frame that is not newer than the last one read, or of another stream, changes nothing.
    pub fn note(&mut self, glance: &Glance) -> FrameInfo {
        if glance.stream.instance() != self.stream().instance() || glance.info.count <= self.seen()
        {
            return FrameInfo { missed: 0, ..glance.info };
        }
        self.count_in(&glance.stamp)
    }

    fn glance(&self, stamp: Stamp) -> Glance {
        let info = FrameInfo::new(&stamp.header, self.seen());
        Glance { stream: self.stream().clone(), stamp, info }
    }
}

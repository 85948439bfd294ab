//! What a reader gets, and what a writer may say about a frame.
//!
//! Upholds the rule that count, frame id and payload of one read always belong together: they are
//! taken between the same two looks at the sequence.

use crate::seqlock::CellHeader;

/// What a writer says about a frame besides its payload.
///
/// ```
/// use shm_core::FrameTag;
/// let tag = FrameTag::id(42).acquired_ns(shm_core::clock::wall_ns());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameTag {
    pub(crate) id: Option<u64>,
    pub(crate) acquired_wall_ns: u64,
}

impl FrameTag {
    /// The producer's own number of the frame. Without one, the frame's count is its id.
    pub fn id(id: u64) -> FrameTag {
        FrameTag { id: Some(id), ..FrameTag::default() }
    }

    /// When the data was acquired, nanoseconds since 1970 UTC; 0 means unknown.
    pub fn acquired_ns(mut self, wall_ns: u64) -> FrameTag {
        self.acquired_wall_ns = wall_ns;
        self
    }
}

/// What belongs to one frame besides its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FrameInfo {
    /// Number of the frame in its stream, from 1, without gaps.
    pub count: u64,
    /// The producer's own number, or `count` if it gave none.
    pub frame_id: u64,
    /// When it was published, nanoseconds of the monotonic clock.
    pub written_mono_ns: u64,
    /// When it was published, nanoseconds since 1970 UTC.
    pub written_wall_ns: u64,
    /// When its data was acquired, nanoseconds since 1970 UTC; 0 if the producer did not say.
    pub acquired_wall_ns: u64,
    /// Payload size in bytes.
    pub byte_len: usize,
    /// Frames published since this reader's previous read that it has not seen; 0 for its first.
    pub missed: u64,
}

impl FrameInfo {
    pub(crate) fn new(header: &CellHeader, seen: u64) -> FrameInfo {
        let since = header.count.saturating_sub(seen);
        FrameInfo {
            count: header.count,
            frame_id: header.frame_id,
            written_mono_ns: header.written_mono_ns,
            written_wall_ns: header.written_wall_ns,
            acquired_wall_ns: header.acquired_wall_ns,
            byte_len: header.byte_len as usize,
            missed: if seen == 0 { 0 } else { since.saturating_sub(1) },
        }
    }
}

/// One frame, copied out.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame<T> {
    /// Its numbers and times.
    pub info: FrameInfo,
    /// Its elements, C-contiguous.
    pub data: Vec<T>,
}

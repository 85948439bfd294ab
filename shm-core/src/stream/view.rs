//! Looking at a frame where it lies.
//!
//! Upholds invariants 2 (no reference into memory a peer may write), 4 and 6 (a view owns its
//! mapping).

use super::error::ReadError;
use super::frame::FrameInfo;
use super::{Shared, Stream};
use crate::dtype::Element;
use crate::seqlock::Stamp;

/// The newest frame at the time of [`Reader::view`](crate::Reader::view), in place.
///
/// What is read through a view may be overwritten meanwhile: K - 1 frames later its cell is used
/// again. So compute first, then [`validate`](View::validate), and only then believe the result.
/// For the same reason there is no slice: elements are copied out one by one or in runs.
///
/// ```
/// use shm_core::{Deadline, Stream, StreamConfig};
/// let stream = Stream::process_local("doc", &StreamConfig::of::<f32>(&[1000])?)?;
/// stream.writer(Deadline::NOW)?.publish(&[0.5_f32; 1000])?;
///
/// let view = stream.reader().view()?;
/// let sum: f32 = view.iter::<f32>()?.sum();
/// view.validate()?;                       // now the sum is one frame's
/// assert_eq!(sum, 500.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct View {
    stream: Stream,
    stamp: Stamp,
    info: FrameInfo,
}

impl View {
    pub(crate) fn new(stream: Stream, stamp: Stamp, info: FrameInfo) -> View {
        View { stream, stamp, info }
    }

    /// Numbers and times of the frame.
    pub fn info(&self) -> &FrameInfo {
        &self.info
    }

    /// Fails if the frame was overwritten since the view was taken: whatever was read through it
    /// may then be of several frames.
    ///
    /// # Errors
    /// [`ReadError::Overwritten`].
    #[inline]
    pub fn validate(&self) -> Result<(), ReadError> {
        match self.shared().ring().validate(&self.stamp) {
            true => Ok(()),
            false => Err(ReadError::Overwritten {
                name: self.stream.name().to_owned(),
                count: self.info.count,
            }),
        }
    }

    /// Payload size in bytes.
    pub fn byte_len(&self) -> usize {
        self.stream.desc().byte_len()
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.stream.desc().elements()
    }

    /// Never true: every frame has at least one element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Address of the payload, aligned to 64. Another process may change the bytes at any time:
    /// read them with atomics, or outside Rust; write them never.
    pub fn as_ptr(&self) -> *const u8 {
        self.shared().segment.region().bytes(self.payload_at(), self.byte_len())
    }

    /// One element.
    ///
    /// # Errors
    /// [`ReadError::Dtype`] or [`ReadError::Index`].
    #[inline]
    pub fn get<T: Element>(&self, index: usize) -> Result<T, ReadError> {
        self.check_dtype::<T>()?;
        if index >= self.len() {
            let (name, elements) = (self.stream.name().to_owned(), self.len());
            return Err(ReadError::Index { name, index, elements });
        }
        Ok(self.element(index))
    }

    /// All elements in C order, each copied out when it is its turn.
    ///
    /// # Errors
    /// [`ReadError::Dtype`].
    pub fn iter<T: Element>(&self) -> Result<impl ExactSizeIterator<Item = T> + '_, ReadError> {
        self.check_dtype::<T>()?;
        Ok((0..self.len()).map(|index| self.element(index)))
    }

    /// Copies `out.len()` elements from `start` on.
    ///
    /// # Errors
    /// [`ReadError::Dtype`], or [`ReadError::Index`] if they do not all exist.
    pub fn copy_range<T: Element>(&self, start: usize, out: &mut [T]) -> Result<(), ReadError> {
        self.check_dtype::<T>()?;
        let end = start.checked_add(out.len()).filter(|&end| end <= self.len());
        if end.is_none() {
            let (name, elements) = (self.stream.name().to_owned(), self.len());
            return Err(ReadError::Index { name, index: start.max(elements), elements });
        }
        self.copy_out(start, out);
        Ok(())
    }

    #[inline]
    fn element<T: Element>(&self, index: usize) -> T {
        let mut element = T::zeroed();
        self.copy_out(index, core::slice::from_mut(&mut element));
        element
    }

    #[inline]
    fn copy_out<T: Element>(&self, start: usize, out: &mut [T]) {
        let at = self.payload_at() + start * size_of::<T>();
        self.shared().segment.region().copy_out(at, bytemuck::cast_slice_mut(out));
    }

    fn payload_at(&self) -> usize {
        self.shared().payload_at(self.stamp.index)
    }

    fn check_dtype<T: Element>(&self) -> Result<(), ReadError> {
        let expected = self.stream.desc().dtype();
        if T::DTYPE == expected {
            return Ok(());
        }
        Err(ReadError::Dtype { name: self.stream.name().to_owned(), expected, found: T::DTYPE })
    }

    fn shared(&self) -> &Shared {
        self.stream.shared()
    }
}

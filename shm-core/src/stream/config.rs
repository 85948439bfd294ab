//! What a new stream shall be. Upholds invariant 2 at the source: only checked geometry is written.

use super::external::{DESCRIPTOR_MAX, External, HOLDER_OF_CREATOR};
use super::layout::{HOT, Layout, STREAM_KIND};
use crate::dtype::{Dtype, Element};
use crate::segment::{CounterSpec, CreateError, Lifetime, Place, SegmentSpec};
use crate::stream::Stream;
use crate::tensor::{TensorDesc, TensorError};

/// The most frame cells a stream may have.
pub(crate) const MAX_CELLS: usize = 1 << 20;
/// The longest user metadata in bytes.
pub(crate) const MAX_METADATA: usize = 64 * 1024;

/// Describes a stream to be created.
///
/// ```
/// use shm_core::{Dtype, StreamConfig};
///
/// let config = StreamConfig::new(Dtype::U8, &[480, 640, 3])?
///     .history(8)?                       // the newest 8 frames stay readable
///     .metadata(br#"{"exposure_us": 800}"#)?;
/// assert_eq!(config.cells_count(), 9);
/// # Ok::<(), shm_core::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct StreamConfig {
    layout: Layout,
    metadata: Vec<u8>,
    replace: bool,
    lifetime: Lifetime,
}

/// Why a stream cannot be as described.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Dtype and shape do not describe a tensor.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// A number of cells that cannot work.
    #[error(
        "cells is {found}; expected 2..={MAX_CELLS} (1 only through `single_cell`, which gives up the crash guarantee)"
    )]
    Cells {
        /// The number as given.
        found: usize,
    },
    /// All cells together do not fit the address space.
    #[error(
        "{cells} cells of {frame} bytes need more bytes than this machine can address; use fewer cells or smaller frames"
    )]
    TooLarge {
        /// Number of cells.
        cells: usize,
        /// Bytes of one frame.
        frame: usize,
    },
    /// User metadata beyond its bound.
    #[error(
        "metadata has {found} bytes; at most {MAX_METADATA} are supported, so publish larger data as a stream"
    )]
    Metadata {
        /// Its length in bytes.
        found: usize,
    },
    /// A descriptor beyond its bound.
    #[error(
        "the descriptor of an external stream has {found} bytes; at most {DESCRIPTOR_MAX} are supported, so describe less or use metadata"
    )]
    Descriptor {
        /// Its length in bytes.
        found: usize,
    },
}

impl StreamConfig {
    /// Frames of the given dtype and shape, in three cells.
    ///
    /// # Errors
    /// [`ConfigError`] if a dimension is 0, there are too many, or the size overflows.
    pub fn new(dtype: Dtype, shape: &[usize]) -> Result<StreamConfig, ConfigError> {
        let layout = Layout::new(TensorDesc::new(dtype, shape)?, 3, None)?;
        Ok(StreamConfig {
            layout,
            metadata: Vec::new(),
            replace: false,
            lifetime: Lifetime::Persistent,
        })
    }

    /// As [`StreamConfig::new`], with the dtype that stands for `T`.
    ///
    /// # Errors
    /// As for [`StreamConfig::new`].
    pub fn of<T: Element>(shape: &[usize]) -> Result<StreamConfig, ConfigError> {
        StreamConfig::new(T::DTYPE, shape)
    }

    /// Number of frame cells, K. While a frame is being written, the K - 1 before it are complete;
    /// a reader has at least K - 2 whole publishing periods to copy one out.
    ///
    /// # Errors
    /// [`ConfigError::Cells`] below 2.
    pub fn cells(self, cells: usize) -> Result<StreamConfig, ConfigError> {
        match cells {
            2.. => self.with_cells(cells),
            found => Err(ConfigError::Cells { found }),
        }
    }

    /// As many cells as it takes for the newest `frames` frames to be readable at any moment.
    ///
    /// # Errors
    /// [`ConfigError::Cells`] if that is too many.
    pub fn history(self, frames: usize) -> Result<StreamConfig, ConfigError> {
        self.with_cells(frames.saturating_add(1).max(3))
    }

    /// One cell: the least memory, and **no crash guarantee**. While a frame is being written
    /// nothing is readable, and a writer killed then takes the only frame with it.
    ///
    /// # Errors
    /// None today; the same shape as the other ways to set the number of cells.
    pub fn single_cell(self) -> Result<StreamConfig, ConfigError> {
        self.with_cells(1)
    }

    fn with_cells(mut self, cells: usize) -> Result<StreamConfig, ConfigError> {
        self.layout = Layout::new(self.layout.desc, cells, self.layout.external)?;
        Ok(self)
    }

    /// Bytes of the creator's own that every reader can see, fixed at creation.
    ///
    /// # Errors
    /// [`ConfigError::Metadata`] beyond 64 KiB.
    pub fn metadata(mut self, bytes: &[u8]) -> Result<StreamConfig, ConfigError> {
        if bytes.len() > MAX_METADATA {
            return Err(ConfigError::Metadata { found: bytes.len() });
        }
        self.metadata = bytes.to_vec();
        Ok(self)
    }

    /// Frames live elsewhere, at what `descriptor` says (at most 4 KiB, opaque to this crate): the
    /// segment has everything of a stream but their bytes, and frames are
    /// [announced](crate::Writer::announce) rather than published. With `mirrored`, each is also
    /// written to cells of the segment, and ordinary readers read those.
    ///
    /// ```
    /// use shm_core::{Deadline, FrameTag, Stream, StreamConfig};
    /// let config = StreamConfig::of::<f32>(&[1000])?.external(b"device 0, handle 7", false)?;
    /// let stream = Stream::process_local("doc", &config)?;
    /// let announced = stream.writer(Deadline::NOW)?.announce(FrameTag::default())?;
    /// announced.begin_on_host();
    /// // Write the payload, wherever cell `announced.cell()` lies.
    /// announced.finish_on_host();
    /// assert_eq!(stream.reader().look()?.info().count, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ConfigError::Descriptor`] beyond 4 KiB.
    pub fn external(
        mut self,
        descriptor: &[u8],
        mirrored: bool,
    ) -> Result<StreamConfig, ConfigError> {
        if descriptor.len() > DESCRIPTOR_MAX {
            return Err(ConfigError::Descriptor { found: descriptor.len() });
        }
        let external = External { descriptor: descriptor.into(), mirrored };
        self.layout = Layout::new(self.layout.desc, self.layout.cells, Some(external))?;
        Ok(self)
    }

    /// Replaces a stream of the same name, in one step: openers see the old one or the new one,
    /// and whoever is attached to the old one is told (`Stale`). Both need room for a moment.
    pub fn replace_existing(mut self, replace: bool) -> StreamConfig {
        self.replace = replace;
        self
    }

    /// Makes the stream garbage once no process is attached: it may then be swept whenever another
    /// segment needs the space. Otherwise it stays until it is unlinked.
    pub fn temporary(mut self, temporary: bool) -> StreamConfig {
        self.lifetime = if temporary { Lifetime::Attached } else { Lifetime::Persistent };
        self
    }

    /// Creates the stream: see [`Stream::create`].
    ///
    /// # Errors
    /// As for [`Stream::create`].
    pub fn create(&self, name: &str) -> Result<Stream, CreateError> {
        Stream::create(name, self)
    }

    /// Dtype and shape of every frame.
    pub fn desc(&self) -> &TensorDesc {
        &self.layout.desc
    }

    /// The number of cells decided on.
    pub fn cells_count(&self) -> usize {
        self.layout.cells
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    pub(crate) fn spec(&self) -> SegmentSpec {
        let counter = |name, unit, offset| CounterSpec { name, unit, place: Place::Hot(offset) };
        let mut counters = vec![
            counter("frames", "frame", HOT.latest),
            counter("aborted", "frame", HOT.aborted),
            counter("writers", "writer", HOT.writers),
            counter("writer_pid", "pid", HOT.writer_pid),
            counter("writer_since", "ns", HOT.writer_since),
        ];
        let is_external = self.layout.external.is_some();
        if is_external {
            counters.push(counter("announced", "frame", HOT.announced));
        }
        SegmentSpec {
            kind: STREAM_KIND,
            geometry: self.layout.encode(),
            counters,
            hold: is_external.then_some(HOLDER_OF_CREATOR),
            metadata: self.metadata.clone(),
            hot_len: self.layout.hot_len(),
            payload_len: self.layout.payload_len(),
            lifetime: self.lifetime,
            replace: self.replace,
            ..SegmentSpec::default()
        }
    }
}

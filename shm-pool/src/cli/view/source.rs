//! The stream that is shown: one whole frame at a time, as a picture.
//!
//! Upholds invariants 2 (the header's word is checked, and no frame is shown that was overwritten while it
//! was copied), 4 (it has no write access) and 5 (every wait has an end).

use super::arrangement::Arrangement;
use super::picture::Picture;
use crate::cli::exit::{Exit, Failure};
use serde::Serialize;
use shm_core::{Deadline, FrameInfo, OpenError, ReadError, Reader, clock};
use std::time::Duration;

/// A stream that is read.
pub(crate) struct Source {
    reader: Reader,
    arrangement: Arrangement,
    range: Option<(f64, f64)>,
    bytes: Vec<u8>,
}

/// A frame, as a picture.
pub(crate) struct Shot {
    pub(crate) info: FrameInfo,
    pub(crate) picture: Picture,
    /// How old it was when it was read.
    pub(crate) latency: Duration,
}

/// What a wait came to.
pub(crate) enum Next {
    Frame(Box<Shot>),
    /// None in time.
    Nothing,
    /// The stream was unlinked or replaced.
    Gone,
}

/// What is told of a frame.
#[derive(Debug, Serialize)]
pub(crate) struct ShotRow {
    pub(crate) name: String,
    pub(crate) count: u64,
    pub(crate) id: u64,
    /// When it was published, nanoseconds since 1970 UTC.
    pub(crate) time_ns: u64,
    pub(crate) age_us: u64,
    pub(crate) dtype: &'static str,
    pub(crate) shape: Vec<usize>,
    pub(crate) width: usize,
    pub(crate) height: usize,
    /// What became black and white.
    pub(crate) range: Option<(f64, f64)>,
    /// Pixels that are not a number, or infinite.
    pub(crate) not_finite: usize,
    /// The file that was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) file: Option<String>,
}

impl Source {
    /// Opens a stream whose frames are pictures.
    pub(crate) fn open(name: &str, range: Option<(f64, f64)>) -> Result<Source, Failure> {
        let reader = Reader::open_read_only(name).map_err(|error| refused(name, error))?;
        if !reader.stream().has_host_payload() {
            return Err(Failure::new(
                Exit::Refused,
                format!(
                    "frames of stream '{name}' are on a device without a mirror in shared memory"
                ),
                "create the stream with Mirror::Host (in Python cpu_mirror=True)",
            ));
        }
        let arrangement = Arrangement::of(name, reader.desc().shape())?;
        let bytes = vec![0; reader.desc().byte_len()];
        Ok(Source { reader, arrangement, range, bytes })
    }

    /// The newest frame if its count is above `after`; otherwise waits for one.
    pub(crate) fn next(&mut self, after: u64, wait: Deadline) -> Result<Next, Failure> {
        let taken = match self.reader.wait_after(after, wait) {
            Ok(_) => self.reader.read_bytes_into(&mut self.bytes),
            Err(error) => Err(error),
        };
        match taken {
            Ok(info) => self.shot(info).map(Box::new).map(Next::Frame),
            Err(ReadError::Timeout { .. } | ReadError::Empty { .. }) => Ok(Next::Nothing),
            Err(ReadError::Stale { .. }) => Ok(Next::Gone),
            Err(error) => Err(Failure::new(Exit::Refused, error.to_string(), "")),
        }
    }

    /// Why there is no first frame after so long.
    pub(crate) fn no_frame(&self, waited: Duration) -> Failure {
        let (name, writer) = (self.name(), self.writer_alive());
        let (known, hint) = match writer {
            Some(true) => ("a writer is attached and silent", "wait longer with --timeout"),
            Some(false) => ("no writer is attached", "start the program that publishes it"),
            None => ("whether a writer is attached is unknown", "wait longer with --timeout"),
        };
        let text = format!("stream '{name}' had no frame within {waited:?}; {known}");
        Failure::new(Exit::TimedOut, text, hint)
    }

    /// What is told of a frame of this stream.
    pub(crate) fn row(&self, shot: &Shot) -> ShotRow {
        let desc = self.reader.desc();
        ShotRow {
            name: self.name().to_owned(),
            count: shot.info.count,
            id: shot.info.frame_id,
            time_ns: shot.info.written_wall_ns,
            age_us: shot.age().as_micros() as u64,
            dtype: desc.dtype().name(),
            shape: desc.shape().to_vec(),
            width: shot.picture.width,
            height: shot.picture.height,
            range: shot.picture.range,
            not_finite: shot.picture.not_finite,
            file: None,
        }
    }

    pub(crate) fn name(&self) -> &str {
        self.reader.name()
    }

    /// The reader: numbers, and who writes.
    pub(crate) fn reader(&self) -> &Reader {
        &self.reader
    }

    pub(crate) fn arrangement(&self) -> &Arrangement {
        &self.arrangement
    }

    /// Whether anybody writes: it has the writer lock, or it is attached and has had it, as those who
    /// take it for each frame.
    pub(crate) fn writer_alive(&self) -> Option<bool> {
        match self.reader.writer_alive() {
            Some(false) => Some(self.is_writer_attached()),
            known => known,
        }
    }

    fn is_writer_attached(&self) -> bool {
        shm_core::stat(self.name()).is_ok_and(|info| {
            info.instance == self.reader.stream().instance()
                && info.holders.iter().any(|holder| holder.role == shm_core::Role::Writer)
        })
    }

    fn shot(&self, info: FrameInfo) -> Result<Shot, Failure> {
        let latency = since(&info);
        let dtype = self.reader.desc().dtype();
        let picture = Picture::of(dtype, &self.arrangement, &self.bytes, self.range);
        let picture = picture.ok_or_else(|| {
            Failure::new(Exit::Refused, format!("pictures of dtype {dtype} are not known here"), "")
        })?;
        Ok(Shot { info, picture, latency })
    }
}

impl Shot {
    /// How long ago it was published.
    pub(crate) fn age(&self) -> Duration {
        since(&self.info)
    }
}

fn since(info: &FrameInfo) -> Duration {
    Duration::from_nanos(clock::monotonic_ns().saturating_sub(info.written_mono_ns))
}

/// What opens as something else than a stream may still be something, which the answer names.
fn refused(name: &str, error: OpenError) -> Failure {
    let mut failure = Failure::from(error);
    if failure.exit == Exit::Refused
        && let Ok(info) = shm_core::stat(name)
        && info.stream_shape().is_none()
    {
        failure.message = format!("'{name}' is a {}, not a stream, and has no frames", info.kind);
        failure.hint = format!("`shm stat {name}` shows what it is");
    }
    failure
}

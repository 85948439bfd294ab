//! A recording that is written: frame by frame, complete at any moment at which it is ended.
//!
//! Before a frame is written, room is asked for it, for its row and for what finishing needs. So a full disk
//! ends a recording between two frames, and what came before is finished all the same.

use super::Format;
use super::npy::NpyFile;
use super::npz::NpzFile;
use super::part::PartFile;
use super::reading::times_of;
use super::rows::{FrameRow, Rows};
use super::safetensors::SafetensorsFile;
use crate::cli::exit::{Exit, Failure};
use shm_core::{Stream, TensorDesc};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// Where a recording shall go.
pub(crate) struct Target {
    path: PathBuf,
    format: Format,
    replace: bool,
}

impl Target {
    /// Checks that the name says a format, and that no file is there unless it may be replaced.
    pub(crate) fn new(path: &Path, replace: bool) -> Result<Target, Failure> {
        let format = Format::of(path)?;
        let target = Target { path: path.to_owned(), format, replace };
        for path in target.files().into_iter().filter(|_| !replace) {
            if path.symlink_metadata().is_ok() {
                let message = format!("{}: there is such a file already", path.display());
                return Err(Failure::new(Exit::Usage, message, "--force replaces it"));
            }
        }
        Ok(target)
    }

    fn files(&self) -> Vec<PathBuf> {
        match self.format {
            Format::Npy => vec![self.path.clone(), times_of(&self.path)],
            Format::Npz | Format::Safetensors => vec![self.path.clone()],
        }
    }

    /// Where the rows go: they stay beside a `.npy` only.
    fn rows(&self) -> PathBuf {
        match self.format {
            Format::Npy => times_of(&self.path),
            Format::Npz | Format::Safetensors => {
                let mut path = self.path.clone().into_os_string();
                path.push(".times");
                path.into()
            }
        }
    }
}

/// What is recorded.
#[derive(Clone, Debug)]
pub(crate) struct About {
    pub(crate) name: String,
    pub(crate) desc: TensorDesc,
    /// The bytes that the stream carries for its readers.
    pub(crate) metadata: Vec<u8>,
}

impl About {
    pub(crate) fn of(stream: &Stream) -> About {
        let (name, desc) = (stream.name().to_owned(), stream.desc().clone());
        About { name, desc, metadata: stream.metadata().to_vec() }
    }

    /// What a person wants to know of it later, in words.
    pub(super) fn facts(&self) -> BTreeMap<&'static str, String> {
        let kernel = |what: &str| {
            let told = std::fs::read_to_string(format!("/proc/sys/kernel/{what}"));
            told.map(|text| text.trim().to_owned()).unwrap_or_default()
        };
        let program = concat!("shm ", env!("CARGO_PKG_VERSION"));
        BTreeMap::from([
            ("stream", self.name.clone()),
            ("dtype", self.desc.dtype().name().to_owned()),
            ("shape", format!("{:?}", self.desc.shape())),
            ("host", kernel("hostname")),
            ("system", format!("{} {}", kernel("ostype"), kernel("osrelease"))),
            ("machine", std::env::consts::ARCH.to_owned()),
            ("program", program.to_owned()),
        ])
    }
}

/// A format that grows frame by frame.
pub(super) trait Container {
    /// Length of the finished file with so many frames, at most.
    fn end_of(&self, frames: u64) -> u64;
    fn append(&mut self, frame: &[u8]) -> io::Result<()>;
    /// The first `frames` frames are all there are; their rows are finished.
    fn finish(self: Box<Self>, part: &PartFile, frames: u64, rows: &Rows) -> io::Result<()>;
}

/// A recording on its way.
pub(crate) struct Writing {
    target: Target,
    part: PartFile,
    container: Box<dyn Container>,
    rows: Rows,
    frames: u64,
}

impl Writing {
    pub(crate) fn begin(target: Target, about: &About) -> Result<Writing, Failure> {
        let mut part = PartFile::beside(&target.path)?;
        let failed = |error| Failure::system("write the header", &error);
        let container: Box<dyn Container> = match target.format {
            Format::Npy => Box::new(NpyFile::begin(&mut part, about).map_err(failed)?),
            Format::Npz => Box::new(NpzFile::begin(&mut part, about).map_err(failed)?),
            Format::Safetensors => Box::new(SafetensorsFile::begin(&mut part, about)?),
        };
        let rows = Rows::beside(&target.rows(), about.desc.dtype())?;
        let mut begun = Writing { target, part, container, rows, frames: 0 };
        begun.reserve(0).map_err(failed)?;
        Ok(begun)
    }

    /// Adds a frame; on error it is not part of the recording.
    pub(crate) fn append(&mut self, row: &FrameRow, frame: &[u8]) -> io::Result<()> {
        self.reserve(self.frames + 1)?;
        self.container.append(frame)?;
        self.rows.append(row)?;
        self.frames += 1;
        Ok(())
    }

    /// Frames so far.
    pub(crate) fn frames(&self) -> u64 {
        self.frames
    }

    /// The recording takes its name, with the frames that came.
    pub(crate) fn finish(mut self) -> Result<(), Failure> {
        let finished = self
            .rows
            .finish(self.frames)
            .and_then(|()| self.container.finish(&self.part, self.frames, &self.rows));
        finished.map_err(|error| Failure {
            hint: "nothing was kept".into(),
            ..Failure::system(&format!("finish {}", self.target.path.display()), &error)
        })?;
        let times = match self.target.format {
            Format::Npy => self.rows.publish(self.target.replace),
            Format::Npz | Format::Safetensors => Ok(()),
        };
        // Each file is kept, under this name or its own.
        self.part.publish(self.target.replace).and(times)
    }

    fn reserve(&mut self, frames: u64) -> io::Result<()> {
        self.part.reserve(self.container.end_of(frames))?;
        self.rows.reserve(frames)
    }
}

//! A recording that is read: frame by frame, as often as wanted, with the id and the times of each.
//!
//! Upholds invariant 2: what the file says is compared with what it has, before a stream is made of it.

use super::columns::{Column, ColumnReader, Columns, LEAVE_OUT};
use super::extent::Extent;
use super::npy::{Elements, Header};
use super::rows::{COLUMNS, LABEL, LABEL_BYTES};
use super::{Format, npz, refused, safetensors, unreadable};
use crate::cli::exit::{Exit, Failure};
use shm_core::{Dtype, TensorDesc};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

/// The most metadata that a stream may have.
const MAX_METADATA: u64 = 64 << 10;

/// Frames in a file.
pub(crate) struct Recording {
    pub(crate) desc: TensorDesc,
    pub(crate) frames: u64,
    /// The bytes that the stream carried for its readers.
    pub(crate) metadata: Vec<u8>,
    array: Array,
    columns: Columns,
}

/// What the file says of a frame besides its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Recorded {
    pub(crate) id: Option<u64>,
    pub(crate) published_ns: Option<u64>,
    pub(crate) acquired_ns: Option<u64>,
}

impl Recording {
    /// Opens a file, and the array of that name in it.
    pub(crate) fn open(path: &Path, wanted: Option<&str>) -> Result<Recording, Failure> {
        let format = Format::of(path)?;
        let label = path.display().to_string();
        let file = regular(path)?.ok_or_else(|| {
            Failure::new(Exit::NotFound, format!("{label}: there is no such file"), "")
        })?;
        let found = match format {
            Format::Npy => npy(path, &label, file, wanted)?,
            Format::Npz => npz::find(file, &label, wanted)?,
            Format::Safetensors => safetensors::find(file, &label, wanted)?,
        };
        Recording::check(found, &label)
    }

    fn check(found: Found, label: &str) -> Result<Recording, Failure> {
        let Some(array) = found.frames else {
            return Err(refused(label, "the array", &found.name, "absent", "see --array"));
        };
        let label = array.label.clone();
        let (dtype, shape) = logical(array.dtype()?, &array.header.shape, found.dtype);
        let Some((&frames, inner)) = shape.split_first() else {
            let todo = "the first dimension is time: save array[numpy.newaxis]";
            return Err(refused(&label, "shape", "at least one dimension", "()", todo));
        };
        let todo = "save an array of frames, the first dimension being time";
        if frames == 0 {
            return Err(refused(&label, "shape[0]", "at least one frame", 0, todo));
        }
        let inner: Option<Vec<usize>> =
            inner.iter().map(|&dim| usize::try_from(dim).ok()).collect();
        let inner = inner.unwrap_or_else(|| vec![usize::MAX; 2]);
        let desc = TensorDesc::new(dtype, &inner)
            .map_err(|error| Failure::new(Exit::Refused, format!("{label}: {error}"), todo))?;
        let have = array.extent.len.saturating_sub(array.header.len);
        let need = frames.checked_mul(desc.byte_len() as u64);
        if need.is_none_or(|need| need > have) {
            let expected = match need {
                Some(need) => format!("at least {need} for shape {shape:?} of {dtype}"),
                None => format!("more than any file has, for shape {shape:?} of {dtype}"),
            };
            let todo = "the file is truncated or damaged: copy or record it again";
            return Err(refused(&label, "the number of bytes", expected, have, todo));
        }
        array.probe(desc.byte_len() as u64)?;
        found.columns.check(frames)?;
        let metadata = match found.metadata {
            Some(array) => array.bytes()?,
            None => Vec::new(),
        };
        Ok(Recording { desc, frames, metadata, array, columns: found.columns })
    }

    /// True if the file says when each frame was published.
    pub(crate) fn has_times(&self) -> bool {
        self.columns.published.is_some()
    }

    /// All frames once, from the first on.
    pub(crate) fn lap(&self) -> Result<Lap, Failure> {
        Ok(Lap {
            label: self.array.label.clone(),
            frames: self.array.open()?,
            ids: self.columns.ids.as_ref().map(Column::open).transpose()?,
            published: self.columns.published.as_ref().map(Column::open).transpose()?,
            acquired: self.columns.acquired.as_ref().map(Column::open).transpose()?,
            left: self.frames,
        })
    }
}

/// One way through a recording.
pub(crate) struct Lap {
    label: String,
    frames: Box<dyn Read>,
    ids: Option<ColumnReader>,
    published: Option<ColumnReader>,
    acquired: Option<ColumnReader>,
    left: u64,
}

impl Lap {
    /// Reads the next frame into `frame`; `None` after the last.
    pub(crate) fn next(&mut self, frame: &mut [u8]) -> Result<Option<Recorded>, Failure> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let read = self.frames.read_exact(frame);
        read.map_err(|error| unreadable(&self.label, "a frame", &error))?;
        let next =
            |column: &mut Option<ColumnReader>| column.as_mut().map(ColumnReader::next).transpose();
        Ok(Some(Recorded {
            id: next(&mut self.ids)?,
            published_ns: next(&mut self.published)?,
            acquired_ns: next(&mut self.acquired)?,
        }))
    }
}

/// What a file has, by name, before any of it was compared with the rest.
pub(super) struct Found {
    /// The array that was chosen.
    pub(super) name: String,
    pub(super) frames: Option<Array>,
    pub(super) columns: Columns,
    pub(super) metadata: Option<Array>,
    /// What the file says about the dtype of frames that are stored as another.
    pub(super) dtype: Option<Dtype>,
}

impl Found {
    /// Chooses among the arrays of a file: the one that is wanted, `frames`, or the only one.
    pub(super) fn choose<'a>(
        label: &str,
        wanted: Option<&str>,
        names: impl Iterator<Item = &'a str>,
    ) -> Result<Found, Failure> {
        let names: Vec<&str> = names.collect();
        let name = match (wanted, names.as_slice()) {
            (Some(wanted), _) if names.contains(&wanted) => wanted,
            (None, _) if names.contains(&"frames") => "frames",
            (None, [only]) => only,
            (_, []) => {
                let todo = "save an array into it";
                return Err(refused(label, "the number of arrays", "at least 1", 0, todo));
            }
            _ => {
                let mut listed = names.iter().take(20).copied().collect::<Vec<_>>().join(", ");
                if names.len() > 20 {
                    listed.push_str(", ...");
                }
                let wanted = wanted.unwrap_or("frames");
                return Err(Failure::new(
                    Exit::Usage,
                    format!("{label}: there is no array `{wanted}`; there are {listed}"),
                    "name one with --array",
                ));
            }
        };
        let (columns, metadata) = (Columns::default(), None);
        Ok(Found { name: name.to_owned(), frames: None, columns, metadata, dtype: None })
    }

    /// True if what goes with the frames of a recording goes with this array.
    pub(super) fn is_recording(&self) -> bool {
        self.name == "frames"
    }
}

/// An array in a file.
#[derive(Clone, Debug)]
pub(super) struct Array {
    pub(super) label: String,
    pub(super) header: Header,
    pub(super) extent: Extent,
    /// The dtype, where the format says it in another way than NumPy does.
    pub(super) noted: Option<Dtype>,
}

impl Array {
    pub(super) fn new(label: String, header: Header, extent: Extent) -> Array {
        Array { label, header, extent, noted: None }
    }

    pub(super) fn dtype(&self) -> Result<Dtype, Failure> {
        self.noted.map_or_else(|| self.header.dtype(&self.label), Ok)
    }

    /// Reads its elements.
    pub(super) fn open(&self) -> Result<Box<dyn Read>, Failure> {
        let mut source = self.extent.open();
        let skipped = io::copy(&mut source.by_ref().take(self.header.len), &mut io::sink());
        skipped.map_err(|error| unreadable(&self.label, "the header", &error))?;
        Ok(source)
    }

    /// Unpacks so many bytes without keeping them: what is packed may promise more than there is.
    fn probe(&self, len: u64) -> Result<(), Failure> {
        if !self.extent.deflated {
            return Ok(());
        }
        let failed = |error| unreadable(&self.label, "the first frame", &error);
        match io::copy(&mut self.open()?.take(len), &mut io::sink()).map_err(failed)? {
            found if found == len => Ok(()),
            _ => Err(failed(io::ErrorKind::UnexpectedEof.into())),
        }
    }

    /// The bytes of a small array.
    fn bytes(&self) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        let read = self.open()?.take(MAX_METADATA + 1).read_to_end(&mut bytes);
        read.map_err(|error| unreadable(&self.label, "its bytes", &error))?;
        if bytes.len() as u64 > MAX_METADATA {
            let (expected, todo) = (format!("at most {MAX_METADATA}"), "leave it out of the file");
            return Err(refused(&self.label, "its length", expected, "more", todo));
        }
        Ok(bytes)
    }

    /// A string of bytes.
    pub(super) fn text(&self) -> Result<Option<String>, Failure> {
        match &self.header.elements {
            Elements::Plain(descr) if descr.starts_with("|S") => {
                Ok(String::from_utf8(self.bytes()?).ok())
            }
            _ => Ok(None),
        }
    }
}

/// The file, if there is one; never waits for the other end of a pipe.
fn regular(path: &Path) -> Result<Option<Arc<File>>, Failure> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Ok(None),
        _ => Err(Failure::system(&format!("open {}", path.display()), &error)),
    };
    match std::fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => {
            let label = path.display().to_string();
            Err(refused(&label, "the file", "a regular file", "none", "copy it into one"))
        }
        Ok(_) => File::open(path).map(|file| Some(Arc::new(file))).or_else(failed),
        Err(error) => failed(error),
    }
}

/// A `.npy`, and the times beside it if there are any.
fn npy(path: &Path, label: &str, file: Arc<File>, wanted: Option<&str>) -> Result<Found, Failure> {
    if let Some(wanted) = wanted {
        let message =
            format!("{label}: a .npy has one array, which has no name such as `{wanted}`");
        return Err(Failure::new(Exit::Usage, message, "leave --array out"));
    }
    let mut found = Found::choose(label, None, ["frames"].into_iter())?;
    found.frames = Some(whole(label, file)?);
    let beside = times_of(path);
    let Some(times) = regular(&beside)? else { return Ok(found) };
    let rows = whole(&beside.display().to_string(), times)?;
    let labelled = match &rows.header.elements {
        Elements::Fields(fields) => {
            let names = fields.iter().map(|(name, _)| name.as_str());
            let is_known = |last: &[&str]| names.clone().eq(COLUMNS.iter().chain(last).copied());
            let are_words = fields.iter().take(COLUMNS.len()).all(|(_, descr)| descr == "<u8");
            let is_label =
                fields.last().is_some_and(|(_, descr)| *descr == format!("|S{LABEL_BYTES}"));
            match are_words {
                true if is_known(&[]) => Some(false),
                true if is_known(&[LABEL]) && is_label => Some(true),
                _ => None,
            }
        }
        Elements::Plain(_) => None,
    };
    let Some(labelled) = labelled else {
        let expected = format!("fields {} of '<u8'", COLUMNS.join(", "));
        return Err(refused(&rows.label, "descr", expected, "something else", LEAVE_OUT));
    };
    let stride = COLUMNS.len() * 8 + if labelled { LABEL_BYTES } else { 0 };
    if labelled {
        let mut first = vec![0; stride];
        let read = rows.open()?.read_exact(&mut first);
        read.map_err(|error| unreadable(&rows.label, "a row", &error))?;
        let text = String::from_utf8_lossy(&first[COLUMNS.len() * 8..]).into_owned();
        found.dtype = Dtype::from_name(text.trim_end_matches('\0'));
    }
    found.columns = Columns::of_rows(&rows, stride);
    Ok(found)
}

/// Where the times of a `.npy` are.
pub(super) fn times_of(path: &Path) -> std::path::PathBuf {
    path.with_extension("times.npy")
}

fn whole(label: &str, file: Arc<File>) -> Result<Array, Failure> {
    let len = file.metadata().map_err(|error| unreadable(label, "its length", &error))?.len();
    let extent = Extent::plain(&file, 0, len);
    let header = Header::read(&mut extent.open(), label)?;
    Ok(Array::new(label.to_owned(), header, extent))
}

/// Dtype and shape of frames that are stored as another dtype.
fn logical(stored: Dtype, shape: &[u64], noted: Option<Dtype>) -> (Dtype, Vec<u64>) {
    match (stored, noted, shape) {
        (Dtype::U16, Some(Dtype::Bf16), _) => (Dtype::Bf16, shape.to_vec()),
        (Dtype::F64, Some(Dtype::C128), [outer @ .., 2]) if !outer.is_empty() => {
            (Dtype::C128, outer.to_vec())
        }
        _ => (stored, shape.to_vec()),
    }
}

//! `.safetensors`: a header in JSON that says where each tensor lies, then the tensors.
//!
//! The header has room for any number of frames and is written again at the end; spaces fill it up, as the
//! format allows. It has no 128-bit complex numbers; those are stored as pairs of 64-bit floats, and the
//! metadata says what they are.

use super::columns::Columns;
use super::extent::Extent;
use super::npy::{Elements, Header, descr, frames_shape};
use super::part::PartFile;
use super::reading::{Array, Found};
use super::rows::{COLUMNS, Rows};
use super::writing::{About, Container};
use super::{refused, unreadable};
use crate::cli::exit::{Exit, Failure};
use safetensors::Dtype as Stored;
use safetensors::tensor::Metadata;
use serde_json::{Map, Value, json};
use shm_core::Dtype;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// The longest header that is read: a hundred thousand tensors.
const MAX_HEADER: u64 = 16 << 20;

/// A `.safetensors` that grows.
pub(super) struct SafetensorsFile {
    out: BufWriter<File>,
    about: About,
    stored: Stored,
    header_len: usize,
}

impl SafetensorsFile {
    /// An empty file, if the format has the dtype.
    pub(super) fn begin(part: &mut PartFile, about: &About) -> Result<SafetensorsFile, Failure> {
        let stored = stored(about.desc.dtype()).ok_or_else(|| {
            let message = format!("safetensors has no dtype {}", about.desc.dtype());
            Failure::new(Exit::Usage, message, "record it as .npz")
        })?;
        let failed = |error: io::Error| Failure::system("write the header", &error);
        let out = part.writer().map_err(failed)?;
        let mut begun = SafetensorsFile { out, about: about.clone(), stored, header_len: 0 };
        begun.header_len = (8 + begun.text(None).len()).next_multiple_of(64);
        let header = begun.header(0);
        begun.out.write_all(&header).map_err(failed)?;
        Ok(begun)
    }

    fn header(&self, frames: u64) -> Vec<u8> {
        let mut header = ((self.header_len - 8) as u64).to_le_bytes().to_vec();
        header.extend_from_slice(self.text(Some(frames)).as_bytes());
        header.resize(self.header_len, b' ');
        header
    }

    /// The header for so many frames; `None` makes every number as long as it can get.
    fn text(&self, frames: Option<u64>) -> String {
        let mut at = 0;
        let mut place = |len: u64| match frames {
            Some(_) => {
                at += len;
                json!([at - len, at])
            }
            None => json!([u64::MAX, u64::MAX]),
        };
        let count = frames.unwrap_or(u64::MAX);
        let frame_len = self.about.desc.byte_len() as u64;
        let mut shape = frames_shape(count, self.about.desc.shape());
        if self.about.desc.dtype() == Dtype::C128 {
            shape.push(2);
        }
        let tensor = |dtype: Stored, shape: Value, data_offsets: Value| json!({ "dtype": dtype, "shape": shape, "data_offsets": data_offsets });
        let mut tensors = Map::new();
        tensors.insert("__metadata__".into(), json!(self.about.facts()));
        let offsets = place(count.wrapping_mul(frame_len));
        tensors.insert("frames".into(), tensor(self.stored, json!(shape), offsets));
        for name in COLUMNS {
            let offsets = place(count.wrapping_mul(8));
            tensors.insert(name.into(), tensor(Stored::U64, json!([count]), offsets));
        }
        let len = self.about.metadata.len() as u64;
        tensors.insert("metadata".into(), tensor(Stored::U8, json!([len]), place(len)));
        Value::Object(tensors).to_string()
    }
}

impl Container for SafetensorsFile {
    fn end_of(&self, frames: u64) -> u64 {
        let each = self.about.desc.byte_len() as u64 + COLUMNS.len() as u64 * 8;
        self.header_len as u64 + frames * each + self.about.metadata.len() as u64
    }

    fn append(&mut self, frame: &[u8]) -> io::Result<()> {
        self.out.write_all(frame)
    }

    fn finish(mut self: Box<Self>, part: &PartFile, frames: u64, rows: &Rows) -> io::Result<()> {
        let end = self.header_len as u64 + frames * self.about.desc.byte_len() as u64;
        io::Seek::seek(&mut self.out, io::SeekFrom::Start(end))?;
        for column in 0..COLUMNS.len() {
            rows.copy_column(column, frames, &mut self.out)?;
        }
        self.out.write_all(&self.about.metadata)?;
        self.out.flush()?;
        part.cut(self.end_of(frames))?;
        part.file().write_all_at(&self.header(frames), 0)
    }
}

/// The tensors of a file.
pub(super) fn find(file: Arc<File>, label: &str, wanted: Option<&str>) -> Result<Found, Failure> {
    let todo = "the file is damaged: copy or record it again";
    let failed = |error: io::Error| unreadable(label, "the header", &error);
    let have = file.metadata().map_err(failed)?.len();
    let mut prefix = [0; 8];
    file.read_exact_at(&mut prefix, 0).map_err(failed)?;
    let header_len = u64::from_le_bytes(prefix);
    let most = MAX_HEADER.min(have.saturating_sub(8));
    if header_len > most {
        let expected = format!("at most {most} in a file of {have} bytes");
        return Err(refused(label, "the length of the header", expected, header_len, todo));
    }
    let mut text = vec![0; header_len as usize];
    file.read_exact_at(&mut text, 8).map_err(failed)?;
    let metadata: Metadata = serde_json::from_slice(&text).map_err(|error| {
        refused(label, "the header", "that of safetensors", format!("damaged ({error})"), todo)
    })?;
    let begin = 8 + header_len;
    let need = begin.saturating_add(metadata.data_len() as u64);
    if need > have {
        return Err(refused(label, "the length of the file", need, have, todo));
    }
    let names = metadata.offset_keys();
    let mut found = Found::choose(label, wanted, names.iter().map(String::as_str))?;
    let facts = metadata.metadata();
    let noted = facts.as_ref().and_then(|facts| facts.get("dtype")).map(String::as_str);
    found.dtype = noted.filter(|_| found.is_recording()).and_then(Dtype::from_name);
    let tensor = |name: &str| -> Result<Option<Array>, Failure> {
        let Some(info) = metadata.info(name) else { return Ok(None) };
        let label = format!("{label}: {name}");
        let Some(dtype) = dtype(info.dtype) else {
            let todo = "save it with another dtype";
            let found = format!("{:?}", info.dtype);
            return Err(refused(&label, "dtype", "a dtype that streams have", found, todo));
        };
        let (first, end) = (info.data_offsets.0 as u64, info.data_offsets.1 as u64);
        let extent = Extent::plain(&file, begin + first, end - first);
        let shape = info.shape.iter().map(|&dim| dim as u64).collect();
        let elements = Elements::Plain(descr(dtype).trim_matches('\'').to_owned());
        let mut array = Array::new(label, Header { elements, shape, len: 0 }, extent);
        array.noted = Some(dtype);
        Ok(Some(array))
    };
    found.frames = tensor(&found.name)?;
    if found.is_recording() {
        found.columns = Columns::try_each(tensor)?;
        found.metadata = tensor("metadata")?;
    }
    Ok(found)
}

fn stored(dtype: Dtype) -> Option<Stored> {
    Some(match dtype {
        Dtype::Bool => Stored::BOOL,
        Dtype::I8 => Stored::I8,
        Dtype::I16 => Stored::I16,
        Dtype::I32 => Stored::I32,
        Dtype::I64 => Stored::I64,
        Dtype::U8 => Stored::U8,
        Dtype::U16 => Stored::U16,
        Dtype::U32 => Stored::U32,
        Dtype::U64 => Stored::U64,
        Dtype::F16 => Stored::F16,
        Dtype::Bf16 => Stored::BF16,
        Dtype::F32 => Stored::F32,
        Dtype::F64 | Dtype::C128 => Stored::F64,
        Dtype::C64 => Stored::C64,
        _ => return None,
    })
}

fn dtype(of: Stored) -> Option<Dtype> {
    Dtype::ALL.iter().copied().find(|&dtype| dtype != Dtype::C128 && stored(dtype) == Some(of))
}

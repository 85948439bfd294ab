//! `.npy`: a header in Python's words, then the elements.
//!
//! The header is read as a literal, never evaluated, and object arrays, which are pickles, are refused.
//! Upholds invariant 2: its length and depth are bounded before it is parsed.

use super::part::PartFile;
use super::rows::Rows;
use super::writing::{About, Container};
use super::{refused, unreadable};
use crate::cli::exit::Failure;
use py_literal::Value;
use shm_core::Dtype;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;

const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// The longest header that is read. NumPy itself stops at 10000 bytes.
const MAX_HEADER: u32 = 1 << 16;
/// Brackets in brackets: a structured dtype in a list in a dict needs four.
const MAX_DEPTH: usize = 8;

/// What NumPy calls a dtype. It has no bfloat16; its bits are stored then.
pub(super) fn descr(dtype: Dtype) -> String {
    let kind = match dtype {
        Dtype::Bool => 'b',
        Dtype::I8 | Dtype::I16 | Dtype::I32 | Dtype::I64 => 'i',
        Dtype::F16 | Dtype::F32 | Dtype::F64 => 'f',
        Dtype::C64 | Dtype::C128 => 'c',
        _ => 'u',
    };
    let order = if dtype.size() == 1 { '|' } else { '<' };
    format!("'{order}{kind}{}'", dtype.size())
}

/// The header of an array of that shape; spaces fill it up to `len` bytes.
pub(super) fn header(descr: &str, shape: &[u64], len: usize) -> Vec<u8> {
    let text = dict(descr, shape);
    let padded = len.saturating_sub(MAGIC.len() + 4);
    let mut header = Vec::with_capacity(len);
    header.extend_from_slice(MAGIC);
    header.extend_from_slice(&[1, 0]);
    header.extend_from_slice(&(padded as u16).to_le_bytes());
    header.extend_from_slice(text.as_bytes());
    header.resize((MAGIC.len() + 4 + padded).saturating_sub(1), b' ');
    header.push(b'\n');
    header
}

/// Bytes of a header with room for any number of entries of shape `inner`.
pub(super) fn room(descr: &str, inner: &[usize]) -> usize {
    let mut shape = vec![u64::MAX];
    shape.extend(inner.iter().map(|&dim| dim as u64));
    (MAGIC.len() + 4 + dict(descr, &shape).len() + 1).next_multiple_of(64)
}

fn dict(descr: &str, shape: &[u64]) -> String {
    let dims: String = shape.iter().map(|dim| format!("{dim}, ")).collect();
    let shape = match shape {
        [_] => dims.trim_end().to_owned(),
        _ => dims.trim_end_matches(", ").to_owned(),
    };
    format!("{{'descr': {descr}, 'fortran_order': False, 'shape': ({shape}), }}")
}

/// What the elements of an array are, as its header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Elements {
    Plain(String),
    /// Name and type of each field.
    Fields(Vec<(String, String)>),
}

/// A header that was read.
#[derive(Clone, Debug)]
pub(super) struct Header {
    pub(super) elements: Elements,
    pub(super) shape: Vec<u64>,
    /// Bytes before the elements.
    pub(super) len: u64,
}

impl Header {
    /// Reads the header at the beginning of `source`; `label` says whose it is.
    pub(super) fn read(source: &mut dyn Read, label: &str) -> Result<Header, Failure> {
        let mut start = [0; 8];
        let failed = |error| unreadable(label, "the header", &error);
        source.read_exact(&mut start).map_err(failed)?;
        if &start[..6] != MAGIC {
            let found = format!("{:02x?}", &start[..6]);
            let todo = "this is no array of NumPy; save it with numpy.save";
            return Err(refused(label, "the magic", format!("{MAGIC:02x?}"), found, todo));
        }
        let (prefix, length) = match start[6] {
            1 => (10, u32::from(u16::from_le_bytes(take(source).map_err(failed)?))),
            2 | 3 => (12, u32::from_le_bytes(take(source).map_err(failed)?)),
            version => {
                let todo = "save it with a present NumPy";
                return Err(refused(label, "the format version", "1, 2 or 3", version, todo));
            }
        };
        if length > MAX_HEADER {
            let todo = "save it anew with numpy.save, with fewer fields";
            let expected = format!("at most {MAX_HEADER}");
            return Err(refused(label, "the length of the header", expected, length, todo));
        }
        let mut text = vec![0; length as usize];
        source.read_exact(&mut text).map_err(failed)?;
        let (elements, shape) = parse(&text, label)?;
        Ok(Header { elements, shape, len: prefix + u64::from(length) })
    }

    /// The dtype of an array that is not structured.
    pub(super) fn dtype(&self, label: &str) -> Result<Dtype, Failure> {
        match &self.elements {
            Elements::Plain(descr) => dtype(descr, label),
            Elements::Fields(fields) => {
                let names: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
                let found = format!("structured, with fields {}", names.join(", "));
                let todo = "save one field of it, as in numpy.save(file, array['field'])";
                Err(refused(label, "descr", "a plain dtype", found, todo))
            }
        }
    }
}

fn take<const N: usize>(source: &mut dyn Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    source.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn parse(text: &[u8], label: &str) -> Result<(Elements, Vec<u64>), Failure> {
    let damaged = |field: &str, expected: &str, found: String| {
        refused(label, field, expected, found, "save it anew with numpy.save")
    };
    let text = std::str::from_utf8(text).ok().filter(|text| depth(text.as_bytes()) <= MAX_DEPTH);
    let dict = "a dict of descr, fortran_order and shape";
    let Some(text) = text else {
        return Err(damaged("the header", dict, "something else".into()));
    };
    let Ok(Value::Dict(entries)) = text.trim().parse::<Value>() else {
        return Err(damaged("the header", dict, format!("`{}`", shortened(text))));
    };
    let entry = |wanted: &str| {
        let found =
            entries.iter().find(|(key, _)| key.as_string().is_some_and(|key| key == wanted));
        found
            .map(|(_, value)| value)
            .ok_or_else(|| damaged("the header", dict, format!("one without {wanted}")))
    };
    match entry("fortran_order")? {
        Value::Boolean(false) => {}
        Value::Boolean(true) => {
            let todo = "convert it: numpy.save(file, numpy.ascontiguousarray(array))";
            return Err(refused(label, "fortran_order", "False", "True", todo));
        }
        other => return Err(damaged("fortran_order", "False", shortened(&other.to_string()))),
    }
    let shape = entry("shape")?;
    let expected = "a tuple of whole numbers from 0 to 2^64 - 1";
    let dims = match shape {
        Value::Tuple(dims) | Value::List(dims) => dims.iter().map(whole).collect(),
        _ => None,
    };
    let dims: Vec<u64> =
        dims.ok_or_else(|| damaged("shape", expected, shortened(&shape.to_string())))?;
    let descr = entry("descr")?;
    let elements = match descr {
        Value::String(descr) => Some(Elements::Plain(descr.clone())),
        Value::List(fields) => {
            fields.iter().map(field).collect::<Option<_>>().map(Elements::Fields)
        }
        _ => None,
    };
    let found = || damaged("descr", "a dtype such as '<f4'", shortened(&descr.to_string()));
    Ok((elements.ok_or_else(found)?, dims))
}

fn whole(value: &Value) -> Option<u64> {
    match value {
        Value::Integer(number) => u64::try_from(number).ok(),
        _ => None,
    }
}

fn field(value: &Value) -> Option<(String, String)> {
    match value {
        Value::Tuple(parts) => match parts.as_slice() {
            [Value::String(name), Value::String(descr)] => Some((name.clone(), descr.clone())),
            // A field with a shape or with fields of its own: it has a name, and no plain type.
            [Value::String(name), ..] => Some((name.clone(), String::new())),
            _ => None,
        },
        _ => None,
    }
}

/// How deep brackets are nested, at most.
fn depth(text: &[u8]) -> usize {
    let mut deepest = 0;
    let mut depth: usize = 0;
    for byte in text {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text.to_owned(),
    }
}

fn dtype(descr: &str, label: &str) -> Result<Dtype, Failure> {
    let found = Dtype::ALL
        .iter()
        .copied()
        .find(|&dtype| dtype != Dtype::Bf16 && self::descr(dtype).trim_matches('\'') == descr);
    if let Some(dtype) = found {
        return Ok(dtype);
    }
    let shown = format!("'{}'", shortened(descr));
    if descr.contains('O') {
        let todo = "object arrays are pickles, which are never loaded; save numbers";
        return Err(refused(label, "descr", "a number or bool", shown, todo));
    }
    if descr.starts_with('>') {
        let todo = "convert it: array.astype(array.dtype.newbyteorder('<'))";
        return Err(refused(label, "descr", "little-endian", format!("{shown}, big-endian"), todo));
    }
    let names: Vec<&str> = Dtype::ALL.iter().map(|dtype| dtype.name()).collect();
    let todo = format!("convert it with array.astype to one of {}", names.join(", "));
    Err(refused(label, "descr", "a dtype that streams have", shown, &todo))
}

/// A `.npy` that grows: its header has room for any number of frames.
pub(super) struct NpyFile {
    out: BufWriter<File>,
    descr: String,
    inner: Vec<usize>,
    header_len: usize,
    frame_len: u64,
}

impl NpyFile {
    pub(super) fn begin(part: &mut PartFile, about: &About) -> io::Result<NpyFile> {
        let (descr, inner) = (descr(about.desc.dtype()), about.desc.shape().to_vec());
        let header_len = room(&descr, &inner);
        let mut out = part.writer()?;
        out.write_all(&header(&descr, &frames_shape(0, &inner), header_len))?;
        Ok(NpyFile { out, descr, inner, header_len, frame_len: about.desc.byte_len() as u64 })
    }
}

impl Container for NpyFile {
    fn end_of(&self, frames: u64) -> u64 {
        self.header_len as u64 + frames * self.frame_len
    }

    fn append(&mut self, frame: &[u8]) -> io::Result<()> {
        self.out.write_all(frame)
    }

    fn finish(mut self: Box<Self>, part: &PartFile, frames: u64, _rows: &Rows) -> io::Result<()> {
        self.out.flush()?;
        part.cut(self.end_of(frames))?;
        let shape = frames_shape(frames, &self.inner);
        part.file().write_all_at(&header(&self.descr, &shape, self.header_len), 0)
    }
}

/// The shape of `frames` frames.
pub(super) fn frames_shape(frames: u64, inner: &[usize]) -> Vec<u64> {
    let inner = inner.iter().map(|&dim| dim as u64);
    std::iter::once(frames).chain(inner).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_header_is_read_back() {
        for &dtype in Dtype::ALL {
            for inner in [&[][..], &[3], &[480, 640, 3]] {
                let descr = descr(dtype);
                let room = room(&descr, inner);
                let shape = frames_shape(12, inner);
                let written = header(&descr, &shape, room);
                assert_eq!(written.len(), room);
                assert!(room.is_multiple_of(64));
                let full = header(&descr, &frames_shape(u64::MAX, inner), room);
                assert_eq!(full.len(), room, "any number of frames has room");
                let read = Header::read(&mut &written[..], "test").unwrap();
                assert_eq!((read.len, &read.shape), (room as u64, &shape));
                let stored = if dtype == Dtype::Bf16 { Dtype::U16 } else { dtype };
                assert_eq!(read.dtype("test").unwrap(), stored);
            }
        }
    }

    #[test]
    fn nesting_is_bounded_before_it_is_parsed() {
        let text = "(".repeat(60_000);
        let mut bytes = header("'<f4'", &[1], 65_472);
        bytes[12..][..text.len()].copy_from_slice(text.as_bytes());
        let failure = Header::read(&mut &bytes[..], "test").unwrap_err();
        assert!(failure.to_string().contains("the header is something else"), "{failure}");
    }
}

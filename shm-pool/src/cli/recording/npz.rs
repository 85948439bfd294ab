//! `.npz`: a zip of arrays.
//!
//! Frames go into the archive as they come, so a full disk costs nothing that is already there. The header
//! of `frames.npy` says at first that there are none; it and the checksum are set right at the end, where
//! the checksum of the frames alone is known and combined with that of the new header.

use super::columns::Columns;
use super::extent::Extent;
use super::npy::{self, Header};
use super::part::PartFile;
use super::reading::{Array, Found};
use super::refused;
use super::rows::{COLUMNS, Rows};
use super::writing::{About, Container};
use crate::cli::exit::Failure;
use shm_core::{Dtype, TensorDesc};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Error, ErrorKind, Seek, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// Headers, names and the directory, generously.
const OVERHEAD: u64 = 16 << 10;
/// Deflate cannot shrink anything further than this.
const MOST_SHRUNK: u64 = 1032;
/// Where the checksum stands in a header beside the data, and in one in the directory.
const CRC_IN_LOCAL: u64 = 14;
const CRC_IN_CENTRAL: u64 = 16;

/// A `.npz` that grows.
pub(super) struct NpzFile {
    zip: ZipWriter<BufWriter<File>>,
    frames: FramesMember,
    metadata: Vec<u8>,
}

/// The member that the frames go into.
struct FramesMember {
    desc: TensorDesc,
    descr: String,
    header_len: usize,
    /// The checksum of the frames so far.
    crc: crc32fast::Hasher,
}

impl NpzFile {
    pub(super) fn begin(part: &mut PartFile, about: &About) -> io::Result<NpzFile> {
        let descr = npy::descr(about.desc.dtype());
        let header_len = npy::room(&descr, about.desc.shape());
        let crc = crc32fast::Hasher::new();
        let frames = FramesMember { desc: about.desc.clone(), descr, header_len, crc };
        let mut zip = ZipWriter::new(part.writer()?);
        zip.start_file("frames.npy", options())?;
        zip.write_all(&frames.header(0))?;
        Ok(NpzFile { zip, frames, metadata: about.metadata.clone() })
    }
}

impl Container for NpzFile {
    fn end_of(&self, frames: u64) -> u64 {
        let each = self.frames.desc.byte_len() as u64 + COLUMNS.len() as u64 * 8;
        OVERHEAD + self.frames.header_len as u64 + self.metadata.len() as u64 + frames * each
    }

    fn append(&mut self, frame: &[u8]) -> io::Result<()> {
        self.zip.write_all(frame)?;
        self.frames.crc.update(frame);
        Ok(())
    }

    fn finish(self: Box<Self>, part: &PartFile, frames: u64, rows: &Rows) -> io::Result<()> {
        let NpzFile { mut zip, frames: member, metadata } = *self;
        for (column, name) in COLUMNS.iter().enumerate() {
            begin_array(&mut zip, name, "'<u8'", &[frames])?;
            rows.copy_column(column, frames, &mut zip)?;
        }
        begin_array(&mut zip, "metadata", "'|u1'", &[metadata.len() as u64])?;
        zip.write_all(&metadata)?;
        let dtype = member.desc.dtype().name();
        begin_array(&mut zip, "dtype", &format!("'|S{}'", dtype.len()), &[])?;
        zip.write_all(dtype.as_bytes())?;
        let mut file = zip.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
        part.cut(file.stream_position()?)?;
        member.set_right(part, frames)
    }
}

impl FramesMember {
    fn header(&self, frames: u64) -> Vec<u8> {
        let shape = npy::frames_shape(frames, self.desc.shape());
        npy::header(&self.descr, &shape, self.header_len)
    }

    /// Puts the number of frames into the header, and what follows from it into the archive.
    fn set_right(&self, part: &PartFile, frames: u64) -> io::Result<()> {
        let mut archive = ZipArchive::new(BufReader::new(part.file().try_clone()?))?;
        let member = archive.by_name("frames.npy")?;
        let begin = member.data_start().ok_or(ErrorKind::InvalidData)?;
        let places =
            [member.header_start() + CRC_IN_LOCAL, member.central_header_start() + CRC_IN_CENTRAL];
        let written = member.crc32().to_le_bytes();
        let header = self.header(frames);
        let mut crc = crc32fast::Hasher::new();
        crc.update(&header);
        crc.combine(&self.crc);
        let crc = crc.finalize().to_le_bytes();
        for place in places {
            let mut there = [0; 4];
            part.file().read_exact_at(&mut there, place)?;
            if there != written {
                return Err(Error::new(ErrorKind::InvalidData, "a checksum is not in its place"));
            }
            part.file().write_all_at(&crc, place)?;
        }
        part.file().write_all_at(&header, begin)
    }
}

/// Begins a member; its data follows.
fn begin_array(
    zip: &mut ZipWriter<BufWriter<File>>,
    name: &str,
    descr: &str,
    shape: &[u64],
) -> io::Result<()> {
    zip.start_file(format!("{name}.npy"), options())?;
    zip.write_all(&npy::header(descr, shape, npy::room(descr, &[])))
}

fn options() -> SimpleFileOptions {
    SimpleFileOptions::default().compression_method(CompressionMethod::Stored).large_file(true)
}

/// The arrays of an archive.
pub(super) fn find(file: Arc<File>, label: &str, wanted: Option<&str>) -> Result<Found, Failure> {
    let damaged = |error: zip::result::ZipError| {
        let todo = "save it anew with numpy.savez";
        refused(label, "the archive", "a zip", format!("damaged ({error})"), todo)
    };
    let clone =
        file.try_clone().map_err(|error| Failure::system(&format!("read {label}"), &error))?;
    let mut archive = ZipArchive::new(BufReader::new(clone)).map_err(damaged)?;
    let mut names = Vec::new();
    for index in 0..archive.len() {
        let name = archive.name_for_index(index).transpose().map_err(damaged)?.unwrap_or_default();
        let name = name.into_owned();
        if let Some(name) = name.strip_suffix(".npy") {
            names.push((name.to_owned(), index));
        }
    }
    let mut found = Found::choose(label, wanted, names.iter().map(|(name, _)| name.as_str()))?;
    let mut member = |name: &str| -> Result<Option<Array>, Failure> {
        let Some((_, index)) = names.iter().find(|(known, _)| known == name) else {
            return Ok(None);
        };
        let label = format!("{label}: {name}.npy");
        let extent = extent(&mut archive, *index, &file, &label)?;
        let header = Header::read(&mut extent.open(), &label)?;
        Ok(Some(Array::new(label, header, extent)))
    };
    found.frames = member(&found.name)?;
    if found.is_recording() {
        found.columns = Columns::try_each(&mut member)?;
        found.metadata = member("metadata")?;
        if let Some(note) = member("dtype")? {
            found.dtype = note.text()?.as_deref().and_then(Dtype::from_name);
        }
    }
    Ok(found)
}

/// Where a member lies, its lengths compared with what there is.
fn extent(
    archive: &mut ZipArchive<BufReader<File>>,
    index: usize,
    file: &Arc<File>,
    label: &str,
) -> Result<Extent, Failure> {
    let todo = "save it anew with numpy.savez";
    let member = archive.by_index_raw(index).map_err(|error| {
        refused(label, "the archive", "a zip", format!("damaged ({error})"), todo)
    })?;
    let deflated = match member.compression() {
        CompressionMethod::Stored => false,
        CompressionMethod::Deflated => true,
        other => {
            let todo = "save it with numpy.savez or numpy.savez_compressed";
            return Err(refused(label, "the compression", "stored or deflated", other, todo));
        }
    };
    if member.encrypted() {
        return Err(refused(label, "the member", "readable", "encrypted", todo));
    }
    let (at, stored, len) =
        (member.data_start().unwrap_or(u64::MAX), member.compressed_size(), member.size());
    let have = file.metadata().map(|metadata| metadata.len()).unwrap_or_default();
    if at.checked_add(stored).is_none_or(|end| end > have) {
        let expected = format!("within the {have} bytes of the file");
        let found = format!("{stored} bytes from {at} on");
        return Err(refused(label, "the place of the member", expected, found, todo));
    }
    let most = if deflated { stored.saturating_mul(MOST_SHRUNK) } else { stored };
    if len > most || (!deflated && len != stored) {
        let expected = format!("at most {most} for {stored} bytes in the archive");
        return Err(refused(label, "the unpacked size", expected, len, todo));
    }
    let crc = Some(member.crc32());
    Ok(Extent { file: file.clone(), at, stored, len, deflated, crc })
}

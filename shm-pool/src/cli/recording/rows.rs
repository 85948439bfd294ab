//! Number and times of each frame, one row per frame, in a file of their own: a structured array that
//! `numpy.load` reads. Beside a `.npy` it stays; the other formats take its columns in at the end.

use super::extent::Window;
use super::npy;
use super::part::PartFile;
use crate::cli::exit::Failure;
use shm_core::{Dtype, FrameInfo};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// The columns, in this order, each a u64.
pub(super) const COLUMNS: [&str; 4] = ["counts", "ids", "published_ns", "acquired_ns"];
/// The column that names a dtype that NumPy lacks.
pub(super) const LABEL: &str = "dtype";
pub(super) const LABEL_BYTES: usize = 8;

/// What is kept of a frame besides its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameRow {
    words: [u64; COLUMNS.len()],
}

impl From<&FrameInfo> for FrameRow {
    fn from(info: &FrameInfo) -> FrameRow {
        let FrameInfo { count, frame_id, written_wall_ns, acquired_wall_ns, .. } = *info;
        FrameRow { words: [count, frame_id, written_wall_ns, acquired_wall_ns] }
    }
}

/// The rows of a recording that is being written.
pub(super) struct Rows {
    part: PartFile,
    out: BufWriter<File>,
    descr: String,
    header_len: usize,
    label: Option<[u8; LABEL_BYTES]>,
}

impl Rows {
    /// No rows yet, in a file on its way to `target`.
    pub(super) fn beside(target: &Path, dtype: Dtype) -> Result<Rows, Failure> {
        let label = (dtype == Dtype::Bf16).then_some(*b"bfloat16");
        let descr = descr(label.is_some());
        let header_len = npy::room(&descr, &[]);
        let mut part = PartFile::beside(target)?;
        let begun = part.writer().and_then(|mut out| {
            out.write_all(&npy::header(&descr, &[0], header_len))?;
            Ok(out)
        });
        let out = begun.map_err(|error| Failure::system("write the times", &error))?;
        Ok(Rows { part, out, descr, header_len, label })
    }

    /// Makes sure that there is room for so many rows.
    pub(super) fn reserve(&mut self, rows: u64) -> io::Result<()> {
        self.part.reserve(self.header_len as u64 + rows * self.row_len())
    }

    pub(super) fn append(&mut self, row: &FrameRow) -> io::Result<()> {
        for word in row.words {
            self.out.write_all(&word.to_le_bytes())?;
        }
        match &self.label {
            Some(label) => self.out.write_all(label),
            None => Ok(()),
        }
    }

    /// The first `rows` rows are all there are.
    pub(super) fn finish(&mut self, rows: u64) -> io::Result<()> {
        self.out.flush()?;
        self.part.cut(self.header_len as u64 + rows * self.row_len())?;
        let header = npy::header(&self.descr, &[rows], self.header_len);
        self.part.file().write_all_at(&header, 0)
    }

    /// Copies one column of finished rows into `out`.
    pub(super) fn copy_column(
        &self,
        column: usize,
        rows: u64,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let file = Arc::new(self.part.file().try_clone()?);
        let begin = self.header_len as u64;
        let window = Window::new(file, begin, rows * self.row_len());
        let mut source = BufReader::with_capacity(1 << 16, window);
        let mut out = BufWriter::with_capacity(1 << 16, out);
        let mut row = vec![0; self.row_len() as usize];
        for _ in 0..rows {
            source.read_exact(&mut row)?;
            out.write_all(&row[column * 8..][..8])?;
        }
        out.flush()
    }

    /// The rows become a file of their own.
    pub(super) fn publish(self, replace: bool) -> Result<(), Failure> {
        self.part.publish(replace)
    }

    fn row_len(&self) -> u64 {
        (COLUMNS.len() * 8 + self.label.map_or(0, |label| label.len())) as u64
    }
}

fn descr(labelled: bool) -> String {
    let mut fields: Vec<String> =
        COLUMNS.iter().map(|column| format!("('{column}', '<u8')")).collect();
    if labelled {
        fields.push(format!("('{LABEL}', '|S{LABEL_BYTES}')"));
    }
    format!("[{}]", fields.join(", "))
}

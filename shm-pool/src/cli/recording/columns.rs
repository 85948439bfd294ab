//! What goes with the frames of a recording, one number for each, read as the frames are.
//!
//! Upholds invariant 2: a column has a row for each frame, and the file has the bytes of all of them.

use super::reading::Array;
use super::rows::COLUMNS;
use super::{refused, unreadable};
use crate::cli::exit::Failure;
use shm_core::Dtype;
use std::io::{BufReader, Read};

/// What goes with the frames, one number for each.
#[derive(Debug, Default)]
pub(super) struct Columns {
    pub(super) ids: Option<Column>,
    pub(super) published: Option<Column>,
    pub(super) acquired: Option<Column>,
}

impl Columns {
    /// The columns that are arrays of their own, as `find` finds them.
    pub(super) fn try_each(
        mut find: impl FnMut(&str) -> Result<Option<Array>, Failure>,
    ) -> Result<Columns, Failure> {
        let mut column = |at: usize| -> Result<Option<Column>, Failure> {
            let Some(array) = find(COLUMNS[at])? else { return Ok(None) };
            match array.dtype()? {
                Dtype::U64 => Ok(Some(Column { array, stride: 8, at: 0 })),
                other => Err(refused(&array.label, "dtype", Dtype::U64, other, LEAVE_OUT)),
            }
        };
        Ok(Columns { ids: column(1)?, published: column(2)?, acquired: column(3)? })
    }

    /// The columns that are fields of one array.
    pub(super) fn of_rows(array: &Array, stride: usize) -> Columns {
        let column = |at: usize| Some(Column { array: array.clone(), stride, at: at * 8 });
        Columns { ids: column(1), published: column(2), acquired: column(3) }
    }

    /// There is one row for each frame.
    pub(super) fn check(&self, frames: u64) -> Result<(), Failure> {
        for column in [&self.ids, &self.published, &self.acquired].into_iter().flatten() {
            let Array { label, header, extent, .. } = &column.array;
            if header.shape != [frames] {
                let (expected, found) = (format!("[{frames}]"), format!("{:?}", header.shape));
                return Err(refused(label, "shape", expected, found, LEAVE_OUT));
            }
            let have = extent.len.saturating_sub(header.len);
            let need = frames.checked_mul(column.stride as u64);
            if need.is_none_or(|need| need > have) {
                let expected = format!("{} for each of {frames} frames", column.stride);
                return Err(refused(label, "the number of bytes", expected, have, LEAVE_OUT));
            }
        }
        Ok(())
    }
}

pub(super) const LEAVE_OUT: &str =
    "it does not belong to these frames: leave it out, or move it away";

/// One number for each frame: eight bytes of each row of an array.
#[derive(Debug)]
pub(super) struct Column {
    array: Array,
    stride: usize,
    at: usize,
}

impl Column {
    /// Reads it from the first row on.
    pub(super) fn open(&self) -> Result<ColumnReader, Failure> {
        Ok(ColumnReader {
            source: BufReader::with_capacity(1 << 14, self.array.open()?),
            row: vec![0; self.stride],
            at: self.at,
            label: self.array.label.clone(),
        })
    }
}

/// A column that is read row by row.
pub(super) struct ColumnReader {
    source: BufReader<Box<dyn Read>>,
    row: Vec<u8>,
    at: usize,
    label: String,
}

impl ColumnReader {
    pub(super) fn next(&mut self) -> Result<u64, Failure> {
        let read = self.source.read_exact(&mut self.row);
        read.map_err(|error| unreadable(&self.label, "a row", &error))?;
        let mut word = [0; 8];
        word.copy_from_slice(&self.row[self.at..][..8]);
        Ok(u64::from_le_bytes(word))
    }
}

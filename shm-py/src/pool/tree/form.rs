//! How a packed tree is laid out.
//!
//! ```text
//!   0         8            16           24              header_len      next multiple of 64
//!   │ "SHMTREE1" │ header_len │ total_len │ nodes ...       │   padding   │ arrays, each at a multiple of 64
//! ```
//!
//! Numbers are little-endian. A node is a tag and what follows it; lengths and counts are u64:
//!
//! | tag | node        | followed by                                                             |
//! |-----|-------------|-------------------------------------------------------------------------|
//! | 0   | None        |                                                                         |
//! | 1 2 | False, True |                                                                         |
//! | 3   | int         | i64                                                                     |
//! | 4   | larger int  | length, two's complement                                                |
//! | 5   | float       | f64                                                                     |
//! | 6   | complex     | f64, f64                                                                |
//! | 7   | str         | length, UTF-8                                                           |
//! | 8   | bytes       | length, bytes                                                           |
//! | 9   | list        | count, nodes                                                            |
//! | 10  | tuple       | count, nodes                                                            |
//! | 11  | dict        | count, key node and value node in turns                                 |
//! | 12  | record      | str of the name, count, a str for each field, a node for each field      |
//! | 13  | array       | dtype code (u8), order (u8, 1 is Fortran), dimensions (u8), u64 each, offset after the header |

use numpy::PyArrayDescr;
use pyo3::prelude::*;
use shm_core::Dtype;

pub(super) const MAGIC: [u8; 8] = *b"SHMTREE1";
/// Magic, header_len, total_len.
pub(super) const PREFIX: usize = 24;
/// Arrays begin at multiples of so many bytes.
pub(super) const ALIGNMENT: usize = 64;
/// Nodes within nodes.
pub(super) const MAX_DEPTH: usize = 64;

pub(super) mod tag {
    pub(in crate::pool::tree) const NONE: u8 = 0;
    pub(in crate::pool::tree) const FALSE: u8 = 1;
    pub(in crate::pool::tree) const TRUE: u8 = 2;
    pub(in crate::pool::tree) const INT: u8 = 3;
    pub(in crate::pool::tree) const LARGE_INT: u8 = 4;
    pub(in crate::pool::tree) const FLOAT: u8 = 5;
    pub(in crate::pool::tree) const COMPLEX: u8 = 6;
    pub(in crate::pool::tree) const STR: u8 = 7;
    pub(in crate::pool::tree) const BYTES: u8 = 8;
    pub(in crate::pool::tree) const LIST: u8 = 9;
    pub(in crate::pool::tree) const TUPLE: u8 = 10;
    pub(in crate::pool::tree) const DICT: u8 = 11;
    pub(in crate::pool::tree) const RECORD: u8 = 12;
    pub(in crate::pool::tree) const ARRAY: u8 = 13;
}

/// NumPy's dtype for a code, without parsing its name where that is possible.
pub(super) fn descr(py: Python<'_>, dtype: Dtype) -> PyResult<Bound<'_, PyArrayDescr>> {
    Ok(match dtype {
        Dtype::Bool => numpy::dtype::<bool>(py),
        Dtype::I8 => numpy::dtype::<i8>(py),
        Dtype::I16 => numpy::dtype::<i16>(py),
        Dtype::I32 => numpy::dtype::<i32>(py),
        Dtype::I64 => numpy::dtype::<i64>(py),
        Dtype::U8 => numpy::dtype::<u8>(py),
        Dtype::U16 => numpy::dtype::<u16>(py),
        Dtype::U32 => numpy::dtype::<u32>(py),
        Dtype::U64 => numpy::dtype::<u64>(py),
        Dtype::F32 => numpy::dtype::<f32>(py),
        Dtype::F64 => numpy::dtype::<f64>(py),
        other => return crate::dtype::to_numpy(py, other),
    })
}

/// The class of records with that name and those fields.
pub(super) fn record<'py>(
    py: Python<'py>,
    name: &Bound<'py, PyAny>,
    fields: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    py.import("shm_py._records")?.getattr("record")?.call1((name, fields))
}

//! From given arrays to tensors in shared memory.
//!
//! Upholds invariants 7 (what is copied is sealed before anybody is told of it) and 8 (what lies in
//! shared memory is not copied; the rest is, once, into one piece of memory for all of a value).
//!
//! Arrays that overlap stay one memory: what lies between the first and the last byte of arrays without
//! gaps is copied as it lies, and all arrays in it keep their strides. An array with gaps that is in no
//! such piece is copied in C order: the bytes between its elements are nobody else's business.

use crate::array;
use crate::dtype;
use crate::reading::WORTH_RELEASING;
use crate::share::array::{HostArray, Mapping, c_strides, over};
use crate::share::{copies, errors};
use numpy::PyUntypedArrayMethods;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use shm_core::{Dtype, copy};
use shm_cuda::share::{HostMemory, Storage, Tensor};
use std::sync::Arc;

/// Arrays begin at multiples of so many bytes.
const ALIGNMENT: usize = 64;

/// Where an array will lie.
#[derive(Clone, Copy)]
enum Place {
    /// In shared memory already, so many bytes from its start.
    Shared { offset: usize },
    /// In a piece that is copied as it lies, so many bytes from its start.
    Piece { index: usize, offset: usize },
    /// In C order, so many bytes from the start of the new memory.
    Alone { offset: usize },
    /// It has no elements.
    Nowhere,
}

/// Bytes of this process that are copied as they lie.
struct Piece {
    start: usize,
    end: usize,
    /// In the new memory.
    offset: usize,
}

/// Tensors for `arrays`, in order.
pub(super) fn pack(py: Python<'_>, arrays: &[HostArray<'_>]) -> PyResult<Vec<Tensor>> {
    let mut shared: Vec<Option<Arc<HostMemory>>> = Vec::with_capacity(arrays.len());
    let mut places: Vec<Option<Place>> = Vec::with_capacity(arrays.len());
    for array in arrays {
        let (memory, place) = at_once(py, array);
        shared.push(memory);
        places.push(place);
    }
    let (mut pieces, mut len) = (pieces_of(arrays, &places), 0_usize);
    for piece in &mut pieces {
        // Elements that are aligned where they are stay so, whatever begins the piece.
        piece.offset = len.next_multiple_of(ALIGNMENT) + piece.start % 16;
        len = piece.offset + (piece.end - piece.start);
    }
    let places: Vec<Place> = places
        .into_iter()
        .zip(arrays)
        .map(|(place, array)| place.unwrap_or_else(|| settle(array, &pieces, &mut len)))
        .collect();
    let needed = places.iter().any(|place| !matches!(place, Place::Shared { .. }));
    let own = if needed { Some(fill(py, arrays, &places, &pieces, len)?) } else { None };
    let tensors = arrays.iter().zip(&places).zip(shared);
    tensors
        .map(|((array, &place), shared)| {
            let memory = shared
                .or_else(|| own.clone())
                .ok_or_else(|| PyValueError::new_err("a tensor has no memory to lie in"))?;
            tensor(array, place, &pieces, memory)
        })
        .collect()
}

/// What is plain without looking at the other arrays.
fn at_once(py: Python<'_>, array: &HostArray<'_>) -> (Option<Arc<HostMemory>>, Option<Place>) {
    if array.byte_len() == 0 {
        return (None, Some(Place::Nowhere));
    }
    let (start, end) = array.extent();
    let found = Mapping::around(py, start, end).filter(|_| array.element_strides().is_some());
    match found {
        Some((memory, first)) => {
            let offset = array.origin() - first;
            (Some(memory), Some(Place::Shared { offset }))
        }
        None => (None, None),
    }
}

/// The bytes that arrays without gaps lie in, those that overlap as one.
fn pieces_of(arrays: &[HostArray<'_>], places: &[Option<Place>]) -> Vec<Piece> {
    let mut extents: Vec<(usize, usize)> = arrays
        .iter()
        .zip(places)
        .filter(|(array, place)| {
            place.is_none() && array.is_dense() && array.element_strides().is_some()
        })
        .map(|(array, _)| array.extent())
        .collect();
    extents.sort_unstable();
    let mut pieces: Vec<Piece> = Vec::new();
    for (start, end) in extents {
        match pieces.last_mut() {
            Some(last) if start < last.end => last.end = last.end.max(end),
            _ => pieces.push(Piece { start, end, offset: 0 }),
        }
    }
    pieces
}

/// Finds an array its piece, or room behind all pieces.
fn settle(array: &HostArray<'_>, pieces: &[Piece], len: &mut usize) -> Place {
    let (start, end) = array.extent();
    let around = pieces.partition_point(|piece| piece.start <= start).checked_sub(1);
    let around = around.filter(|&index| end <= pieces[index].end);
    match around.filter(|_| array.element_strides().is_some()) {
        Some(index) => Place::Piece { index, offset: array.origin() - pieces[index].start },
        None => {
            let offset = len.next_multiple_of(ALIGNMENT);
            *len = offset + array.byte_len();
            Place::Alone { offset }
        }
    }
}

/// New memory with everything in it that has to be copied.
fn fill(
    py: Python<'_>,
    arrays: &[HostArray<'_>],
    places: &[Place],
    pieces: &[Piece],
    len: usize,
) -> PyResult<Arc<HostMemory>> {
    let memory = py.detach(|| HostMemory::allocate(len)).map_err(|error| errors::memory(&error))?;
    let memory = Arc::new(memory);
    let copy_pieces = || {
        for piece in pieces {
            let (from, bytes) = (piece.start as *const u8, piece.end - piece.start);
            let to = memory.as_ptr().wrapping_add(piece.offset);
            // SAFETY: all bytes of the piece lie in arrays that the caller keeps, and as many at its
            // offset in memory that was just made and nobody else knows. Other threads that write the
            // arrays meanwhile are as for any copy of NumPy's.
            unsafe { copy::copy_with(copy::path_for(bytes), to, from, bytes) };
        }
    };
    let bytes: usize = pieces.iter().map(|piece| piece.end - piece.start).sum();
    match bytes >= WORTH_RELEASING {
        true => py.detach(copy_pieces),
        false => copy_pieces(),
    }
    for piece in pieces {
        copies::count(piece.end - piece.start);
    }
    for (array, place) in arrays.iter().zip(places) {
        if let Place::Alone { offset } = *place {
            gather(py, array, &memory, offset)?;
        }
    }
    memory.seal().map_err(|error| errors::memory(&error))?;
    Ok(memory)
}

/// Copies an array in C order, as NumPy does, which lets other threads run meanwhile.
fn gather(
    py: Python<'_>,
    source: &HostArray<'_>,
    memory: &Arc<HostMemory>,
    offset: usize,
) -> PyResult<()> {
    // Only the size of the elements matters here, and NumPy may not know all dtypes.
    let carrier = if source.dtype == Dtype::Bf16 { Dtype::U16 } else { source.dtype };
    let descr = dtype::to_numpy(py, carrier)?;
    let shape = source.array.shape();
    let base = Mapping::new(py, memory.clone())?.into_any();
    let start = memory.as_ptr().wrapping_add(offset);
    // SAFETY: `byte_len` bytes were counted at the offset, of memory that the base keeps, that is mapped
    // for writing and not sealed yet.
    let target =
        unsafe { over(&descr, shape, &c_strides(shape, source.dtype.size()), start, true, base) }?;
    let from = match source.dtype {
        // As what it is carried by: NumPy's own bfloat16 is of another package, and would be converted.
        Dtype::Bf16 => source.array.call_method1("view", ("uint16",))?.cast_into()?,
        _ => source.array.clone(),
    };
    array::convert_into(&target, &from)?;
    copies::count(source.byte_len());
    Ok(())
}

fn tensor(
    array: &HostArray<'_>,
    place: Place,
    pieces: &[Piece],
    memory: Arc<HostMemory>,
) -> PyResult<Tensor> {
    let (storage, shape) = (Storage::Host(memory), array.array.shape());
    let made = match place {
        Place::Nowhere => Tensor::contiguous(storage, array.dtype, shape, 0),
        Place::Alone { offset } => Tensor::contiguous(storage, array.dtype, shape, offset),
        Place::Shared { offset } | Place::Piece { offset, .. } => {
            let start =
                if let Place::Piece { index, .. } = place { pieces[index].offset } else { 0 };
            let strides = array.element_strides().unwrap_or_else(|| c_strides(shape, 1));
            Tensor::new(storage, array.dtype, shape, &strides, start + offset)
        }
    };
    made.map_err(|error| PyValueError::new_err(error.to_string()))
}

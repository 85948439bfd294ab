//! A tensor over a storage: dtype, shape, strides and where it begins.
//!
//! Upholds invariant 2: a layout that came from a peer is checked against the storage before anything
//! is made of it.

use super::device::DeviceStorage;
use super::memory::{HostMemory, MemoryError};
use shm_core::Dtype;
use std::sync::Arc;

/// The most dimensions of a tensor.
pub(super) const MOST_DIMENSIONS: usize = 32;

/// Memory that tensors lie in. Its identity is that of the `Arc`.
#[derive(Clone, Debug)]
pub enum Storage {
    /// Shared memory of the host.
    Host(Arc<HostMemory>),
    /// Memory of a device.
    Device(Arc<DeviceStorage>),
}

/// Dtype, shape and strides, over a storage.
#[derive(Clone, Debug)]
pub struct Tensor {
    storage: Storage,
    dtype: Dtype,
    shape: Vec<usize>,
    /// In elements; may be nil or negative.
    strides: Vec<isize>,
    /// Of the element at the origin, in bytes from the start of the storage.
    offset: usize,
}

/// Why a layout does not fit its storage.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// A field of the layout is wrong.
    #[error("{field} of a tensor: expected {expected}, found {found}")]
    Field {
        /// Which one: `shape`, `strides`, `offset` or `bytes`.
        field: &'static str,
        /// What it should be.
        expected: String,
        /// What it is.
        found: String,
    },
}

impl Storage {
    /// Its length in bytes.
    pub fn len(&self) -> usize {
        match self {
            Storage::Host(memory) => memory.len(),
            Storage::Device(memory) => memory.len(),
        }
    }

    /// True if it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// True if both are the same memory: the same `Arc`, or mappings of the same bytes of the host.
    pub fn is_same(&self, other: &Storage) -> bool {
        match (self, other) {
            (Storage::Host(a), Storage::Host(b)) => {
                Arc::ptr_eq(a, b) || (a.identity() == b.identity() && a.len() == b.len())
            }
            (Storage::Device(a), Storage::Device(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }

    /// True if what was mapped of it stays readable when the process that owns it is gone.
    pub fn survives_owner(&self) -> bool {
        match self {
            Storage::Host(_) => true,
            Storage::Device(memory) => memory.survives_owner(),
        }
    }
}

impl Tensor {
    /// A tensor with any strides (in elements) and byte offset; shape may have zeros; at most 32 dimensions.
    ///
    /// # Errors
    /// If an element would lie outside of the storage, or not at a multiple of the alignment of its type.
    pub fn new(
        storage: Storage,
        dtype: Dtype,
        shape: &[usize],
        strides: &[isize],
        offset: usize,
    ) -> Result<Tensor, LayoutError> {
        check(storage.len(), dtype, shape, strides, offset)?;
        let (shape, strides) = (shape.to_vec(), strides.to_vec());
        Ok(Tensor { storage, dtype, shape, strides, offset })
    }

    /// A C-contiguous one at `offset` bytes.
    ///
    /// # Errors
    /// As [`Tensor::new`].
    pub fn contiguous(
        storage: Storage,
        dtype: Dtype,
        shape: &[usize],
        offset: usize,
    ) -> Result<Tensor, LayoutError> {
        byte_len(dtype, shape)?;
        Tensor::new(storage, dtype, shape, &c_strides(shape), offset)
    }

    /// Copies host bytes into shared memory of its own, which is sealed against writing.
    ///
    /// # Errors
    /// If `bytes` are not as many as dtype and shape say, or the system has no memory for them.
    pub fn copy_of(dtype: Dtype, shape: &[usize], bytes: &[u8]) -> Result<Tensor, MemoryError> {
        let len = byte_len(dtype, shape)?;
        if len != bytes.len() {
            let expected = format!("{len} bytes for {dtype} {shape:?}");
            return Err(wrong("bytes", expected, bytes.len()).into());
        }
        let memory = HostMemory::allocate(len)?;
        memory.write(0, bytes);
        memory.seal()?;
        Ok(Tensor::contiguous(Storage::Host(Arc::new(memory)), dtype, shape, 0)?)
    }

    /// Where it lies.
    pub fn storage(&self) -> &Storage {
        &self.storage
    }

    /// The type of its elements.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Its dimensions.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Its strides, in elements.
    pub fn strides(&self) -> &[isize] {
        &self.strides
    }

    /// Where its origin is, in bytes from the start of the storage.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// How many bytes its elements have, each counted once.
    pub fn byte_len(&self) -> usize {
        // No overflow: the constructor has computed it.
        self.shape.iter().product::<usize>() * self.dtype.size()
    }

    /// True if its elements lie one behind the other in C order.
    pub fn is_contiguous(&self) -> bool {
        if self.shape.contains(&0) {
            return true;
        }
        let expected = c_strides(&self.shape);
        let mut dimensions = self.shape.iter().zip(self.strides.iter().zip(&expected));
        dimensions.all(|(&dim, (stride, expected))| dim == 1 || stride == expected)
    }

    /// A copy of its bytes in C order; `None` if it lies on a device, or if this process has no memory
    /// for a copy (a broadcast tensor may have many more elements than its storage has bytes).
    pub fn to_vec(&self) -> Option<Vec<u8>> {
        let Storage::Host(memory) = &self.storage else { return None };
        let len = self.byte_len();
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(len).ok()?;
        bytes.resize(len, 0);
        if len == 0 {
            return Some(bytes);
        }
        if self.is_contiguous() {
            memory.read(self.offset, &mut bytes);
        } else {
            self.gather(memory, &mut bytes);
        }
        Some(bytes)
    }

    /// Address of the origin in this process, if it lies on the host.
    pub fn host_ptr(&self) -> Option<*const u8> {
        match &self.storage {
            Storage::Host(memory) => Some(memory.as_ptr().cast_const().wrapping_add(self.offset)),
            Storage::Device(_) => None,
        }
    }

    /// Copies run by run, a run being what lies together at the end of the shape.
    fn gather(&self, memory: &HostMemory, out: &mut [u8]) {
        let size = self.dtype.size();
        let (mut run, mut outer) = (1, self.shape.len());
        while outer > 0 && (self.shape[outer - 1] == 1 || self.strides[outer - 1] == run as isize) {
            outer -= 1;
            run *= self.shape[outer];
        }
        let mut index = vec![0_usize; outer];
        let mut at = self.offset as isize;
        for part in out.chunks_exact_mut(run * size) {
            memory.read(at as usize, part);
            for axis in (0..outer).rev() {
                let step = self.strides[axis] * size as isize;
                index[axis] += 1;
                at += step;
                if index[axis] < self.shape[axis] {
                    break;
                }
                at -= step * self.shape[axis] as isize;
                index[axis] = 0;
            }
        }
    }
}

/// That every element lies inside a storage of `len` bytes.
fn check(
    len: usize,
    dtype: Dtype,
    shape: &[usize],
    strides: &[isize],
    offset: usize,
) -> Result<(), LayoutError> {
    if shape.len() > MOST_DIMENSIONS {
        let found = format!("{} dimensions", shape.len());
        return Err(wrong("shape", format!("at most {MOST_DIMENSIONS} dimensions"), found));
    }
    if strides.len() != shape.len() {
        let expected = format!("one for each of {} dimensions", shape.len());
        return Err(wrong("strides", expected, strides.len()));
    }
    let bytes = byte_len(dtype, shape)?;
    if offset > len {
        return Err(wrong("offset", format!("at most the storage's {len} bytes"), offset));
    }
    let alignment = alignment(dtype);
    if !offset.is_multiple_of(alignment) {
        let expected = format!("a multiple of {alignment}, the alignment of {dtype}");
        return Err(wrong("offset", expected, offset));
    }
    if bytes == 0 {
        return Ok(());
    }
    let size = dtype.size() as i128;
    let (mut first, mut last) = (offset as i128, offset as i128 + size);
    for (&dim, &stride) in shape.iter().zip(strides) {
        // At most 2^63 * 2^63 * 16 each, and 32 of them: far from the end of an i128.
        let reach = (dim as i128 - 1) * stride as i128 * size;
        if reach < 0 {
            first += reach;
        } else {
            last += reach;
        }
    }
    if first < 0 || last > len as i128 {
        let expected = format!("elements inside the storage's {len} bytes");
        return Err(wrong("strides", expected, format!("bytes {first}..{last}")));
    }
    Ok(())
}

/// Bytes of all elements.
fn byte_len(dtype: Dtype, shape: &[usize]) -> Result<usize, LayoutError> {
    if shape.contains(&0) {
        return Ok(0);
    }
    shape
        .iter()
        .try_fold(dtype.size(), |bytes, &dim| bytes.checked_mul(dim))
        .filter(|&bytes| bytes <= isize::MAX as usize)
        .ok_or_else(|| wrong("shape", "bytes that can be addressed", format!("{shape:?}")))
}

/// Strides of a dense tensor in C order. The product of `shape` fits, or one of it is 0.
fn c_strides(shape: &[usize]) -> Vec<isize> {
    let mut strides = vec![0; shape.len()];
    let mut stride = 1_isize;
    for (axis, &dim) in shape.iter().enumerate().rev() {
        strides[axis] = stride;
        stride = stride.saturating_mul(isize::try_from(dim.max(1)).unwrap_or(isize::MAX));
    }
    strides
}

/// Alignment of an element: two parts of a complex number are aligned as one.
fn alignment(dtype: Dtype) -> usize {
    match dtype {
        Dtype::C64 | Dtype::C128 => dtype.size() / 2,
        _ => dtype.size(),
    }
}

fn wrong(
    field: &'static str,
    expected: impl Into<String>,
    found: impl std::fmt::Display,
) -> LayoutError {
    LayoutError::Field { field, expected: expected.into(), found: found.to_string() }
}

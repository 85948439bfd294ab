//! How the elements of a tensor lie: dtype, shape, strides.
//!
//! Upholds invariant 2: what another library says is checked before an address is computed from it.

use crate::array::shape_text;
use dlpark::ffi::{DLDataType, DLDataTypeCode};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use shm_core::Dtype;

/// Dtype, shape and strides, the last in elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    pub(crate) strides: Vec<i64>,
}

impl Layout {
    /// Elements in C order without gaps.
    pub(crate) fn contiguous(dtype: Dtype, shape: &[usize]) -> PyResult<Layout> {
        // Checks what the shapes of streams are checked for.
        let desc = shm_core::StreamConfig::new(dtype, shape).map_err(crate::errors::config)?;
        let strides = c_strides(desc.desc().shape());
        Ok(Layout { dtype, shape: shape.to_vec(), strides })
    }

    /// What another library says; `strides` in elements, `None` for C order.
    pub(crate) fn foreign(
        dtype: Dtype,
        shape: &[i64],
        strides: Option<&[i64]>,
    ) -> PyResult<Layout> {
        let dims: Option<Vec<usize>> =
            shape.iter().map(|&dim| usize::try_from(dim).ok().filter(|&dim| dim > 0)).collect();
        let dims = dims.ok_or_else(|| {
            PyValueError::new_err(format!(
                "the tensor has shape {shape:?}; every dimension must be at least 1"
            ))
        })?;
        let mut layout = Layout::contiguous(dtype, &dims)?;
        if let Some(strides) = strides {
            if strides.len() != dims.len() {
                return Err(PyValueError::new_err(format!(
                    "the tensor has {} dimensions and {} strides",
                    dims.len(),
                    strides.len()
                )));
            }
            layout.strides = strides.to_vec();
            layout.extent()?;
        }
        Ok(layout)
    }

    pub(crate) fn byte_len(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype.size()
    }

    /// True if the bytes are a frame as they lie.
    pub(crate) fn is_contiguous(&self) -> bool {
        let dims = self.shape.iter().zip(&self.strides).zip(c_strides(&self.shape));
        // Strides of dimensions of one element are never used.
        dims.into_iter().all(|((&dim, &stride), expected)| dim == 1 || stride == expected)
    }

    /// Offsets in bytes of the first byte and of the end, from the element with index 0.
    pub(crate) fn extent(&self) -> PyResult<(i64, i64)> {
        let too_far =
            || PyValueError::new_err("the tensor's strides reach farther than addresses can");
        let size = self.dtype.size() as i64;
        let (mut first, mut last) = (0_i64, 0_i64);
        for (&dim, &stride) in self.shape.iter().zip(&self.strides) {
            let reach = stride
                .checked_mul(dim as i64 - 1)
                .and_then(|reach| reach.checked_mul(size))
                .ok_or_else(too_far)?;
            let end = if reach < 0 { &mut first } else { &mut last };
            *end = end.checked_add(reach).ok_or_else(too_far)?;
        }
        Ok((first, last.checked_add(size).ok_or_else(too_far)?))
    }

    /// Refuses a layout that is not, element by element, what is expected.
    pub(crate) fn check_same(&self, dtype: Dtype, shape: &[usize]) -> PyResult<()> {
        if self.shape != shape {
            return Err(PyValueError::new_err(format!(
                "expected shape {}, got {}",
                shape_text(shape),
                shape_text(&self.shape)
            )));
        }
        if self.dtype != dtype {
            return Err(PyTypeError::new_err(format!(
                "expected dtype {}, got {}: nothing is converted on the device; convert it there first, \
                 with .to() or .astype()",
                dtype.name(),
                self.dtype.name()
            )));
        }
        Ok(())
    }

    /// Refuses what no single copy can move.
    pub(crate) fn check_contiguous(&self) -> PyResult<()> {
        match self.is_contiguous() {
            true => Ok(()),
            false => Err(PyValueError::new_err(format!(
                "a device tensor of shape {} with strides {:?} (in elements) is not C-contiguous; pass \
                 what its .contiguous() gives, or a copy in C order",
                shape_text(&self.shape),
                self.strides
            ))),
        }
    }
}

/// Strides of C order, in elements.
fn c_strides(shape: &[usize]) -> Vec<i64> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis] as i64;
    }
    strides
}

/// DLPack's word for a dtype.
pub(super) fn to_dlpack(dtype: Dtype) -> DLDataType {
    match dtype {
        Dtype::Bool => DLDataType::BOOL,
        Dtype::I8 => DLDataType::I8,
        Dtype::I16 => DLDataType::I16,
        Dtype::I32 => DLDataType::I32,
        Dtype::I64 => DLDataType::I64,
        Dtype::U8 => DLDataType::U8,
        Dtype::U16 => DLDataType::U16,
        Dtype::U32 => DLDataType::U32,
        Dtype::U64 => DLDataType::U64,
        Dtype::F16 => DLDataType::F16,
        Dtype::F32 => DLDataType::F32,
        Dtype::F64 => DLDataType::F64,
        Dtype::C64 => DLDataType::C64,
        Dtype::C128 => DLDataType::C128,
        Dtype::Bf16 => DLDataType::BF16,
        // A dtype that DLPack has no word for is refused where a tensor of it is exported.
        _ => DLDataType::scalar(DLDataTypeCode::OPAQUEHANDLE, (dtype.size() * 8) as u8),
    }
}

/// The dtype of a word of DLPack's.
pub(crate) fn from_dlpack(found: DLDataType) -> PyResult<Dtype> {
    let same = |dtype: &&Dtype| to_dlpack(**dtype).matches(found);
    Dtype::ALL.iter().find(same).copied().ok_or_else(|| {
        let supported: Vec<&str> = Dtype::ALL.iter().map(|dtype| dtype.name()).collect();
        PyTypeError::new_err(format!(
            "the tensor's dtype (DLPack code {}, {} bits, {} lanes) is not supported; convert it to one \
             of {}",
            found.code.0,
            found.bits,
            found.lanes,
            supported.join(", ")
        ))
    })
}

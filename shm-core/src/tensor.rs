//! What a payload is: dtype and shape, with every size computed without overflow.
//!
//! Upholds invariant 2: a description is either valid or a typed error, whoever wrote it.

use crate::dtype::Dtype;

/// The most dimensions a tensor may have.
pub const MAX_DIMS: usize = 16;

/// Dtype and shape of a dense, C-contiguous tensor. The empty shape is a scalar.
///
/// ```
/// use shm_core::{Dtype, TensorDesc};
///
/// let image = TensorDesc::new(Dtype::U8, &[480, 640, 3])?;
/// assert_eq!((image.elements(), image.byte_len()), (921_600, 921_600));
/// assert_eq!(TensorDesc::new(Dtype::F64, &[])?.byte_len(), 8);
/// let error = TensorDesc::new(Dtype::F32, &[4, 0]).unwrap_err();
/// assert_eq!(error.to_string(), "shape [4, 0]: dimension 1 is 0; every dimension must be at least 1");
/// # Ok::<(), shm_core::TensorError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TensorDesc {
    dtype: Dtype,
    shape: Vec<usize>,
    byte_len: usize,
}

/// Why a dtype and a shape do not describe a tensor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TensorError {
    /// A dimension of zero.
    #[error("shape {shape:?}: dimension {axis} is 0; every dimension must be at least 1")]
    ZeroDimension {
        /// The shape as given.
        shape: Vec<usize>,
        /// Which dimension, from 0.
        axis: usize,
    },
    /// More dimensions than a segment can describe.
    #[error("shape has {found} dimensions; at most {MAX_DIMS} are supported, so merge some")]
    TooManyDimensions {
        /// How many were given.
        found: usize,
    },
    /// The size in bytes does not fit the address space.
    #[error(
        "shape {shape:?} of {dtype} needs more bytes than this machine can address; split the tensor"
    )]
    TooLarge {
        /// The shape as given.
        shape: Vec<usize>,
        /// The dtype as given.
        dtype: Dtype,
    },
}

impl TensorDesc {
    /// Checks and combines a dtype and a shape.
    pub fn new(dtype: Dtype, shape: &[usize]) -> Result<TensorDesc, TensorError> {
        if shape.len() > MAX_DIMS {
            return Err(TensorError::TooManyDimensions { found: shape.len() });
        }
        if let Some(axis) = shape.iter().position(|&dim| dim == 0) {
            return Err(TensorError::ZeroDimension { shape: shape.to_vec(), axis });
        }
        let byte_len = shape
            .iter()
            .try_fold(dtype.size(), |bytes, &dim| bytes.checked_mul(dim))
            .filter(|&bytes| bytes <= isize::MAX as usize)
            .ok_or_else(|| TensorError::TooLarge { shape: shape.to_vec(), dtype })?;
        Ok(TensorDesc { dtype, shape: shape.to_vec(), byte_len })
    }

    /// The element type.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// The dimensions, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Number of elements; 1 for a scalar.
    pub fn elements(&self) -> usize {
        self.byte_len / self.dtype.size()
    }

    /// Payload size in bytes.
    pub fn byte_len(&self) -> usize {
        self.byte_len
    }
}

impl core::fmt::Display for TensorDesc {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} {:?}", self.dtype, self.shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_overflow_are_refused() {
        let error = TensorDesc::new(Dtype::F64, &[usize::MAX, 2]).unwrap_err();
        assert!(matches!(error, TensorError::TooLarge { .. }));
        let error = TensorDesc::new(Dtype::U8, &[usize::MAX]).unwrap_err();
        assert!(error.to_string().contains("more bytes than this machine can address"));
    }

    #[test]
    fn dimensions_are_bounded() {
        assert!(TensorDesc::new(Dtype::U8, &[1; MAX_DIMS]).is_ok());
        let error = TensorDesc::new(Dtype::U8, &[1; MAX_DIMS + 1]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "shape has 17 dimensions; at most 16 are supported, so merge some"
        );
    }
}

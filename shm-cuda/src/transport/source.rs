//! A tensor that is to be sent.

use crate::buffer::{DeviceBuffer, DeviceSlice};
use core::any::Any;
use core::fmt;
use shm_core::TensorDesc;
use std::sync::Arc;

/// A tensor where it lies now, on the host or on a device.
#[derive(Clone)]
pub struct SourceTensor<'a> {
    pub(super) desc: TensorDesc,
    pub(super) memory: Memory<'a>,
    pub(super) owner: Option<Arc<dyn Any + Send + Sync>>,
}

/// Where it lies.
#[derive(Clone, Copy, Debug)]
pub(super) enum Memory<'a> {
    Host(&'a [u8]),
    Device(DeviceSlice<'a>),
}

/// Why memory is not the tensor that it was said to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// More or fewer bytes than the shape has.
    #[error("a tensor of {desc} has {} bytes, the memory has {found}; give exactly those", .desc.byte_len())]
    Length {
        /// Dtype and shape as given.
        desc: TensorDesc,
        /// Bytes of the memory.
        found: usize,
    },
    /// The elements do not lie one behind the other.
    #[error(
        "a tensor of shape {shape:?} with strides {found:?} is not contiguous, expected {expected:?}; \
         copy it into one that is"
    )]
    NotContiguous {
        /// The shape.
        shape: Vec<usize>,
        /// The strides of a contiguous one, in elements.
        expected: Vec<isize>,
        /// The strides as given, in elements.
        found: Vec<isize>,
    },
}

impl<'a> SourceTensor<'a> {
    /// A contiguous tensor in host memory.
    ///
    /// # Errors
    /// [`SourceError::Length`].
    pub fn host(desc: TensorDesc, bytes: &'a [u8]) -> Result<SourceTensor<'a>, SourceError> {
        SourceTensor::new(desc, Memory::Host(bytes), bytes.len())
    }

    /// A contiguous tensor on a device.
    ///
    /// # Errors
    /// [`SourceError::Length`].
    pub fn device(
        desc: TensorDesc,
        memory: DeviceSlice<'a>,
    ) -> Result<SourceTensor<'a>, SourceError> {
        SourceTensor::new(desc, Memory::Device(memory), memory.len())
    }

    /// All of a buffer, which is kept for as long as other processes use it: for
    /// [`Mode::CudaIpc`](super::Mode).
    ///
    /// # Errors
    /// [`SourceError::Length`].
    pub fn buffer(
        desc: TensorDesc,
        buffer: &'a DeviceBuffer,
    ) -> Result<SourceTensor<'a>, SourceError> {
        Ok(SourceTensor::device(desc, buffer.as_slice())?.owned_by(Arc::new(buffer.clone())))
    }

    /// Keeps `owner` for as long as other processes use the memory, which it owns: for
    /// [`Mode::CudaIpc`](super::Mode).
    pub fn owned_by(self, owner: Arc<dyn Any + Send + Sync>) -> SourceTensor<'a> {
        SourceTensor { owner: Some(owner), ..self }
    }

    /// Says how far apart the elements lie along each dimension, in elements.
    ///
    /// # Errors
    /// [`SourceError::NotContiguous`] unless they lie one behind the other.
    pub fn with_strides(self, strides: &[isize]) -> Result<SourceTensor<'a>, SourceError> {
        let shape = self.desc.shape();
        let mut expected = vec![1_isize; shape.len()];
        for axis in (1..shape.len()).rev() {
            expected[axis - 1] = expected[axis] * shape[axis] as isize;
        }
        let same = strides.len() == shape.len()
            && (0..shape.len()).all(|axis| shape[axis] == 1 || strides[axis] == expected[axis]);
        match same {
            true => Ok(self),
            false => Err(SourceError::NotContiguous {
                shape: shape.to_vec(),
                expected,
                found: strides.to_vec(),
            }),
        }
    }

    /// Dtype and shape.
    pub fn desc(&self) -> &TensorDesc {
        &self.desc
    }

    fn new(
        desc: TensorDesc,
        memory: Memory<'a>,
        found: usize,
    ) -> Result<SourceTensor<'a>, SourceError> {
        match desc.byte_len() == found {
            true => Ok(SourceTensor { desc, memory, owner: None }),
            false => Err(SourceError::Length { desc, found }),
        }
    }
}

impl fmt::Debug for SourceTensor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SourceTensor({}, {:?})", self.desc, self.memory)
    }
}

//! An input of a call: bytes of the message, or of the client's own memory.

use super::ModelError;
use super::memory::Lent;
use super::strings;
use crate::datatype::{DataType, elements};
use bytes::Bytes;
use shm_core::{Element, copy};
use std::fmt;

/// One input of a [`Call`](super::Call).
pub struct Input {
    pub(super) name: String,
    pub(super) datatype: DataType,
    pub(super) shape: Vec<i64>,
    pub(super) source: Source,
}

/// Where the bytes of an input are.
pub(super) enum Source {
    Shared(Lent),
    /// Aligned for the datatype.
    Message(Bytes),
}

impl Input {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its element type.
    pub fn datatype(&self) -> DataType {
        self.datatype
    }

    /// Its shape, with the batch dimension.
    pub fn shape(&self) -> &[i64] {
        &self.shape
    }

    /// Its length in bytes.
    pub fn byte_len(&self) -> usize {
        match &self.source {
            Source::Shared(lent) => lent.len(),
            Source::Message(bytes) => bytes.len(),
        }
    }

    /// Where its bytes are. They may be read as long as the call runs; if they are
    /// [shared](Input::is_shared), the client may be writing them meanwhile.
    pub fn as_ptr(&self) -> *const u8 {
        match &self.source {
            Source::Shared(lent) => lent.as_ptr(),
            Source::Message(bytes) => bytes.as_ptr(),
        }
    }

    /// True if it lies in memory that the client shares.
    pub fn is_shared(&self) -> bool {
        matches!(self.source, Source::Shared(_))
    }

    /// Copies it out, to a place of exactly its length. Sound whatever the client does meanwhile.
    pub fn copy_to(&self, place: &mut [u8]) -> Result<(), ModelError> {
        if place.len() != self.byte_len() {
            return Err(format!(
                "input '{}' has {} bytes, and the place to copy it to has {}",
                self.name,
                self.byte_len(),
                place.len()
            )
            .into());
        }
        self.copy_part_to(0, place)
    }

    /// Copies the bytes from `at` on out, as many as there is place for: what is not needed is not read.
    /// Sound whatever the client does meanwhile.
    pub fn copy_part_to(&self, at: usize, place: &mut [u8]) -> Result<(), ModelError> {
        if at.checked_add(place.len()).is_none_or(|end| end > self.byte_len()) {
            return Err(format!(
                "input '{}' has {} bytes, of which {} from byte {at} on were to be copied",
                self.name,
                self.byte_len(),
                place.len()
            )
            .into());
        }
        // SAFETY: `at` and the length lie inside the `byte_len` bytes that are valid for reads as long as
        // `self` lives, and only other processes, atomics and the copies of shm-core write shared memory
        // meanwhile; the destination is exclusively borrowed, so the ranges do not overlap.
        unsafe { copy::copy_out(place.as_mut_ptr(), self.as_ptr().add(at), place.len()) };
        Ok(())
    }

    /// A copy of its elements. Sound whatever the client does meanwhile.
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>, ModelError> {
        self.expect_elements::<T>()?;
        let mut elements = vec![T::zeroed(); self.byte_len() / size_of::<T>()];
        self.copy_to(bytemuck::cast_slice_mut(&mut elements))?;
        Ok(elements)
    }

    /// A copy of its byte strings. Sound whatever the client does meanwhile.
    pub fn to_strings(&self) -> Result<Vec<Vec<u8>>, ModelError> {
        if self.datatype != DataType::Bytes {
            return Err(format!("input '{}' is {}, not BYTES", self.name, self.datatype).into());
        }
        let mut serialized = vec![0; self.byte_len()];
        self.copy_to(&mut serialized)?;
        strings::split(&serialized)
            .map(|string| string.map(<[u8]>::to_vec))
            .collect::<Result<_, _>>()
            .map_err(|error| format!("input '{}': {error}", self.name).into())
    }

    /// Its elements where they are, without a copy.
    ///
    /// # Safety
    /// If it [is shared](Input::is_shared), nobody writes these bytes while the slice lives: neither
    /// the client, which the protocol forbids but nothing prevents, nor this call through an output
    /// that the client placed over the input.
    pub unsafe fn as_slice<T: Element>(&self) -> Result<&[T], ModelError> {
        self.expect_elements::<T>()?;
        let first = self.as_ptr().cast::<T>();
        if !first.is_aligned() {
            return Err(format!(
                "input '{}' begins at an offset that is no multiple of {}: copy it by `to_vec`",
                self.name,
                align_of::<T>()
            )
            .into());
        }
        // SAFETY: the bytes are valid for reads as long as `self` lives, aligned, and any bytes are a
        // valid `T`; the caller vouches that nobody writes them. An empty input has a pointer that is
        // not null too.
        Ok(unsafe { std::slice::from_raw_parts(first, self.byte_len() / size_of::<T>()) })
    }

    fn expect_elements<T: Element>(&self) -> Result<(), ModelError> {
        if DataType::of::<T>() == Some(self.datatype) {
            return Ok(());
        }
        Err(format!("input '{}' is {}, and was read as {}", self.name, self.datatype, T::DTYPE)
            .into())
    }

    /// Refuses byte strings whose lengths do not add up to the input's length and shape.
    pub(super) fn check_strings(&self) -> Result<(), String> {
        if self.datatype != DataType::Bytes {
            return Ok(());
        }
        let expected = elements(&self.shape).unwrap_or(usize::MAX);
        let found = strings::walk(self.byte_len(), |at| {
            let mut len = [0; 4];
            // SAFETY: `walk` asks for four bytes inside of the input's only; they are copied to a
            // local, which nobody else knows of.
            unsafe { copy::copy_out(len.as_mut_ptr(), self.as_ptr().add(at), 4) };
            u32::from_le_bytes(len)
        })
        .map_err(|error| error.of_input(&self.name))?;
        if found != expected {
            return Err(format!(
                "unexpected number of string elements {found} for inference input '{}', expecting {expected}",
                self.name
            ));
        }
        Ok(())
    }
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Input")
            .field("name", &self.name)
            .field("datatype", &self.datatype)
            .field("shape", &self.shape)
            .field("is_shared", &self.is_shared())
            .finish()
    }
}

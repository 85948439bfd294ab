//! An output of a call: room in the message, or in the client's own memory.

use super::ModelError;
use super::input::Input;
use super::memory::Lent;
use crate::datatype::DataType;
use shm_core::{Element, copy};
use std::fmt;
use std::marker::PhantomData;
use std::ptr::NonNull;

/// Room for one output of a [`Call`](super::Call).
pub struct Output<'a> {
    name: Box<str>,
    datatype: DataType,
    place: NonNull<u8>,
    byte_len: usize,
    shared: bool,
    /// The room belongs to the call, which outlives `'a`, and to this output alone.
    room: PhantomData<&'a mut [u8]>,
}

// SAFETY: it is what `&mut [u8]` is, which can be sent; only it writes the room while it lives.
unsafe impl Send for Output<'_> {}

impl Output<'_> {
    /// Where its bytes are to be written. They may be written as long as the call runs; if they are
    /// [shared](Output::is_shared), the client may access them meanwhile.
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.place.as_ptr()
    }

    /// Its length in bytes.
    pub fn byte_len(&self) -> usize {
        self.byte_len
    }

    /// True if it lies in memory that the client shares.
    pub fn is_shared(&self) -> bool {
        self.shared
    }

    /// Writes all its elements; [`DataType::Bytes`] is written as serialized bytes. Sound whatever the
    /// client does meanwhile.
    pub fn copy_from<T: Element>(&mut self, elements: &[T]) -> Result<(), ModelError> {
        self.expect_elements::<T>()?;
        self.expect_len(size_of_val(elements))?;
        // SAFETY: the source is borrowed, so nobody writes it; the destination is valid for writes of
        // `byte_len` bytes, which were compared, and only other processes access it. A private slice
        // does not overlap it, since the room is lent to this output alone.
        unsafe {
            copy::copy_in(self.place.as_ptr(), elements.as_ptr().cast(), self.byte_len);
        }
        Ok(())
    }

    /// Writes all its bytes from an input's, whatever the datatypes. Sound whatever the client does
    /// meanwhile, and if the client placed the output over the input.
    pub fn copy_from_input(&mut self, input: &Input) -> Result<(), ModelError> {
        self.expect_len(input.byte_len())?;
        let (to, from, len) = (self.place.as_ptr(), input.as_ptr(), self.byte_len);
        if to.addr().abs_diff(from.addr()) < len {
            let mut between = vec![0; len];
            input.copy_to(&mut between)?;
            // SAFETY: the source is a private vector of `len` bytes; the destination is valid for
            // writes of as many, and both were just found to be different memory.
            unsafe { copy::copy_in(to, between.as_ptr(), len) };
            return Ok(());
        }
        // SAFETY: the input is valid for reads and the room for writes of `len` bytes, the ranges were
        // just found not to overlap, and no Rust reference to either exists here: others, if any,
        // access them by atomics, by these copies or from other processes.
        unsafe { copy::copy_with(copy::path_for(len), to, from, len) };
        Ok(())
    }

    /// Its elements where they are to be, without a copy. What they hold before is unspecified.
    ///
    /// # Safety
    /// If it [is shared](Output::is_shared), nobody accesses these bytes while the slice lives: neither
    /// the client, which the protocol forbids but nothing prevents, nor this call through an input or
    /// output that the client placed over them.
    pub unsafe fn as_mut_slice<T: Element>(&mut self) -> Result<&mut [T], ModelError> {
        self.expect_elements::<T>()?;
        let first = self.place.as_ptr().cast::<T>();
        if !first.is_aligned() {
            return Err(format!(
                "output '{}' begins at an offset that is no multiple of {}: write it by `copy_from`",
                self.name,
                align_of::<T>()
            )
            .into());
        }
        // SAFETY: the room is valid for reads and writes of `byte_len` bytes as long as the call runs,
        // aligned, initialized (fresh rooms are zeroed), and any bytes are a valid `T`; it belongs to
        // this output alone, and the caller vouches for the client.
        Ok(unsafe { std::slice::from_raw_parts_mut(first, self.byte_len / size_of::<T>()) })
    }

    fn expect_elements<T: Element>(&self) -> Result<(), ModelError> {
        let given = DataType::of::<T>();
        if given == Some(self.datatype)
            || (self.datatype == DataType::Bytes && given == Some(DataType::Uint8))
        {
            return Ok(());
        }
        Err(format!("output '{}' is {}, and was written as {}", self.name, self.datatype, T::DTYPE)
            .into())
    }

    fn expect_len(&self, given: usize) -> Result<(), ModelError> {
        if given == self.byte_len {
            return Ok(());
        }
        Err(format!("output '{}' has {} bytes, and {given} were given", self.name, self.byte_len)
            .into())
    }
}

impl fmt::Debug for Output<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output")
            .field("name", &self.name)
            .field("datatype", &self.datatype)
            .field("byte_len", &self.byte_len)
            .field("is_shared", &self.shared)
            .finish()
    }
}

/// Where the client wants an output.
pub(super) enum Room {
    Shared(Lent),
    Message,
    /// It did not ask for it.
    Nowhere,
}

/// An output that a model gave.
pub(super) struct Produced {
    pub name: String,
    pub datatype: DataType,
    pub shape: Vec<i64>,
    pub place: Place,
}

/// Where an output was written.
pub(super) enum Place {
    Shared,
    Message(Buffer),
    Nowhere {
        /// Until the model is done with it.
        _scratch: Buffer,
    },
}

impl Produced {
    /// Makes the room and lends it, for as long as the room's call lives.
    pub fn new<'a>(
        room: &'a Room,
        name: &str,
        datatype: DataType,
        shape: &[i64],
        byte_len: usize,
    ) -> Result<(Produced, Output<'a>), ModelError> {
        let (place, first) = match room {
            Room::Shared(lent) if lent.len() < byte_len => {
                return Err(format!(
                    "shared memory size specified with the request for output '{name}' ({} bytes) should be at least {byte_len} bytes to hold the results of shape {shape:?}",
                    lent.len(),
                )
                .into());
            }
            Room::Shared(lent) => (Place::Shared, lent.as_non_null()),
            Room::Message => {
                let buffer = Buffer::zeroed(byte_len);
                let first = buffer.first;
                (Place::Message(buffer), first)
            }
            Room::Nowhere => {
                let buffer = Buffer::zeroed(byte_len);
                let first = buffer.first;
                (Place::Nowhere { _scratch: buffer }, first)
            }
        };
        let output = Output {
            name: name.into(),
            datatype,
            place: first,
            byte_len,
            shared: matches!(place, Place::Shared),
            room: PhantomData,
        };
        Ok((Produced { name: name.to_owned(), datatype, shape: shape.to_vec(), place }, output))
    }
}

/// Zeroed bytes that an [`Output`] writes through a pointer: they are nobody's until the call has ended.
pub(super) struct Buffer {
    first: NonNull<u8>,
    words: usize,
    byte_len: usize,
}

// SAFETY: it owns its bytes.
unsafe impl Send for Buffer {}

impl Buffer {
    fn zeroed(byte_len: usize) -> Buffer {
        // Words, so that any element type is aligned.
        let words = vec![0_u64; byte_len.div_ceil(8)].into_boxed_slice();
        let count = words.len();
        let first = NonNull::from(Box::leak(words)).cast();
        Buffer { first, words: count, byte_len }
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the buffer owns these initialized bytes, and is only looked at after the call has
        // ended, with which the outputs that could write them are gone.
        unsafe { std::slice::from_raw_parts(self.first.as_ptr(), self.byte_len) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let words =
            std::ptr::slice_from_raw_parts_mut(self.first.as_ptr().cast::<u64>(), self.words);
        // SAFETY: the pointer and the length are those of the box that `zeroed` leaked.
        drop(unsafe { Box::from_raw(words) });
    }
}

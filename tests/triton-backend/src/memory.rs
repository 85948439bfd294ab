//! The memory of tensors: pieces to read and spaces to fill.
//!
//! Either may be a client's shared memory, which other processes change at any time and which may
//! overlap what another tensor names. So it is never borrowed as a slice, only copied by address.

use core::marker::PhantomData;

use crate::fault::Fault;

/// One contiguous part of an input.
#[derive(Clone, Copy)]
pub struct Piece<'a> {
    start: *const u8,
    bytes: usize,
    input: PhantomData<&'a ()>,
}

impl Piece<'_> {
    /// # Safety
    ///
    /// `start` is readable for `bytes` bytes as long as the lifetime lasts, and plain memory of
    /// this process; it may be anything where `bytes` is 0.
    pub unsafe fn new(start: *const u8, bytes: usize) -> Self {
        Self { start, bytes, input: PhantomData }
    }

    /// How long it is.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The bytes from `skip` on, as many as there are and fit.
    pub fn read(&self, skip: usize, into: &mut [u8]) -> usize {
        let count = self.bytes.saturating_sub(skip).min(into.len());
        if count > 0 {
            // SAFETY: `skip + count` is within the piece, `count` within the slice, and the slice,
            // exclusively borrowed memory of this process's own, is no client's memory.
            unsafe { self.start.add(skip).copy_to_nonoverlapping(into.as_mut_ptr(), count) }
        }
        count
    }
}

/// The buffer of an output.
pub struct Space<'a> {
    start: *mut u8,
    bytes: usize,
    filled: usize,
    output: PhantomData<&'a mut ()>,
}

impl Space<'_> {
    /// # Safety
    ///
    /// `start` is writable for `bytes` bytes as long as the lifetime lasts, and plain memory of
    /// this process; it may be anything where `bytes` is 0.
    pub unsafe fn new(start: *mut u8, bytes: usize) -> Self {
        Self { start, bytes, filled: 0, output: PhantomData }
    }

    /// Appends a piece of an input; the two may overlap.
    pub fn append(&mut self, piece: Piece<'_>) -> Result<(), Fault> {
        let place = self.take(piece.bytes)?;
        if piece.bytes > 0 {
            // SAFETY: the piece is readable for its length, `take` gave as much room, and `copy`
            // allows the two to overlap.
            unsafe { piece.start.copy_to(place, piece.bytes) }
        }
        Ok(())
    }

    /// Appends bytes that the model made.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let place = self.take(bytes.len())?;
        if !bytes.is_empty() {
            // SAFETY: `take` gave room for that many bytes, and the slice, borrowed memory of this
            // process's own, does not overlap a buffer of the server's.
            unsafe { bytes.as_ptr().copy_to_nonoverlapping(place, bytes.len()) }
        }
        Ok(())
    }

    /// The place of the next `count` bytes, which then count as filled.
    fn take(&mut self, count: usize) -> Result<*mut u8, Fault> {
        if count > self.bytes - self.filled {
            return Err(Fault::internal("an output is longer than its shape says"));
        }
        // `wrapping_add` because an empty buffer may be a null pointer.
        let place = self.start.wrapping_add(self.filled);
        self.filled += count;
        Ok(place)
    }
}

//! Memory for large frames that are read again and again.
//!
//! A fresh array of some hundred megabytes costs as much in page faults as in copying. So a handle
//! keeps the memory of large arrays that Python has dropped, and hands it out again. Upholds
//! invariant 6: memory that an array uses is never handed out a second time.

use crate::array::ArrayForm;
use core::ptr::NonNull;
use numpy::PyUntypedArray;
use parking_lot::Mutex;
use pyo3::exceptions::PyMemoryError;
use pyo3::prelude::*;
use rustix::mm::{Advice, madvise};
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::sync::{Arc, Weak};

/// From this size on memory is kept: below it, the allocator keeps it itself.
pub(crate) const WORTH_KEEPING: usize = 256 << 10;
/// A reader that holds one array while it reads the next needs two.
const KEPT: usize = 2;
/// Alignment of large memory, and the size of the pages it asks for.
const HUGE_PAGE: usize = 2 << 20;

/// The memory that a handle keeps for its next reads.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    kept: Mutex<Vec<Memory>>,
}

impl Shelf {
    /// A writable array whose memory comes back here when Python drops it. Its bytes are those of
    /// an older frame, or zero.
    pub(crate) fn array<'py>(
        self: &Arc<Shelf>,
        py: Python<'py>,
        form: &ArrayForm,
    ) -> PyResult<Bound<'py, PyUntypedArray>> {
        let kept = self.kept.lock().pop();
        let memory = match kept {
            Some(memory) => memory,
            None => Memory::new(form.byte_len)
                .ok_or_else(|| PyMemoryError::new_err("no memory for a frame; read with out="))?,
        };
        let start = memory.start.as_ptr();
        let lent = LentMemory { memory: Some(memory), shelf: Arc::downgrade(self) };
        let base = Bound::new(py, lent)?.into_any();
        // SAFETY: `byte_len` bytes that `base` owns and nobody else was given.
        unsafe { form.over(py, start, true, base) }
    }
}

/// The base of an array over kept memory.
#[pyclass(frozen, module = "shm_py._native")]
pub(crate) struct LentMemory {
    memory: Option<Memory>,
    shelf: Weak<Shelf>,
}

impl Drop for LentMemory {
    fn drop(&mut self) {
        // Without a shelf the handle is closed, and the memory goes where it came from.
        let (Some(shelf), Some(memory)) = (self.shelf.upgrade(), self.memory.take()) else {
            return;
        };
        let mut kept = shelf.kept.lock();
        if kept.len() < KEPT {
            kept.push(memory);
        }
    }
}

/// One allocation.
#[derive(Debug)]
struct Memory {
    start: NonNull<u8>,
    layout: Layout,
}

impl Memory {
    fn new(len: usize) -> Option<Memory> {
        let align = if len >= 2 * HUGE_PAGE { HUGE_PAGE } else { 64 };
        let layout = Layout::from_size_align(len, align).ok()?;
        // SAFETY: the layout has a size: frames have at least one element.
        let start = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        if align == HUGE_PAGE {
            let whole = len / HUGE_PAGE * HUGE_PAGE;
            // SAFETY: whole pages inside the allocation; the advice changes no contents. Where it is
            // not taken, the pages are small ones.
            let _ = unsafe { madvise(start.as_ptr().cast(), whole, Advice::LinuxHugepage) };
        }
        Some(Memory { start, layout })
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout, freed once.
        unsafe { dealloc(self.start.as_ptr(), self.layout) }
    }
}

// SAFETY: the allocation has no thread affinity.
unsafe impl Send for Memory {}
// SAFETY: nothing is reachable through a shared reference.
unsafe impl Sync for Memory {}

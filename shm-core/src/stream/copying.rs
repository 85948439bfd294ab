//! Frames in and out of cells, in one copy each.
//!
//! Upholds invariant 2 (no slice over memory a peer may write) and 7 (a vector gets its length
//! after validation).

use super::Shared;
use crate::copy;
use crate::fault;

impl Shared {
    /// Copies a whole frame into a cell. The caller has checked the length and marked the cell.
    #[inline]
    pub(crate) fn fill(&self, index: usize, data: &[u8]) {
        let target = self.payload(index);
        let len = self.layout.desc.byte_len();
        assert_eq!(data.len(), len, "checked by the caller");
        let first = if fault::is_armed("publish.mid_copy") { len / 2 } else { len };
        // SAFETY: `target` has `len` writable bytes (the cell of a segment mapped for writing) and
        // `data` has `len` readable ones; they cannot overlap, `data` being private.
        unsafe { copy::copy_in(target, data.as_ptr(), first) };
        if first < len {
            fault::hit("publish.mid_copy");
            // SAFETY: as above, for the rest.
            unsafe { copy::copy_in(target.add(first), data[first..].as_ptr(), len - first) };
        }
    }

    /// Zeroes a whole cell.
    pub(crate) fn fill_zero(&self, index: usize) {
        let len = self.layout.desc.byte_len();
        // SAFETY: the cell has `len` writable bytes, as above.
        unsafe { copy::fill_zero(self.payload(index), len) };
    }

    /// Copies a whole frame out of a cell; what arrives is good only if the cell validates after.
    ///
    /// # Safety
    /// `target` has room for one frame and is private memory.
    #[inline]
    pub(crate) unsafe fn take(&self, index: usize, target: *mut u8) {
        let source = self.payload(index);
        // SAFETY: `source` has `byte_len` readable bytes; the rest is the caller's promise.
        unsafe { copy::copy_out(target, source, self.layout.desc.byte_len()) };
    }
}

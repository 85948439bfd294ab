//! Frames in and out of cells, in one copy each.
//!
//! Upholds invariant 2: no slice over memory a peer may write.

use super::Shared;
use crate::copy::CopyPath;
use crate::fault;

impl Shared {
    /// Copies a whole frame into a cell. The caller has checked the length and marked the cell.
    #[inline]
    pub(crate) fn fill(&self, index: usize, data: &[u8], path: Option<CopyPath>) {
        let (region, at) = (self.segment.region(), self.payload_at(index));
        assert_eq!(data.len(), self.layout.desc.byte_len(), "checked by the caller");
        if !fault::is_armed("publish.mid_copy") {
            return match path {
                None => region.copy_in(at, data),
                Some(path) => region.copy_in_by(path, at, data),
            };
        }
        let (first, rest) = data.split_at(data.len() / 2);
        region.copy_in(at, first);
        fault::hit("publish.mid_copy");
        region.copy_in(at + first.len(), rest);
    }

    /// Zeroes a whole cell.
    pub(crate) fn fill_zero(&self, index: usize) {
        self.segment.region().fill_zero(self.payload_at(index), self.layout.desc.byte_len());
    }

    /// Where the payload of a cell lies.
    #[inline]
    pub(crate) fn payload(&self, index: usize) -> *mut u8 {
        self.segment.region().bytes(self.payload_at(index), self.layout.desc.byte_len())
    }

    /// Copies a whole frame out of a cell; what arrives is good only if the cell validates after.
    #[inline]
    pub(crate) fn take(&self, index: usize, out: &mut [u8]) {
        assert_eq!(out.len(), self.layout.desc.byte_len(), "checked by the caller");
        self.segment.region().copy_out(self.payload_at(index), out);
    }
}

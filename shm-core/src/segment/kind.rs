//! What a segment lends to the kind that is built on it.
//!
//! Upholds invariants 2 (bounds are checked in release builds), 3 (who lives is what the kernel's
//! locks say) and 5 (sleep is bounded and costs no CPU).

use super::{CONTROL_LEN, Segment};
use crate::os::locks::{BYTES, KIND};
use crate::os::{Locks, generation};
use crate::sync::AtomicU64;
use std::io;
use std::time::Duration;

/// Bytes that a kind may have locked in a segment's name, numbered from 0.
pub const HOLDABLE: u64 = BYTES - KIND;

/// A byte of a segment that this process holds, until it says otherwise or dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the byte stays held until it is given to `let_go` or the handle closes"]
pub struct Held {
    byte: u64,
    generation: u64,
}

impl Held {
    /// False in a forked child of the process that took it: the lock stayed with the parent.
    #[inline]
    pub fn is_ours(&self) -> bool {
        self.generation == generation()
    }
}

/// Holds one of the kind's bytes.
pub(super) fn hold(locks: &Locks, byte: u64) -> io::Result<Option<Held>> {
    assert!(byte < HOLDABLE, "byte {byte} of {HOLDABLE}");
    let held = Held { byte, generation: generation() };
    Ok(locks.try_exclusive(KIND + byte)?.then_some(held))
}

impl Segment {
    /// Bytes of the control area that belong to the kind.
    pub fn control_len(&self) -> usize {
        self.header.control_len as usize - CONTROL_LEN
    }

    /// `count` words at `offset` of the kind's control area, which every attached process may change
    /// at any time.
    ///
    /// # Safety
    /// Nothing is stored through it if [`Segment::access`] is [`Access::ReadOnly`](super::Access):
    /// those pages are mapped read-only.
    ///
    /// # Panics
    /// If they do not lie in the control area, or `offset` is no multiple of 8.
    pub unsafe fn control(&self, offset: usize, count: usize) -> &[AtomicU64] {
        let len = count.checked_mul(8).expect("length overflows");
        assert!(
            offset.checked_add(len).is_some_and(|end| end <= self.control_len()),
            "{count} words at {offset} lie outside the control area"
        );
        assert!(offset.is_multiple_of(8), "offset {offset} is not aligned");
        let at = self.header.control_offset as usize + CONTROL_LEN + offset;
        let base = self.region.bytes(at, len).cast::<AtomicU64>();
        // SAFETY: in bounds and aligned by the assertions (the area begins on a page), mapped for as
        // long as `self`; any bytes are atomics, which tolerate concurrent change by anyone.
        unsafe { core::slice::from_raw_parts(base, count) }
    }

    /// Address of `len` bytes at `offset` of the payload, valid for as long as the segment. They are
    /// writable with [`Access::Full`](super::Access) only, and other processes may change them.
    ///
    /// # Panics
    /// If they do not lie in the payload.
    #[inline]
    pub fn payload(&self, offset: usize, len: usize) -> *mut u8 {
        assert!(
            offset.checked_add(len).is_some_and(|end| end <= self.payload_len()),
            "{len} bytes at {offset} lie outside the payload"
        );
        self.region.bytes(self.payload_offset() + offset, len)
    }

    /// Holds byte `byte` of the kind's bytes against every other process and thread, or tells that
    /// somebody has it. The kernel gives it back when this process dies.
    ///
    /// # Errors
    /// The system's refusal.
    ///
    /// # Panics
    /// If there is no such byte, see [`HOLDABLE`].
    pub fn try_hold(&self, byte: u64) -> io::Result<Option<Held>> {
        hold(self.backing.locks(), byte)
    }

    /// The byte that the creator asked to hold from the start; `None` if it did not, if somebody else
    /// created the segment, or if it was taken before.
    pub fn take_hold(&mut self) -> Option<Held> {
        self.hold.take()
    }

    /// Gives a held byte back. Does nothing in a forked child.
    pub fn let_go(&self, held: Held) {
        self.backing.locks().release(KIND + held.byte, held.generation);
    }

    /// Tells whether anybody holds the byte, as the kernel sees it.
    ///
    /// # Errors
    /// The system's refusal.
    ///
    /// # Panics
    /// If there is no such byte.
    pub fn is_held(&self, byte: u64) -> io::Result<bool> {
        assert!(byte < HOLDABLE, "byte {byte} of {HOLDABLE}");
        self.backing.locks().is_held(KIND + byte)
    }

    /// Sleeps while the low half of `word`, a word of this segment, is `epoch`: until woken, or
    /// until `timeout`. May wake for no reason.
    pub fn park(&self, word: &AtomicU64, epoch: u32, timeout: Duration) {
        self.backing.parker().park(word, epoch, timeout);
    }

    /// Wakes up to `count` of those who sleep on `word`.
    pub fn unpark(&self, word: &AtomicU64, count: u32) {
        self.backing.parker().unpark(word, count);
    }

    /// False once the segment's file has no name any more. Costs a system call.
    pub fn is_linked(&self) -> bool {
        self.backing.is_linked()
    }

    /// False once the segment's file has no name any more, or is shorter than it was made: somebody
    /// else's doing, and touching the missing pages would be a signal. Costs a system call.
    pub fn is_intact(&self) -> bool {
        self.backing.is_intact(self.total_len() as u64)
    }

    /// When it was created, nanoseconds since 1970 UTC.
    pub fn created_wall_ns(&self) -> u64 {
        self.header.created_wall_ns
    }

    /// The file, where segments are files: for watching it. Linux only.
    #[cfg(target_os = "linux")]
    pub fn path(&self) -> Option<std::path::PathBuf> {
        self.backing.inode()?;
        let name = crate::name::SegmentName::new(&self.name, crate::process::uid()).ok()?;
        Some(crate::os::linux::directory::path(name.file()))
    }
}

#[cfg(all(test, target_os = "linux", not(loom)))]
mod tests {
    use crate::segment::{Segment, SegmentSpec};

    #[test]
    fn a_handle_of_a_shortened_segment_can_be_dropped() {
        let name = format!("test-shortened-{}", std::process::id());
        for len in [4096, 0] {
            let spec = SegmentSpec { kind: "test", payload_len: 8192, ..SegmentSpec::default() };
            let segment = Segment::create(&name, spec).unwrap();
            let path = segment.path().unwrap();
            std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(len).unwrap();
            assert!(!segment.is_intact());
            drop(segment);
            std::fs::remove_file(path).unwrap();
        }
    }

    #[test]
    fn a_segment_that_somebody_shortens_or_unlinks_is_not_intact() {
        let name = format!("test-intact-{}", std::process::id());
        let spec = || SegmentSpec { kind: "test", payload_len: 8192, ..SegmentSpec::default() };
        let segment = Segment::create(&name, spec()).unwrap();
        assert!(segment.is_intact());
        let path = segment.path().unwrap();
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(segment.total_len() as u64 - 1).unwrap();
        assert!(!segment.is_intact() && segment.is_linked());
        file.set_len(segment.total_len() as u64).unwrap();
        assert!(segment.is_intact());
        std::fs::remove_file(&path).unwrap();
        assert!(!segment.is_intact());
        assert!(Segment::process_local("local", spec()).unwrap().is_intact());
    }
}

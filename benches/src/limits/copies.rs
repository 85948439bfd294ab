//! Bare copies, independent of the copy engine of shm-core that they are the limit of.
//!
//! Each kind is assembly or a call through an unknown pointer, so the compiler assumes nothing of
//! the bytes: a copy of memory that another process writes meanwhile is a mix of old and new bytes
//! and nothing worse.

use std::hint::black_box;
use std::sync::atomic::{Ordering, compiler_fence};

use serde::{Deserialize, Serialize};

/// A way to copy that the processor or the C library offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CopyKind {
    /// `memcpy` of the C library, called through a pointer the compiler knows nothing of.
    Libc,
    /// The string instruction.
    RepMovs,
    /// AVX loads, and stores that pass the caches by.
    NonTemporal,
}

impl CopyKind {
    /// Every kind that this machine has, `Libc` first.
    pub fn available() -> Vec<CopyKind> {
        let mut kinds = vec![CopyKind::Libc];
        #[cfg(target_arch = "x86_64")]
        {
            kinds.push(CopyKind::RepMovs);
            if std::arch::is_x86_feature_detected!("avx") {
                kinds.push(CopyKind::NonTemporal);
            }
        }
        kinds
    }

    /// Its name in notes.
    pub fn name(self) -> &'static str {
        match self {
            CopyKind::Libc => "libc memcpy",
            CopyKind::RepMovs => "rep movsb",
            CopyKind::NonTemporal => "AVX non-temporal",
        }
    }

    /// Copies private memory, as many bytes as both sides have.
    ///
    /// # Panics
    /// If this machine does not have it.
    pub fn copy_private(self, dst: &mut [u8], src: &[u8]) {
        let len = dst.len().min(src.len());
        // SAFETY: both slices have `len` bytes, and one that is borrowed mutably overlaps no other.
        unsafe { self.copy(dst.as_mut_ptr(), src.as_ptr(), len) };
    }

    /// Copies `len` bytes, and keeps the compiler from joining this copy with another: without
    /// that, LLVM serves a copy out of shared memory from the source of the copy into it, the
    /// second copy costs nothing, and the limit comes out twice too high.
    ///
    /// # Panics
    /// If this machine does not have it.
    ///
    /// # Safety
    /// - `src` is valid for reads and `dst` for writes of `len` bytes.
    /// - The ranges do not overlap.
    /// - In this process nothing but such copies and atomics accesses either range meanwhile, except
    ///   that a private `src` may be read.
    #[inline]
    pub(super) unsafe fn copy(self, dst: *mut u8, src: *const u8, len: usize) {
        let (dst, src) = kept_apart((dst, src));
        // SAFETY: the caller's promises are those of every kind; `non_temporal` also needs AVX,
        // which is asked here.
        unsafe {
            match self {
                CopyKind::Libc => libc_memcpy(dst, src, len),
                #[cfg(target_arch = "x86_64")]
                CopyKind::RepMovs => x86_64::rep_movs(dst, src, len),
                #[cfg(target_arch = "x86_64")]
                CopyKind::NonTemporal if std::arch::is_x86_feature_detected!("avx") => {
                    x86_64::non_temporal(dst, src, len);
                }
                other => panic!("{} is not available on this machine", other.name()),
            }
        }
        kept_apart(());
    }
}

/// Nothing before is moved behind this, nothing behind before, and the value is not known any more.
#[inline]
fn kept_apart<T>(value: T) -> T {
    compiler_fence(Ordering::SeqCst);
    let value = black_box(value);
    compiler_fence(Ordering::SeqCst);
    value
}

type Memcpy =
    unsafe extern "C" fn(*mut libc::c_void, *const libc::c_void, usize) -> *mut libc::c_void;

/// # Safety
/// As [`CopyKind::copy`].
#[inline]
unsafe fn libc_memcpy(dst: *mut u8, src: *const u8, len: usize) {
    let memcpy: Memcpy = black_box(libc::memcpy);
    // SAFETY: the caller vouches for two valid ranges that do not overlap.
    unsafe { memcpy(dst.cast(), src.cast(), len) };
}

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use std::arch::asm;

    const LINE: usize = 64;

    /// # Safety
    /// As [`super::CopyKind::copy`].
    #[inline]
    pub(super) unsafe fn rep_movs(dst: *mut u8, src: *const u8, len: usize) {
        // SAFETY: copies `len` bytes upwards, which the caller vouches for; the direction flag is
        // clear at every function's entry; the three registers are told as changed.
        unsafe {
            asm!(
                "rep movsb",
                inout("rcx") len => _,
                inout("rdi") dst => _,
                inout("rsi") src => _,
                options(nostack, preserves_flags)
            );
        }
    }

    /// # Safety
    /// As [`super::CopyKind::copy`], and the processor has AVX.
    pub(super) unsafe fn non_temporal(dst: *mut u8, src: *const u8, len: usize) {
        let head = dst.align_offset(LINE).min(len);
        let lines = (len - head) / LINE;
        let tail = head + lines * LINE;
        // SAFETY: head, lines and tail together are the `len` bytes that the caller vouches for,
        // so every address formed lies in the ranges or at their end.
        unsafe {
            rep_movs(dst, src, head);
            if lines > 0 {
                stream_lines(dst.add(head), src.add(head), lines);
            }
            rep_movs(dst.add(tail), src.add(tail), len - tail);
        }
    }

    /// Prefetches so far ahead of the loads that main memory answers in time: 1 kB, flat around it.
    ///
    /// # Safety
    /// - `src` is valid for reads and `dst` for writes of `lines` lines, one at least.
    /// - The ranges do not overlap, and `dst` begins at a line.
    /// - The processor has AVX.
    unsafe fn stream_lines(dst: *mut u8, src: *const u8, lines: usize) {
        // SAFETY: each turn loads and stores one of the lines that the caller vouches for, and
        // there is one at least; the stores are aligned as they must be. A prefetch never faults.
        // All registers used are told as changed, and the fence orders the stores before whatever
        // the caller stores next.
        unsafe {
            asm!(
                "2:",
                "prefetcht0 [{src} + 1024]",
                "vmovdqu ymm0, [{src}]",
                "vmovdqu ymm1, [{src} + 32]",
                "vmovntdq [{dst}], ymm0",
                "vmovntdq [{dst} + 32], ymm1",
                "add {src}, 64",
                "add {dst}, 64",
                "dec {lines}",
                "jnz 2b",
                "sfence",
                "vzeroupper",
                src = inout(reg) src => _,
                dst = inout(reg) dst => _,
                lines = inout(reg) lines => _,
                // `vzeroupper` clears the upper halves of all of them.
                out("ymm0") _, out("ymm1") _, out("ymm2") _, out("ymm3") _,
                out("ymm4") _, out("ymm5") _, out("ymm6") _, out("ymm7") _,
                out("ymm8") _, out("ymm9") _, out("ymm10") _, out("ymm11") _,
                out("ymm12") _, out("ymm13") _, out("ymm14") _, out("ymm15") _,
                options(nostack)
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_copies_every_byte_and_no_other() {
        let source: Vec<u8> = (0..5000).map(|n| (n % 251) as u8).collect();
        for kind in CopyKind::available() {
            for (len, shift) in [(0, 0), (1, 3), (63, 1), (64, 0), (65, 7), (4097, 13)] {
                let mut target = vec![0xEE_u8; 5000];
                // SAFETY: both vectors have 5000 bytes, and 13 + 4097 is less; they are two
                // allocations that nobody else knows.
                unsafe {
                    kind.copy(target[shift..].as_mut_ptr(), source[1..].as_ptr(), len);
                }
                assert_eq!(target[shift..shift + len], source[1..=len], "{kind:?} {len}");
                assert!(target[..shift].iter().all(|byte| *byte == 0xEE), "{kind:?} {len}");
                assert!(target[shift + len..].iter().all(|byte| *byte == 0xEE), "{kind:?} {len}");
            }
        }
    }
}

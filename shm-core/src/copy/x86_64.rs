//! x86-64 copies in assembly: overlapping registers for the smallest, `rep movsb`, an AVX loop and
//! a loop of non-temporal stores.
//!
//! Nothing here branches on the bytes that are copied, so a peer that changes them meanwhile decides
//! nothing but the bytes themselves. Every block lacks `nomem`: the compiler has to assume that it
//! reads and writes any memory whose address has escaped, and so forwards nothing across it.

use std::arch::asm;

use super::choice::{INLINE_MAX, SMALL_MAX};

/// Whether the AVX loop may run on this processor (the standard library keeps the answer).
#[inline]
pub(super) fn has_avx() -> bool {
    std::arch::is_x86_feature_detected!("avx")
}

/// Copies up to [`INLINE_MAX`] bytes through general and SSE2 registers, which every x86-64 has: the
/// first and the last bytes, overlapping in the middle, without a loop or a feature test.
///
/// # Safety
/// `len <= INLINE_MAX`; `src` is valid for reads and `dst` for writes of `len` bytes, each of which
/// other threads and processes may be accessing meanwhile.
#[inline]
pub(super) unsafe fn inline(dst: *mut u8, src: *const u8, len: usize) {
    debug_assert!(len <= INLINE_MAX);
    // SAFETY: each block reads and writes a prefix and a suffix of the `len` bytes, of a size that
    // the branch has compared with `len`, so the accesses stay inside both ranges, which the caller
    // vouches for. MOV and MOVDQU need no alignment. Every register written is declared.
    unsafe {
        if len > 32 {
            if len <= 64 {
                asm!(
                    "movdqu {a}, [{s}]",
                    "movdqu {b}, [{s} + 16]",
                    "movdqu {c}, [{s} + {n} - 32]",
                    "movdqu {e}, [{s} + {n} - 16]",
                    "movdqu [{d}], {a}",
                    "movdqu [{d} + 16], {b}",
                    "movdqu [{d} + {n} - 32], {c}",
                    "movdqu [{d} + {n} - 16], {e}",
                    s = in(reg) src, d = in(reg) dst, n = in(reg) len,
                    a = out(xmm_reg) _, b = out(xmm_reg) _, c = out(xmm_reg) _, e = out(xmm_reg) _,
                    options(nostack, preserves_flags),
                );
            } else {
                inline_65_to_128(dst, src, len);
            }
        } else if len >= 16 {
            asm!(
                "movdqu {a}, [{s}]",
                "movdqu {b}, [{s} + {n} - 16]",
                "movdqu [{d}], {a}",
                "movdqu [{d} + {n} - 16], {b}",
                s = in(reg) src, d = in(reg) dst, n = in(reg) len,
                a = out(xmm_reg) _, b = out(xmm_reg) _,
                options(nostack, preserves_flags),
            );
        } else if len >= 8 {
            asm!(
                "mov {a}, [{s}]",
                "mov {b}, [{s} + {n} - 8]",
                "mov [{d}], {a}",
                "mov [{d} + {n} - 8], {b}",
                s = in(reg) src, d = in(reg) dst, n = in(reg) len,
                a = out(reg) _, b = out(reg) _,
                options(nostack, preserves_flags),
            );
        } else if len >= 4 {
            asm!(
                "mov {a:e}, [{s}]",
                "mov {b:e}, [{s} + {n} - 4]",
                "mov [{d}], {a:e}",
                "mov [{d} + {n} - 4], {b:e}",
                s = in(reg) src, d = in(reg) dst, n = in(reg) len,
                a = out(reg) _, b = out(reg) _,
                options(nostack, preserves_flags),
            );
        } else if len >= 2 {
            asm!(
                "movzx {a:e}, word ptr [{s}]",
                "movzx {b:e}, word ptr [{s} + {n} - 2]",
                "mov word ptr [{d}], {a:x}",
                "mov word ptr [{d} + {n} - 2], {b:x}",
                s = in(reg) src, d = in(reg) dst, n = in(reg) len,
                a = out(reg) _, b = out(reg) _,
                options(nostack, preserves_flags),
            );
        } else if len == 1 {
            asm!(
                "movzx {a:e}, byte ptr [{s}]",
                "mov byte ptr [{d}], {a:l}",
                s = in(reg) src, d = in(reg) dst,
                a = out(reg) _,
                options(nostack, preserves_flags),
            );
        }
    }
}

/// Copies up to [`SMALL_MAX`] bytes through registers without a loop.
///
/// # Safety
/// As [`inline`], with `len <= SMALL_MAX`.
#[inline]
pub(super) unsafe fn small(dst: *mut u8, src: *const u8, len: usize) {
    debug_assert!(len <= SMALL_MAX);
    // SAFETY: the caller's promises cover those of each, lengths and AVX were just tested, and the
    // first and the last 128 bytes lie inside the ranges and cover them, as `128 <= len <= 256`.
    unsafe {
        if len <= INLINE_MAX {
            inline(dst, src, len);
        } else if has_avx() {
            avx_129_to_256(dst, src, len);
        } else {
            inline(dst, src, 128);
            inline(dst.add(len - 128), src.add(len - 128), 128);
        }
    }
}

/// # Safety
/// As [`inline`], with `65 <= len <= 128`.
#[inline]
unsafe fn inline_65_to_128(dst: *mut u8, src: *const u8, len: usize) {
    // SAFETY: the first and the last 64 bytes lie inside the ranges the caller vouches for, as
    // `len >= 64`, and cover them, as `len <= 128`. Every register written is declared.
    unsafe {
        asm!(
            "movdqu xmm0, [{s}]",
            "movdqu xmm1, [{s} + 16]",
            "movdqu xmm2, [{s} + 32]",
            "movdqu xmm3, [{s} + 48]",
            "movdqu xmm4, [{s} + {n} - 64]",
            "movdqu xmm5, [{s} + {n} - 48]",
            "movdqu xmm6, [{s} + {n} - 32]",
            "movdqu xmm7, [{s} + {n} - 16]",
            "movdqu [{d}], xmm0",
            "movdqu [{d} + 16], xmm1",
            "movdqu [{d} + 32], xmm2",
            "movdqu [{d} + 48], xmm3",
            "movdqu [{d} + {n} - 64], xmm4",
            "movdqu [{d} + {n} - 48], xmm5",
            "movdqu [{d} + {n} - 32], xmm6",
            "movdqu [{d} + {n} - 16], xmm7",
            s = in(reg) src, d = in(reg) dst, n = in(reg) len,
            out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _,
            out("xmm4") _, out("xmm5") _, out("xmm6") _, out("xmm7") _,
            options(nostack, preserves_flags),
        );
    }
}

/// # Safety
/// As [`small`], with `129 <= len <= 256`; and the processor has AVX ([`has_avx`]).
#[inline]
unsafe fn avx_129_to_256(dst: *mut u8, src: *const u8, len: usize) {
    // SAFETY: the first and the last 128 bytes lie inside the ranges the caller vouches for, as
    // `len >= 128`, and cover them, as `len <= 256`; the caller vouches for AVX too. Every register
    // written is declared; `vzeroupper` leaves the upper halves clean for SSE.
    unsafe {
        asm!(
            "vmovdqu ymm0, [{s}]",
            "vmovdqu ymm1, [{s} + 32]",
            "vmovdqu ymm2, [{s} + 64]",
            "vmovdqu ymm3, [{s} + 96]",
            "vmovdqu ymm4, [{s} + {n} - 128]",
            "vmovdqu ymm5, [{s} + {n} - 96]",
            "vmovdqu ymm6, [{s} + {n} - 64]",
            "vmovdqu ymm7, [{s} + {n} - 32]",
            "vmovdqu [{d}], ymm0",
            "vmovdqu [{d} + 32], ymm1",
            "vmovdqu [{d} + 64], ymm2",
            "vmovdqu [{d} + 96], ymm3",
            "vmovdqu [{d} + {n} - 128], ymm4",
            "vmovdqu [{d} + {n} - 96], ymm5",
            "vmovdqu [{d} + {n} - 64], ymm6",
            "vmovdqu [{d} + {n} - 32], ymm7",
            "vzeroupper",
            s = in(reg) src, d = in(reg) dst, n = in(reg) len,
            out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _,
            out("xmm4") _, out("xmm5") _, out("xmm6") _, out("xmm7") _,
            out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
            out("xmm12") _, out("xmm13") _, out("xmm14") _, out("xmm15") _,
            options(nostack, preserves_flags),
        );
    }
}

/// Copies with `rep movsb`.
///
/// # Safety
/// `src` is valid for reads and `dst` for writes of `len` bytes, each of which other threads and
/// processes may be accessing meanwhile; the ranges do not overlap.
#[inline]
pub(super) unsafe fn rep_movs(dst: *mut u8, src: *const u8, len: usize) {
    // SAFETY: the instruction reads `len` bytes at `src` and writes as many at `dst`, which the
    // caller vouches for; the direction flag is clear on entry to any asm block, so it runs upwards.
    unsafe {
        asm!(
            "rep movsb",
            inout("rcx") len => _, inout("rdi") dst => _, inout("rsi") src => _,
            options(nostack, preserves_flags),
        );
    }
}

/// Copies with AVX loads and ordinary stores, four 32-byte registers a turn, stores aligned.
///
/// # Safety
/// As [`rep_movs`]; and the processor has AVX ([`has_avx`]).
#[inline]
pub(super) unsafe fn vector(dst: *mut u8, src: *const u8, len: usize) {
    if len <= SMALL_MAX {
        // SAFETY: the caller's promises cover those of `small`, and the length was just compared.
        return unsafe { small(dst, src, len) };
    }
    // The first 32 bytes and the last 128 are loaded ahead and stored last, so the loop between
    // them can keep its stores aligned and needs no remainder.
    //
    // SAFETY: `len > 256`, so the head and the tail lie inside both ranges. `p` starts at most 32
    // bytes in and the loop runs only while `p < dst + len - 128`, so each turn's 128 bytes at `p`
    // lie inside `dst`, and those at `p + (src - dst)` inside `src`. Bytes between the end of the
    // loop and the end of the range belong to the tail. The caller vouches for both ranges and for
    // AVX. Every register written is declared; `vzeroupper` leaves the upper halves clean for SSE.
    unsafe {
        asm!(
            "vmovdqu ymm4, [{s}]",
            "vmovdqu ymm5, [{s} + {n} - 128]",
            "vmovdqu ymm6, [{s} + {n} - 96]",
            "vmovdqu ymm7, [{s} + {n} - 64]",
            "vmovdqu ymm8, [{s} + {n} - 32]",
            "lea {n}, [{d} + {n} - 128]",
            "lea {p}, [{d} + 32]",
            "and {p}, -32",
            "sub {s}, {d}",
            ".p2align 5",
            "2:",
            "vmovdqu ymm0, [{p} + {s}]",
            "vmovdqu ymm1, [{p} + {s} + 32]",
            "vmovdqu ymm2, [{p} + {s} + 64]",
            "vmovdqu ymm3, [{p} + {s} + 96]",
            "vmovdqa [{p}], ymm0",
            "vmovdqa [{p} + 32], ymm1",
            "vmovdqa [{p} + 64], ymm2",
            "vmovdqa [{p} + 96], ymm3",
            "sub {p}, -128",
            "cmp {p}, {n}",
            "jb 2b",
            "vmovdqu [{n}], ymm5",
            "vmovdqu [{n} + 32], ymm6",
            "vmovdqu [{n} + 64], ymm7",
            "vmovdqu [{n} + 96], ymm8",
            "vmovdqu [{d}], ymm4",
            "vzeroupper",
            s = inout(reg) src => _, d = in(reg) dst, n = inout(reg) len => _, p = out(reg) _,
            out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _,
            out("xmm5") _, out("xmm6") _, out("xmm7") _, out("xmm8") _,
            out("xmm9") _, out("xmm10") _, out("xmm11") _,
            out("xmm12") _, out("xmm13") _, out("xmm14") _, out("xmm15") _,
            options(nostack),
        );
    }
}

/// Copies with non-temporal stores of whole cache lines and prefetched loads, so that a copy larger
/// than the cache neither reads the lines it overwrites nor evicts everything else.
///
/// # Safety
/// As [`vector`].
#[inline]
pub(super) unsafe fn non_temporal(dst: *mut u8, src: *const u8, len: usize) {
    if len < LINE + NT_STEP {
        // SAFETY: the caller's promises are the same.
        return unsafe { vector(dst, src, len) };
    }
    // A line that is written only in part costs a read of it from memory, so the stores start on a
    // line and the bytes before it go through ordinary ones.
    let head = dst.align_offset(LINE);
    let body = (len - head) / NT_STEP * NT_STEP;
    // SAFETY: `head < LINE` and `head + body <= len`, so the three parts lie inside the ranges the
    // caller vouches for; the head is under 64 bytes and the tail under 256, as `small` needs.
    // `dst + head` is 64-byte aligned, as VMOVNTDQ needs 32, and `body` a multiple of the 256 bytes
    // that a turn copies, and not zero, as `len - head > NT_STEP`. A prefetch past the end of the
    // range cannot fault. Every register written is declared; `vzeroupper` leaves the upper halves
    // clean for SSE.
    //
    // No release or acquire on x86-64 orders non-temporal stores, so the block does. The SFENCE
    // before them keeps them behind an earlier mark that the bytes are about to change, the one
    // after them ahead of a later store that publishes the bytes.
    unsafe {
        inline(dst, src, head);
        asm!(
            "sfence",
            "2:",
            "prefetchnta [{s} + {ahead}]",
            "prefetchnta [{s} + {ahead} + 64]",
            "prefetchnta [{s} + {ahead} + 128]",
            "prefetchnta [{s} + {ahead} + 192]",
            "vmovdqu ymm0, [{s}]",
            "vmovdqu ymm1, [{s} + 32]",
            "vmovdqu ymm2, [{s} + 64]",
            "vmovdqu ymm3, [{s} + 96]",
            "vmovdqu ymm4, [{s} + 128]",
            "vmovdqu ymm5, [{s} + 160]",
            "vmovdqu ymm6, [{s} + 192]",
            "vmovdqu ymm7, [{s} + 224]",
            "vmovntdq [{d}], ymm0",
            "vmovntdq [{d} + 32], ymm1",
            "vmovntdq [{d} + 64], ymm2",
            "vmovntdq [{d} + 96], ymm3",
            "vmovntdq [{d} + 128], ymm4",
            "vmovntdq [{d} + 160], ymm5",
            "vmovntdq [{d} + 192], ymm6",
            "vmovntdq [{d} + 224], ymm7",
            "add {s}, {step}",
            "add {d}, {step}",
            "sub {n}, {step}",
            "jnz 2b",
            "sfence",
            "vzeroupper",
            s = inout(reg) src.add(head) => _, d = inout(reg) dst.add(head) => _,
            n = inout(reg) body => _, ahead = const PREFETCH_AHEAD, step = const NT_STEP,
            out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _,
            out("xmm4") _, out("xmm5") _, out("xmm6") _, out("xmm7") _,
            out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
            out("xmm12") _, out("xmm13") _, out("xmm14") _, out("xmm15") _,
            options(nostack),
        );
        small(dst.add(head + body), src.add(head + body), len - head - body);
    }
}

/// Bytes in a cache line.
const LINE: usize = 64;

/// Bytes that one turn of the non-temporal loop copies: four cache lines.
const NT_STEP: usize = 256;

/// How far ahead of its loads the non-temporal loop prefetches. Measured at 400 MB: 512 bytes
/// 20.4 GB/s, 1 KiB 22.1, 2 KiB 22.5, 3 KiB 22.5, 4 KiB 22.1, none 20.2.
const PREFETCH_AHEAD: usize = 2048;

//! Which path copies how many bytes: the thresholds, and the measurement behind them.
//!
//! The suite `copy` of the benches measures every path again, in rounds that interleave the paths,
//! beside a bare call of the C library's `memcpy` on the same buffers.
//!
//! GB/s, median; private heap to the three cells of a stream in turn / back. 2026-11-21, AMD EPYC of
//! family 25 model 17 (2 virtual processors, 32 MB last-level cache, 4 KiB pages), glibc 2.36; each
//! line from the quietest of several runs. Bold is what `copy_in` and `copy_out` choose and reach;
//! the others were asked for by `copy_with`, whose test of the path costs some 2 ns.
//!
//! | bytes       | memcpy      | words       | rep-movs    | vector        | non-temporal | two threads |
//! |-------------|-------------|-------------|-------------|---------------|--------------|-------------|
//! | 1,024       | 104 / 104   | 33 / 35     | 52 / 64     | **104 / 104** | 6 / 7        |             |
//! | 40,000      | 57 / 57     | 35 / 35     | 57 / 57     | **56 / 56**   | 26 / 26      |             |
//! | 1,048,576   | 47 / 47     | 30 / 29     | 45 / 38     | **49 / 48**   | 28 / 28      | 9 / 8       |
//! | 4,000,000   | 37 / 38     | 25 / 25     | 39 / 29     | **40 / 40**   | 29 / 28      | 18 / 18     |
//! | 8,388,608   | 21 / 22     | 16 / 15     | 16 / 10     | 22 / 22       | **29 / 27**  | 28 / 28     |
//! | 16,777,216  | 14 / 14     | 14 / 14     | 10 / 8      | 14 / 14       | **22 / 21**  | 24 / 21     |
//! | 67,108,864  | 12 / 13     | 13 / 10     | 17 / 6      | 13 / 13       | **23 / 23**  | 24 / 24     |
//! | 400,000,000 | 13 / 16     | 13 / 14     | 18 / 7      | 14 / 14       | **23 / 23**  | 41 / 41     |
//!
//! - `rep movsb` falls to a third when the destination is not aligned to a cache line, as no large
//!   block of `malloc` is; so does glibc's `memcpy` where it uses it.
//! - AVX-512 loads and stores gave nothing over AVX, in caches or out of them; several pages at
//!   once, a block prefetched ahead of its copy, and prefetching for ordinary stores cost a fifth or
//!   more. Reading alone reaches 27 GB/s here and non-temporal writing alone 28, so the large copies
//!   are within a fifth of what one processor can do.
//! - Two threads pay from some 256 MB on, if the second processor is idle.

use super::CopyPath;

/// Up to here x86-64 copies inline in the caller, through registers every processor has: calls of
/// `memcpy` for 64 bytes in and out cost up to twice as much.
#[cfg(any(test, all(target_arch = "x86_64", not(miri))))]
pub(super) const INLINE_MAX: usize = 128;

/// Up to here x86-64 copies without a loop.
#[cfg(any(test, all(target_arch = "x86_64", not(miri))))]
pub(super) const SMALL_MAX: usize = 256;

/// Up to here other architectures copy word by word; above, the C library knows the processor.
pub(super) const WORDS_MAX: usize = 64;

/// From here on x86-64 uses non-temporal stores. A stream of three cells passes five times the frame
/// (source, three cells, destination) through the last-level cache: while that fits some 32 MB,
/// ordinary stores win, as the reader finds the frame in the cache. Copied in and out again, 6 MB
/// cost 1 to 10 % more with non-temporal stores, 8 MB up to 16 % less, 16 MB and more 25 to 40 %
/// less.
pub(super) const NON_TEMPORAL_MIN: usize = 8 << 20;

/// The path that [`copy_in`](super::copy_in) and [`copy_out`](super::copy_out) take for `len` bytes.
///
/// Never [`CopyPath::TwoThreads`]: no thread is started unless the caller asks for one.
#[inline]
#[must_use]
pub fn path_for(len: usize) -> CopyPath {
    if cfg!(miri) {
        CopyPath::Words
    } else if cfg!(target_arch = "x86_64") {
        if len < NON_TEMPORAL_MIN { CopyPath::Vector } else { CopyPath::NonTemporal }
    } else if len <= WORDS_MAX {
        CopyPath::Words
    } else {
        CopyPath::Libc
    }
}

//! Copies between private memory and memory that other processes may be changing.
//!
//! # Why not `copy_nonoverlapping`
//! A peer may write a segment at any moment, so there is no instant at which a slice over it, or a
//! plain read of it, is sound (the second invariant of the design). Nor is it only a matter of form:
//! LLVM was seen to serve a copy out of shared memory from the private source of the copy in before
//! it, so that a reader never saw what the other process had written.
//!
//! # Why these copies are sound
//! Each path is one of three things that the compiler cannot look into or split up:
//! - relaxed atomic accesses, where a race is defined ([`CopyPath::Words`]);
//! - assembly, which may touch any escaped memory and performs only loads and stores of the bytes
//!   it is given: every byte is loaded and stored whole, like by a relaxed atomic of one byte
//!   ([`CopyPath::RepMovs`], [`CopyPath::Vector`], [`CopyPath::NonTemporal`]);
//! - the C library's `memcpy` through a function pointer of which the compiler knows nothing
//!   ([`CopyPath::Libc`]).
//!
//! None of them lets the bytes decide what it does next. A copy that races with a writer is a mix of
//! old and new bytes and nothing worse; whoever copies validates it afterwards (the sequence of a
//! frame cell).
//!
//! To fences and to release stores before and after it, a copy is a run of ordinary relaxed accesses,
//! so a sequence lock may be written around it as around any other. Non-temporal stores are weaker
//! than that on x86-64, so wherever they may be used they are fenced here, on both sides.
//!
//! # Which path is taken
//! [`path_for`] decides by the length alone, from measurement; `choice.rs` holds the thresholds.

mod choice;
mod libc_call;
mod threads;
mod words;
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod x86_64;

#[cfg(test)]
mod tests;

pub use choice::path_for;

/// Copies `len` bytes from private memory into shared memory.
///
/// # Safety
/// `src` is valid for reads of `len` bytes that nobody writes meanwhile. `dst` is valid for writes
/// of `len` bytes; other threads and processes may be reading and writing them meanwhile, this
/// process by atomics or by this module only. The ranges do not overlap.
#[inline]
pub unsafe fn copy_in(dst: *mut u8, src: *const u8, len: usize) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    if len <= choice::INLINE_MAX {
        // SAFETY: the caller vouches for both ranges, and the length was just compared.
        return unsafe { x86_64::inline(dst, src, len) };
    }
    // SAFETY: the caller's promises are those of `copy_chosen` with only the destination shared.
    unsafe { copy_chosen::<false, true>(dst, src, len) }
}

/// Copies `len` bytes from shared memory into private memory.
///
/// What arrives may be a mix of older and newer bytes: validate it before use.
///
/// # Safety
/// `src` is valid for reads of `len` bytes; other threads and processes may be writing them
/// meanwhile, this process by atomics or by this module only. `dst` is valid for writes of `len`
/// bytes that nobody accesses meanwhile. The ranges do not overlap.
#[inline]
pub unsafe fn copy_out(dst: *mut u8, src: *const u8, len: usize) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    if len <= choice::INLINE_MAX {
        // SAFETY: the caller vouches for both ranges, and the length was just compared.
        return unsafe { x86_64::inline(dst, src, len) };
    }
    // SAFETY: the caller's promises are those of `copy_chosen` with only the source shared.
    unsafe { copy_chosen::<true, false>(dst, src, len) }
}

/// Stores `len` zero bytes into shared memory.
///
/// # Safety
/// `dst` is valid for writes of `len` bytes; other threads and processes may be reading and writing
/// them meanwhile, this process by atomics or by this module only.
pub unsafe fn fill_zero(dst: *mut u8, len: usize) {
    // SAFETY: both take what the caller promises.
    unsafe {
        if cfg!(miri) {
            words::fill_zero(dst, len);
        } else {
            libc_call::fill_zero(dst, len);
        }
    }
}

/// Copies `len` bytes by the path named, where either side, or both, may be shared memory.
///
/// # Panics
/// If the path is not [`available`](CopyPath::available) here.
///
/// # Safety
/// `src` is valid for reads and `dst` for writes of `len` bytes; other threads and processes may be
/// reading and writing them meanwhile, this process by atomics or by this module only. The ranges do
/// not overlap. For [`CopyPath::TwoThreads`] both may be accessed from any thread.
pub unsafe fn copy_with(path: CopyPath, dst: *mut u8, src: *const u8, len: usize) {
    assert!(
        path.available(),
        "the copy path {path:?} is not available on this machine: choose one whose `available()` is true"
    );
    // SAFETY: the caller vouches for both ranges as shared, and the path was just found available.
    unsafe { copy_by::<true, true>(path, dst, src, len) }
}

/// A way to copy. All give the same bytes; they differ in speed, size by size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CopyPath {
    /// Relaxed atomic words: any architecture.
    Words,
    /// `rep movsb`: x86-64.
    RepMovs,
    /// Registers without a loop up to 256 bytes, an AVX loop above (`rep movsb` if the processor has
    /// no AVX): x86-64.
    Vector,
    /// Prefetched AVX loads and stores that pass the caches by (`rep movsb` if the processor has no
    /// AVX): x86-64.
    NonTemporal,
    /// The C library's `memcpy`, called through an unknown pointer.
    Libc,
    /// Half on this thread, half on one started for the copy. Never chosen by [`path_for`].
    TwoThreads,
}

impl CopyPath {
    /// Every path, available or not.
    pub const ALL: [CopyPath; 6] = [
        CopyPath::Words,
        CopyPath::RepMovs,
        CopyPath::Vector,
        CopyPath::NonTemporal,
        CopyPath::Libc,
        CopyPath::TwoThreads,
    ];

    /// Whether this machine can copy this way.
    #[must_use]
    pub fn available(self) -> bool {
        match self {
            CopyPath::Words => true,
            CopyPath::RepMovs | CopyPath::Vector | CopyPath::NonTemporal => {
                cfg!(all(target_arch = "x86_64", not(miri)))
            }
            CopyPath::Libc => !cfg!(miri),
            CopyPath::TwoThreads => threads::available(),
        }
    }

    /// The name that tables and reports give this path.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            CopyPath::Words => "words",
            CopyPath::RepMovs => "rep-movs",
            CopyPath::Vector => "vector",
            CopyPath::NonTemporal => "non-temporal",
            CopyPath::Libc => "libc",
            CopyPath::TwoThreads => "two-threads",
        }
    }
}

/// # Safety
/// `src` is valid for reads and `dst` for writes of `len` bytes, and the ranges do not overlap. On a
/// side that is `SHARED` others may be reading and writing them; on the other side nobody writes the
/// source or accesses the destination. The path is available.
#[inline]
unsafe fn copy_by<const SRC_SHARED: bool, const DST_SHARED: bool>(
    path: CopyPath,
    dst: *mut u8,
    src: *const u8,
    len: usize,
) {
    // SAFETY: every path asks for valid ranges that do not overlap and for nothing else, except:
    // `words` for what the caller says of the side not shared, the AVX loops for AVX and `small` for
    // a short length, both just tested, and `threads` for a copy sound for any part of the ranges.
    unsafe {
        match path {
            CopyPath::Words => words::copy::<SRC_SHARED, DST_SHARED>(dst, src, len),
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            CopyPath::RepMovs => x86_64::rep_movs(dst, src, len),
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            CopyPath::Vector | CopyPath::NonTemporal if len <= choice::SMALL_MAX => {
                x86_64::small(dst, src, len);
            }
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            CopyPath::Vector if x86_64::has_avx() => x86_64::vector(dst, src, len),
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            CopyPath::NonTemporal if x86_64::has_avx() => x86_64::non_temporal(dst, src, len),
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            CopyPath::Vector | CopyPath::NonTemporal => x86_64::rep_movs(dst, src, len),
            #[cfg(not(all(target_arch = "x86_64", not(miri))))]
            CopyPath::RepMovs | CopyPath::Vector | CopyPath::NonTemporal => {
                unreachable!("{path:?} is refused where it is not available")
            }
            CopyPath::Libc => libc_call::copy(dst, src, len),
            CopyPath::TwoThreads => {
                threads::copy(dst, src, len, copy_chosen::<SRC_SHARED, DST_SHARED>);
            }
        }
    }
}

/// Copies by the path chosen for the length: what is not worth inlining into every caller, and what
/// each of two threads does.
///
/// # Safety
/// As [`copy_by`], save that any path will do.
#[inline(never)]
unsafe fn copy_chosen<const SRC_SHARED: bool, const DST_SHARED: bool>(
    dst: *mut u8,
    src: *const u8,
    len: usize,
) {
    // SAFETY: the caller's promises; `path_for` names an available path, and never two threads.
    unsafe { copy_by::<SRC_SHARED, DST_SHARED>(path_for(len), dst, src, len) }
}

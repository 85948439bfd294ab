//! The C library's `memcpy` and `memset`, called so that the compiler cannot know what it calls.
//!
//! A direct call of `memcpy` is an intrinsic to the compiler, with all that `copy_nonoverlapping`
//! lets it assume. A function pointer read by a volatile load may be any function that may do
//! anything to memory whose address has escaped, so the call is neither expanded nor forwarded.
//! Inside the library the copy is assembly or code that does not branch on the bytes it moves.

use std::ffi::{c_int, c_void};

type Memcpy = unsafe extern "C" fn(*mut c_void, *const c_void, usize) -> *mut c_void;
type Memset = unsafe extern "C" fn(*mut c_void, c_int, usize) -> *mut c_void;

/// Copies by the C library's `memcpy`.
///
/// # Safety
/// `src` is valid for reads and `dst` for writes of `len` bytes, each of which other threads and
/// processes may be accessing meanwhile; the ranges do not overlap.
pub(super) unsafe fn copy(dst: *mut u8, src: *const u8, len: usize) {
    // SAFETY: the static holds a function pointer and is never written. Behind the pointer is
    // `memcpy`, whose conditions are the caller's.
    unsafe {
        let memcpy = (&raw const MEMCPY).read_volatile();
        keep_behind_earlier_stores(len);
        memcpy(dst.cast(), src.cast(), len);
    }
}

/// Stores zero bytes by the C library's `memset`.
///
/// # Safety
/// `dst` is valid for writes of `len` bytes, which other threads and processes may be accessing.
pub(super) unsafe fn fill_zero(dst: *mut u8, len: usize) {
    // SAFETY: the static holds a function pointer and is never written. Behind the pointer is
    // `memset`, whose condition is the caller's.
    unsafe {
        let memset = (&raw const MEMSET).read_volatile();
        keep_behind_earlier_stores(len);
        memset(dst.cast(), 0, len);
    }
}

/// On x86-64 a library may use non-temporal stores for many bytes. It fences them from what follows,
/// but not from what came before, such as a mark that the bytes are about to change.
#[inline]
fn keep_behind_earlier_stores(len: usize) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    if len >= STREAMING_MIN {
        // SAFETY: the instruction is part of SSE, which every x86-64 processor has.
        unsafe { std::arch::x86_64::_mm_sfence() };
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = len;
}

/// Below glibc never uses non-temporal stores, however small the caches.
#[cfg(all(target_arch = "x86_64", not(miri)))]
const STREAMING_MIN: usize = 16 << 10;

static MEMCPY: Memcpy = memcpy;
static MEMSET: Memset = memset;

// Declared here rather than taken from `libc`, which the crate has on Unix only; the standard
// library links both on every target.
unsafe extern "C" {
    fn memcpy(dst: *mut c_void, src: *const c_void, len: usize) -> *mut c_void;
    fn memset(dst: *mut c_void, byte: c_int, len: usize) -> *mut c_void;
}

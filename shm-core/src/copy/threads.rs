//! One copy split between the calling thread and a second one that ends with the call.

use std::thread;

/// Bytes in a page: the halves meet at the boundary of a destination page, so that no page and no
/// cache line is written by both threads.
const PAGE: usize = 4096;

/// Whether there is a second processor to run the second half on.
pub(super) fn available() -> bool {
    thread::available_parallelism().is_ok_and(|processors| processors.get() > 1)
}

/// Copies the first half by `copy` on this thread and the rest on another, or both here if there is
/// only one page or the system refuses a thread.
///
/// # Safety
/// `src` is valid for reads and `dst` for writes of `len` bytes, from any thread, and the ranges do
/// not overlap. `copy` must be sound for any part of them.
pub(super) unsafe fn copy(
    dst: *mut u8,
    src: *const u8,
    len: usize,
    copy: unsafe fn(*mut u8, *const u8, usize),
) {
    let middle = len / 2 + dst.wrapping_add(len / 2).align_offset(PAGE);
    if middle >= len {
        // SAFETY: the caller vouches for the whole range.
        return unsafe { copy(dst, src, len) };
    }
    // SAFETY: `middle < len`, so both pointers stay inside the caller's ranges.
    let rest = unsafe { Part { dst: dst.add(middle), src: src.add(middle), len: len - middle } };
    thread::scope(|scope| {
        let second = thread::Builder::new().spawn_scoped(scope, move || {
            let part = rest;
            // SAFETY: a part of the caller's ranges, which no other thread of this copy touches.
            unsafe { copy(part.dst, part.src, part.len) }
        });
        // SAFETY: the bytes before `middle` belong to the caller's ranges.
        unsafe { copy(dst, src, middle) };
        if second.is_err() {
            // SAFETY: as for the second thread, which never came to be.
            unsafe { copy(rest.dst, rest.src, rest.len) };
        }
    });
}

/// What the second thread copies.
#[derive(Clone, Copy)]
struct Part {
    dst: *mut u8,
    src: *const u8,
    len: usize,
}

// SAFETY: the caller of `copy` promises that both ranges may be accessed from any thread, and the
// scope ends the thread before that promise does.
unsafe impl Send for Part {}

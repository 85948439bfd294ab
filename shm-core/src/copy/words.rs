//! Copies in relaxed atomic words: the portable path, which any architecture and Miri can run.

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

const WORD: usize = size_of::<usize>();

/// Copies word by word. A side that is `SHARED` is accessed by aligned relaxed atomics only, the
/// other by plain accesses of any alignment. If both sides are shared and differ in alignment, the
/// copy goes byte by byte.
///
/// # Safety
/// `src` is valid for reads and `dst` for writes of `len` bytes, and the ranges do not overlap. On a
/// side that is not shared nobody writes (the source) or accesses (the destination) them meanwhile.
pub(super) unsafe fn copy<const SRC_SHARED: bool, const DST_SHARED: bool>(
    dst: *mut u8,
    src: *const u8,
    len: usize,
) {
    let both = SRC_SHARED && DST_SHARED;
    let to_word = if DST_SHARED { dst.align_offset(WORD) } else { src.align_offset(WORD) };
    let (head, words) = if both && !(dst.addr() ^ src.addr()).is_multiple_of(WORD) {
        (len, 0)
    } else {
        let head = to_word.min(len);
        (head, (len - head) / WORD)
    };
    let tail = head + words * WORD;
    // SAFETY: every offset is below `len` (`head <= tail <= len`), and a word at `head + i * WORD`
    // ends by `tail`. The shared side is aligned to a word there: `head` took it to one, or left no
    // words; if both sides are shared, they are a multiple of a word apart. The caller vouches for
    // the ranges and for the side that is not shared.
    unsafe {
        for at in 0..head {
            store_byte::<DST_SHARED>(dst.add(at), load_byte::<SRC_SHARED>(src.add(at)));
        }
        for word in 0..words {
            let at = head + word * WORD;
            store_word::<DST_SHARED>(dst.add(at), load_word::<SRC_SHARED>(src.add(at)));
        }
        for at in tail..len {
            store_byte::<DST_SHARED>(dst.add(at), load_byte::<SRC_SHARED>(src.add(at)));
        }
    }
}

/// Stores zero bytes as relaxed atomic words.
///
/// # Safety
/// `dst` is valid for writes of `len` bytes, which other threads and processes may be accessing.
pub(super) unsafe fn fill_zero(dst: *mut u8, len: usize) {
    let head = dst.align_offset(WORD).min(len);
    let words = (len - head) / WORD;
    let tail = head + words * WORD;
    // SAFETY: every offset is below `len`, a word at `head + i * WORD` ends by `tail <= len`, and
    // `head` is where the words are aligned, or leaves none. The caller vouches for the range.
    unsafe {
        for at in 0..head {
            store_byte::<true>(dst.add(at), 0);
        }
        for word in 0..words {
            store_word::<true>(dst.add(head + word * WORD), 0);
        }
        for at in tail..len {
            store_byte::<true>(dst.add(at), 0);
        }
    }
}

/// # Safety
/// `at` is valid for reads of a byte; nobody writes it meanwhile unless `SHARED`.
#[inline]
unsafe fn load_byte<const SHARED: bool>(at: *const u8) -> u8 {
    // SAFETY: the caller vouches for the byte. The atomic is only loaded, relaxed and no wider than
    // a word, which the standard library allows on read-only memory.
    unsafe {
        if SHARED { AtomicU8::from_ptr(at.cast_mut()).load(Ordering::Relaxed) } else { at.read() }
    }
}

/// # Safety
/// `at` is valid for writes of a byte; nobody accesses it meanwhile unless `SHARED`.
#[inline]
unsafe fn store_byte<const SHARED: bool>(at: *mut u8, byte: u8) {
    // SAFETY: the caller vouches for the byte.
    unsafe {
        if SHARED {
            AtomicU8::from_ptr(at).store(byte, Ordering::Relaxed);
        } else {
            at.write(byte);
        }
    }
}

/// # Safety
/// `at` is valid for reads of a word; unless `SHARED`, nobody writes it meanwhile; if `SHARED`, it
/// is aligned to a word.
#[inline]
unsafe fn load_word<const SHARED: bool>(at: *const u8) -> usize {
    // SAFETY: the caller vouches for the word, and for its alignment where it is loaded atomically.
    // The atomic is only loaded, relaxed and no wider than a word, which the standard library
    // allows on read-only memory.
    unsafe {
        if SHARED {
            AtomicUsize::from_ptr(at.cast_mut().cast()).load(Ordering::Relaxed)
        } else {
            at.cast::<usize>().read_unaligned()
        }
    }
}

/// # Safety
/// `at` is valid for writes of a word; unless `SHARED`, nobody accesses it meanwhile; if `SHARED`,
/// it is aligned to a word.
#[inline]
unsafe fn store_word<const SHARED: bool>(at: *mut u8, word: usize) {
    // SAFETY: the caller vouches for the word, and for its alignment where it is stored atomically.
    unsafe {
        if SHARED {
            AtomicUsize::from_ptr(at.cast()).store(word, Ordering::Relaxed);
        } else {
            at.cast::<usize>().write_unaligned(word);
        }
    }
}

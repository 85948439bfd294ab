//! Every path copies the right bytes at every size and alignment, and touches nothing else.

#[cfg(all(target_os = "linux", not(miri)))]
mod opaque;

use proptest::prelude::*;

use super::choice::{INLINE_MAX, NON_TEMPORAL_MIN, SMALL_MAX, WORDS_MAX};
use super::{CopyPath, copy_in, copy_out, copy_with, fill_zero, path_for};

/// Untouched bytes that must stay on either side of a destination.
const GUARD: usize = 64;
const UNTOUCHED: u8 = 0xA5;

type Copy = unsafe fn(*mut u8, *const u8, usize);

#[test]
fn every_path_at_every_small_size() {
    let mut bench = Bench::new(300 + 64);
    let mut copies = 0_usize;
    for len in 0..=300 {
        for shift in 0..64 {
            // Every misalignment of one side meets 0 and another one of the other side.
            for other in [0, (shift * 7 + len) % 64] {
                bench.check_every_path(len, shift, other);
                bench.check_every_path(len, other, shift);
                copies += 2;
            }
        }
    }
    assert_eq!(copies, 301 * 64 * 4);
}

#[test]
fn every_path_at_every_pair_of_misalignments() {
    let mut bench = Bench::new(700 + 64);
    for len in [1, 7, 16, 33, 64, 65, 129, 256, 257, 300, 385, 513, 700] {
        for dst_at in 0..64 {
            for src_at in 0..64 {
                bench.check_every_path(len, dst_at, src_at);
            }
        }
    }
}

#[test]
fn every_path_around_the_thresholds() {
    let around = |at: usize| [at - 129, at - 65, at - 1, at, at + 1, at + 63, at + 129];
    let mut bench = Bench::new(NON_TEMPORAL_MIN + 4096);
    let lengths = [SMALL_MAX, 512, 1024, 4096, 40_000, 65_536, 1 << 20, NON_TEMPORAL_MIN]
        .into_iter()
        .flat_map(around)
        .chain([0, WORDS_MAX, WORDS_MAX + 1, INLINE_MAX, INLINE_MAX + 1, (5 << 20) + 4321]);
    for len in lengths {
        for (dst_at, src_at) in [(0, 0), (0, 16), (16, 0), (1, 0), (0, 1), (63, 33)] {
            bench.check_every_path(len, dst_at, src_at);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_length_and_alignment(len in 0_usize..70_000, dst_at in 0_usize..128, src_at in 0_usize..128) {
        Bench::new(70_128).check_every_path(len, dst_at, src_at);
    }

    #[test]
    fn zeros_fill_their_range_and_no_more(len in 0_usize..20_000, at in 0_usize..128) {
        let mut buffer = vec![UNTOUCHED; at + len + GUARD];
        let start = buffer[at..].as_mut_ptr();
        // SAFETY: the buffer holds `len` bytes from `at` on, and nobody else has it.
        unsafe { fill_zero(start, len) };
        prop_assert!(buffer[..at].iter().all(|&byte| byte == UNTOUCHED));
        prop_assert!(buffer[at..at + len].iter().all(|&byte| byte == 0));
        prop_assert!(buffer[at + len..].iter().all(|&byte| byte == UNTOUCHED));
    }
}

#[test]
fn word_zeros_fill_their_range_and_no_more() {
    for at in 0..16 {
        for len in 0..64 {
            let mut buffer = vec![UNTOUCHED; at + len + GUARD];
            let start = buffer[at..].as_mut_ptr();
            // SAFETY: the buffer holds `len` bytes from `at` on, and nobody else has it.
            unsafe { super::words::fill_zero(start, len) };
            let expected = |i: usize| {
                if (at..at + len).contains(&i) { 0 } else { UNTOUCHED }
            };
            assert!(buffer.iter().enumerate().all(|(i, &byte)| byte == expected(i)));
        }
    }
}

#[test]
fn the_chosen_path_is_available_and_starts_no_thread() {
    for len in (0..=30).flat_map(|bit| [(1_usize << bit) - 1, 1 << bit]) {
        let path = path_for(len);
        assert!(path.available(), "{path:?} for {len} bytes");
        assert_ne!(path, CopyPath::TwoThreads, "for {len} bytes");
    }
}

#[test]
fn names_tell_the_paths_apart() {
    let names: std::collections::BTreeSet<_> =
        CopyPath::ALL.iter().map(|path| path.name()).collect();
    assert_eq!(names.len(), CopyPath::ALL.len());
}

/// A source of known bytes and a destination of guard bytes.
struct Bench {
    src: Vec<u8>,
    dst: Vec<u8>,
}

impl Bench {
    fn new(longest: usize) -> Bench {
        // A period of 251 bytes, so that a byte from another place, line or page is a wrong one.
        let src = (0..longest + 4 * GUARD).map(|i| (i % 251) as u8).collect();
        Bench { src, dst: vec![UNTOUCHED; longest + 4 * GUARD] }
    }

    fn check_every_path(&mut self, len: usize, dst_at: usize, src_at: usize) {
        self.check("copy_in", copy_in, len, dst_at, src_at);
        self.check("copy_out", copy_out, len, dst_at, src_at);
        for path in CopyPath::ALL {
            // A thread costs more than the rest of a small copy, and all sizes above a page split.
            let skip = path == CopyPath::TwoThreads && len < 4096 && !len.is_multiple_of(100);
            if path.available() && !skip {
                self.check_by(path.name(), len, dst_at, src_at, |dst, src, len| {
                    // SAFETY: the closure is called with valid ranges of different vectors.
                    unsafe { copy_with(path, dst, src, len) };
                });
            }
        }
    }

    fn check(&mut self, name: &str, copy: Copy, len: usize, dst_at: usize, src_at: usize) {
        self.check_by(name, len, dst_at, src_at, |dst, src, len| {
            // SAFETY: the closure is called with valid ranges of different vectors.
            unsafe { copy(dst, src, len) };
        });
    }

    fn check_by(
        &mut self,
        name: &str,
        len: usize,
        dst_at: usize,
        src_at: usize,
        copy: impl FnOnce(*mut u8, *const u8, usize),
    ) {
        // The vectors start anywhere, so alignment is counted from a 64-byte boundary.
        let from = self.src.as_ptr().align_offset(64) + src_at % 64;
        let to = GUARD + self.dst[GUARD..].as_ptr().align_offset(64) + dst_at % 64;
        let source = &self.src[from..from + len];
        copy(self.dst[to..to + len].as_mut_ptr(), source.as_ptr(), len);
        let context = || format!("{name}, {len} bytes, destination +{dst_at}, source +{src_at}");
        assert!(self.dst[to..to + len] == *source, "wrong bytes: {}", context());
        let before = &self.dst[to - GUARD..to];
        let after = &self.dst[to + len..to + len + GUARD];
        let untouched = |bytes: &[u8]| bytes.iter().all(|&byte| byte == UNTOUCHED);
        assert!(untouched(before), "bytes before the range changed: {}", context());
        assert!(untouched(after), "bytes after the range changed: {}", context());
        self.dst[to..to + len].fill(UNTOUCHED);
    }
}

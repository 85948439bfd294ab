//! A copy out reads the memory, and is not served from what this thread copied in before.
//!
//! The memory is mapped twice, as two processes would have it, and changed through the second
//! mapping between the copies through the first. The compiler sees no write in between; a copy that
//! it understands it may serve from the bytes copied in.

use std::fs::File;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use crate::copy::{CopyPath, copy_in, copy_out, copy_with};

const LEN: usize = 4096;
const OURS: u8 = 0x55;
const THEIRS: u8 = 0xAA;

#[test]
fn a_change_through_another_mapping_is_seen() {
    for size in [1, 8, 64, 200, 300, LEN] {
        let memory = TwiceMapped::new();
        let change = || memory.write_theirs(size);
        assert_eq!(in_and_out(&memory, size, change, copy_in, copy_out), vec![THEIRS; size]);
        for path in CopyPath::ALL.into_iter().filter(|path| path.available()) {
            let copy = |dst: *mut u8, src: *const u8, len: usize| {
                // SAFETY: `in_and_out` copies between valid ranges of `len` bytes.
                unsafe { copy_with(path, dst, src, len) };
            };
            let change = || memory.write_theirs(size);
            let seen = in_and_out_with(&memory, size, change, copy, copy);
            assert_eq!(seen, vec![THEIRS; size], "{path:?}, {size} bytes");
        }
    }
}

/// In release builds this test fails for `copy_nonoverlapping`: then no copy out reads the memory.
#[test]
fn a_change_nobody_announces_is_seen() {
    for path in CopyPath::ALL.into_iter().filter(|path| path.available()) {
        // A second thread would be a synchronisation of its own.
        if path != CopyPath::TwoThreads {
            let copy = |dst: *mut u8, src: *const u8| {
                // SAFETY: both ranges hold `LEN` bytes, see `sees_a_silent_writer`.
                unsafe { copy_with(path, dst, src, LEN) };
            };
            sees_a_silent_writer(path.name(), copy, copy);
        }
    }
    sees_a_silent_writer(
        "copy_in and copy_out of a page",
        // SAFETY: both ranges hold `LEN` bytes, see `sees_a_silent_writer`.
        |dst, src| unsafe { copy_in(dst, src, LEN) },
        // SAFETY: as above.
        |dst, src| unsafe { copy_out(dst, src, LEN) },
    );
    sees_a_silent_writer(
        "copy_in and copy_out of 64 bytes",
        // SAFETY: both ranges hold more than 64 bytes, see `sees_a_silent_writer`.
        |dst, src| unsafe { copy_in(dst, src, 64) },
        // SAFETY: as above.
        |dst, src| unsafe { copy_out(dst, src, 64) },
    );
}

/// Copies in and straight out again, while a thread overwrites the memory through the other mapping
/// without a word to this one, until a copy out brings one of its bytes.
fn sees_a_silent_writer(
    name: &str,
    enter: impl Fn(*mut u8, *const u8),
    leave: impl Fn(*mut u8, *const u8),
) {
    let memory = TwiceMapped::new();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                memory.write_theirs(LEN);
            }
        });
        let source = [OURS; LEN];
        let mut seen = [OURS; LEN];
        let begun = Instant::now();
        while seen[..64].iter().all(|&byte| byte == OURS) && begun.elapsed() < GIVE_UP {
            for _ in 0..64 {
                enter(memory.first.as_ptr(), source.as_ptr());
                leave(seen.as_mut_ptr(), memory.first.as_ptr());
                if seen[..64].contains(&THEIRS) {
                    break;
                }
            }
        }
        stop.store(true, Ordering::Relaxed);
        assert!(seen[..64].contains(&THEIRS), "{name} never saw the other mapping's bytes");
    });
}

/// Long after any real copy has met the writer: without an end a failure would be a hang.
const GIVE_UP: Duration = Duration::from_secs(30);

type Copy = unsafe fn(*mut u8, *const u8, usize);

fn in_and_out(
    memory: &TwiceMapped,
    size: usize,
    change: impl FnOnce(),
    copy_in: Copy,
    copy_out: Copy,
) -> Vec<u8> {
    // SAFETY: `in_and_out_with` copies between valid ranges of `len` bytes.
    let enter = |dst: *mut u8, src: *const u8, len: usize| unsafe { copy_in(dst, src, len) };
    // SAFETY: as above.
    let leave = |dst: *mut u8, src: *const u8, len: usize| unsafe { copy_out(dst, src, len) };
    in_and_out_with(memory, size, change, enter, leave)
}

fn in_and_out_with(
    memory: &TwiceMapped,
    size: usize,
    change: impl FnOnce(),
    enter: impl Fn(*mut u8, *const u8, usize),
    leave: impl Fn(*mut u8, *const u8, usize),
) -> Vec<u8> {
    let source = vec![OURS; size];
    let mut seen = vec![0; size];
    enter(memory.first.as_ptr(), source.as_ptr(), size);
    change();
    leave(seen.as_mut_ptr(), memory.first.as_ptr(), size);
    seen
}

/// One page of memory at two addresses.
struct TwiceMapped {
    first: NonNull<u8>,
    second: NonNull<u8>,
}

// SAFETY: the second mapping is written by atomics, the first by the copies under test, which are
// made to meet writers; no reference to the bytes is ever formed.
unsafe impl Sync for TwiceMapped {}

impl TwiceMapped {
    fn new() -> TwiceMapped {
        let file = File::from(memfd_create("opaque-copies", MemfdFlags::CLOEXEC).unwrap());
        ftruncate(&file, LEN as u64).unwrap();
        let map = || {
            // SAFETY: a new mapping at an address the kernel picks replaces no other.
            let at = unsafe {
                mmap(
                    std::ptr::null_mut(),
                    LEN,
                    ProtFlags::READ | ProtFlags::WRITE,
                    MapFlags::SHARED,
                    &file,
                    0,
                )
            };
            NonNull::new(at.unwrap().cast()).unwrap()
        };
        TwiceMapped { first: map(), second: map() }
    }

    fn write_theirs(&self, size: usize) {
        for at in 0..size {
            // SAFETY: `size` is at most the length of the mapping, which lives as long as `self`,
            // and this process accesses the bytes by atomics and the copies only.
            let byte = unsafe { AtomicU8::from_ptr(self.second.as_ptr().add(at)) };
            byte.store(THEIRS, Ordering::Relaxed);
        }
    }
}

impl Drop for TwiceMapped {
    fn drop(&mut self) {
        for mapping in [self.first, self.second] {
            // SAFETY: the mapping was made by `new` with this length, and nothing borrows from it.
            unsafe { munmap(mapping.as_ptr().cast(), LEN).unwrap() };
        }
    }
}

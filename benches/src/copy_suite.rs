//! The suite `copy`: every copy path of shm-core beside a bare `memcpy`, by size and direction.
//!
//! One buffer lies on the private heap, three cells in a shared mapping, and the copies rotate over
//! the cells as a stream does. All contenders work on the same buffers, in rounds that interleave
//! them, so that a slow moment of the machine falls on all alike; each first copies over all cells,
//! so that it finds the caches as its own kind of stores leaves them.

use std::ffi::c_void;
use std::fs;
use std::hint::black_box;
use std::ptr::NonNull;
use std::sync::atomic::{Ordering, compiler_fence};
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, MemfdFlags, fallocate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use shm_core::copy::{CopyPath, copy_in, copy_out, copy_with, path_for};

use crate::report::Row;

/// Measures all sizes and paths: within two minutes and 3 GiB, or 15 seconds if `quick`.
///
/// A size whose buffers would take more than half of the free memory is left out, with a line on the
/// standard error output that says so.
pub fn run(quick: bool) -> Vec<Row> {
    let sizes = if quick { QUICK_SIZES } else { FULL_SIZES };
    let budget = Duration::from_secs(if quick { 4 } else { 75 }) / sizes.len() as u32;
    let free = free_memory();
    let mut rows = Vec::new();
    for &len in sizes {
        let needed = (CELLS + 1) * len;
        if free.is_some_and(|free| needed > free / 2) {
            eprintln!("SKIPPED copy of {len} bytes: {needed} bytes of buffers, {free:?} free");
            continue;
        }
        let buffers = Buffers::new(len);
        for direction in [Direction::In, Direction::Out, Direction::InAndOut] {
            rows.extend(measure(&buffers, direction, budget / 3));
        }
    }
    rows
}

const FULL_SIZES: &[usize] = &[
    8,
    16,
    32,
    64,
    128,
    256,
    512,
    1024,
    4096,
    16_384,
    40_000,
    65_536,
    262_144,
    1 << 20,
    4_000_000,
    6 << 20,
    8 << 20,
    16 << 20,
    64 << 20,
    268_435_456,
    400_000_000,
    512 << 20,
];

const QUICK_SIZES: &[usize] =
    &[8, 64, 256, 1024, 4096, 40_000, 65_536, 1 << 20, 4_000_000, 16 << 20, 64 << 20, 400_000_000];

/// Cells of the stream that the copies rotate over: the default of `StreamConfig`.
const CELLS: usize = 3;

/// Above this size a copy has evicted whatever the one before it left in the caches.
const WARMED_MAX: usize = 64 << 20;

/// At least so long is one sample, so that reading the clock does not show.
const SAMPLE_NS: usize = 20_000;

/// A first guess of the speed of a copy, which sets how many make a sample.
const BYTES_PER_NS: usize = 20;

/// What a call costs at least, to the same end.
const CALL_NS: usize = 3;

/// Below, starting the thread is all that would be measured.
const TWO_THREADS_MIN: usize = 1 << 20;

const ROUNDS_MIN: usize = 5;
const ROUNDS_MAX: usize = 2_000;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    In,
    Out,
    InAndOut,
}

impl Direction {
    fn name(self) -> &'static str {
        match self {
            Direction::In => "in",
            Direction::Out => "out",
            Direction::InAndOut => "in+out",
        }
    }
}

fn measure(buffers: &Buffers, direction: Direction, budget: Duration) -> Vec<Row> {
    let mut contenders = contenders(direction, buffers.len);
    let copies = (SAMPLE_NS / (CALL_NS + buffers.len / BYTES_PER_NS)).max(1);
    let samples_a_turn = if buffers.len <= WARMED_MAX { CELLS } else { 1 };
    let begun = Instant::now();
    let mut round = 0;
    while round < ROUNDS_MIN || (round < ROUNDS_MAX && begun.elapsed() < budget) {
        let count = contenders.len();
        for turn in 0..count {
            // Every round begins with another contender, so that none always follows the same one.
            let contender = &mut contenders[(round + turn) % count];
            if buffers.len <= WARMED_MAX {
                (contender.copies)(buffers, 0, CELLS);
            }
            for sample in 0..samples_a_turn {
                let at = Instant::now();
                (contender.copies)(buffers, round + sample, copies);
                contender.samples.push(at.elapsed().as_nanos() as f64 / copies as f64);
            }
        }
        round += 1;
    }
    rows(buffers.len, direction, copies, contenders)
}

fn rows(len: usize, direction: Direction, copies: usize, contenders: Vec<Contender>) -> Vec<Row> {
    let measured: Vec<_> =
        contenders.into_iter().map(|contender| (contender.name, contender.summary())).collect();
    let bare = measured[0].1.p50;
    // Shows whether the choice by size picks the fastest that one thread has.
    let (fastest, best) = measured[1..]
        .iter()
        .filter(|(name, _)| *name != CopyPath::TwoThreads.name())
        .min_by(|a, b| a.1.p50.total_cmp(&b.1.p50))
        .map_or((OURS, bare), |(name, summary)| (*name, summary.p50));
    let moved = if direction == Direction::InAndOut { 2 * len } else { len };
    measured
        .iter()
        .map(|(name, summary)| {
            let mut note = format!(
                "{:.2} GB/s; {} samples of {copies} copies",
                moved as f64 / summary.p50,
                summary.samples
            );
            if *name == OURS {
                let chosen = path_for(len).name();
                note += &format!("; takes {chosen}; fastest: {fastest}, {best:.1} ns");
            }
            Row {
                name: format!("copy/{}/{len} B/{name}", direction.name()),
                value: summary.p50,
                unit: "ns",
                p99: Some(summary.p99),
                max: Some(summary.max),
                limit: Some(bare),
                limit_name: Some("bare memcpy"),
                peer: None,
                peer_name: None,
                touched: true,
                note,
                ..Row::default()
            }
        })
        .collect()
}

/// The names of the first two contenders; the others are named by their path.
const MEMCPY: &str = "memcpy";
const OURS: &str = "shm-core";

/// Copies between the buffers, beginning with the cell of this turn, so many times.
type Copies = Box<dyn Fn(&Buffers, usize, usize)>;

/// One way to copy, and what it took.
struct Contender {
    name: &'static str,
    copies: Copies,
    samples: Vec<f64>,
}

impl Contender {
    /// The loop around the copy is compiled for each contender, so that none pays for an indirect
    /// call; the length is hidden, so that none is compiled for one size.
    fn new(
        name: &'static str,
        direction: Direction,
        enter: impl Fn(*mut u8, *const u8, usize) + 'static,
        leave: impl Fn(*mut u8, *const u8, usize) + 'static,
    ) -> Contender {
        let copies: Copies = match direction {
            Direction::In => Box::new(move |buffers, from, count| {
                for turn in from..from + count {
                    enter(buffers.cell(turn), buffers.heap(), black_box(buffers.len));
                }
            }),
            Direction::Out => Box::new(move |buffers, from, count| {
                for turn in from..from + count {
                    leave(buffers.heap(), buffers.cell(turn), black_box(buffers.len));
                }
            }),
            Direction::InAndOut => Box::new(move |buffers, from, count| {
                for turn in from..from + count {
                    enter(buffers.cell(turn), buffers.heap(), black_box(buffers.len));
                    leave(buffers.heap(), buffers.cell(turn), black_box(buffers.len));
                }
            }),
        };
        Contender { name, copies, samples: Vec::new() }
    }

    fn summary(mut self) -> Summary {
        self.samples.sort_by(f64::total_cmp);
        let last = self.samples.len() - 1;
        Summary {
            p50: self.samples[last / 2],
            p99: self.samples[last * 99 / 100],
            max: self.samples[last],
            samples: self.samples.len(),
        }
    }
}

/// Nanoseconds of one copy (or of one in and one out) over all samples.
struct Summary {
    p50: f64,
    p99: f64,
    max: f64,
    samples: usize,
}

fn contenders(direction: Direction, len: usize) -> Vec<Contender> {
    // SAFETY: `Contender::new` copies between the heap buffer and a cell of `buffers.len` bytes.
    let ours_in = |dst: *mut u8, src: *const u8, len: usize| unsafe { copy_in(dst, src, len) };
    // SAFETY: as above.
    let ours_out = |dst: *mut u8, src: *const u8, len: usize| unsafe { copy_out(dst, src, len) };
    let mut contenders = vec![
        Contender::new(MEMCPY, direction, bare_memcpy, bare_memcpy),
        Contender::new(OURS, direction, ours_in, ours_out),
    ];
    if direction != Direction::InAndOut {
        for path in CopyPath::ALL.into_iter().filter(|path| path.available()) {
            if path == CopyPath::TwoThreads && len < TWO_THREADS_MIN {
                continue;
            }
            let copy = move |dst: *mut u8, src: *const u8, len: usize| {
                // SAFETY: as above; no other thread has the buffers, so a second one may copy too.
                unsafe { copy_with(path, dst, src, len) };
            };
            contenders.push(Contender::new(path.name(), direction, copy, copy));
        }
    }
    contenders
}

/// The C library's `memcpy`, kept apart from the copy before and after it.
fn bare_memcpy(dst: *mut u8, src: *const u8, len: usize) {
    // SAFETY: the caller passes a cell and the heap buffer, each of `len` bytes, in either order.
    unsafe { memcpy(black_box(dst).cast(), black_box(src).cast(), len) };
    compiler_fence(Ordering::SeqCst);
}

unsafe extern "C" {
    fn memcpy(dst: *mut c_void, src: *const c_void, len: usize) -> *mut c_void;
}

/// A buffer on the heap and [`CELLS`] cells in shared memory, every page of which is there.
struct Buffers {
    heap: NonNull<[u8]>,
    shared: NonNull<u8>,
    len: usize,
    stride: usize,
}

impl Buffers {
    fn new(len: usize) -> Buffers {
        let stride = len.next_multiple_of(4096);
        let file = memfd_create("copy-suite", MemfdFlags::CLOEXEC).expect("create shared memory");
        fallocate(&file, FallocateFlags::empty(), 0, (CELLS * stride) as u64)
            .expect("reserve shared memory for three cells");
        // SAFETY: a new mapping at an address that the kernel picks replaces no other.
        let shared = unsafe {
            mmap(
                std::ptr::null_mut(),
                CELLS * stride,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED | MapFlags::POPULATE,
                &file,
                0,
            )
        };
        let heap = Box::into_raw(vec![0x5A_u8; len].into_boxed_slice());
        Buffers {
            heap: NonNull::new(heap).expect("a box is not null"),
            shared: NonNull::new(shared.expect("map shared memory").cast())
                .expect("mapped at null"),
            len,
            stride,
        }
    }

    #[inline]
    fn heap(&self) -> *mut u8 {
        self.heap.as_ptr().cast()
    }

    #[inline]
    fn cell(&self, turn: usize) -> *mut u8 {
        self.shared.as_ptr().wrapping_add(turn % CELLS * self.stride)
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        // SAFETY: both come from `new`, the mapping with this length, and nothing borrows from them.
        unsafe {
            munmap(self.shared.as_ptr().cast(), CELLS * self.stride).expect("unmap shared memory");
            drop(Box::from_raw(self.heap.as_ptr()));
        }
    }
}

/// Bytes of memory that could be had without swapping, where the system tells.
fn free_memory() -> Option<usize> {
    let status = fs::read_to_string("/proc/meminfo").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: usize = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

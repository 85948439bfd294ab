//! A pool's file as a hostile process sees it: words at offsets.
//!
//! Where they lie is stated here independently of the library.

use core::ops::Range;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use std::fs::File;
use std::io;

/// A part of the control area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Counters, and other words that every lend changes.
    Counters,
    /// Who is attached.
    Members,
    /// Consumers.
    Seats,
    /// Who a publication for everyone is for.
    Audience,
    /// Producers that wait.
    Line,
    /// Where free slots may be found.
    Hints,
    /// Records of the slots.
    Slots,
    /// Granules of a chunk pool.
    Granules,
    /// Where granules may be found.
    Recent,
    /// Queues.
    Queues,
    /// Cells of queues.
    Cells,
    /// Index of a store.
    Index,
    /// What a store keeps for each slot.
    Entries,
}

impl Part {
    /// All of them, in the order in which they lie.
    pub const ALL: [Part; 13] = [
        Part::Counters,
        Part::Members,
        Part::Seats,
        Part::Audience,
        Part::Line,
        Part::Hints,
        Part::Slots,
        Part::Granules,
        Part::Recent,
        Part::Queues,
        Part::Cells,
        Part::Index,
        Part::Entries,
    ];

    /// Those that decide about no slot.
    pub const SOFT: [Part; 7] = [
        Part::Counters,
        Part::Line,
        Part::Hints,
        Part::Recent,
        Part::Queues,
        Part::Cells,
        Part::Index,
    ];
}

const KIND_OWN: usize = 4096;
const CHECKSUM: usize = 192;
const GEOMETRY: usize = 104;
const CONTROL: usize = 144;
const CONTROL_LEN: usize = 152;
const RECENT: usize = 512;

/// A pool's file, mapped behind the library's back.
#[derive(Debug)]
pub struct RawPool {
    words: NonNull<AtomicU64>,
    len: usize,
    name: String,
    parts: Vec<(Part, Range<usize>)>,
    stride: usize,
}

// SAFETY: the mapping is this value's own and consists of atomics.
unsafe impl Send for RawPool {}
// SAFETY: as above; sharing is what atomics are for.
unsafe impl Sync for RawPool {}

impl RawPool {
    /// The file of an existing, undamaged pool.
    ///
    /// # Errors
    /// The system's refusal, or the library's if there is no such pool.
    pub fn of(name: &str) -> io::Result<RawPool> {
        let path = shm_core::stat(name).map_err(io::Error::other)?.path;
        let file = File::options().read(true).write(true).open(path)?;
        let len = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        let rights = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address that the system chooses, of a file that keeps its
        // length: segments are never truncated.
        let base = unsafe { mmap(core::ptr::null_mut(), len, rights, MapFlags::SHARED, &file, 0)? };
        let words = NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        let mut raw = RawPool { words, len, name: name.to_owned(), parts: Vec::new(), stride: 0 };
        raw.find_parts();
        Ok(raw)
    }

    /// A word of the file at byte `offset`.
    ///
    /// # Panics
    /// If it lies outside.
    pub fn at(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8) && offset + 8 <= self.len, "word at {offset}");
        // SAFETY: in bounds and aligned by the assertion (the mapping begins on a page), mapped for
        // as long as `self`.
        unsafe { self.words.add(offset / 8).as_ref() }
    }

    /// A word of the control area at byte `offset`.
    pub fn control(&self, offset: usize) -> &AtomicU64 {
        self.at(self.load(CONTROL) as usize + KIND_OWN + offset)
    }

    /// Byte offsets of a part in the control area.
    pub fn part(&self, part: Part) -> Range<usize> {
        let found = self.parts.iter().find(|(found, _)| *found == part);
        found.map_or(0..0, |(_, range)| range.clone())
    }

    /// A word of a slot's record: 0 state, 1 run, 2 length, 3 since, 4 next, 5 producer, 6 lanes.
    pub fn slot(&self, slot: usize, word: usize) -> &AtomicU64 {
        self.control(self.part(Part::Slots).start + slot * self.stride + word * 8)
    }

    /// A word of the geometry, 32 bits wide fields in pairs: 0 version and kind, 1 slots, 2 slot size,
    /// 3 granules, 4 granule, 5 capacity, 6 alignment, 7 expected and entries, 8 queue cells.
    pub fn geometry(&self, word: usize) -> u64 {
        let mut bytes = [0; 8];
        for (at, byte) in bytes.iter_mut().enumerate() {
            let offset = self.geometry_at() + word * 8 + at;
            *byte = self.load(offset / 8 * 8).to_le_bytes()[offset % 8];
        }
        u64::from_le_bytes(bytes)
    }

    /// Changes a word of the geometry, and the checksum so that it fits.
    ///
    /// # Panics
    /// If the library does not accept the checksum that it asks for.
    pub fn set_geometry(&self, word: usize, value: u64) {
        for (at, byte) in value.to_le_bytes().into_iter().enumerate() {
            let offset = self.geometry_at() + word * 8 + at;
            let mut bytes = self.load(offset / 8 * 8).to_le_bytes();
            bytes[offset % 8] = byte;
            self.at(offset / 8 * 8).store(u64::from_le_bytes(bytes), Ordering::SeqCst);
        }
        for _ in 0..2 {
            let Err(shm_core::OpenError::Corrupt { field: "checksum", expected, .. }) =
                shm_core::stat(&self.name)
            else {
                return;
            };
            let wanted = expected.strip_prefix("0x").expect("a hexadecimal checksum");
            let wanted = u64::from_str_radix(wanted, 16).expect("a hexadecimal checksum");
            self.at(CHECKSUM).store(wanted, Ordering::SeqCst);
        }
        panic!("the library does not accept the checksum that it asked for");
    }

    fn load(&self, offset: usize) -> u64 {
        self.at(offset).load(Ordering::SeqCst)
    }

    fn geometry_at(&self) -> usize {
        self.load(GEOMETRY) as u32 as usize
    }

    fn find_parts(&mut self) {
        let slots = self.geometry(1) as usize;
        let (expected, entries) = (self.geometry(7) as u32 as usize, self.geometry(7) >> 32 == 1);
        let lanes = if entries { 8 } else { expected.div_ceil(8) };
        self.stride = if lanes <= 2 { 64 } else { 128 };
        let mut hints = 0;
        let mut below = slots;
        loop {
            below = below.div_ceil(64).max(1);
            hints += below;
            if below == 1 {
                break;
            }
        }
        let index = if entries { (slots * 4).next_power_of_two().max(64) } else { 0 };
        let lens = [
            640,
            256 * 64,
            64 * 64,
            64,
            128 * 64,
            hints * 8,
            slots * self.stride,
            self.geometry(3) as usize * 8,
            RECENT * 8,
            16 * 1024,
            self.geometry(8) as usize * 8,
            index * 8,
            if entries { slots * 64 } else { 0 },
        ];
        let mut start = 0;
        for (part, len) in Part::ALL.into_iter().zip(lens) {
            self.parts.push((part, start..start + len));
            start = (start + len).next_multiple_of(128);
        }
        let found = self.load(CONTROL_LEN) as usize - KIND_OWN;
        assert_eq!(
            start.next_multiple_of(4096),
            found.next_multiple_of(4096),
            "the layout changed"
        );
    }
}

impl Drop for RawPool {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and nothing that was lent from it is left.
        let _ = unsafe { munmap(self.words.as_ptr().cast(), self.len) };
    }
}

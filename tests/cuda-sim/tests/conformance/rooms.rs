//! Host memory that copies may use at any time: it is never given back, and whoever looks at it
//! while a stream writes it sees some value of each byte.

use std::sync::atomic::{AtomicU8, Ordering};

#[derive(Clone, Copy)]
pub struct Room {
    bytes: &'static [AtomicU8],
}

impl Room {
    /// Ordinary memory, page aligned and of whole pages.
    pub fn new(len: usize) -> Self {
        const PAGE: usize = 4096;
        let all: Vec<AtomicU8> =
            std::iter::repeat_with(AtomicU8::default).take(len + 2 * PAGE).collect();
        let all = all.leak();
        let skip = all.as_ptr().align_offset(PAGE);
        Self { bytes: &all[skip..skip + len.next_multiple_of(PAGE)] }
    }

    pub fn filled(len: usize, value: u8) -> Self {
        let room = Self::new(len);
        room.fill(value);
        room
    }

    pub fn fill(&self, value: u8) {
        self.bytes.iter().for_each(|byte| byte.store(value, Ordering::Relaxed));
    }

    pub fn at(&self) -> usize {
        self.bytes.as_ptr().expose_provenance()
    }

    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    pub fn read(&self, len: usize) -> Vec<u8> {
        self.bytes[..len].iter().map(|byte| byte.load(Ordering::Acquire)).collect()
    }

    /// The value of all the bytes, or where they begin to differ.
    pub fn uniform(&self, len: usize) -> Result<u8, String> {
        let bytes = self.read(len);
        match bytes.iter().position(|byte| *byte != bytes[0]) {
            None => Ok(bytes[0]),
            Some(at) => Err(format!("{} before byte {at}, {} there", bytes[0], bytes[at])),
        }
    }

    pub fn word(&self, offset: usize) -> u64 {
        let bytes: Vec<u8> = self.read(offset + 8).split_off(offset);
        bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
    }
}

//! A stream's file as a hostile or broken peer sees it: bytes at offsets, and byte locks.

use super::layout::{control, header, hot};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Locks start here in the file's offset space.
const LOCK_BASE: i64 = 1 << 40;

/// An open file that is read and written behind the library's back.
#[derive(Debug)]
pub(crate) struct RawFile {
    file: File,
    path: PathBuf,
}

impl RawFile {
    /// The file of an existing, undamaged stream.
    pub(crate) fn of(name: &str) -> RawFile {
        RawFile::at(&shm_core::stat(name).unwrap().path)
    }

    pub(crate) fn at(path: &Path) -> RawFile {
        let file = File::options().read(true).write(true).open(path).unwrap();
        RawFile { file, path: path.to_owned() }
    }

    /// A new file with these contents.
    pub(crate) fn create(path: &Path, bytes: &[u8]) -> RawFile {
        std::fs::write(path, bytes).unwrap();
        RawFile::at(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn len(&self) -> u64 {
        self.file.metadata().unwrap().len()
    }

    pub(crate) fn set_len(&self, len: u64) {
        self.file.set_len(len).unwrap();
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        std::fs::read(&self.path).unwrap()
    }

    pub(crate) fn write(&self, offset: u64, bytes: &[u8]) {
        self.file.write_all_at(bytes, offset).unwrap();
    }

    pub(crate) fn word(&self, offset: u64) -> u64 {
        let mut word = [0; 8];
        self.file.read_exact_at(&mut word, offset).unwrap();
        u64::from_ne_bytes(word)
    }

    pub(crate) fn set_word(&self, offset: u64, value: u64) {
        self.write(offset, &value.to_ne_bytes());
    }

    /// Offset of a word of the hot part.
    pub(crate) fn hot(&self, offset: u64) -> u64 {
        self.word(header::HOT_OFFSET) + offset
    }

    /// Offset of a word of the control page.
    pub(crate) fn control(&self, offset: u64) -> u64 {
        self.word(header::CONTROL_OFFSET) + offset
    }

    /// Offset of a word of cell `index` of a stream whose frames have more than 256 bytes.
    pub(crate) fn cell(&self, index: u64, offset: u64) -> u64 {
        self.hot(hot::CELLS) + index * super::layout::cell::LEN + offset
    }

    /// Offset of a word of participant `index`.
    pub(crate) fn participant(&self, index: u64, offset: u64) -> u64 {
        self.control(control::PARTICIPANTS) + index * control::PARTICIPANT_LEN + offset
    }

    /// Makes the checksum fit whatever the immutable part holds now. The library itself tells
    /// which one it expects, so this needs no second implementation of it.
    pub(crate) fn reseal(&self, name: &str) {
        for _ in 0..2 {
            let Err(shm_core::OpenError::Corrupt { field: "checksum", expected, .. }) =
                shm_core::stat(name)
            else {
                return;
            };
            let wanted = expected.strip_prefix("0x").expect("a hexadecimal checksum");
            self.set_word(header::CHECKSUM, u64::from_str_radix(wanted, 16).unwrap());
        }
        panic!("the library does not accept the checksum that it asked for");
    }

    /// Holds a byte lock until this file is dropped; false if somebody else has it.
    pub(crate) fn lock(&self, byte: u64, exclusive: bool) -> bool {
        let kind = if exclusive { libc::F_WRLCK } else { libc::F_RDLCK };
        // SAFETY: `flock` is a plain C struct for which all zeroes is a value.
        let mut lock: libc::flock = unsafe { std::mem::zeroed() };
        lock.l_type = kind as libc::c_short;
        lock.l_whence = libc::SEEK_SET as libc::c_short;
        lock.l_start = LOCK_BASE + byte as i64;
        lock.l_len = 1;
        // SAFETY: an open descriptor and a valid `flock`, as the command demands.
        unsafe { libc::fcntl(self.file.as_raw_fd(), libc::F_OFD_SETLK, &raw mut lock) == 0 }
    }
}

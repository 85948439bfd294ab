//! Bare shared memory of the same kind as a stream's: a file in the shared-memory folder.

use std::fs;
use std::path::PathBuf;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64};

use anyhow::{Context, Result, ensure};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{FallocateFlags, Mode, fallocate, fstat};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use rustix::shm;

use super::CopyKind;
use crate::scratch;

/// Shared memory, mapped for reading and writing; its creator removes its name when it is dropped.
#[derive(Debug)]
pub struct Mapping {
    base: NonNull<u8>,
    len: usize,
    name: String,
    creator: bool,
}

impl Mapping {
    /// Makes zeroed memory under a new name, with all its pages.
    pub fn create(what: &str, len: usize) -> Result<Mapping> {
        let name = scratch::name(what);
        let flags = shm::OFlags::CREATE | shm::OFlags::EXCL | shm::OFlags::RDWR;
        let file = shm::open(&name, flags, Mode::RUSR | Mode::WUSR)
            .with_context(|| format!("could not create the shared memory {name}"))?;
        fallocate(&file, FallocateFlags::empty(), 0, len as u64)
            .with_context(|| format!("no room for {len} bytes of shared memory"))?;
        Mapping::map(&file, name, len, true)
    }

    /// Maps what another process made.
    pub fn open(name: &str) -> Result<Mapping> {
        let file = shm::open(name, shm::OFlags::RDWR, Mode::empty())
            .with_context(|| format!("could not open the shared memory {name}"))?;
        let stat = fstat(&file).with_context(|| format!("could not ask the size of {name}"))?;
        Mapping::map(&file, name.to_owned(), stat.st_size as usize, false)
    }

    /// Maps the first bytes of a file, page by page as they are touched.
    pub fn of_file(file: BorrowedFd<'_>, len: usize) -> Result<Mapping> {
        let stat = fstat(file).context("could not ask the size of a descriptor")?;
        ensure!(stat.st_size as usize >= len, "{} bytes in place of {len}", stat.st_size);
        Mapping::map_with(file, String::new(), len, false, MapFlags::SHARED)
    }

    fn map(file: &OwnedFd, name: String, len: usize, creator: bool) -> Result<Mapping> {
        let flags = MapFlags::SHARED | MapFlags::POPULATE;
        Mapping::map_with(file.as_fd(), name, len, creator, flags)
    }

    fn map_with(
        file: BorrowedFd<'_>,
        name: String,
        len: usize,
        creator: bool,
        flags: MapFlags,
    ) -> Result<Mapping> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel chooses the address (null), so no other memory is replaced; the file
        // has `len` bytes, and a mapping for writing of one that is not open for it is refused.
        let base = unsafe { mmap(std::ptr::null_mut(), len, access, flags, file, 0) }
            .with_context(|| format!("could not map {len} bytes of {name}"))?;
        let base = NonNull::new(base.cast()).context("the kernel mapped at address zero")?;
        Ok(Mapping { base, len, name, creator })
    }

    /// Its name, for [`Mapping::open`] in another process.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many bytes it has.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The file, while it has a name.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(scratch::FOLDER).join(&self.name)
    }

    /// Copies private bytes in, to `offset`.
    #[inline]
    pub fn copy_in(&self, kind: CopyKind, offset: usize, source: &[u8]) -> Result<()> {
        let target = self.bytes(offset, source.len())?;
        // SAFETY: `target` has `source.len()` bytes of the mapping, which this process reaches by
        // such copies and atomics only; a private slice does not overlap it.
        unsafe { kind.copy(target, source.as_ptr(), source.len()) };
        Ok(())
    }

    /// Copies bytes out from `offset` on, as many as the target has.
    #[inline]
    pub fn copy_out(&self, kind: CopyKind, offset: usize, target: &mut [u8]) -> Result<()> {
        let source = self.bytes(offset, target.len())?;
        // SAFETY: as in `copy_in`, the other way; nobody else knows an exclusively borrowed slice.
        unsafe { kind.copy(target.as_mut_ptr(), source, target.len()) };
        Ok(())
    }

    /// The address of `len` bytes from `offset` on. Other processes may be changing them.
    fn bytes(&self, offset: usize, len: usize) -> Result<*mut u8> {
        let end = offset.checked_add(len);
        ensure!(
            end.is_some_and(|end| end <= self.len),
            "{len} bytes at {offset} lie outside of {} bytes",
            self.len
        );
        // SAFETY: `offset` was just found to lie inside the mapping, one object of `len` bytes.
        Ok(unsafe { self.base.add(offset) }.as_ptr())
    }

    /// The word at a byte offset.
    pub fn word(&self, offset: usize) -> Result<&AtomicU64> {
        ensure!(offset.is_multiple_of(8), "a word at {offset} is not aligned");
        let word = self.bytes(offset, 8)?.cast::<AtomicU64>();
        // SAFETY: 8 bytes inside a live mapping that lives as long as `self`, aligned as just
        // checked since mappings begin at a page; every process accesses it as an atomic only.
        Ok(unsafe { &*word })
    }

    /// The half word at a byte offset, for the kernel to wait on.
    pub fn half_word(&self, offset: usize) -> Result<&AtomicU32> {
        ensure!(offset.is_multiple_of(4), "a half word at {offset} is not aligned");
        let word = self.bytes(offset, 4)?.cast::<AtomicU32>();
        // SAFETY: as in `word`, for 4 bytes; no caller uses these bytes as a word as well.
        Ok(unsafe { &*word })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if self.creator {
            // The sweep at the end takes what stays.
            let _ = fs::remove_file(self.path());
        }
        // SAFETY: exactly what `mmap` gave, and nothing borrowed from `self` outlives it.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering;

    #[test]
    fn two_mappings_of_a_name_are_the_same_memory() {
        let made = Mapping::create("test-twice", 4096).unwrap();
        let opened = Mapping::open(made.name()).unwrap();
        made.word(128).unwrap().store(7, Ordering::Release);
        assert_eq!(opened.word(128).unwrap().load(Ordering::Acquire), 7);
        assert_eq!(opened.len(), 4096);
        let mut out = [0; 3];
        made.copy_in(CopyKind::Libc, 5, &[1, 2, 3]).unwrap();
        opened.copy_out(CopyKind::Libc, 5, &mut out).unwrap();
        assert_eq!(out, [1, 2, 3]);
        let path = made.path();
        assert!(path.exists());
        drop(opened);
        assert!(path.exists(), "only the creator removes the name");
        drop(made);
        assert!(!path.exists());
    }

    #[test]
    fn what_lies_outside_or_across_is_refused() {
        let mapping = Mapping::create("test-bounds", 4096).unwrap();
        assert!(mapping.bytes(4096, 1).is_err());
        assert!(mapping.bytes(usize::MAX, 2).is_err());
        assert!(mapping.word(4092).is_err());
        assert!(mapping.half_word(2).is_err());
        assert!(mapping.word(4088).is_ok());
        assert!(mapping.copy_in(CopyKind::Libc, 4095, &[1, 2]).is_err());
        assert!(mapping.copy_out(CopyKind::Libc, 4095, &mut [1, 2]).is_err());
    }
}

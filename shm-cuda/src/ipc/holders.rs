//! Who has exported memory mapped, as the kernel knows it.
//!
//! The exporter keeps an empty file per allocation, and the descriptor of the memory names it. Whoever
//! imports opens the file through the exporter's own descriptor table and holds a shared lock on it
//! for as long as the memory is mapped. The lock goes with its holder, so the exporter, which tries
//! to lock the file for itself alone, learns without a timer when nobody is left; once it has that
//! lock, importers that come too late are told so and map nothing.
//!
//! Where the file cannot be opened the handle is of no use either, as in another pid namespace; a
//! process of another user is refused, because its use of the memory could not be seen.
//!
//! Upholds invariants 2 (what the descriptor names is checked before it is opened) and 3.

use super::IpcError;
use rustix::fs::{FileType, FlockOperation, Mode, OFlags, flock, fstat, open};
use rustix::io::Errno;
use shm_core::fork_generation;
use std::os::fd::{AsRawFd, OwnedFd};

/// Names an exporter's file to importers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Mark {
    /// Of the descriptor in the exporter's table.
    pub(super) number: u32,
    pub(super) device: u64,
    pub(super) inode: u64,
}

/// The exporter's file.
#[cfg(feature = "share")]
#[derive(Debug)]
pub(crate) struct Holders {
    file: OwnedFd,
    mark: Mark,
    born: u64,
}

/// An importer's lock.
#[derive(Debug)]
pub(super) struct Hold {
    file: OwnedFd,
    born: u64,
}

#[cfg(feature = "share")]
impl Holders {
    /// Nobody yet.
    pub(crate) fn new() -> Result<Holders, IpcError> {
        let system = |call| move |error: Errno| IpcError::System { call, why: error.to_string() };
        let flags = rustix::fs::MemfdFlags::CLOEXEC;
        let file =
            rustix::fs::memfd_create("shm-cuda-holders", flags).map_err(system("memfd_create"))?;
        let found = fstat(&file).map_err(system("fstat"))?;
        let mark =
            Mark { number: file.as_raw_fd() as u32, device: found.st_dev, inode: found.st_ino };
        Ok(Holders { file, mark, born: fork_generation() })
    }

    /// What to tell importers.
    pub(crate) fn mark(&self) -> Mark {
        self.mark
    }

    /// True while anybody holds the memory. After it said no, nobody can any more.
    pub(crate) fn remain(&self) -> bool {
        // A forked child shares the lock with its parent and must not take it; the memory is not its.
        self.born == fork_generation()
            && flock(&self.file, FlockOperation::NonBlockingLockExclusive).is_err()
    }
}

impl Hold {
    /// Says to `pid` that its memory is in use from now on.
    pub(super) fn take(pid: u32, mark: Mark) -> Result<Hold, IpcError> {
        let unwatched = |error: Errno| match error {
            Errno::NOENT | Errno::SRCH => IpcError::Released { pid },
            error => IpcError::Unwatched { pid, why: error.to_string() },
        };
        let path = format!("/proc/{pid}/fd/{}", mark.number);
        // Only looked at: opening what a stranger named might do anything, were it no plain file.
        let place = open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
        let place = place.map_err(unwatched)?;
        let found = fstat(&place).map_err(unwatched)?;
        let is_file = FileType::from_raw_mode(found.st_mode) == FileType::RegularFile;
        if !is_file || (found.st_dev, found.st_ino) != (mark.device, mark.inode) {
            return Err(IpcError::Released { pid });
        }
        let path = format!("/proc/self/fd/{}", place.as_raw_fd());
        let file = open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        let file = file.map_err(unwatched)?;
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(Hold { file, born: fork_generation() }),
            Err(Errno::WOULDBLOCK) => Err(IpcError::Released { pid }),
            Err(error) => Err(unwatched(error)),
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        // A forked child has the same lock open, and may live longer than this or not as long.
        if self.born == fork_generation() {
            let _ = flock(&self.file, FlockOperation::Unlock);
        }
    }
}

//! Open-file-description locks: byte-range locks that belong to one `open`, not to a process.
//!
//! Upholds invariant 3. The kernel drops them when the last descriptor of the description, and the
//! last mapping made through it, is gone, which for a killed process it sees to; so nothing is ever
//! mapped through a description that locks (see [`super::mapping`]). The locks hold
//! across mount and pid namespaces because they belong to the inode. See fcntl(2),
//! "Open file description locks". That a forked child shares its parent's description is dealt
//! with in [`super::fork`].

use super::fork::{self, Registration};
use crate::os::RawLocks;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// Locks start here in the file's offset space, far away from any data.
const BASE: i64 = 1 << 40;

/// The byte locks of one open file description.
#[derive(Debug)]
pub(crate) struct OfdLocks {
    // Declared first: the registration must be gone before the number can be reused.
    _registration: Registration,
    file: Arc<OwnedFd>,
}

impl OfdLocks {
    /// Watches over `file` from now on; fails if this process forked since `file` was opened.
    pub(crate) fn new(file: Arc<OwnedFd>, opened_in: fork::Epoch) -> Option<OfdLocks> {
        let registration = fork::register(file.as_raw_fd(), opened_in)?;
        Some(OfdLocks { _registration: registration, file })
    }

    fn set(&self, kind: i32, byte: u64) -> io::Result<bool> {
        match control(&self.file, libc::F_OFD_SETLK, kind, byte) {
            Ok(_) => Ok(true),
            Err(error) => match error.raw_os_error() {
                Some(libc::EAGAIN | libc::EACCES) => Ok(false),
                _ => Err(error),
            },
        }
    }
}

impl RawLocks for OfdLocks {
    fn try_exclusive(&self, byte: u64) -> io::Result<bool> {
        self.set(libc::F_WRLCK, byte)
    }
    fn try_shared(&self, byte: u64) -> io::Result<bool> {
        self.set(libc::F_RDLCK, byte)
    }
    fn release(&self, byte: u64) -> io::Result<()> {
        self.set(libc::F_UNLCK, byte).map(drop)
    }
    fn is_held_elsewhere(&self, byte: u64) -> io::Result<bool> {
        is_held(&self.file, byte)
    }
}

/// Tells whether any other open file description holds `byte` of `file`.
pub(crate) fn is_held<Fd: AsRawFd>(file: &Fd, byte: u64) -> io::Result<bool> {
    let found = control(file, libc::F_OFD_GETLK, libc::F_WRLCK, byte)?;
    Ok(i32::from(found.l_type) != libc::F_UNLCK)
}

/// Shares `byte` from inside a fork handler: one system call, no allocation.
pub(super) fn share_after_fork(fd: i32, byte: u64) {
    // SAFETY: the fork handler passes a descriptor that it has just put in place.
    let file = unsafe { BorrowedFd::borrow_raw(fd) };
    let _ = control(&file, libc::F_OFD_SETLK, libc::F_RDLCK, byte);
}

fn control<Fd: AsRawFd>(file: &Fd, command: i32, kind: i32, byte: u64) -> io::Result<libc::flock> {
    // SAFETY: `flock` is a plain C struct for which all zeroes is a value.
    let mut lock: libc::flock = unsafe { core::mem::zeroed() };
    lock.l_type = kind as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    lock.l_start = BASE + byte as i64;
    lock.l_len = 1;
    // SAFETY: the descriptor is open (borrowed from its owner), the commands used here take a
    // pointer to a `flock`, and `l_pid` is 0 as OFD commands demand.
    match unsafe { libc::fcntl(file.as_raw_fd(), command, &raw mut lock) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(lock),
    }
}

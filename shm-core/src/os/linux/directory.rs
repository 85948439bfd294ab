//! The directory that segment files live in, and what may be done to a name in it.
//!
//! Upholds invariant 9: a name is taken away only while it still leads to the inode that was
//! checked, and every file is opened without following links.

use rustix::fs::{self, AtFlags, CWD, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// Where the C library's `shm_open` puts its objects on Linux.
pub(crate) const ROOT: &str = "/dev/shm";

/// What a file is, as far as trusting it is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileIdentity {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) uid: u32,
    pub(crate) len: u64,
    pub(crate) allocated: u64,
    pub(crate) links: u64,
    pub(crate) regular: bool,
}

/// Path of a segment file.
pub(crate) fn path(file: &str) -> PathBuf {
    PathBuf::from(ROOT).join(file)
}

/// Opens a segment file; links are not followed, and a pipe of that name does not block.
pub(crate) fn open(file: &str, writable: bool) -> Result<OwnedFd, Errno> {
    let mode = if writable { OFlags::RDWR } else { OFlags::RDONLY };
    let flags = mode | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    fs::open(path(file), flags, Mode::empty())
}

/// Identity of an open file.
pub(crate) fn identify(file: &OwnedFd) -> Result<FileIdentity, Errno> {
    fs::fstat(file).map(identity)
}

/// Identity of whatever the name leads to now.
pub(crate) fn lookup(file: &str) -> Result<FileIdentity, Errno> {
    fs::statat(CWD, path(file), AtFlags::SYMLINK_NOFOLLOW).map(identity)
}

fn identity(stat: fs::Stat) -> FileIdentity {
    FileIdentity {
        device: stat.st_dev,
        inode: stat.st_ino,
        uid: stat.st_uid,
        len: u64::try_from(stat.st_size).unwrap_or(0),
        allocated: u64::try_from(stat.st_blocks).unwrap_or(0) * 512,
        // As wide as the processor's: 32 bits on some.
        #[allow(clippy::useless_conversion)]
        links: u64::from(stat.st_nlink),
        regular: FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile,
    }
}

/// Gives a finished draft its name; fails with `EXIST` if the name is taken.
pub(crate) fn publish(draft: &str, file: &str) -> Result<(), Errno> {
    fs::renameat_with(CWD, path(draft), CWD, path(file), RenameFlags::NOREPLACE)
}

/// Gives a finished draft the name that another segment has now, in one step.
pub(crate) fn publish_over(draft: &str, file: &str) -> Result<(), Errno> {
    fs::renameat(CWD, path(draft), CWD, path(file))
}

/// Takes the name away. The caller holds the unlink lock and has compared the inode.
pub(crate) fn remove(file: &str) -> Result<(), Errno> {
    fs::unlink(path(file))
}

/// Names of all files with one of the prefixes, sorted.
pub(crate) fn files(prefixes: &[&str]) -> std::io::Result<Vec<String>> {
    let mut found: Vec<String> = std::fs::read_dir(ROOT)?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|file| prefixes.iter().any(|prefix| file.starts_with(prefix)))
        .collect();
    found.sort_unstable();
    Ok(found)
}

/// Bytes that can still be reserved.
pub(crate) fn available() -> Option<u64> {
    let stat = fs::statvfs(ROOT).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

//! A `/dev/shm` of a child's own, as small or as read-only as a test needs it.

use rustix::thread::{UnshareFlags, unshare_unsafe};
use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const SHM: &std::ffi::CStr = c"/dev/shm";

/// Mounts an empty tmpfs of `bytes` over `/dev/shm`, for the calling thread and what it starts.
/// Without the permission it prints why and answers false.
pub(crate) fn mount(bytes: u64) -> bool {
    match try_mount(bytes) {
        Ok(()) => true,
        Err(error) => {
            println!("SKIPPED: cannot mount a private tmpfs: {error}");
            false
        }
    }
}

/// Makes the private `/dev/shm` read-only.
pub(crate) fn remount_read_only() {
    checked(|| {
        // SAFETY: constant NUL-terminated paths; only this thread's mount namespace changes.
        unsafe {
            let flags = libc::MS_REMOUNT | libc::MS_RDONLY;
            libc::mount(std::ptr::null(), SHM.as_ptr(), std::ptr::null(), flags, std::ptr::null())
        }
    })
    .unwrap();
}

/// Mounts a file of the private `/dev/shm` over itself: its name can then not be taken away.
pub(crate) fn make_mount_point(file: &Path) {
    let file = CString::new(file.as_os_str().as_bytes()).expect("a path holds no NUL");
    checked(|| {
        // SAFETY: a NUL-terminated path that outlives the call.
        unsafe {
            let (path, none) = (file.as_ptr(), std::ptr::null());
            libc::mount(path, path, none, libc::MS_BIND, none.cast())
        }
    })
    .unwrap();
}

fn try_mount(bytes: u64) -> io::Result<()> {
    // SAFETY: a new mount namespace affects path lookups of this thread only.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }?;
    checked(|| {
        // SAFETY: constant NUL-terminated paths.
        unsafe {
            let flags = libc::MS_REC | libc::MS_PRIVATE;
            let root = c"/".as_ptr();
            libc::mount(std::ptr::null(), root, std::ptr::null(), flags, std::ptr::null())
        }
    })?;
    let options = CString::new(format!("size={bytes},mode=1777")).expect("digits hold no NUL");
    checked(|| {
        // SAFETY: NUL-terminated strings that outlive the call.
        unsafe {
            let kind = c"tmpfs".as_ptr();
            libc::mount(kind, SHM.as_ptr(), kind, 0, options.as_ptr().cast())
        }
    })
}

fn checked(call: impl FnOnce() -> i32) -> io::Result<()> {
    match call() {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

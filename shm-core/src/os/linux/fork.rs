//! What `fork` must not do to locks: leave a dead parent's lock alive in its child.
//!
//! Upholds invariant 3. A child inherits the parent's open file descriptions, and with them every
//! OFD lock: if the parent is killed, the lock lives on in a child that never knew of it. A handler
//! that the C library runs in the child replaces each registered descriptor by a fresh one on the
//! same file. Handles keep working in the child (readers at once, writers after taking the lock
//! again), and a [`generation`] tells a guard that its lock stayed with the parent. A descriptor that is
//! no file, such as a socket, becomes one of nothing ([`NotInherited`]).
//!
//! This is the crate's one process-wide registry: `pthread_atfork` has no other shape. It holds
//! descriptor numbers in fixed blocks of atomics, so that the handler neither locks nor allocates
//! (it may only call async-signal-safe functions). `vfork`, `posix_spawn` and raw `clone` followed
//! by `exec` need no handler: descriptors are opened close-on-exec.

use super::ofd;
use crate::os::locks::PRESENCE;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU64, Ordering};

const FREE: i32 = -1;
const BLOCK: usize = 128;

struct Block {
    entries: [AtomicI32; BLOCK],
    next: AtomicPtr<Block>,
}

impl Block {
    const fn new() -> Block {
        Block {
            entries: [const { AtomicI32::new(FREE) }; BLOCK],
            next: AtomicPtr::new(ptr::null_mut()),
        }
    }
}

static FIRST: Block = Block::new();
static GENERATION: AtomicU64 = AtomicU64::new(0);
static FORKS: AtomicU64 = AtomicU64::new(0);
static HANDLERS: Once = Once::new();

/// How many forks lie between the first process that asked and this one.
#[inline]
pub(crate) fn generation() -> u64 {
    watch();
    GENERATION.load(Ordering::Relaxed)
}

/// Has forks counted from now on.
#[inline]
fn watch() {
    HANDLERS.call_once(|| {
        // SAFETY: both handlers only touch statics and call async-signal-safe functions.
        let failed = unsafe { libc::pthread_atfork(Some(before), None, Some(in_child)) };
        // Out of memory for one list entry: there is nothing sensible left to do without it.
        assert_eq!(failed, 0, "pthread_atfork failed");
    });
}

/// How often this process had forked at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Epoch(u64, u64);

/// Take this before opening a descriptor that will be registered.
pub(crate) fn epoch() -> Epoch {
    watch();
    Epoch(FORKS.load(Ordering::SeqCst), generation())
}

/// A registered descriptor; deregisters on drop, which must come before the descriptor closes.
#[derive(Debug)]
pub(crate) struct Registration {
    entry: &'static AtomicI32,
}

/// Registers `fd`, opened since `opened_in`. `None` if the process forked in between: some child
/// then has the descriptor unregistered, so it must not be locked; open it again.
pub(crate) fn register(fd: i32, opened_in: Epoch) -> Option<Registration> {
    let registration = Registration { entry: claim(fd) };
    (epoch() == opened_in).then_some(registration)
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.entry.store(FREE, Ordering::SeqCst);
    }
}

fn claim(fd: i32) -> &'static AtomicI32 {
    let mut block: &'static Block = &FIRST;
    loop {
        for entry in &block.entries {
            if entry.load(Ordering::Relaxed) == FREE
                && entry.compare_exchange(FREE, fd, Ordering::SeqCst, Ordering::Relaxed).is_ok()
            {
                return entry;
            }
        }
        block = next_of(block);
    }
}

fn next_of(block: &'static Block) -> &'static Block {
    let next = block.next.load(Ordering::Acquire);
    if !next.is_null() {
        // SAFETY: only ever set to a leaked block, see below.
        return unsafe { &*next };
    }
    let fresh = Box::into_raw(Box::new(Block::new()));
    let linked =
        block.next.compare_exchange(ptr::null_mut(), fresh, Ordering::AcqRel, Ordering::Acquire);
    match linked {
        // SAFETY: `fresh` is now reachable for ever: blocks are never freed.
        Ok(_) => unsafe { &*fresh },
        Err(winner) => {
            // SAFETY: `fresh` came from `Box::into_raw` and was not shared.
            drop(unsafe { Box::from_raw(fresh) });
            // SAFETY: the winner is a leaked block, as above.
            unsafe { &*winner }
        }
    }
}

/// Keeps a descriptor, such as a socket, from every child that this process forks from now on: there its
/// number leads nowhere, so whoever is at the other end sees the end of this process when it ends. For
/// what is no file that the child could open anew. `exec` is not its concern: open with close-on-exec.
///
/// Drop it before the descriptor is closed.
#[derive(Debug)]
pub struct NotInherited {
    _registration: Registration,
}

impl NotInherited {
    /// Until it is dropped.
    pub fn new(descriptor: BorrowedFd<'_>) -> NotInherited {
        watch();
        let entry = claim(descriptor.as_raw_fd());
        NotInherited { _registration: Registration { entry } }
    }
}

extern "C" fn before() {
    FORKS.fetch_add(1, Ordering::SeqCst);
}

extern "C" fn in_child() {
    GENERATION.fetch_add(1, Ordering::SeqCst);
    let mut block: *const Block = &raw const FIRST;
    // SAFETY: the list starts at a static and links leaked blocks only.
    while let Some(current) = unsafe { block.as_ref() } {
        for entry in &current.entries {
            let fd = entry.load(Ordering::SeqCst);
            if fd != FREE {
                replace(fd);
            }
        }
        block = current.next.load(Ordering::Acquire);
    }
}

/// Puts a fresh description of the same file at the same number.
fn replace(fd: i32) {
    let mut path = [0u8; 32];
    write_path(&mut path, fd);
    // SAFETY: a query on a descriptor number, no memory involved.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
    let mode = if flags == -1 { libc::O_RDONLY } else { flags & libc::O_ACCMODE };
    // SAFETY: `path` is NUL-terminated; `open` is async-signal-safe.
    let mut fresh = unsafe { libc::open(path.as_ptr().cast(), mode | libc::O_CLOEXEC) };
    if fresh == -1 {
        // No /proc: a handle that can lock nothing is right, one that keeps the parent's locks
        // is not.
        // SAFETY: a constant NUL-terminated path.
        fresh = unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
    }
    if fresh != -1 {
        // Attached before the inherited description goes, and with it the parent's attachment.
        ofd::share_after_fork(fresh, PRESENCE);
        // SAFETY: two open descriptors; `dup3` closes the inherited one and with it this child's
        // share in the parent's locks.
        unsafe {
            libc::dup3(fresh, fd, libc::O_CLOEXEC);
            libc::close(fresh);
        }
    }
}

/// `/proc/self/fd/N`, without allocating.
fn write_path(path: &mut [u8; 32], fd: i32) {
    const PREFIX: &[u8] = b"/proc/self/fd/";
    path[..PREFIX.len()].copy_from_slice(PREFIX);
    let (mut digits, mut left, mut len) = ([0u8; 10], fd.unsigned_abs(), 0);
    loop {
        digits[len] = b'0' + (left % 10) as u8;
        (left, len) = (left / 10, len + 1);
        if left == 0 {
            break;
        }
    }
    for (place, digit) in digits[..len].iter().rev().enumerate() {
        path[PREFIX.len() + place] = *digit;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_terminated() {
        for (fd, text) in [
            (0, "/proc/self/fd/0"),
            (40, "/proc/self/fd/40"),
            (i32::MAX, "/proc/self/fd/2147483647"),
        ] {
            let mut path = [0; 32];
            write_path(&mut path, fd);
            assert_eq!(std::ffi::CStr::from_bytes_until_nul(&path).unwrap().to_str(), Ok(text));
        }
    }

    #[test]
    fn the_registry_grows_beyond_one_block() {
        let opened_in = epoch();
        let all: Vec<_> = (0..BLOCK as i32 * 2)
            .map(|_| std::fs::File::open("/dev/null").unwrap())
            .map(|file| (register(std::os::fd::AsRawFd::as_raw_fd(&file), opened_in), file))
            .collect();
        assert!(!FIRST.next.load(Ordering::Acquire).is_null());
        drop(all);
    }
}

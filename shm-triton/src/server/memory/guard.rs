//! A client that cuts its object short must not kill the server.
//!
//! Access to a page beyond the end of an object is the signal SIGBUS, whose default ends the process.
//! The handler here puts zero pages where the pages of the registered region were, marks the region as
//! damaged, and lets the interrupted access go on; whoever used the region finds the mark afterwards.
//! Signals that are not about a registered region go to the handler that was there before.
//!
//! A handler may interrupt any instruction, so it takes no lock and allocates nothing: the regions are
//! in a table of fixed size, of atomics only.

use parking_lot::Mutex;
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
use std::ffi::{c_int, c_void};
use std::io;
use std::ptr::NonNull;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};

/// Regions that one process can watch, over all its servers.
pub(super) const TABLE_SIZE: usize = 4096;

static TABLE: [Entry; TABLE_SIZE] = [const { Entry::new() }; TABLE_SIZE];
/// Entries beyond this were never used.
static USED: AtomicUsize = AtomicUsize::new(0);
/// Entries below `USED` that are free again. Never taken by the handler.
static FREE: Mutex<Vec<usize>> = Mutex::new(Vec::new());
/// What the process did about the signal before.
static PREVIOUS: OnceLock<libc::sigaction> = OnceLock::new();

/// Installs the handler, once for the process and for good.
pub(in crate::server) fn install() -> io::Result<()> {
    static INSTALLED: Mutex<bool> = Mutex::new(false);
    let mut installed = INSTALLED.lock();
    if *installed {
        return Ok(());
    }
    // SAFETY: an all-zero `sigaction` is a valid one: the default action, no flags, an empty mask.
    let mut previous: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are null or valid for the call.
    if unsafe { libc::sigaction(libc::SIGBUS, std::ptr::null(), &mut previous) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let _ = PREVIOUS.set(previous);
    // SAFETY: as above.
    let mut ours: libc::sigaction = unsafe { std::mem::zeroed() };
    let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = handle;
    ours.sa_sigaction = handler as libc::sighandler_t;
    ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
    // SAFETY: the handler has the signature that SA_SIGINFO asks for and does only what a handler may.
    if unsafe { libc::sigaction(libc::SIGBUS, &ours, std::ptr::null_mut()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    *installed = true;
    Ok(())
}

/// A mapping that the handler knows of, until this is dropped.
#[derive(Debug)]
pub(super) struct Watched {
    index: usize,
}

/// Tells the handler of a mapping, which must stay mapped until what is returned is dropped. `None` if
/// the table is full.
pub(super) fn watch(first: NonNull<u8>, len: usize) -> Option<Watched> {
    let mut free = FREE.lock();
    let index = match free.pop() {
        Some(index) => index,
        None => {
            let next = USED.load(Ordering::Relaxed);
            if next == TABLE_SIZE {
                return None;
            }
            next
        }
    };
    TABLE[index].set(first.addr().get(), len);
    USED.fetch_max(index + 1, Ordering::Release);
    Some(Watched { index })
}

impl Watched {
    pub fn is_damaged(&self) -> bool {
        TABLE[self.index].damaged.load(Ordering::Acquire)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        TABLE[self.index].set(0, 0);
        FREE.lock().push(self.index);
    }
}

/// One watched mapping. Changed under the lock or by its only owner; read by the handler at any moment.
struct Entry {
    /// Odd while the others change. The handler's own entry never changes: whoever has the fault holds
    /// the mapping.
    version: AtomicUsize,
    start: AtomicUsize,
    len: AtomicUsize,
    damaged: AtomicBool,
}

impl Entry {
    const fn new() -> Entry {
        Entry {
            version: AtomicUsize::new(0),
            start: AtomicUsize::new(0),
            len: AtomicUsize::new(0),
            damaged: AtomicBool::new(false),
        }
    }

    fn set(&self, start: usize, len: usize) {
        self.version.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::Release);
        self.start.store(start, Ordering::Relaxed);
        self.len.store(len, Ordering::Relaxed);
        self.damaged.store(false, Ordering::Relaxed);
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Start and length, if they belong together.
    fn get(&self) -> Option<(usize, usize)> {
        let version = self.version.load(Ordering::Acquire);
        let range = (self.start.load(Ordering::Relaxed), self.len.load(Ordering::Relaxed));
        fence(Ordering::Acquire);
        let unchanged =
            version.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == version;
        unchanged.then_some(range)
    }
}

extern "C" fn handle(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes a valid `siginfo_t` to a handler installed with SA_SIGINFO.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr().addr()) };
    // A code above zero is the kernel's: only then the address is that of an access.
    if code > 0 && replace_pages(address) {
        return;
    }
    pass_on(signal, info, context);
}

/// True if the address is in a watched mapping, which is then all zeros.
fn replace_pages(address: usize) -> bool {
    let entries = &TABLE[..USED.load(Ordering::Acquire).min(TABLE_SIZE)];
    for entry in entries {
        let Some((start, len)) = entry.get() else { continue };
        if !(start..start.saturating_add(len)).contains(&address) {
            continue;
        }
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::PRIVATE | MapFlags::FIXED | MapFlags::NORESERVE;
        // SAFETY: the range is a mapping of `Mapping`'s that is alive, because the access that was
        // interrupted goes through a holder of it. Its bytes are only accessed through raw pointers and
        // by copies that take any bytes, so that other bytes may appear there.
        let replaced = unsafe {
            mmap_anonymous(std::ptr::without_provenance_mut(start), len, protection, flags)
        };
        if replaced.is_ok() {
            entry.damaged.store(true, Ordering::Release);
            return true;
        }
    }
    false
}

/// Does what the process would have done without this handler.
fn pass_on(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let previous = PREVIOUS.get();
    match previous.map_or(libc::SIG_DFL, |previous| previous.sa_sigaction) {
        libc::SIG_DFL | libc::SIG_IGN => {
            // SAFETY: reads a field that every signal has.
            let sent = unsafe { (*info).si_code } <= 0;
            if sent && previous.is_some_and(|previous| previous.sa_sigaction == libc::SIG_IGN) {
                return;
            }
            // SAFETY: an all-zero `sigaction` is the default action, and a handler may install it. The
            // access is repeated after the handler and then ends the process; a signal that was sent is
            // raised again.
            unsafe {
                let default: libc::sigaction = std::mem::zeroed();
                libc::sigaction(signal, &default, std::ptr::null_mut());
                if sent {
                    libc::raise(signal);
                }
            }
        }
        handler => {
            let takes_info =
                previous.is_some_and(|previous| previous.sa_flags & libc::SA_SIGINFO != 0);
            if takes_info {
                // SAFETY: it was installed with SA_SIGINFO, so it is a function of this signature.
                let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) =
                    unsafe { std::mem::transmute(handler) };
                handler(signal, info, context);
            } else {
                // SAFETY: it was installed without SA_SIGINFO and is neither default nor ignore, so it
                // is a function of this signature.
                let handler: extern "C" fn(c_int) = unsafe { std::mem::transmute(handler) };
                handler(signal);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An address that is nobody's, so that no other test's mapping is found in its place.
    fn nowhere(at: usize) -> NonNull<u8> {
        NonNull::new(std::ptr::without_provenance_mut((1 << 60) + at)).unwrap()
    }

    #[test]
    fn an_entry_is_free_again_after_its_mapping() {
        let first = watch(nowhere(0), 4096).unwrap();
        let second = watch(nowhere(8192), 4096).unwrap();
        assert_ne!(first.index, second.index);
        assert_eq!(TABLE[second.index].get(), Some((nowhere(8192).addr().get(), 4096)));
        assert!(!second.is_damaged());
        let index = second.index;
        drop(second);
        assert_ne!(TABLE[index].get(), Some((nowhere(8192).addr().get(), 4096)));
        TABLE[first.index].damaged.store(true, Ordering::Release);
        assert!(first.is_damaged());
    }

    #[test]
    fn addresses_of_no_mapping_are_left_alone() {
        let _watched = watch(nowhere(1 << 20), 4096).unwrap();
        for address in
            [0, 4096, nowhere(1 << 20).addr().get() - 1, nowhere((1 << 20) + 4096).addr().get()]
        {
            assert!(!replace_pages(address), "{address:#x}");
        }
    }

    #[test]
    fn an_entry_that_is_being_changed_is_passed_over() {
        let entry = Entry::new();
        entry.set(4096, 64);
        entry.version.fetch_add(1, Ordering::Relaxed);
        assert_eq!(entry.get(), None);
    }
}

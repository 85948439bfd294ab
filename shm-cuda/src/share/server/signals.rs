//! Keeps signals for the threads of the program itself.

use std::mem::MaybeUninit;
use std::ptr;

/// Faults of the thread itself: blocked, they would end the process past any handler.
const FAULTS: [i32; 6] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP, libc::SIGABRT];

/// Keeps signals to the process, such as that of Ctrl-C, from being delivered on the calling thread.
pub(super) fn block() {
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `all` is writable memory for a set; the functions write nothing else. The last one reads the
    // set that the first one initialised, and changes the mask of this thread alone.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        for fault in FAULTS {
            libc::sigdelset(all.as_mut_ptr(), fault);
        }
        libc::pthread_sigmask(libc::SIG_BLOCK, all.as_ptr(), ptr::null_mut());
    }
}

//! This library as the dynamic loader sees it.

use std::ffi::{CStr, c_void};
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};
use std::sync::OnceLock;

use crate::report;

static LIBRARY: OnceLock<Option<usize>> = OnceLock::new();

/// Keeps the library loaded for ever, since its workers may be running when it is closed, and
/// arranges for the report at exit.
pub fn pin() {
    LIBRARY.get_or_init(|| {
        // SAFETY: the function takes nothing and stays loaded, as the line below sees to.
        unsafe { libc::atexit(report::write_at_exit) };
        own_handle().map(|handle| handle.as_ptr().expose_provenance())
    });
}

/// An exported function of this library, whatever other libraries export.
pub fn find(name: &CStr) -> Option<NonNull<c_void>> {
    pin();
    let handle = (*LIBRARY.get()?)?;
    let handle = ptr::with_exposed_provenance_mut::<c_void>(handle);
    // SAFETY: the handle is open for ever, and the name ends with a nul.
    NonNull::new(unsafe { libc::dlsym(handle, name.as_ptr()) })
}

fn own_handle() -> Option<NonNull<c_void>> {
    let mut info = MaybeUninit::<libc::Dl_info>::uninit();
    let inside = (pin as fn() as *const ()).cast::<c_void>();
    // SAFETY: `dladdr` only compares the address, and `info` has room for what it stores.
    if unsafe { libc::dladdr(inside, info.as_mut_ptr()) } == 0 {
        return None;
    }
    // SAFETY: `dladdr` succeeded, so it has filled all fields.
    let info = unsafe { info.assume_init() };
    let flags = libc::RTLD_LAZY | libc::RTLD_NOLOAD | libc::RTLD_NODELETE;
    // SAFETY: the name is the loader's own of a library that is loaded, which this code is in, so
    // no initialiser runs.
    NonNull::new(unsafe { libc::dlopen(info.dli_fname, flags) })
}

//! Errors of the server, owned.

use core::ptr::NonNull;
use std::ffi::CString;

use crate::ffi;

/// An error object of the server's; it is deleted with this.
pub struct Fault(NonNull<ffi::Error>);

impl Fault {
    /// The client asked for something that the model cannot do.
    pub fn invalid(message: &str) -> Self {
        Self::new(ffi::ERROR_INVALID_ARGUMENT, message)
    }

    /// The model failed.
    pub fn internal(message: &str) -> Self {
        Self::new(ffi::ERROR_INTERNAL, message)
    }

    fn new(code: u32, message: &str) -> Self {
        let message = CString::new(message.replace('\0', " ")).unwrap_or_default();
        // SAFETY: the message ends with a NUL and lives through the call, which copies it.
        let error = unsafe { ffi::TRITONSERVER_ErrorNew(code, message.as_ptr()) };
        Self(NonNull::new(error).expect("the server makes errors of every code"))
    }

    /// Hands the object over to the server, which deletes it.
    pub fn into_raw(self) -> *mut ffi::Error {
        let error = self.as_ptr();
        core::mem::forget(self);
        error
    }

    /// For a call that only looks at it.
    pub fn as_ptr(&self) -> *mut ffi::Error {
        self.0.as_ptr()
    }
}

impl Drop for Fault {
    fn drop(&mut self) {
        // SAFETY: the object came from the server, is ours alone and is not used after this.
        unsafe { ffi::TRITONSERVER_ErrorDelete(self.0.as_ptr()) }
    }
}

/// What a call of the server's says: null is success.
///
/// # Safety
///
/// `error` was just returned by a function of the server's that gives it away.
pub unsafe fn told(error: *mut ffi::Error) -> Result<(), Fault> {
    NonNull::new(error).map_or(Ok(()), |error| Err(Fault(error)))
}

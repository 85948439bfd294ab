//! What the driver refused, in words.
//!
//! Upholds invariant 10: an error names the call, carries the driver's code, and says what to do.

use crate::driver::calls;
use core::ffi::{CStr, c_char};
use std::path::PathBuf;

/// The driver refused a call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{call} failed with {name} ({code}): {advice}", advice = self.kind().advice())]
pub struct CudaError {
    call: &'static str,
    code: i32,
    name: String,
}

/// The refusals that a program may want to tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CudaErrorKind {
    /// There is no driver, or it is not initialised.
    NoDriver,
    /// The device has no room.
    OutOfMemory,
    /// An argument that the driver does not accept, such as memory that cannot be exported.
    InvalidValue,
    /// No context, or one that does not fit: closed, another process's, another device's.
    InvalidContext,
    /// A handle that does not exist, or does no longer.
    InvalidHandle,
    /// This device or driver cannot do that.
    NotSupported,
    /// Queued work has not finished. Not a failure.
    NotReady,
    /// The context is lost for good: earlier work on the device failed.
    Lost,
    /// Anything else.
    Other,
}

impl CudaErrorKind {
    fn advice(self) -> &'static str {
        match self {
            CudaErrorKind::NoDriver => {
                "no NVIDIA driver is in use; install one, or name the simulated one in SHM_CUDA_DRIVER"
            }
            CudaErrorKind::OutOfMemory => "the device has no room; use fewer or smaller buffers",
            CudaErrorKind::InvalidValue => "the driver does not accept an argument",
            CudaErrorKind::InvalidContext => {
                "the context is closed, or belongs to another process or device"
            }
            CudaErrorKind::InvalidHandle => "what the handle stood for is gone",
            CudaErrorKind::NotSupported => "this device or driver cannot do that",
            CudaErrorKind::NotReady => "queued work has not finished yet",
            CudaErrorKind::Lost => {
                "earlier work on the device failed and its context is lost; only a new process gets a new one"
            }
            CudaErrorKind::Other => "see the CUDA driver's documentation of the code",
        }
    }
}

impl CudaError {
    pub(crate) fn new(call: &'static str, code: i32) -> CudaError {
        CudaError { call, code, name: name_of(code) }
    }

    /// The function of the driver.
    pub fn call(&self) -> &'static str {
        self.call
    }

    /// The driver's code, a `CUresult`.
    pub fn code(&self) -> i32 {
        self.code
    }

    /// What it means for a program.
    pub fn kind(&self) -> CudaErrorKind {
        match self.code {
            3 | 34 | 35 | 36 | 100 => CudaErrorKind::NoDriver,
            2 => CudaErrorKind::OutOfMemory,
            1 | 101 => CudaErrorKind::InvalidValue,
            4 | 201 | 208 | 216 | 217 | 708 | 709 => CudaErrorKind::InvalidContext,
            400 => CudaErrorKind::InvalidHandle,
            600 => CudaErrorKind::NotReady,
            800 | 801 => CudaErrorKind::NotSupported,
            46 | 214 | 700 | 702 | 710 | 714..=719 | 999 => CudaErrorKind::Lost,
            _ => CudaErrorKind::Other,
        }
    }
}

/// Why CUDA cannot be used at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DriverError {
    /// No driver is installed.
    #[error(
        "CUDA is not available: {} cannot be loaded ({why}); install the NVIDIA driver, or name the \
         simulated one in SHM_CUDA_DRIVER",
        path.display()
    )]
    NotFound {
        /// The library that was looked for.
        path: PathBuf,
        /// What the loader said.
        why: String,
    },
    /// There is a driver, and it refuses to start.
    #[error("CUDA is not available: the driver {} does not start", path.display())]
    Init {
        /// The library that was loaded.
        path: PathBuf,
        /// What it said.
        source: CudaError,
    },
    /// The process uses another library already.
    #[error(
        "this process uses the driver {} already; choose one before the first call",
        path.display()
    )]
    Settled {
        /// The library in use.
        path: PathBuf,
    },
}

/// What the driver calls a code; its number where the driver does not know it either.
fn name_of(code: i32) -> String {
    let mut text: *const c_char = core::ptr::null();
    // SAFETY: `text` is a writable pointer; the driver leaves it or sets it to a text of its own.
    let told = unsafe { calls::cuGetErrorName(code, &mut text) };
    match (told, text.is_null()) {
        // SAFETY: the driver said that it knows the code, and then the text lives as long as the driver.
        (0, false) => unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned(),
        _ if code == crate::driver::NO_DRIVER => "CUDA_ERROR_STUB_LIBRARY".to_owned(),
        _ if code == crate::driver::NOT_SUPPORTED => "CUDA_ERROR_NOT_SUPPORTED".to_owned(),
        _ => format!("CUDA error {code}"),
    }
}

/// The result of a call of the driver.
#[inline]
pub(crate) fn check(call: &'static str, code: i32) -> Result<(), CudaError> {
    match code {
        0 => Ok(()),
        code => Err(CudaError::new(call, code)),
    }
}

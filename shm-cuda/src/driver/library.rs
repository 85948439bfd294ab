//! The driver's library, looked for once in the life of a process.
//!
//! One of the three things that belong to the process and not to a handle (see the crate docs): the
//! driver itself keeps one state per process.

use core::ffi::CStr;
use core::num::NonZeroUsize;
use libloading::Library as Handle;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Names the driver's library, for tests with the simulated one and for unusual installations.
pub(super) const VARIABLE: &str = "SHM_CUDA_DRIVER";

#[cfg(target_os = "windows")]
const USUAL: &str = "nvcuda.dll";
#[cfg(not(target_os = "windows"))]
const USUAL: &str = "libcuda.so.1";

/// A library that was loaded, and never is unloaded.
#[derive(Debug)]
pub(super) struct Library {
    handle: Handle,
    path: PathBuf,
}

/// What came of looking.
type Found = Result<Library, NotLoaded>;

/// Why there is none.
#[derive(Clone, Debug)]
pub(super) struct NotLoaded {
    pub(super) path: PathBuf,
    pub(super) why: String,
}

static FOUND: OnceLock<Found> = OnceLock::new();

/// The library, loaded now if it was not.
pub(super) fn loaded() -> Option<&'static Library> {
    found().as_ref().ok()
}

/// The library, or why there is none.
pub(super) fn found() -> &'static Found {
    FOUND.get_or_init(|| {
        let named = std::env::var_os(VARIABLE).filter(|path| !path.is_empty());
        load(named.unwrap_or_else(|| OsString::from(USUAL)).into())
    })
}

/// As [`found`], but from `path`, unless the question was settled before.
pub(super) fn found_at(path: &Path) -> &'static Found {
    FOUND.get_or_init(|| load(path.to_owned()))
}

fn load(path: PathBuf) -> Found {
    // SAFETY: the driver's own initialisers are what every program that uses CUDA runs; a library that
    // somebody names in its place runs with the rights that it has anyway.
    match unsafe { Handle::new(&path) } {
        Ok(handle) => Ok(Library { handle, path }),
        Err(error) => Err(NotLoaded { path, why: error.to_string() }),
    }
}

impl Library {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Address of a function, if the library has it.
    pub(super) fn address(&self, name: &CStr) -> Option<NonZeroUsize> {
        // SAFETY: only the address is taken; whoever calls it says what it is.
        let symbol = unsafe { self.handle.get::<unsafe extern "C" fn()>(name.to_bytes_with_nul()) };
        NonZeroUsize::new(symbol.ok().map_or(0, |function| *function as *const () as usize))
    }
}

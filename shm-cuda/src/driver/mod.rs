//! The CUDA driver, found at run time.
//!
//! A program built with this crate has no library to find at its start: the functions of the driver
//! are forwarded ([`forward`]) to the library that is loaded at the first call. Where there is none, every
//! call answers so.
//!
//! Upholds invariants 8 and 10.

pub(crate) mod calls;
mod forward;
mod library;
mod symbols;

use crate::error::{DriverError, check};
use core::num::NonZeroUsize;
use std::ffi::CStr;
use std::path::{Path, PathBuf};

pub(crate) use forward::{NO_DRIVER, NOT_SUPPORTED};

/// The driver of this process.
///
/// ```
/// match shm_cuda::Driver::load() {
///     Ok(driver) => println!("CUDA {} from {}", driver.version(), driver.path().display()),
///     Err(error) => println!("no CUDA: {error}"),      // the program runs all the same
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Driver {
    path: PathBuf,
    version: u32,
    simulated: bool,
}

impl Driver {
    /// Loads and initialises the driver: the library that the environment variable `SHM_CUDA_DRIVER`
    /// names, `libcuda.so.1` otherwise. What is found is settled for the life of the process.
    ///
    /// # Errors
    /// [`DriverError::NotFound`] where no driver is installed; [`DriverError::Init`] where it refuses.
    pub fn load() -> Result<Driver, DriverError> {
        Driver::initialised(library::found())
    }

    /// As [`Driver::load`], from a library of the caller's choice, whatever the environment says. It
    /// has to be the first thing that the process asks of this crate.
    ///
    /// # Errors
    /// As for [`Driver::load`], and [`DriverError::Settled`] if another library was settled on before.
    pub fn load_from(path: impl AsRef<Path>) -> Result<Driver, DriverError> {
        let driver = Driver::initialised(library::found_at(path.as_ref()))?;
        match driver.path == path.as_ref() {
            true => Ok(driver),
            false => Err(DriverError::Settled { path: driver.path }),
        }
    }

    fn initialised(
        found: &Result<library::Library, library::NotLoaded>,
    ) -> Result<Driver, DriverError> {
        let library = found.as_ref().map_err(|error| DriverError::NotFound {
            path: error.path.clone(),
            why: error.why.clone(),
        })?;
        forward::keep();
        let mut version = 0;
        // SAFETY: no flags are defined; it may be called again and again, from any thread.
        let begun = check("cuInit", unsafe { calls::cuInit(0) });
        begun.map_err(|source| DriverError::Init { path: library.path().to_owned(), source })?;
        // SAFETY: `version` is a writable int.
        let told = check("cuDriverGetVersion", unsafe { calls::cuDriverGetVersion(&mut version) });
        told.map_err(|source| DriverError::Init { path: library.path().to_owned(), source })?;
        Ok(Driver {
            path: library.path().to_owned(),
            version: version.unsigned_abs(),
            simulated: library.address(c"shm_cuda_sim_version").is_some(),
        })
    }

    /// The library it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The newest CUDA it speaks, as `major * 1000 + minor * 10`: 12040 is CUDA 12.4.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// True for the simulated driver, which has no GPU behind it: its figures say nothing of one.
    pub fn is_simulated(&self) -> bool {
        self.simulated
    }

    /// Address of one of the driver's functions that neither this crate nor `cust` declares.
    pub fn symbol(&self, name: &CStr) -> Option<NonZeroUsize> {
        symbol(name)
    }
}

/// Address of one of the driver's functions, if there is a driver and it has it.
pub(crate) fn symbol(name: &CStr) -> Option<NonZeroUsize> {
    library::loaded()?.address(name)
}

//! A device and its primary context.
//!
//! The primary context is the one that PyTorch and every other user of the runtime API work in, so
//! memory and streams are shared with them. It is made current around each call that needs it, on
//! whatever thread the call comes from, and the thread's own context is put back.
//!
//! Upholds invariant 10: nothing stays behind on a thread.

use crate::driver::{Driver, calls};
use crate::error::{CudaError, DriverError, check};
use core::cell::Cell;
use core::ffi::{c_char, c_int};
use core::marker::PhantomData;
use shm_core::fork_generation;
use std::ffi::CStr;
use std::fmt;
use std::sync::Arc;

/// Identity of a device, the same in every process and whatever `CUDA_VISIBLE_DEVICES` says.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct DeviceUuid(pub [u8; 16]);

/// Why a device cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// There is no CUDA at all.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// No device has that number.
    #[error("device {ordinal} does not exist: this process sees {count}, numbered from 0")]
    NoSuchDevice {
        /// The number asked for.
        ordinal: usize,
        /// How many devices there are.
        count: usize,
    },
    /// No device has that identity.
    #[error(
        "no device of this process is {uuid}; it may be hidden by CUDA_VISIBLE_DEVICES or belong to \
         another machine"
    )]
    NoSuchUuid {
        /// The identity asked for.
        uuid: DeviceUuid,
    },
    /// The driver refused.
    #[error("the device cannot be used")]
    Cuda(#[from] CudaError),
}

/// A device that this process uses, with its primary context retained until the last clone is dropped.
///
/// ```no_run
/// let device = shm_cuda::Device::open(0)?;
/// println!("{} ({}), {} bytes free", device.name(), device.uuid(), device.memory()?.free);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Device {
    inner: Arc<Inner>,
}

struct Inner {
    ordinal: usize,
    raw: calls::CUdevice,
    context: usize,
    uuid: DeviceUuid,
    name: String,
    total: usize,
    simulated: bool,
    /// A child of the process that retained the context has no right to it.
    born: u64,
}

/// Room on a device, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceMemory {
    /// Not in use by anybody.
    pub free: usize,
    /// All there is.
    pub total: usize,
}

impl Device {
    /// How many devices this process sees.
    ///
    /// # Errors
    /// [`DeviceError::Driver`] where there is no CUDA.
    pub fn count() -> Result<usize, DeviceError> {
        Driver::load()?;
        let mut count: c_int = 0;
        // SAFETY: `count` is a writable int.
        check("cuDeviceGetCount", unsafe { calls::cuDeviceGetCount(&mut count) })?;
        Ok(usize::try_from(count).unwrap_or(0))
    }

    /// The device of that number, as `cuda:N` counts them.
    ///
    /// # Errors
    /// [`DeviceError::NoSuchDevice`] names how many there are; otherwise what stands in the way.
    pub fn open(ordinal: usize) -> Result<Device, DeviceError> {
        let count = Device::count()?;
        let missing = || DeviceError::NoSuchDevice { ordinal, count };
        let number = c_int::try_from(ordinal).map_err(|_| missing())?;
        if ordinal >= count {
            return Err(missing());
        }
        let mut raw = 0;
        // SAFETY: `raw` is a writable device number.
        check("cuDeviceGet", unsafe { calls::cuDeviceGet(&mut raw, number) })?;
        let (uuid, name, total) = (uuid_of(raw)?, name_of(raw)?, total_of(raw)?);
        let mut context = core::ptr::null_mut();
        // SAFETY: `context` is a writable pointer; the drop below gives the retained context back.
        let retained = unsafe { calls::cuDevicePrimaryCtxRetain(&mut context, raw) };
        check("cuDevicePrimaryCtxRetain", retained)?;
        let context = context as usize;
        let simulated = Driver::load()?.is_simulated();
        let born = fork_generation();
        let inner = Inner { ordinal, raw, context, uuid, name, total, simulated, born };
        Ok(Device { inner: Arc::new(inner) })
    }

    /// The device of that identity.
    ///
    /// # Errors
    /// [`DeviceError::NoSuchUuid`] if this process does not see it.
    pub fn by_uuid(uuid: DeviceUuid) -> Result<Device, DeviceError> {
        for ordinal in 0..Device::count()? {
            let mut raw = 0;
            // SAFETY: `raw` is a writable device number; the ordinal exists.
            check("cuDeviceGet", unsafe { calls::cuDeviceGet(&mut raw, ordinal as c_int) })?;
            if uuid_of(raw)? == uuid {
                return Device::open(ordinal);
            }
        }
        Err(DeviceError::NoSuchUuid { uuid })
    }

    /// Its number in this process.
    pub fn ordinal(&self) -> usize {
        self.inner.ordinal
    }

    /// Its identity.
    pub fn uuid(&self) -> DeviceUuid {
        self.inner.uuid
    }

    /// What the driver calls it; begins with `sim` under the simulated driver.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// True under the simulated driver.
    pub fn is_simulated(&self) -> bool {
        self.inner.simulated
    }

    /// Its room at this moment.
    ///
    /// # Errors
    /// What the driver refuses.
    pub fn memory(&self) -> Result<DeviceMemory, CudaError> {
        let _current = self.enter()?;
        let (mut free, mut total) = (0, 0);
        // SAFETY: both are writable; the context is current.
        check("cuMemGetInfo", unsafe { calls::cuMemGetInfo_v2(&mut free, &mut total) })?;
        Ok(DeviceMemory { free, total: total.min(self.inner.total) })
    }

    /// One of the driver's numbers about the device, a `CUdevice_attribute`; 0 if it does not know it.
    pub fn attribute(&self, attribute: i32) -> i32 {
        let mut value = 0;
        // SAFETY: `value` is a writable int.
        let told = unsafe { calls::cuDeviceGetAttribute(&mut value, attribute, self.inner.raw) };
        if told == 0 { value } else { 0 }
    }

    /// Makes the device's context current on this thread until the result is dropped; whatever was
    /// current before is so again then. Nests.
    ///
    /// # Errors
    /// What the driver refuses, such as in a forked child.
    pub fn make_current(&self) -> Result<Current<'_>, CudaError> {
        // The caller may change what is current while this lives, so no call below relies on it.
        Ok(Current { _entered: self.push(NOBODY)?, _device: self })
    }

    /// As [`Device::make_current`], for a stretch of this crate's own code: what it calls in turn finds
    /// the context current and leaves it at that.
    pub(crate) fn enter(&self) -> Result<Entered, CudaError> {
        match INNERMOST.get() == self.inner.context {
            true => Ok(Entered { pushed: None, _thread: PhantomData }),
            false => self.push(self.inner.context),
        }
    }

    fn push(&self, innermost: usize) -> Result<Entered, CudaError> {
        // SAFETY: the context is retained by `self`; popped when the result is dropped, whatever has
        // become of `self` by then.
        check("cuCtxPushCurrent", unsafe { calls::cuCtxPushCurrent_v2(self.context()) })?;
        let before = INNERMOST.replace(innermost);
        Ok(Entered { pushed: Some(before), _thread: PhantomData })
    }

    /// Waits until all work that was queued on the device by this process is done.
    ///
    /// # Errors
    /// What the driver reports, such as a failure of earlier work.
    pub fn synchronize(&self) -> Result<(), CudaError> {
        let _current = self.enter()?;
        // SAFETY: a context is current.
        check("cuCtxSynchronize", unsafe { calls::cuCtxSynchronize() })
    }

    /// True if memory of `other` can be read and written by this device directly.
    pub fn can_access(&self, other: &Device) -> bool {
        let mut can = 0;
        // SAFETY: `can` is a writable int; both are devices.
        let told =
            unsafe { calls::cuDeviceCanAccessPeer(&mut can, self.inner.raw, other.inner.raw) };
        told == 0 && can != 0
    }

    /// Lets this device read and write the memory of `other` directly.
    ///
    /// # Errors
    /// [`CudaErrorKind::NotSupported`](crate::CudaErrorKind) or
    /// [`CudaErrorKind::InvalidValue`](crate::CudaErrorKind) if the two cannot.
    pub fn enable_access(&self, other: &Device) -> Result<(), CudaError> {
        const ALREADY: i32 = 704;
        let _current = self.enter()?;
        // SAFETY: a context is current, and the other's is retained by `other`.
        match unsafe { calls::cuCtxEnablePeerAccess(other.context(), 0) } {
            ALREADY => Ok(()),
            code => check("cuCtxEnablePeerAccess", code),
        }
    }

    pub(crate) fn context(&self) -> calls::CUcontext {
        self.inner.context as calls::CUcontext
    }

    pub(crate) fn raw(&self) -> calls::CUdevice {
        self.inner.raw
    }

    /// False in a forked child of the process that opened the device: nothing may be given back there.
    pub(crate) fn is_ours(&self) -> bool {
        self.inner.born == fork_generation()
    }
}

impl PartialEq for Device {
    fn eq(&self, other: &Device) -> bool {
        self.inner.uuid == other.inner.uuid && self.inner.raw == other.inner.raw
    }
}

impl Eq for Device {}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Device(cuda:{} {} {})", self.inner.ordinal, self.inner.name, self.inner.uuid)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.born == fork_generation() {
            // SAFETY: gives back what `open` retained, once. A refusal at the end of the process, when
            // the driver is shutting down, has no consequence.
            let _ = unsafe { calls::cuDevicePrimaryCtxRelease_v2(self.raw) };
        }
    }
}

/// While it lives, a device's context is current on this thread.
#[derive(Debug)]
#[must_use = "the context is current only until this is dropped"]
pub struct Current<'a> {
    _entered: Entered,
    _device: &'a Device,
}

/// A stretch of this crate's own code with a context current.
#[derive(Debug)]
#[must_use = "the context is current only until this is dropped"]
pub(crate) struct Entered {
    /// What was innermost before, if this pushed.
    pushed: Option<usize>,
    _thread: PhantomData<*const ()>,
}

/// No context of which this crate knows that it is current.
const NOBODY: usize = 0;

thread_local! {
    /// The context that the innermost stretch of this crate's own code on this thread made current.
    static INNERMOST: Cell<usize> = const { Cell::new(NOBODY) };
}

impl Drop for Entered {
    fn drop(&mut self) {
        let Some(before) = self.pushed else { return };
        INNERMOST.set(before);
        let mut popped = core::ptr::null_mut();
        // SAFETY: pops what was pushed on this thread; the guard cannot leave it.
        let _ = unsafe { calls::cuCtxPopCurrent_v2(&mut popped) };
    }
}

impl fmt::Display for DeviceUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GPU-")?;
        for (index, byte) in self.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for DeviceUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn uuid_of(raw: calls::CUdevice) -> Result<DeviceUuid, CudaError> {
    let mut uuid = calls::CUuuid { bytes: [0; 16] };
    // SAFETY: `uuid` is writable.
    let mut code = unsafe { calls::cuDeviceGetUuid_v2(&mut uuid, raw) };
    if code == crate::driver::NOT_SUPPORTED {
        // The second version tells the slices of a divided device apart; a driver before 11.4 has only
        // the first.
        // SAFETY: as above.
        code = unsafe { calls::cuDeviceGetUuid(&mut uuid, raw) };
    }
    check("cuDeviceGetUuid", code)?;
    Ok(DeviceUuid(uuid.bytes.map(|byte| byte as u8)))
}

fn name_of(raw: calls::CUdevice) -> Result<String, CudaError> {
    let mut text = [0 as c_char; 256];
    // SAFETY: as many writable characters as it is told.
    check("cuDeviceGetName", unsafe {
        calls::cuDeviceGetName(text.as_mut_ptr(), text.len() as c_int - 1, raw)
    })?;
    // SAFETY: the last character is the 0 that it was created with.
    Ok(unsafe { CStr::from_ptr(text.as_ptr()) }.to_string_lossy().into_owned())
}

fn total_of(raw: calls::CUdevice) -> Result<usize, CudaError> {
    let mut bytes = 0;
    // SAFETY: `bytes` is writable.
    check("cuDeviceTotalMem", unsafe { calls::cuDeviceTotalMem_v2(&mut bytes, raw) })?;
    Ok(bytes)
}

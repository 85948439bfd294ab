//! The driver's own functions, called with nothing around them: what everything here is held against.
//!
//! They are the addresses that the driver's library has, so not even this workspace's forwarding lies
//! between. None makes a context current: [`Device::make_current`] is for the caller to do once.

use core::ffi::{c_char, c_int, c_uint, c_void};
use std::ffi::CStr;
use std::ptr::null_mut;

use anyhow::{Context, Result, ensure};
use shm_cuda::{Device, DeviceSlice, Driver, PinnedBuffer, StreamRef};

const DISABLE_TIMING: c_uint = 2;
const LAZY_ENABLE_PEER_ACCESS: c_uint = 1;
const WRITE_VALUE_64: u32 = 5;
/// Room of one batch.
const MOST: usize = 8;
/// Functions and the attribute that says that the device can, newest first.
const STORES: [(&CStr, i32); 2] = [(c"cuStreamBatchMemOp_v2", 122), (c"cuStreamBatchMemOp", 93)];

type Handle = *mut c_void;
type CopyHere = unsafe extern "C" fn(u64, u64, usize, Handle) -> c_int;
type Download = unsafe extern "C" fn(*mut c_void, u64, usize, Handle) -> c_int;
type Upload = unsafe extern "C" fn(u64, *const c_void, usize, Handle) -> c_int;
type Stores = unsafe extern "C" fn(Handle, c_uint, *mut Operation, c_uint) -> c_int;
type OfHandle = unsafe extern "C" fn(Handle) -> c_int;
type Create = unsafe extern "C" fn(*mut Handle, c_uint) -> c_int;
type Record = unsafe extern "C" fn(Handle, Handle) -> c_int;
type Wait = unsafe extern "C" fn(Handle, Handle, c_uint) -> c_int;
type Elapsed = unsafe extern "C" fn(*mut f32, Handle, Handle) -> c_int;
type IpcGet = unsafe extern "C" fn(*mut IpcHandle, u64) -> c_int;
type IpcOpen = unsafe extern "C" fn(*mut u64, IpcHandle, c_uint) -> c_int;
type IpcClose = unsafe extern "C" fn(u64) -> c_int;
type Report = unsafe extern "C" fn(*mut c_char, usize) -> usize;
type SetDelay = unsafe extern "C" fn(u64, u64);

/// The functions.
pub(super) struct Bare {
    copy: CopyHere,
    download: Download,
    upload: Upload,
    stores: Option<Stores>,
    synchronize: OfHandle,
    event_create: Create,
    event_destroy: OfHandle,
    event_record: Record,
    event_synchronize: OfHandle,
    wait_event: Wait,
    elapsed: Elapsed,
    ipc_get: IpcGet,
    ipc_open: IpcOpen,
    ipc_close: IpcClose,
    report: Option<Report>,
    set_delay: Option<SetDelay>,
}

/// `CUipcMemHandle`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct IpcHandle(pub(super) [u8; 64]);

/// `CUstreamBatchMemOpParams` of a store.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Operation {
    operation: u32,
    _pad: u32,
    address: u64,
    value: u64,
    flags: u32,
    _pad2: u32,
    alias: u64,
    _reserved: u64,
}

/// An event, destroyed when it is dropped.
pub(super) struct Mark<'a> {
    raw: Handle,
    bare: &'a Bare,
}

macro_rules! function {
    ($driver:expr, $name:literal, $type:ty) => {{
        let address = $driver.symbol($name);
        let address = address.with_context(|| format!("the driver has no {:?}", $name))?;
        // SAFETY: the driver's function of that name has the signature of the field it is put in, as
        // `cuda.h` declares it; a library is never unloaded.
        unsafe { core::mem::transmute::<usize, $type>(address.get()) }
    }};
}

impl Bare {
    /// Finds the functions.
    pub(super) fn of(driver: &Driver, device: &Device) -> Result<Bare> {
        let stores = STORES.iter().find_map(|&(name, attribute)| {
            driver.symbol(name).filter(|_| device.attribute(attribute) != 0)
        });
        let report = driver.symbol(c"shm_cuda_sim_report");
        let set_delay = driver.symbol(c"shm_cuda_sim_set_delay_us");
        Ok(Bare {
            copy: function!(driver, c"cuMemcpyDtoDAsync_v2", CopyHere),
            download: function!(driver, c"cuMemcpyDtoHAsync_v2", Download),
            upload: function!(driver, c"cuMemcpyHtoDAsync_v2", Upload),
            // SAFETY: the driver's function of that name has this signature in both versions.
            stores: stores
                .map(|address| unsafe { core::mem::transmute::<usize, Stores>(address.get()) }),
            synchronize: function!(driver, c"cuStreamSynchronize", OfHandle),
            event_create: function!(driver, c"cuEventCreate", Create),
            event_destroy: function!(driver, c"cuEventDestroy_v2", OfHandle),
            event_record: function!(driver, c"cuEventRecord", Record),
            event_synchronize: function!(driver, c"cuEventSynchronize", OfHandle),
            wait_event: function!(driver, c"cuStreamWaitEvent", Wait),
            elapsed: function!(driver, c"cuEventElapsedTime", Elapsed),
            ipc_get: function!(driver, c"cuIpcGetMemHandle", IpcGet),
            ipc_open: function!(driver, c"cuIpcOpenMemHandle_v2", IpcOpen),
            ipc_close: function!(driver, c"cuIpcCloseMemHandle", IpcClose),
            // SAFETY: the simulated driver's function of that name has this signature.
            report: report
                .map(|address| unsafe { core::mem::transmute::<usize, Report>(address.get()) }),
            // SAFETY: as above.
            set_delay: set_delay
                .map(|address| unsafe { core::mem::transmute::<usize, SetDelay>(address.get()) }),
        })
    }

    /// Queues a copy.
    #[inline]
    pub(super) fn copy(
        &self,
        to: DeviceSlice<'_>,
        from: DeviceSlice<'_>,
        queue: StreamRef<'_>,
    ) -> Result<()> {
        let len = to.len().min(from.len());
        // SAFETY: both ranges have as many bytes.
        told("cuMemcpyDtoDAsync", unsafe {
            (self.copy)(to.address(), from.address(), len, raw(queue))
        })
    }

    /// Queues a copy to the host.
    #[inline]
    pub(super) fn download(
        &self,
        to: &PinnedBuffer,
        from: DeviceSlice<'_>,
        queue: StreamRef<'_>,
    ) -> Result<()> {
        let len = to.len().min(from.len());
        // SAFETY: both ranges have as many bytes; the driver finishes the copy before it frees them.
        told("cuMemcpyDtoHAsync", unsafe {
            (self.download)(to.as_mut_ptr().cast(), from.address(), len, raw(queue))
        })
    }

    /// Queues a copy from the host and waits for it.
    #[inline]
    pub(super) fn upload(
        &self,
        to: DeviceSlice<'_>,
        from: &[u8],
        queue: StreamRef<'_>,
    ) -> Result<()> {
        let len = to.len().min(from.len());
        // SAFETY: both ranges have as many bytes, and the host's is borrowed until the copy is done.
        told("cuMemcpyHtoDAsync", unsafe {
            (self.upload)(to.address(), from.as_ptr().cast(), len, raw(queue))
        })?;
        self.synchronize(queue)
    }

    /// Whether the device stores words itself.
    pub(super) fn can_store(&self) -> bool {
        self.stores.is_some()
    }

    /// Queues stores of `value` to the first `count` words of `pages`, as one batch.
    #[inline]
    pub(super) fn store(
        &self,
        pages: &PinnedBuffer,
        count: usize,
        value: u64,
        queue: StreamRef<'_>,
    ) -> Result<()> {
        let stores = self.stores.context("the device stores no words")?;
        ensure!(count <= MOST && count * 8 <= pages.len(), "{count} words are too many");
        let mut operations = [Operation::default(); MOST];
        for (word, operation) in operations.iter_mut().take(count).enumerate() {
            // Pinned memory has the same address on both sides.
            let address = pages.as_mut_ptr() as u64 + 8 * word as u64;
            *operation =
                Operation { operation: WRITE_VALUE_64, address, value, ..Operation::default() };
        }
        // SAFETY: as many operations as it is told, on words of pages that are pinned.
        told("cuStreamBatchMemOp", unsafe {
            stores(raw(queue), count as c_uint, operations.as_mut_ptr(), 0)
        })
    }

    /// Waits until everything queued is done.
    #[inline]
    pub(super) fn synchronize(&self, queue: StreamRef<'_>) -> Result<()> {
        // SAFETY: a queue that exists.
        told("cuStreamSynchronize", unsafe { (self.synchronize)(raw(queue)) })
    }

    /// An event for ordering.
    pub(super) fn mark(&self) -> Result<Mark<'_>> {
        self.mark_with(DISABLE_TIMING)
    }

    /// An event that notes when it was reached.
    pub(super) fn timed_mark(&self) -> Result<Mark<'_>> {
        self.mark_with(0)
    }

    fn mark_with(&self, flags: c_uint) -> Result<Mark<'_>> {
        let mut raw = null_mut();
        // SAFETY: `raw` is a writable handle.
        told("cuEventCreate", unsafe { (self.event_create)(&mut raw, flags) })?;
        Ok(Mark { raw, bare: self })
    }

    /// What another process opens this memory with.
    pub(super) fn handle_of(&self, memory: DeviceSlice<'_>) -> Result<IpcHandle> {
        let mut handle = IpcHandle([0; 64]);
        // SAFETY: `handle` is writable; the memory exists.
        told("cuIpcGetMemHandle", unsafe { (self.ipc_get)(&mut handle, memory.address()) })?;
        Ok(handle)
    }

    /// Opens memory of another process.
    pub(super) fn open(&self, handle: IpcHandle) -> Result<u64> {
        let mut address = 0;
        // SAFETY: `address` is writable; any 64 bytes may be tried.
        told("cuIpcOpenMemHandle", unsafe {
            (self.ipc_open)(&mut address, handle, LAZY_ENABLE_PEER_ACCESS)
        })?;
        Ok(address)
    }

    /// Closes what [`Bare::open`] opened.
    pub(super) fn close(&self, address: u64) -> Result<()> {
        // SAFETY: the driver refuses an address that was not opened.
        told("cuIpcCloseMemHandle", unsafe { (self.ipc_close)(address) })
    }

    /// How many calls the simulated driver has counted; none by a real one.
    pub(super) fn calls(&self) -> Option<u64> {
        let report = self.report?;
        let mut text = vec![0_u8; 4096];
        // SAFETY: as many writable bytes as it is told.
        let len = unsafe { report(text.as_mut_ptr().cast(), text.len()) };
        let text = text.get(..len.min(text.len()))?;
        let text = text.split(|byte| *byte == 0).next()?;
        let told: serde_json::Value = serde_json::from_slice(text).ok()?;
        told["calls"].as_u64()
    }

    /// Has the simulated driver wait for nothing on purpose.
    pub(super) fn no_delay(&self) {
        if let Some(set_delay) = self.set_delay {
            // SAFETY: any two numbers will do.
            unsafe { set_delay(0, 0) };
        }
    }
}

impl Mark<'_> {
    /// Marks the end of what is queued.
    #[inline]
    pub(super) fn record(&self, queue: StreamRef<'_>) -> Result<()> {
        // SAFETY: both exist.
        told("cuEventRecord", unsafe { (self.bare.event_record)(self.raw, raw(queue)) })
    }

    /// Waits until it is reached.
    #[inline]
    pub(super) fn synchronize(&self) -> Result<()> {
        // SAFETY: it exists.
        told("cuEventSynchronize", unsafe { (self.bare.event_synchronize)(self.raw) })
    }

    /// Makes what is queued from now on wait for it.
    #[inline]
    pub(super) fn hold_up(&self, queue: StreamRef<'_>) -> Result<()> {
        // SAFETY: both exist; no flags are defined.
        told("cuStreamWaitEvent", unsafe { (self.bare.wait_event)(raw(queue), self.raw, 0) })
    }

    /// Nanoseconds of device time since another timed mark.
    pub(super) fn since(&self, earlier: &Mark<'_>) -> Result<f64> {
        let mut milliseconds = 0.0_f32;
        // SAFETY: the figure is writable; both exist.
        told("cuEventElapsedTime", unsafe {
            (self.bare.elapsed)(&mut milliseconds, earlier.raw, self.raw)
        })?;
        Ok(f64::from(milliseconds) * 1e6)
    }
}

impl Drop for Mark<'_> {
    fn drop(&mut self) {
        // SAFETY: made by `mark_with`, destroyed once.
        let _ = unsafe { (self.bare.event_destroy)(self.raw) };
    }
}

fn raw(queue: StreamRef<'_>) -> Handle {
    queue.as_raw() as Handle
}

#[inline]
fn told(call: &str, code: c_int) -> Result<()> {
    ensure!(code == 0, "{call} answered {code}");
    Ok(())
}

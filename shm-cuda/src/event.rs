//! Marks in a queue of work that can be asked about, waited for, and sent to another process.

use crate::cuda_stream::StreamRef;
use crate::device::Device;
use crate::driver::calls;
use crate::error::{CudaError, CudaErrorKind, check};

const BLOCKING_SYNC: u32 = 1;
const DISABLE_TIMING: u32 = 2;
const INTERPROCESS: u32 = 4;

/// A mark in a queue of work.
#[derive(Debug)]
pub struct Event {
    device: Device,
    raw: usize,
}

/// What another process needs to use an event of this one: 64 opaque bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(transparent)]
pub struct IpcEventHandle(pub [u8; 64]);

impl Event {
    /// An event for ordering; it counts as reached until it is recorded. A thread that waits for it
    /// spins, which is the fastest for what lasts microseconds.
    ///
    /// # Errors
    /// What the driver refuses.
    pub fn new(device: &Device) -> Result<Event, CudaError> {
        Event::with(device, DISABLE_TIMING)
    }

    /// As [`Event::new`]; a thread that waits for it sleeps.
    ///
    /// # Errors
    /// What the driver refuses.
    pub fn sleeping(device: &Device) -> Result<Event, CudaError> {
        Event::with(device, DISABLE_TIMING | BLOCKING_SYNC)
    }

    /// An event that other processes may wait for, see [`Event::export`].
    ///
    /// # Errors
    /// What the driver refuses.
    pub fn interprocess(device: &Device) -> Result<Event, CudaError> {
        Event::with(device, DISABLE_TIMING | INTERPROCESS)
    }

    /// An event that notes when it was reached, see [`Event::milliseconds_since`].
    ///
    /// # Errors
    /// What the driver refuses.
    pub fn timing(device: &Device) -> Result<Event, CudaError> {
        Event::with(device, 0)
    }

    fn with(device: &Device, flags: u32) -> Result<Event, CudaError> {
        let _current = device.enter()?;
        let mut raw = core::ptr::null_mut();
        // SAFETY: `raw` is a writable handle; a context is current.
        check("cuEventCreate", unsafe { calls::cuEventCreate(&mut raw, flags) })?;
        Ok(Event { device: device.clone(), raw: raw as usize })
    }

    /// Uses an event of another process. It must not be used after its owner dropped it.
    ///
    /// # Errors
    /// [`CudaErrorKind::InvalidContext`] in the process that exported it; what else the driver refuses.
    pub fn import(device: &Device, handle: IpcEventHandle) -> Result<Event, CudaError> {
        let _current = device.enter()?;
        let mut raw = core::ptr::null_mut();
        let handle = calls::CUipcEventHandle { reserved: handle.0.map(|byte| byte as _) };
        // SAFETY: `raw` is a writable handle; any 64 bytes may be tried.
        let opened = unsafe { calls::cuIpcOpenEventHandle(&mut raw, handle) };
        check("cuIpcOpenEventHandle", opened)?;
        Ok(Event { device: device.clone(), raw: raw as usize })
    }

    /// What another process needs to wait for it.
    ///
    /// # Errors
    /// The driver's refusal for an event that is not [`Event::interprocess`].
    pub fn export(&self) -> Result<IpcEventHandle, CudaError> {
        let _current = self.device.enter()?;
        let mut handle = calls::CUipcEventHandle { reserved: [0; 64] };
        // SAFETY: `handle` is writable; the event exists.
        let told = unsafe { calls::cuIpcGetEventHandle(&mut handle, self.raw()) };
        check("cuIpcGetEventHandle", told)?;
        Ok(IpcEventHandle(handle.reserved.map(|byte| byte as u8)))
    }

    /// Marks the end of what `stream` holds at this moment.
    ///
    /// # Errors
    /// What the driver refuses.
    pub fn record(&self, stream: StreamRef<'_>) -> Result<(), CudaError> {
        let _current = self.device.enter()?;
        // SAFETY: both exist.
        check("cuEventRecord", unsafe { calls::cuEventRecord(self.raw(), stream.raw()) })
    }

    /// Tells whether what was recorded is done.
    ///
    /// # Errors
    /// What the driver reports, such as a failure of the work before it.
    pub fn is_reached(&self) -> Result<bool, CudaError> {
        let _current = self.device.enter()?;
        // SAFETY: the event exists.
        match check("cuEventQuery", unsafe { calls::cuEventQuery(self.raw()) }) {
            Err(error) if error.kind() == CudaErrorKind::NotReady => Ok(false),
            outcome => outcome.map(|()| true),
        }
    }

    /// Waits until what was recorded is done.
    ///
    /// # Errors
    /// What the driver reports, such as a failure of the work before it.
    pub fn synchronize(&self) -> Result<(), CudaError> {
        let _current = self.device.enter()?;
        // SAFETY: the event exists.
        check("cuEventSynchronize", unsafe { calls::cuEventSynchronize(self.raw()) })
    }

    /// Milliseconds of device time between two timing events that were reached.
    ///
    /// # Errors
    /// The driver's refusal if either was not recorded, not reached, or takes no times.
    pub fn milliseconds_since(&self, earlier: &Event) -> Result<f32, CudaError> {
        let _current = self.device.enter()?;
        let mut ms = 0.0;
        // SAFETY: `ms` is writable; both events exist.
        let told = unsafe { calls::cuEventElapsedTime(&mut ms, earlier.raw(), self.raw()) };
        check("cuEventElapsedTime", told)?;
        Ok(ms)
    }

    /// The device whose work it marks.
    pub fn device(&self) -> &Device {
        &self.device
    }

    pub(crate) fn raw(&self) -> calls::CUevent {
        self.raw as calls::CUevent
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        if !self.device.is_ours() {
            return;
        }
        if let Ok(_current) = self.device.enter() {
            // SAFETY: made by a constructor, destroyed once.
            let _ = unsafe { calls::cuEventDestroy_v2(self.raw()) };
        }
    }
}

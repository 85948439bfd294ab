//! The device's queues of work, which CUDA calls streams.
//!
//! A handle of the caller's own, of `cust`, or of another library such as PyTorch is as good as one
//! made here: everything in this crate takes a [`StreamRef`].
//!
//! Upholds invariant 6: a stream made here keeps its device's context.

use crate::device::Device;
use crate::driver::calls;
use crate::error::{CudaError, CudaErrorKind, check};
use crate::event::Event;
use core::ffi::c_void;
use core::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};

const NON_BLOCKING: u32 = 1;

/// A queue of work on a device, made here.
#[derive(Debug)]
pub struct CudaStream {
    device: Device,
    raw: usize,
}

/// Somebody's queue of work, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamRef<'a> {
    raw: usize,
    _owner: PhantomData<&'a ()>,
}

impl CudaStream {
    /// A new queue that does not wait for the legacy default stream.
    ///
    /// # Errors
    /// What the driver refuses.
    pub fn new(device: &Device) -> Result<CudaStream, CudaError> {
        let _current = device.enter()?;
        let mut raw = core::ptr::null_mut();
        // SAFETY: `raw` is a writable handle; a context is current.
        check("cuStreamCreate", unsafe { calls::cuStreamCreate(&mut raw, NON_BLOCKING) })?;
        Ok(CudaStream { device: device.clone(), raw: raw as usize })
    }

    /// The queue, for calls that take one.
    pub fn as_ref(&self) -> StreamRef<'_> {
        StreamRef { raw: self.raw, _owner: PhantomData }
    }

    /// The device that does its work.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Waits until everything queued so far is done.
    ///
    /// # Errors
    /// What the driver reports, such as a failure of the queued work.
    pub fn synchronize(&self) -> Result<(), CudaError> {
        self.as_ref().synchronize(&self.device)
    }
}

impl Drop for CudaStream {
    fn drop(&mut self) {
        if !self.device.is_ours() {
            return;
        }
        if let Ok(_current) = self.device.enter() {
            // SAFETY: made by `new`, destroyed once; queued work is finished by the driver all the same.
            let _ = unsafe { calls::cuStreamDestroy_v2(self.raw as calls::CUstream) };
        }
    }
}

impl<'a> From<&'a CudaStream> for StreamRef<'a> {
    fn from(stream: &'a CudaStream) -> StreamRef<'a> {
        stream.as_ref()
    }
}

impl<'a> From<&'a cust::stream::Stream> for StreamRef<'a> {
    fn from(stream: &'a cust::stream::Stream) -> StreamRef<'a> {
        StreamRef { raw: stream.as_inner() as usize, _owner: PhantomData }
    }
}

impl StreamRef<'static> {
    /// The legacy default stream.
    pub const DEFAULT: StreamRef<'static> = StreamRef { raw: 0, _owner: PhantomData };
    /// The default stream of the calling thread.
    pub const PER_THREAD: StreamRef<'static> = StreamRef { raw: 2, _owner: PhantomData };

    /// A stream that another library made, by its handle: `torch.cuda.Stream.cuda_stream`,
    /// `cupy.cuda.Stream.ptr`, a `CUstream`.
    ///
    /// # Safety
    /// It exists, and is not destroyed while the result, or work queued through it, is in use.
    pub const unsafe fn from_raw(handle: usize) -> StreamRef<'static> {
        StreamRef { raw: handle, _owner: PhantomData }
    }
}

/// A closure on its way through the driver.
type HostTask = Box<dyn FnOnce() + Send>;

impl StreamRef<'_> {
    /// The driver's handle.
    pub fn as_raw(self) -> usize {
        self.raw
    }

    pub(crate) fn raw(self) -> calls::CUstream {
        self.raw as calls::CUstream
    }

    /// Waits until everything queued so far is done.
    ///
    /// # Errors
    /// What the driver reports, such as a failure of the queued work.
    pub fn synchronize(self, device: &Device) -> Result<(), CudaError> {
        let _current = device.enter()?;
        // SAFETY: a stream that exists, by the contract of `from_raw`.
        check("cuStreamSynchronize", unsafe { calls::cuStreamSynchronize(self.raw()) })
    }

    /// Tells whether everything queued so far is done.
    ///
    /// # Errors
    /// What the driver reports, such as a failure of the queued work.
    pub fn is_done(self, device: &Device) -> Result<bool, CudaError> {
        let _current = device.enter()?;
        // SAFETY: as in `synchronize`.
        match check("cuStreamQuery", unsafe { calls::cuStreamQuery(self.raw()) }) {
            Err(error) if error.kind() == CudaErrorKind::NotReady => Ok(false),
            outcome => outcome.map(|()| true),
        }
    }

    /// Makes what is queued from now on wait for `event`.
    ///
    /// # Errors
    /// What the driver refuses.
    pub fn wait_for(self, event: &Event) -> Result<(), CudaError> {
        let _current = event.device().enter()?;
        // SAFETY: both exist; no flags are defined.
        check("cuStreamWaitEvent", unsafe { calls::cuStreamWaitEvent(self.raw(), event.raw(), 0) })
    }

    /// Has `task` run, on a thread of the driver's, after everything queued so far, and before anything
    /// queued later. It must not call CUDA. It is dropped without having run only if the driver refuses
    /// it; if the context is lost before its turn, it never runs and is leaked.
    ///
    /// # Errors
    /// What the driver refuses; `task` was dropped then.
    pub fn run_on_host(
        self,
        device: &Device,
        task: impl FnOnce() + Send + 'static,
    ) -> Result<(), CudaError> {
        let _current = device.enter()?;
        let boxed: Box<HostTask> = Box::new(Box::new(task));
        let data = Box::into_raw(boxed).cast::<c_void>();
        // SAFETY: `data` is what `run_task` takes, and is given to it once.
        let queued = unsafe { calls::cuLaunchHostFunc(self.raw(), run_task, data) };
        check("cuLaunchHostFunc", queued).inspect_err(|_| {
            // SAFETY: the driver did not take it, so it is still ours.
            drop(unsafe { Box::from_raw(data.cast::<HostTask>()) });
        })
    }
}

unsafe extern "C" fn run_task(data: *mut c_void) {
    // SAFETY: made by `run_on_host` from a box of this type; the driver calls once for each.
    let task = unsafe { Box::from_raw(data.cast::<HostTask>()) };
    // A panic must not go through the driver's frames.
    let _ = catch_unwind(AssertUnwindSafe(task));
}

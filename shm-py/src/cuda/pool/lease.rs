//! A publication of device memory in a consumer's hands.
//!
//! Upholds invariants 6 (tensors over it keep it held while nobody said otherwise) and 8 (what was not
//! there when a stream went on is told), and that nothing is acknowledged before the work on it is done.

use crate::cuda::device::Lane;
use crate::cuda::foreign::Source;
use crate::cuda::layout::Layout;
use crate::cuda::pool::handle::Shared;
use crate::cuda::pool::{errors, payload};
use crate::cuda::queue::Queue;
use crate::cuda::{DeviceTensor, errors as driver};
use crate::interpreter;
use crate::pool::errors as host;
use crate::{array, wait};
use parking_lot::Mutex;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use shm_core::{Deadline, fork_generation};
use shm_cuda::DeviceSlice;
use shm_cuda::pool::{Arrival, ArrivalError, CopyError};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A consumer's hold on a publication; made by DeviceConsumer.redeem(). The slot is not used again
/// before it is released: by release(), by leaving a `with` block, or when the lease and everything made
/// from it are gone. Never before the work on it is done: copies that were made through the lease are
/// known; for what others do with `tensor`, name their stream in release(), or the device is waited for.
#[pyclass(frozen, weakref, module = "shm_py")]
pub(crate) struct DeviceLease {
    held: Arc<Held>,
}

/// The hold, shared by the handle and the tensors over it.
struct Held {
    /// `None` once it was released.
    lease: Mutex<Option<shm_cuda::pool::DeviceLease>>,
    arrival: Arrival,
    shared: Arc<Shared>,
    layout: Layout,
    /// Whether others may have queued work on it.
    shown: AtomicBool,
    /// The stream that waits for the bytes.
    waiting: Option<Queue>,
    index: usize,
    generation: u64,
    born: u64,
}

impl DeviceLease {
    pub(crate) fn new(
        lease: shm_cuda::pool::DeviceLease,
        shared: Arc<Shared>,
        layout: Layout,
        waiting: Option<Queue>,
    ) -> DeviceLease {
        let held = Held {
            arrival: lease.arrival().clone(),
            index: lease.index(),
            generation: lease.generation(),
            lease: Mutex::new(Some(lease)),
            shared,
            layout,
            shown: AtomicBool::new(false),
            waiting,
            born: fork_generation(),
        };
        DeviceLease { held: Arc::new(held) }
    }

    /// Queues a copy to memory that `owner` keeps, and waits for it unless the caller named the queue.
    fn copy_into(
        &self,
        py: Python<'_>,
        target: DeviceSlice<'_>,
        given: Option<Queue>,
        owner: Arc<dyn std::any::Any + Send + Sync>,
    ) -> PyResult<()> {
        let held = &*self.held;
        let queue = held.queue(given);
        let copied = py.detach(|| {
            held.lease.lock().as_mut().map(|lease| lease.copy_part(0, target, queue.get()))
        });
        copied
            .ok_or_else(|| host::released(held.index))?
            .map_err(|error: CopyError| errors::copy(py, error))?;
        match given {
            Some(queue) => held.shared.sources.keep(py, &held.lane().device, queue, owner),
            None => held.finish(py, queue),
        }
    }
}

impl Held {
    fn lane(&self) -> &Arc<Lane> {
        &self.shared.lane
    }

    /// The stream for a copy: one that has the bytes.
    fn queue(&self, given: Option<Queue>) -> Queue {
        given.or(self.waiting).unwrap_or_else(|| Queue::of(&self.lane().queue))
    }

    fn address(&self) -> PyResult<u64> {
        let lease = self.lease.lock();
        lease
            .as_ref()
            .map(|lease| lease.slice().address())
            .ok_or_else(|| host::released(self.index))
    }

    /// Waits for what is queued, hearing signals while the bytes are still to come, and says whether
    /// they came.
    fn finish(&self, py: Python<'_>, queue: Queue) -> PyResult<()> {
        const LOOK: Duration = Duration::from_millis(1);
        while let Err(ArrivalError::Pending { .. }) = self.arrival.check() {
            let look = || {
                let until = Deadline::after(wait::slice(Deadline::NEVER));
                while !until.has_passed()
                    && matches!(self.arrival.check(), Err(ArrivalError::Pending { .. }))
                {
                    std::thread::sleep(LOOK);
                }
            };
            py.detach(look);
            py.check_signals()?;
        }
        py.detach(|| queue.get().synchronize(&self.lane().device)).map_err(driver::cuda)?;
        self.arrival.check().map_err(|error| errors::arrival(py, &error))
    }

    fn check(&self, py: Python<'_>) -> PyResult<()> {
        if self.born != fork_generation() {
            let what = format!("the lease of slot {}", self.index);
            return Err(host::forked(py, &what, &self.shared.name, "create another pool here"));
        }
        if self.is_released() { Err(host::released(self.index)) } else { Ok(()) }
    }

    fn is_released(&self) -> bool {
        self.lease.lock().is_none()
    }

    /// Acknowledges it once everything on it is done, which is waited for if nobody said where.
    fn let_go(&self, given: Option<Queue>) {
        let Some(lease) = self.lease.lock().take() else { return };
        match given {
            Some(queue) => drop(lease.release_after(queue.get())),
            None => {
                if self.shown.load(Ordering::Acquire) && self.born == fork_generation() {
                    // On an error the context is lost, and nothing is going on in it.
                    let _ = self.lane().device.synchronize();
                }
                drop(lease);
            }
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.lease.get_mut().is_none() {
            return;
        }
        if interpreter::visit(|py| py.detach(|| self.let_go(None))).is_none() {
            self.let_go(None);
        }
    }
}

/// The publication as a tensor, which keeps it held.
fn tensor_over(held: &Arc<Held>) -> PyResult<DeviceTensor> {
    let (lane, layout) = (held.lane().clone(), held.layout.clone());
    Ok(DeviceTensor::over(lane, layout, held.address()?, false, held.clone()))
}

#[pymethods]
impl DeviceLease {
    /// The publication as a read-only DeviceTensor, in place. It keeps the publication held, unless
    /// release() was called: after that the slot is used again, and its contents change. If the ticket
    /// was redeemed with `stream`, the bytes are there for what is queued on that stream.
    ///
    /// Raises ValueError after release(); PoolError in a forked child.
    #[getter]
    fn tensor(&self, py: Python<'_>) -> PyResult<DeviceTensor> {
        self.held.check(py)?;
        let tensor = tensor_over(&self.held)?;
        self.held.shown.store(true, Ordering::Release);
        Ok(tensor)
    }

    /// Copies the tensor to `target`: a DeviceTensor, or any object with `__dlpack__` or
    /// `__cuda_array_interface__` on a CUDA device, of its dtype and shape. Without `stream` it is there
    /// when the call returns. With `stream`, a stream of the pool's device, it is copied in the order of
    /// that stream; then check() says whether the bytes were there.
    ///
    /// Raises ValueError for an unfit or read-only target and after release(); TypeError for a wrong
    /// dtype or a target in host memory; ProducerGone or NotReady if the bytes did not come; OwnerGone
    /// if the memory has ended with its process; RuntimeError if the device fails.
    #[pyo3(signature = (target, *, stream = None))]
    fn copy_to(
        &self,
        py: Python<'_>,
        target: &Bound<'_, PyAny>,
        stream: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let held = &*self.held;
        held.check(py)?;
        let given = Queue::parse(stream)?;
        let Some(source) = Source::of(target)? else {
            return Err(pyo3::exceptions::PyTypeError::new_err(format!(
                "target is {}, which has no memory on a CUDA device; to_numpy() copies to the host",
                target.get_type()
            )));
        };
        let lane = Lane::of(py, source.ordinal())?;
        let foreign = source.take(py, &held.lane().device, held.queue(given).get())?;
        if !foreign.writable {
            return Err(PyValueError::new_err("target is read-only; pass one that may be written"));
        }
        foreign.layout.check_same(held.layout.dtype, &held.layout.shape)?;
        foreign.layout.check_contiguous()?;
        let owner = foreign.owner.clone();
        self.copy_into(py, payload::bytes(&foreign, &lane), given, owner)
    }

    /// A copy of the tensor in memory of its own, on `device` (the pool's, if it is left out). `stream`
    /// is as for copy_to().
    ///
    /// Raises MemoryError if the device has no room; else as copy_to() does.
    #[pyo3(signature = (device = None, *, stream = None))]
    fn copy(
        &self,
        py: Python<'_>,
        device: Option<&Bound<'_, PyAny>>,
        stream: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<DeviceTensor> {
        let held = &*self.held;
        held.check(py)?;
        let given = Queue::parse(stream)?;
        let lane = device.map_or_else(|| Ok(held.lane().clone()), Lane::named)?;
        let copy = DeviceTensor::new(py, lane, held.layout.clone())?;
        self.copy_into(py, copy.bytes(), given, copy.owner())?;
        Ok(copy)
    }

    /// A new host array with the elements of the tensor, or `out`, which must have exactly its dtype and
    /// shape, be C-contiguous and writable.
    ///
    /// Raises as copy_to() does.
    #[pyo3(signature = (out = None, *, stream = None))]
    fn to_numpy<'py>(
        &self,
        py: Python<'py>,
        out: Option<&Bound<'py, PyAny>>,
        stream: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let held = &*self.held;
        held.check(py)?;
        let queue = held.queue(Queue::parse(stream)?);
        held.finish(py, queue)?;
        let tensor = Bound::new(py, tensor_over(&self.held)?)?;
        let keywords = pyo3::types::PyDict::new(py);
        keywords.set_item("stream", queue.get().as_raw())?;
        tensor.call_method("to_numpy", (out,), Some(&keywords))
    }

    /// Says whether the bytes were there when the stream went on that the ticket was redeemed with; for
    /// after that stream was synchronised, also after release(). Always so if it was redeemed without a
    /// stream.
    ///
    /// Raises ProducerGone or NotReady if they were not: throw away what was made of them; PoolError
    /// while the stream still waits.
    fn check(&self, py: Python<'_>) -> PyResult<()> {
        self.held.arrival.check().map_err(|error| errors::arrival(py, &error))
    }

    /// Gives the publication back: this consumer is done with it. With `stream` at once, and it counts
    /// when everything queued on that stream so far is done. Without it, when the copies made through
    /// the lease are done; if `tensor` was asked for, the device is waited for first. Releasing twice is
    /// harmless.
    ///
    /// Raises PoolError in a forked child: the lease is its parent's.
    #[pyo3(signature = (*, stream = None))]
    fn release(&self, py: Python<'_>, stream: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let given = Queue::parse(stream)?;
        if self.held.born != fork_generation() {
            return self.held.check(py);
        }
        py.detach(|| self.held.let_go(given));
        Ok(())
    }

    /// True once it was released.
    #[getter]
    fn released(&self) -> bool {
        self.held.is_released()
    }

    /// Bytes of the tensor.
    #[getter]
    fn nbytes(&self) -> usize {
        self.held.layout.byte_len()
    }

    /// Number of the slot.
    #[getter]
    fn index(&self) -> usize {
        self.held.index
    }

    /// Which use of the slot this is.
    #[getter]
    fn generation(&self) -> u64 {
        self.held.generation
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    #[pyo3(signature = (exc_type, exc, tb))]
    fn __exit__(
        &self,
        py: Python<'_>,
        exc_type: &Bound<'_, PyAny>,
        exc: &Bound<'_, PyAny>,
        tb: &Bound<'_, PyAny>,
    ) -> bool {
        let _ = (exc_type, exc, tb);
        if self.held.born == fork_generation() {
            py.detach(|| self.held.let_go(None));
        }
        false
    }

    fn __repr__(&self) -> String {
        let Held { index, layout, .. } = &*self.held;
        format!(
            "DeviceLease(index={index}, shape={}, dtype='{}', {})",
            array::shape_text(&layout.shape),
            layout.dtype.name(),
            if self.held.is_released() { "released" } else { "held" }
        )
    }
}

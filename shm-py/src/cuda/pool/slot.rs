//! A slot of device memory in its producer's hands.
//!
//! Upholds invariants 6 (tensors over it keep it lent while nobody said otherwise) and 7 (it is readable
//! after the work that fills it; what is not published is given back).

use crate::cuda::device::Lane;
use crate::cuda::layout::Layout;
use crate::cuda::pool::handle::Shared;
use crate::cuda::pool::payload::{self, Payload};
use crate::cuda::pool::ticket::DeviceTicket;
use crate::cuda::pool::{audience, errors};
use crate::cuda::queue::Queue;
use crate::cuda::{DeviceTensor, errors as driver};
use crate::interpreter;
use crate::pool::stage::{End, Stage};
use parking_lot::Mutex;
use pyo3::prelude::*;
use shm_pool::Audience;
use std::sync::Arc;

/// A slot of a DevicePool; made by DevicePool.lend(). Fill it through `tensor` or with write(), then
/// publish() it. Leaving a `with` block, or dropping it and everything made from it, gives it back
/// unread, when the work queued on it is done.
#[pyclass(frozen, weakref, module = "shm_py")]
pub(crate) struct DeviceSlot {
    lent: Arc<Lent>,
    tensor: Mutex<Option<Py<DeviceTensor>>>,
}

/// The slot, shared by the handle and the tensors over it.
struct Lent {
    stage: Stage<shm_cuda::pool::DeviceSlot>,
    shared: Arc<Shared>,
    layout: Layout,
}

impl DeviceSlot {
    pub(crate) fn new(
        slot: shm_cuda::pool::DeviceSlot,
        shared: Arc<Shared>,
        layout: Layout,
    ) -> DeviceSlot {
        let (index, generation) = (slot.index(), slot.generation());
        let lent = Lent { stage: Stage::new(slot, index, generation), shared, layout };
        DeviceSlot { lent: Arc::new(lent), tensor: Mutex::default() }
    }

    /// Copies a tensor into the slot; waits for it unless the caller named the queue.
    pub(crate) fn fill(
        &self,
        py: Python<'_>,
        payload: Payload<'_>,
        (queue, is_callers): (Queue, bool),
    ) -> PyResult<()> {
        let lent = &*self.lent;
        lent.check(py)?;
        payload.layout()?.check_same(lent.layout.dtype, &lent.layout.shape)?;
        let (foreign, lane) = match payload {
            // The array may be changed as soon as this returns.
            Payload::Host(frame) => return frame.upload(&tensor_over(&self.lent)?, queue.get()),
            Payload::Device { foreign, lane } => (foreign, lane),
        };
        let bytes = payload::bytes(&foreign, &lane);
        let copied = py.detach(|| lent.stage.with(|slot| slot.copy_from(bytes, queue.get())));
        copied.ok_or_else(|| lent.stage.over())?.map_err(|error| errors::copy(py, error))?;
        let device = &lent.lane().device;
        match is_callers {
            true => lent.shared.sources.keep(py, device, queue, foreign.owner),
            false => py.detach(|| queue.get().synchronize(device)).map_err(driver::cuda),
        }
    }

    pub(crate) fn share(
        &self,
        py: Python<'_>,
        audience: Audience,
        given: Option<Queue>,
    ) -> PyResult<DeviceTicket> {
        let lent = &*self.lent;
        lent.check(py)?;
        let was_shown = self.tensor.lock().is_some();
        if given.is_none() && was_shown {
            // Whoever wrote did not say where.
            py.detach(|| lent.lane().device.synchronize()).map_err(driver::cuda)?;
        }
        let slot = lent.stage.end(End::Published).ok_or_else(|| lent.stage.over())?;
        self.freeze();
        let queue = given.unwrap_or_else(|| lent.own_queue());
        let ticket = py.detach(|| slot.publish(audience, queue.get())).map_err(|error| {
            lent.stage.refused();
            errors::publish(py, error)
        })?;
        if given.is_none() {
            // Who gets the ticket need not wait either. A device that fails here tells the consumer.
            let _ = py.detach(|| queue.get().synchronize(&lent.lane().device));
        }
        DeviceTicket::new(ticket, lent.layout.clone())
    }

    /// What was given out must not change the slot any more.
    fn freeze(&self) {
        if let Some(tensor) = self.tensor.lock().take() {
            tensor.get().make_read_only();
        }
    }
}

impl Lent {
    fn lane(&self) -> &Arc<Lane> {
        &self.shared.lane
    }

    fn own_queue(&self) -> Queue {
        Queue::of(&self.lane().queue)
    }

    fn address(&self) -> PyResult<u64> {
        let address = self.stage.with(|slot| slot.slice().address());
        address.ok_or_else(|| self.stage.over())
    }

    fn check(&self, py: Python<'_>) -> PyResult<()> {
        self.stage.check(py, &self.shared.name, "create another pool here")
    }
}

/// The slot as a tensor, which keeps it.
fn tensor_over(lent: &Arc<Lent>) -> PyResult<DeviceTensor> {
    let (lane, layout) = (lent.lane().clone(), lent.layout.clone());
    Ok(DeviceTensor::over(lane, layout, lent.address()?, true, lent.clone()))
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(slot) = self.stage.end(End::Aborted) {
            // It waits for what was queued on it.
            interpreter::drop_released(slot);
        }
    }
}

#[pymethods]
impl DeviceSlot {
    /// The slot as a writable DeviceTensor, in place: kernels of any library write it. It becomes
    /// read-only when the slot is published or given back; what was made of it by DLPack does not, and
    /// can then change what others read: drop it.
    ///
    /// Raises ValueError if the slot was published or given back; PoolError in a forked child.
    #[getter]
    fn tensor(&self, py: Python<'_>) -> PyResult<Py<DeviceTensor>> {
        self.lent.check(py)?;
        let mut tensor = self.tensor.lock();
        if let Some(tensor) = &*tensor {
            return Ok(tensor.clone_ref(py));
        }
        let made = Py::new(py, tensor_over(&self.lent)?)?;
        *tensor = Some(made.clone_ref(py));
        Ok(made)
    }

    /// Copies a tensor of the slot's dtype and shape into it: a DeviceTensor, any object with
    /// `__dlpack__` or `__cuda_array_interface__` on a CUDA device, or anything that numpy.asarray
    /// understands. Without `stream` it is there when the call returns. With `stream` (a handle, or an
    /// object with `__cuda_stream__()`, `cuda_stream` or `ptr`) device memory is copied in the order of
    /// that stream, and kept until that is done.
    ///
    /// Raises ValueError for a wrong shape, a tensor that is not C-contiguous, or a slot that was
    /// published or given back; TypeError for a wrong dtype; RuntimeError if the device fails.
    #[pyo3(signature = (value, *, stream = None))]
    fn write(&self, value: &Bound<'_, PyAny>, stream: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let given = Queue::parse(stream)?;
        let queue = given.unwrap_or_else(|| self.lent.own_queue());
        let payload = Payload::of(value, self.lent.lane(), queue)?;
        self.fill(value.py(), payload, (queue, given.is_some()))
    }

    /// Makes the slot readable, and returns the DeviceTicket that it is redeemed with, at once.
    /// `consumers` says who has to acknowledge it before the slot is used again: None for everyone who
    /// is present or expected, "any" for exactly one (whoever redeems first), or an iterable of seats
    /// and DeviceConsumers.
    ///
    /// With `stream` its bytes count as being there once everything queued on that stream so far, and
    /// on the slot with write(), is done. Without it, work that was queued on `tensor` is waited for
    /// now, whatever its stream.
    ///
    /// Raises PoolError if there is no consumer at all, ValueError for a seat on which nobody sits; the
    /// slot is given back then. ValueError if it was published or given back before.
    #[pyo3(signature = (consumers = None, *, stream = None))]
    fn publish(
        &self,
        py: Python<'_>,
        consumers: Option<&Bound<'_, PyAny>>,
        stream: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<DeviceTicket> {
        let audience = audience::from_argument(consumers, self.lent.shared.instance)?;
        self.share(py, audience, Queue::parse(stream)?)
    }

    /// Gives the slot back, read by nobody: at once if `stream` is given (its memory is lent again when
    /// everything queued on that stream so far is done), else after the work on it was waited for.
    /// Harmless if that, or a publication, has happened.
    ///
    /// Raises RuntimeError if the device fails.
    #[pyo3(signature = (*, stream = None))]
    fn abort(&self, py: Python<'_>, stream: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let given = Queue::parse(stream)?;
        if !self.lent.stage.is_own() {
            return Ok(());
        }
        let Some(slot) = self.lent.stage.end(End::Aborted) else { return Ok(()) };
        self.freeze();
        let given_back = py.detach(|| match given {
            Some(queue) => slot.abort_after(queue.get()),
            None => {
                drop(slot);
                Ok(())
            }
        });
        given_back.map_err(driver::cuda)
    }

    /// Number of the slot.
    #[getter]
    fn index(&self) -> usize {
        self.lent.stage.index
    }

    /// Which use of the slot this is.
    #[getter]
    fn generation(&self) -> u64 {
        self.lent.stage.generation
    }

    /// Bytes of the tensor.
    #[getter]
    fn nbytes(&self) -> usize {
        self.lent.layout.byte_len()
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
    ) -> PyResult<bool> {
        let _ = (exc_type, exc, tb);
        self.abort(py, None).map(|()| false)
    }

    fn __repr__(&self) -> String {
        let Lent { stage, layout, .. } = &*self.lent;
        format!(
            "DeviceSlot(index={}, shape={}, dtype='{}', {})",
            stage.index,
            crate::array::shape_text(&layout.shape),
            layout.dtype.name(),
            stage.name()
        )
    }
}

//! The next frame of a device stream, lent to a `with` block.
//!
//! Upholds invariants 6 and 7: the tensor keeps the memory, and an abandoned frame is never readable.

use crate::array::ArrayForm;
use crate::cuda::held::DeviceHeld;
use crate::cuda::queue::Queue;
use crate::cuda::side::OnDevice;
use crate::cuda::{DeviceTensor, errors};
use crate::handle::{Attachment, SharedMemory};
use crate::lock::StreamLock;
use crate::writing::Tag;
use pyo3::prelude::*;
use self_cell::{MutBorrow, self_cell};
use shm_cuda::{CudaError, DeviceFrameMut, DevicePublishError};

/// A loan until it is committed.
struct Frame<'a>(Option<DeviceFrameMut<'a>>);

type Writer = MutBorrow<Box<DeviceHeld>>;

self_cell!(
    /// A writer and the cell that it lends.
    struct Lent {
        owner: Writer,
        #[not_covariant]
        dependent: Frame,
    }
);

/// An open block.
pub(crate) struct DeviceLoan {
    /// `None` once it is over.
    lent: Option<Lent>,
    pub(crate) tensor: Py<DeviceTensor>,
    /// The caller did not say on which stream it works.
    on_any: bool,
}

impl DeviceLoan {
    /// Takes the next cell; the writer comes back with the end of the block.
    pub(crate) fn begin(
        py: Python<'_>,
        handle: &SharedMemory,
        attachment: &Attachment,
        lock: &StreamLock,
        given: Option<Queue>,
    ) -> PyResult<DeviceLoan> {
        let device = attachment.on_device("write to", &handle.name)?;
        let held = lock.take_device_writer(&handle.name, &device.side)?;
        let queue = device.queue(given);
        match DeviceLoan::lend(py, held, device, &handle.form, (queue, given.is_none())) {
            Ok(loan) => Ok(loan),
            Err((held, error)) => {
                lock.put_back(held);
                Err(error)
            }
        }
    }

    fn lend(
        py: Python<'_>,
        held: Box<DeviceHeld>,
        device: &OnDevice,
        form: &ArrayForm,
        (queue, on_any): (Queue, bool),
    ) -> Result<DeviceLoan, (Box<DeviceHeld>, PyErr)> {
        let layout = match device.layout(form) {
            Ok(layout) => layout,
            Err(error) => return Err((held, error)),
        };
        let lent = py.detach(|| {
            Lent::try_new_or_recover(MutBorrow::new(held), |held| {
                held.borrow_mut().writer.loan(queue.get()).map(|frame| Frame(Some(frame)))
            })
        });
        let lent = lent.map_err(|(held, error)| (held.into_inner(), errors::publish(py, error)))?;
        let address = lent
            .with_dependent(|_, frame| frame.0.as_ref().map_or(0, |frame| frame.slice().address()));
        let (lane, owner) = (device.side.lane.clone(), device.side.clone());
        let tensor = DeviceTensor::over(lane, layout, address, true, owner);
        let device = &device.side.lane.device;
        // Work on other streams must not write before the cell is marked as being written.
        let marked = match on_any {
            true => py.detach(|| queue.get().synchronize(device)).map_err(errors::cuda),
            false => Ok(()),
        };
        match marked.and_then(|()| Py::new(py, tensor)) {
            Ok(tensor) => Ok(DeviceLoan { lent: Some(lent), tensor, on_any }),
            Err(error) => Err((lent.into_owner().into_inner(), error)),
        }
    }

    /// Publishes the frame, or gives it up; the lock has its writer again either way.
    pub(crate) fn end(
        mut self,
        py: Python<'_>,
        attachment: &Attachment,
        lock: &StreamLock,
        tag: Option<Tag>,
    ) -> PyResult<()> {
        self.tensor.get().make_read_only();
        let Some(lent) = self.lent.take() else { return Ok(()) };
        let (held, outcome) = match tag {
            None => (py.detach(|| lent.into_owner().into_inner()), Ok(())),
            Some(tag) => self.publish(py, attachment, lent, tag),
        };
        lock.put_back(held);
        outcome
    }

    fn publish(
        &self,
        py: Python<'_>,
        attachment: &Attachment,
        mut lent: Lent,
        tag: Tag,
    ) -> (Box<DeviceHeld>, PyResult<()>) {
        let id = match tag.id_after(py, attachment, None) {
            Ok(id) => id,
            Err(error) => return (py.detach(|| lent.into_owner().into_inner()), Err(error)),
        };
        let device = self.tensor.get().lane().device.clone();
        let committed = py.detach(|| -> Result<(), Failure> {
            if self.on_any {
                device.synchronize().map_err(Failure::Work)?;
            }
            let frame = lent.with_dependent_mut(|_, frame| frame.0.take());
            frame.map_or(Ok(0), |frame| frame.commit(tag.with_id(id)))?;
            Ok(())
        });
        let mut held = py.detach(|| lent.into_owner().into_inner());
        let outcome = match committed {
            Ok(()) => {
                held.queued(id, None);
                if self.on_any { held.settle(py) } else { Ok(()) }
            }
            Err(Failure::Work(error)) => Err(errors::cuda(error)),
            Err(Failure::Publish(error)) => Err(errors::publish(py, error)),
        };
        (held, outcome)
    }

    /// For a block that was never left: nothing is published.
    pub(crate) fn abandon(mut self, lock: &StreamLock) {
        self.tensor.get().make_read_only();
        let Some(lent) = self.lent.take() else { return };
        lock.put_back(lent.into_owner().into_inner());
    }
}

/// What stood in the way of a publish.
enum Failure {
    Work(CudaError),
    Publish(DevicePublishError),
}

impl From<DevicePublishError> for Failure {
    fn from(error: DevicePublishError) -> Failure {
        Failure::Publish(error)
    }
}

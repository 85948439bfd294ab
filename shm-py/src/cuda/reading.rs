//! Reads of device streams.
//!
//! Upholds invariants 1 and 2 through [`shm_cuda::DeviceReader`]: a tensor that a read returns holds one
//! frame, and holds it when the call returns.

use crate::array::ArrayForm;
use crate::cuda::layout::Layout;
use crate::cuda::queue::Queue;
use crate::cuda::side::OnDevice;
use crate::cuda::{DeviceTensor, errors};
use crate::handle::{Attachment, SharedMemory};
use crate::publication::{Numbers, Publication};
use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use shm_core::{Dtype, FrameInfo, ReadError};
use shm_cuda::{DeviceReadError, DeviceSlice, DeviceView};

/// A tensor, the numbers of its frame if there is one, and how many were skipped.
type Taken<'py> = (Bound<'py, DeviceTensor>, Option<FrameInfo>);

impl OnDevice {
    /// The newest frame in `out` or a new tensor; zeros, and no numbers, before the first.
    pub(crate) fn take<'py>(
        &self,
        py: Python<'py>,
        form: &ArrayForm,
        out: Option<&Bound<'py, PyAny>>,
        stream: Option<Queue>,
    ) -> PyResult<Taken<'py>> {
        let tensor = match out {
            Some(out) => self.check_out(form, out)?,
            None => Bound::new(py, self.tensor(py, form)?)?,
        };
        let (target, queue) = (tensor.get().bytes(), self.queue(stream));
        let outcome = py.detach(|| match self.reader.try_lock() {
            Some(mut reader) => reader.read_into(target, queue.get()),
            // Another thread is reading.
            None => self.side.stream.reader().read_into(target, queue.get()),
        });
        match outcome {
            Ok(info) => Ok((tensor, Some(info))),
            Err(DeviceReadError::Read(ReadError::Empty { .. })) => {
                py.detach(|| zero(target, queue)).map_err(errors::cuda)?;
                Ok((tensor, None))
            }
            Err(error) => Err(errors::read(py, error)),
        }
    }

    /// A read-only tensor over the newest frame, which stays while this thread holds the lock.
    pub(crate) fn borrow<'py>(&self, py: Python<'py>, form: &ArrayForm) -> PyResult<Taken<'py>> {
        match self.side.stream.reader().view() {
            Ok(view) => {
                let tensor = Bound::new(py, self.over(view.slice(), form)?)?;
                Ok((tensor, Some(*view.info())))
            }
            Err(DeviceReadError::Read(ReadError::Empty { .. })) => {
                let (tensor, info) = self.take(py, form, None, None)?;
                tensor.get().make_read_only();
                Ok((tensor, info))
            }
            Err(error) => Err(errors::read(py, error)),
        }
    }

    /// The newest frame in place, for a view that says whether it still is.
    pub(crate) fn view(
        &self,
        py: Python<'_>,
        form: &ArrayForm,
    ) -> PyResult<(DeviceView, DeviceTensor)> {
        let view = match self.reader.try_lock() {
            Some(mut reader) => reader.view(),
            None => self.side.stream.reader().view(),
        };
        let view = view.map_err(|error| errors::read(py, error))?;
        let tensor = self.over(view.slice(), form)?;
        Ok((view, tensor))
    }

    /// The newest frames that are still there, oldest first, at most `most`.
    pub(crate) fn history(
        &self,
        py: Python<'_>,
        form: &ArrayForm,
        most: u64,
    ) -> PyResult<Vec<Publication>> {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let views = match self.side.stream.reader().history(most) {
            Err(DeviceReadError::Read(ReadError::Empty { .. })) => return Ok(Vec::new()),
            views => views.map_err(|error| errors::read(py, error))?,
        };
        let mut found = Vec::with_capacity(views.len());
        // The newest first: the oldest are the first to be overwritten.
        for view in views.iter().rev() {
            let tensor = self.tensor(py, form)?;
            let (target, queue) = (tensor.bytes(), self.queue(None));
            let copied = py.detach(|| -> Result<(), DeviceReadError> {
                let queued = target.copy_from(view.slice(), queue.get());
                queued.map_err(|source| DeviceReadError::Cuda {
                    name: self.side.stream.name().to_owned(),
                    source,
                })?;
                view.validate_after(queue.get())
            });
            match copied {
                Ok(()) => {
                    let payload = Bound::new(py, tensor)?.into_any().unbind();
                    found.push(Publication::new(payload, Numbers::from(view.info()), 0));
                }
                Err(DeviceReadError::Read(ReadError::Overwritten { .. })) => break,
                Err(error) => return Err(errors::read(py, error)),
            }
        }
        if found.is_empty() && !views.is_empty() {
            // Lapped already: the newest frame can always be had.
            if let (tensor, Some(info)) = self.take(py, form, None, None)? {
                found.push(Publication::new(tensor.into_any().unbind(), Numbers::from(&info), 0));
            }
        }
        found.reverse();
        Ok(found)
    }

    /// Checks a tensor that is to receive a frame.
    pub(crate) fn check_out<'py>(
        &self,
        form: &ArrayForm,
        out: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, DeviceTensor>> {
        let tensor = out.cast::<DeviceTensor>().map_err(|_| {
            PyTypeError::new_err(format!(
                "out is {}; expected a DeviceTensor: DeviceTensor.from_dlpack() makes one of a tensor of \
                 another library, without a copy",
                out.get_type()
            ))
        })?;
        let layout = self.layout(form)?;
        tensor
            .get()
            .layout()
            .check_same(layout.dtype, &layout.shape)
            .map_err(|error| PyValueError::new_err(format!("out: {}", error.value(out.py()))))?;
        tensor.get().check_target()?;
        Ok(tensor.clone())
    }

    /// How a frame lies.
    pub(crate) fn layout(&self, form: &ArrayForm) -> PyResult<Layout> {
        Layout::contiguous(self.dtype(), &form.shape)
    }

    pub(crate) fn dtype(&self) -> Dtype {
        self.side.stream.desc().dtype()
    }

    /// New memory for a frame.
    fn tensor(&self, py: Python<'_>, form: &ArrayForm) -> PyResult<DeviceTensor> {
        DeviceTensor::new(py, self.side.lane.clone(), self.layout(form)?)
    }

    /// A read-only tensor over a cell.
    fn over(&self, cell: DeviceSlice<'_>, form: &ArrayForm) -> PyResult<DeviceTensor> {
        let layout = self.layout(form)?;
        let (lane, owner) = (self.side.lane.clone(), self.side.clone());
        Ok(DeviceTensor::over(lane, layout, cell.address(), false, owner))
    }
}

fn zero(target: DeviceSlice<'_>, queue: Queue) -> Result<(), shm_cuda::CudaError> {
    target.fill(0, queue.get())?;
    queue.get().synchronize(target.device())
}

impl SharedMemory {
    /// The device of a handle that `stream=` was passed to.
    pub(crate) fn queue_argument(
        &self,
        attachment: &Attachment,
        stream: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Option<Queue>> {
        let queue = Queue::parse(stream)?;
        match (&queue, &attachment.device) {
            (Some(_), None) => Err(PyRuntimeError::new_err(
                "stream= is for handles with a device: open the stream with gpu_device=",
            )),
            _ => Ok(queue),
        }
    }
}

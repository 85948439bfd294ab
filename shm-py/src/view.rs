//! A frame in place, read through NumPy without a copy.
//!
//! Upholds invariants 2 (the array is read-only, and believed only once validated), 4 and 6.

use crate::array::{ArrayForm, Mapping};
use crate::cuda::{self, DeviceTensor, Queue};
use crate::errors;
use crate::publication::Numbers;
use pyo3::prelude::*;
use shm_core::{Stream, View};
use shm_cuda::DeviceView;

/// The newest frame at the time of SharedMemory.view(), where it lies.
///
/// `array` is a read-only numpy array over shared memory. The writer may use the frame's cell again
/// meanwhile, so what was computed from it counts only once validate() passed; leaving the `with`
/// block without an exception calls it, and raises FrameOverwrittenError if the frame is gone.
#[pyclass(frozen, weakref, module = "shm_py")]
pub(crate) struct FrameView {
    place: Place,
    array: Py<PyAny>,
    numbers: Numbers,
}

/// Where the frame lies.
#[derive(Debug)]
enum Place {
    Host(View),
    Device(DeviceView),
}

impl FrameView {
    /// A frame on a device, and a tensor over it.
    pub(crate) fn on_device(
        py: Python<'_>,
        view: DeviceView,
        tensor: DeviceTensor,
    ) -> PyResult<FrameView> {
        let numbers = Numbers::from(view.info());
        let array = Py::new(py, tensor)?.into_any();
        Ok(FrameView { place: Place::Device(view), array, numbers })
    }

    pub(crate) fn new(
        py: Python<'_>,
        form: &ArrayForm,
        stream: &Stream,
        view: View,
    ) -> PyResult<FrameView> {
        let base = Mapping::of(py, stream)?;
        // SAFETY: the payload lies in the mapping, aligned to 64, and `base` owns the mapping.
        let array = unsafe { form.over(py, view.as_ptr().cast_mut(), false, base) }?;
        let numbers = Numbers::from(view.info());
        Ok(FrameView { place: Place::Host(view), array: array.into_any().unbind(), numbers })
    }
}

#[pymethods]
impl FrameView {
    /// The frame: a read-only numpy array over shared memory, of the stream's dtype and shape, or a
    /// read-only DeviceTensor. It
    /// stays readable after close() and unlink(); its contents change when its cell is used again.
    #[getter]
    fn array(&self, py: Python<'_>) -> Py<PyAny> {
        self.array.clone_ref(py)
    }

    /// Number of the frame in its stream, from 1, without gaps.
    #[getter]
    fn count(&self) -> u64 {
        self.numbers.count
    }

    /// The producer's own number of the frame.
    #[getter]
    fn frame_id(&self) -> u64 {
        self.numbers.frame_id
    }

    /// When it was published: seconds since 1970 UTC.
    #[getter]
    fn write_time(&self) -> f64 {
        self.numbers.write_time()
    }

    /// When it was published: nanoseconds since 1970 UTC.
    #[getter]
    fn write_time_ns(&self) -> u64 {
        self.numbers.wall_ns
    }

    /// When its data was acquired: nanoseconds since 1970 UTC, or None if the producer did not say.
    #[getter]
    fn acquired_ns(&self) -> Option<u64> {
        self.numbers.acquired_ns()
    }

    /// True while the frame has not been overwritten.
    #[getter]
    fn valid(&self) -> bool {
        match &self.place {
            Place::Host(view) => view.validate().is_ok(),
            Place::Device(view) => view.validate().is_ok(),
        }
    }

    /// Passes if everything read through `array` so far was this frame's. On a device, `stream` is the
    /// stream of work that reads it, as for write(): what is queued there by now is waited for first.
    /// Without it, all work of the device is.
    ///
    /// Raises FrameOverwrittenError otherwise; RuntimeError if the device failed, or the process that
    /// created the stream has ended.
    #[pyo3(signature = (*, stream = None))]
    fn validate(&self, py: Python<'_>, stream: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let queue = Queue::parse(stream)?;
        match &self.place {
            Place::Host(view) => view.validate().map_err(|error| errors::read(py, error)),
            Place::Device(view) => {
                let validated = match queue {
                    Some(queue) => py.detach(|| view.validate_after(queue.get())),
                    None => {
                        let done = py.detach(|| view.slice().device().synchronize());
                        done.map_err(cuda::refused)?;
                        view.validate()
                    }
                };
                validated.map_err(|error| cuda::read_error(py, error))
            }
        }
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
        let _ = (exc, tb);
        if exc_type.is_none() {
            self.validate(py, None)?;
        }
        Ok(false)
    }

    fn __repr__(&self) -> String {
        format!(
            "FrameView(count={}, frame_id={}, valid={})",
            self.numbers.count,
            self.numbers.frame_id,
            if self.valid() { "True" } else { "False" }
        )
    }
}

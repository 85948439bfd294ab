//! A frame in place, read through NumPy without a copy.
//!
//! Upholds invariants 2 (the array is read-only, and believed only once validated), 4 and 6.

use crate::array::{ArrayForm, Mapping};
use crate::errors;
use crate::publication::Numbers;
use pyo3::prelude::*;
use shm_core::{Stream, View};

/// The newest frame at the time of SharedMemory.view(), where it lies.
///
/// `array` is a read-only numpy array over shared memory. The writer may use the frame's cell again
/// meanwhile, so what was computed from it counts only once validate() passed; leaving the `with`
/// block without an exception calls it, and raises FrameOverwrittenError if the frame is gone.
#[pyclass(frozen, weakref, module = "shm_py")]
pub(crate) struct FrameView {
    view: View,
    array: Py<PyAny>,
    numbers: Numbers,
}

impl FrameView {
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
        Ok(FrameView { view, array: array.into_any().unbind(), numbers })
    }
}

#[pymethods]
impl FrameView {
    /// The frame: a read-only numpy array over shared memory, of the stream's dtype and shape. It
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
        self.view.validate().is_ok()
    }

    /// Passes if everything read through `array` so far was this frame's.
    ///
    /// Raises FrameOverwrittenError otherwise.
    fn validate(&self, py: Python<'_>) -> PyResult<()> {
        self.view.validate().map_err(|error| errors::read(py, error))
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
            self.validate(py)?;
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

//! A frame together with its numbers and times, all of one publish.

use pyo3::prelude::*;
use pyo3::types::{PyTuple, PyType};
use shm_core::FrameInfo;

/// One frame, copied out: its payload, count, frame id and times belong together. Frozen.
#[pyclass(frozen, module = "shm_py")]
pub(crate) struct Publication {
    payload: Py<PyAny>,
    pub(crate) numbers: Numbers,
    missed: u64,
}

/// What belongs to one frame besides its payload.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Numbers {
    pub(crate) count: u64,
    pub(crate) frame_id: u64,
    pub(crate) wall_ns: u64,
    acquired_ns: u64,
}

impl Publication {
    pub(crate) fn new(payload: Py<PyAny>, numbers: Numbers, missed: u64) -> Publication {
        Publication { payload, numbers, missed }
    }
}

impl Numbers {
    /// Seconds since 1970 UTC.
    pub(crate) fn write_time(&self) -> f64 {
        self.wall_ns as f64 / 1e9
    }

    pub(crate) fn acquired_ns(&self) -> Option<u64> {
        Some(self.acquired_ns).filter(|&ns| ns != 0)
    }
}

impl From<&FrameInfo> for Numbers {
    fn from(info: &FrameInfo) -> Numbers {
        Numbers {
            count: info.count,
            frame_id: info.frame_id,
            wall_ns: info.written_wall_ns,
            acquired_ns: info.acquired_wall_ns,
        }
    }
}

#[pymethods]
impl Publication {
    /// Puts a publication together, as pickling does. `write_time_ns` follows from `write_time` if it
    /// is left out.
    ///
    /// Raises TypeError or OverflowError for numbers that are none.
    #[new]
    #[pyo3(signature = (
        payload, count, frame_id, write_time, missed_publications, write_time_ns = None,
        acquired_ns = None
    ))]
    fn py_new(
        payload: Py<PyAny>,
        count: u64,
        frame_id: u64,
        write_time: f64,
        missed_publications: u64,
        write_time_ns: Option<u64>,
        acquired_ns: Option<u64>,
    ) -> Publication {
        let wall_ns = write_time_ns.unwrap_or((write_time * 1e9) as u64);
        let numbers = Numbers { count, frame_id, wall_ns, acquired_ns: acquired_ns.unwrap_or(0) };
        Publication { payload, numbers, missed: missed_publications }
    }

    fn __reduce__<'py>(
        slf: &Bound<'py, Self>,
    ) -> PyResult<(Bound<'py, PyType>, Bound<'py, PyTuple>)> {
        let (py, own) = (slf.py(), slf.get());
        let numbers = own.numbers;
        let arguments = (
            own.payload.clone_ref(py),
            numbers.count,
            numbers.frame_id,
            numbers.write_time(),
            own.missed,
            numbers.wall_ns,
            numbers.acquired_ns(),
        );
        Ok((slf.get_type(), arguments.into_pyobject(py)?))
    }

    /// The frame: a numpy array of the stream's dtype and shape, owned by the caller.
    #[getter]
    fn payload(&self, py: Python<'_>) -> Py<PyAny> {
        self.payload.clone_ref(py)
    }

    /// Number of the frame in its stream, from 1, without gaps; 0 for the zeros before the first.
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

    /// How many publications were skipped between this handle's previous read and this one.
    #[getter]
    fn missed_publications(&self) -> u64 {
        self.missed
    }

    fn __setattr__(&self, py: Python<'_>, name: &str, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let _ = value;
        Err(frozen(py, "assign to", name))
    }

    fn __delattr__(&self, py: Python<'_>, name: &str) -> PyResult<()> {
        Err(frozen(py, "delete", name))
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!(
            "Publication(payload={}, count={}, frame_id={}, write_time={:?}, missed_publications={})",
            self.payload.bind(py).repr()?,
            self.numbers.count,
            self.numbers.frame_id,
            self.numbers.write_time(),
            self.missed
        ))
    }
}

/// The error that a frozen dataclass would raise, which is what pyshmem's publications are.
fn frozen(py: Python<'_>, doing: &str, name: &str) -> PyErr {
    let error = || -> PyResult<PyErr> {
        let class = py.import("dataclasses")?.getattr("FrozenInstanceError")?;
        Ok(PyErr::from_value(class.call1((format!("cannot {doing} field '{name}'"),))?))
    };
    error().unwrap_or_else(|error| error)
}

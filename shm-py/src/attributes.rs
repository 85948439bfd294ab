//! What a handle says about its stream.

use crate::errors;
use crate::handle::{Attachment, SharedMemory};
use crate::publication::Numbers;
use numpy::PyArrayDescr;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyTuple, PyType};
use shm_core::{ReadError, Role};

impl SharedMemory {
    /// Numbers and times of the newest frame; zeros before the first, or once it is gone.
    fn newest(&self, py: Python<'_>, operation: &str) -> PyResult<Numbers> {
        let attachment = self.attached(py, operation)?;
        match attachment.observer.peek() {
            Ok(info) => Ok(Numbers::from(&info)),
            Err(ReadError::Empty { .. } | ReadError::Stale { .. }) => Ok(Numbers::default()),
            Err(error) => Err(errors::read(py, error)),
        }
    }
}

impl Attachment {
    /// True if a process that has written, or the creator, is attached: by the kernel's word.
    pub(crate) fn is_producer_alive(&self) -> bool {
        if self.observer.writer_alive() == Some(true) {
            return true;
        }
        let info = shm_core::stat(self.stream.name());
        let own = info.ok().filter(|info| info.instance == self.stream.instance());
        own.is_some_and(|info| {
            info.holders
                .iter()
                .any(|holder| holder.role == Role::Writer || holder.pid == info.creator_pid)
        })
    }
}

#[pymethods]
impl SharedMemory {
    /// The stream's name.
    #[getter]
    fn name(&self) -> &str {
        &self.name
    }

    /// Shape of every frame: a tuple of int.
    #[getter]
    fn shape(&self, py: Python<'_>) -> Py<PyTuple> {
        self.shape.clone_ref(py)
    }

    /// Element type of every frame: a numpy.dtype.
    #[getter]
    fn dtype(&self, py: Python<'_>) -> Py<PyArrayDescr> {
        self.form.descr.clone_ref(py)
    }

    /// Size of a frame in bytes.
    #[getter]
    fn size(&self) -> usize {
        self.form.byte_len
    }

    /// The CUDA device of the frames, "cuda:N" as this process counts them, or its identity, "GPU-...",
    /// if this process does not see it; None: they are in host memory.
    #[getter]
    fn gpu_device(&self, py: Python<'_>) -> Option<String> {
        self.facts.device_name(py)
    }

    /// True if the frames are in device memory.
    #[getter]
    fn gpu_enabled(&self) -> bool {
        self.facts.is_on_device()
    }

    /// True if the frames are (also) in host memory.
    #[getter]
    fn cpu_mirror(&self) -> bool {
        self.facts.mirrored
    }

    /// True on the handle that created the stream.
    #[getter]
    fn owner(&self) -> bool {
        self.owner
    }

    /// True if this handle may not change the stream.
    #[getter]
    fn readonly(&self) -> bool {
        self.readonly
    }

    /// The rule by which write() converts dtypes, unless told otherwise: one of numpy's.
    #[getter]
    fn casting(&self) -> &'static str {
        self.casting.name()
    }

    /// True once the handle is closed.
    #[getter]
    fn closed(&self) -> bool {
        self.is_closed()
    }

    /// Whether waiting readers are woken by the kernel rather than by polling: always.
    #[getter]
    fn notify(&self) -> bool {
        true
    }

    /// 32 hexadecimal digits that differ between streams that ever had the same name.
    #[getter]
    fn instance_id(&self) -> String {
        hexadecimal(self.instance)
    }

    /// Process id of the creator, as seen in its own pid namespace.
    ///
    /// Raises RuntimeError on a closed handle.
    #[getter]
    fn creator_pid(&self, py: Python<'_>) -> PyResult<u32> {
        Ok(self.attached(py, "read creator_pid from")?.stream.creator_pid())
    }

    /// The creator's own bytes, as passed to create().
    ///
    /// Raises RuntimeError on a closed handle.
    #[getter]
    fn metadata<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let attachment = self.attached(py, "read metadata from")?;
        Ok(PyBytes::new(py, attachment.stream.metadata()))
    }

    /// Number of frame cells: the newest frame and `cells` - 2 before it stay readable while the next
    /// is written.
    ///
    /// Raises RuntimeError on a closed handle.
    #[getter]
    fn cells(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.attached(py, "read cells from")?.stream.cells())
    }

    /// Number of frames published so far.
    ///
    /// Raises RuntimeError on a closed handle.
    #[getter]
    fn count(&self, py: Python<'_>) -> PyResult<u64> {
        Ok(self.attached(py, "read count from")?.observer.count())
    }

    /// The producer's number of the newest frame; 0 before the first.
    ///
    /// Raises RuntimeError on a closed handle.
    #[getter]
    fn frame_id(&self, py: Python<'_>) -> PyResult<u64> {
        Ok(self.newest(py, "read frame_id from")?.frame_id)
    }

    /// When the newest frame was published, seconds since 1970 UTC; 0.0 before the first.
    ///
    /// Raises RuntimeError on a closed handle.
    #[getter]
    fn write_time(&self, py: Python<'_>) -> PyResult<f64> {
        Ok(self.newest(py, "read write_time from")?.write_time())
    }

    /// When the newest frame was published, nanoseconds since 1970 UTC; 0 before the first.
    ///
    /// Raises RuntimeError on a closed handle.
    #[getter]
    fn write_time_ns(&self, py: Python<'_>) -> PyResult<u64> {
        Ok(self.newest(py, "read write_time_ns from")?.wall_ns)
    }

    /// When the newest frame's data was acquired, nanoseconds since 1970 UTC; None if the producer did
    /// not say.
    ///
    /// Raises RuntimeError on a closed handle.
    #[getter]
    fn acquired_ns(&self, py: Python<'_>) -> PyResult<Option<u64>> {
        Ok(self.newest(py, "read acquired_ns from")?.acquired_ns())
    }

    /// Twice the count: even, because a frame that is being written is not visible here.
    ///
    /// Raises RuntimeError on a closed handle.
    #[getter]
    fn write_sequence(&self, py: Python<'_>) -> PyResult<u64> {
        let attachment = self.attached(py, "read write_sequence from")?;
        Ok(attachment.observer.count().wrapping_mul(2))
    }

    /// Count of the frame that this handle read last; at first, the count when it was opened.
    ///
    /// Raises RuntimeError on a closed handle.
    #[getter]
    fn last_read_count(&self, py: Python<'_>) -> PyResult<u64> {
        self.attached(py, "read last_read_count from")?;
        Ok(self.place.seen())
    }

    /// How many frames the last read skipped.
    ///
    /// Raises RuntimeError on a closed handle.
    #[getter]
    fn missed_writes(&self, py: Python<'_>) -> PyResult<u64> {
        self.attached(py, "read missed_writes from")?;
        Ok(self.place.missed())
    }

    /// How many frames all reads of this handle skipped.
    ///
    /// Raises RuntimeError on a closed handle.
    #[getter]
    fn total_missed_writes(&self, py: Python<'_>) -> PyResult<u64> {
        self.attached(py, "read total_missed_writes from")?;
        Ok(self.place.total_missed())
    }

    /// Seconds since the newest frame was published, by a clock that nobody sets; inf before the first.
    ///
    /// Raises RuntimeError on a closed handle.
    #[getter]
    fn age(&self, py: Python<'_>) -> PyResult<f64> {
        let age = self.attached(py, "read age from")?.observer.age();
        Ok(age.map_or(f64::INFINITY, |age| age.as_secs_f64()))
    }

    /// True once the stream was unlinked, or its name given to another.
    ///
    /// Raises RuntimeError on a closed handle.
    #[getter]
    fn stale(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.attached(py, "look at")?.stream.is_retired())
    }

    /// True if nothing was published within `max_age` seconds, or ever.
    ///
    /// Raises ValueError unless `max_age` is positive, RuntimeError on a closed handle.
    fn is_stale(&self, py: Python<'_>, max_age: f64) -> PyResult<bool> {
        if max_age.is_nan() || max_age <= 0.0 {
            return Err(PyValueError::new_err(format!("max_age must be positive, not {max_age}")));
        }
        Ok(self.age(py)? > max_age)
    }

    /// True while the creator, or a process that has written, is attached. The kernel says so; a
    /// process that was killed, or has closed its handle, is not.
    ///
    /// Raises RuntimeError on a closed handle.
    fn producer_alive(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.attached(py, "check producer liveness for")?.is_producer_alive())
    }

    /// Everything about the stream in lines of text, for people.
    ///
    /// Raises RuntimeError on a closed handle.
    fn describe(&self, py: Python<'_>) -> PyResult<String> {
        let attachment = self.attached(py, "describe")?;
        let newest = self.newest(py, "describe")?;
        let simulated = attachment.side().is_some_and(|side| side.lane.device.is_simulated());
        let device = self.facts.device_name(py).unwrap_or_else(|| "None".to_owned());
        let device = if simulated { format!("{device} (sim)") } else { device };
        let alive = if attachment.is_producer_alive() { "alive" } else { "not attached" };
        let rows: [(&str, String); 19] = [
            ("name", self.name.clone()),
            ("shape", self.shape.bind(py).repr()?.to_string()),
            ("dtype", self.form.descr.bind(py).to_string()),
            ("size", format!("{} bytes", self.form.byte_len)),
            ("cells", attachment.stream.cells().to_string()),
            ("gpu_enabled", truth(self.facts.is_on_device())),
            ("gpu_device", device),
            ("cpu_mirror", truth(self.facts.mirrored)),
            ("notify", "True".to_owned()),
            ("count", newest.count.to_string()),
            ("frame_id", newest.frame_id.to_string()),
            ("write_time", format!("{:.6}", newest.write_time())),
            ("age", format!("{:.6} s", self.age(py)?)),
            ("write_seq", newest.count.wrapping_mul(2).to_string()),
            ("owner", truth(self.owner)),
            ("readonly", truth(self.readonly)),
            ("creator_pid", attachment.stream.creator_pid().to_string()),
            ("producer", alive.to_owned()),
            ("instance_id", hexadecimal(attachment.stream.instance())),
        ];
        let lines = rows.map(|(field, value)| format!("{:<13} {value}", format!("{field}:")));
        Ok(lines.join("\n"))
    }

    /// What create_from_config() needs to make such a stream again: a dict that json can write, unless
    /// the stream has metadata, which is bytes.
    ///
    /// Raises RuntimeError on a closed handle.
    fn to_config<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let attachment = self.attached(py, "describe")?;
        let config = PyDict::new(py);
        config.set_item("name", &self.name)?;
        config.set_item("shape", &self.form.shape)?;
        config.set_item("dtype", self.form.descr.bind(py).to_string())?;
        config.set_item("gpu_device", self.facts.device_name(py))?;
        config.set_item("cpu_mirror", self.facts.mirrored)?;
        config.set_item("notify", true)?;
        config.set_item("cells", attachment.stream.cells())?;
        // Without metadata the configuration is plain JSON.
        if !attachment.stream.metadata().is_empty() {
            config.set_item("metadata", PyBytes::new(py, attachment.stream.metadata()))?;
        }
        config.set_item("temporary", attachment.stream.is_temporary())?;
        Ok(config)
    }

    /// Creates a stream from a mapping with the keys of to_config(); `name` and `shape` are required,
    /// the others have create()'s defaults.
    ///
    /// Raises KeyError for a missing key, TypeError for an unknown one; else as create() does:
    /// FileExistsError, ValueError, TypeError, OSError, RuntimeError.
    #[classmethod]
    fn create_from_config<'py>(
        _cls: &Bound<'py, PyType>,
        config: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = config.py();
        let keywords = PyDict::new(py);
        keywords.update(config.cast()?)?;
        let required = |key: &str| {
            let value = keywords.get_item(key)?;
            value.ok_or_else(|| pyo3::exceptions::PyKeyError::new_err(key.to_owned()))
        };
        let name = required("name")?;
        required("shape")?;
        keywords.del_item("name")?;
        py.import("shm_py._native")?.getattr("create")?.call((name,), Some(&keywords))
    }
}

fn truth(it: bool) -> String {
    if it { "True" } else { "False" }.to_owned()
}

/// An id as it is shown.
pub(crate) fn hexadecimal(id: [u8; 16]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

//! `create` and `open`.
//!
//! Upholds invariant 9 through [`shm_core`]; what Python programs pass is checked here, and every
//! error names the argument.

use crate::array;
use crate::casting::Casting;
use crate::cuda::{self, DeviceWish, Wanted};
use crate::handle::{HandleOptions, SharedMemory};
use crate::{dtype, errors, wait};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyString;
use shm_core::{Deadline, OpenError, Reader, Stream, StreamConfig};
use shm_cuda::{DeviceStreamConfig, Mirror};

/// Creates a stream: all zeros, no frame in it yet.
///
/// name: any text of 1 to 1024 bytes that is not blank. shape: dimensions from 1 on, at most 16; ()
/// is a scalar. dtype: bool, int8 to int64, uint8 to uint64, float16 to float64, complex64,
/// complex128, or "bfloat16" (needs ml_dtypes). size: checked against shape and dtype, if given.
/// auto_unlink: leaving a `with` block unlinks. cells: how many frames the stream has room for, 2 to
/// 65536; the newest and `cells` - 2 before it stay readable while the next is written. metadata: up to
/// 64 KiB of the creator's own. replace_existing: takes the name over from an older stream.
/// temporary: gc() and full memory may remove the stream once nobody is attached. casting: the
/// handle's rule for write(). notify is accepted for compatibility: waiting readers are always woken.
///
/// gpu_device: "cuda:N", N or "cuda" (the first) puts the frames into the memory of that CUDA device,
/// where they live as long as this process; reads then return DeviceTensors. cpu_mirror=True copies
/// each of them to shared memory as well, for readers without a device.
///
/// Raises FileExistsError if the name is taken; OSError with errno ENOSPC if shared memory is too
/// small, and MemoryError if the device's is, and nothing stays behind; ValueError or TypeError for a
/// bad argument; RuntimeError for a CUDA device where CUDA is not available, saying what is missing.
#[pyfunction]
#[pyo3(signature = (
    name, *, shape, dtype = DefaultDtype::FLOAT32, size = None, gpu_device = None, cpu_mirror = None,
    auto_unlink = false, notify = false, cells = Cells(3), metadata = Metadata::EMPTY,
    replace_existing = false, temporary = false, casting = "same_kind"
), text_signature = "(name, *, shape, dtype='float32', size=None, gpu_device=None, cpu_mirror=None, \
auto_unlink=False, notify=False, cells=3, metadata=b'', replace_existing=False, temporary=False, \
casting='same_kind')")]
#[expect(clippy::too_many_arguments, reason = "Python's keywords")]
pub(crate) fn create(
    py: Python<'_>,
    name: &Bound<'_, PyAny>,
    shape: &Bound<'_, PyAny>,
    dtype: DefaultDtype<'_>,
    size: Option<&Bound<'_, PyAny>>,
    gpu_device: Option<&Bound<'_, PyAny>>,
    cpu_mirror: Option<bool>,
    auto_unlink: bool,
    notify: bool,
    cells: Cells,
    metadata: Metadata<'_>,
    replace_existing: bool,
    temporary: bool,
    casting: &str,
) -> PyResult<SharedMemory> {
    let _ = notify;
    let name = name_argument(name)?;
    let casting = Casting::parse(casting)?;
    let shape = array::shape_argument(shape)?;
    let descr = dtype.descr(py)?;
    let element = dtype::to_core(&descr)?;
    let config = StreamConfig::new(element, &shape).map_err(errors::config)?;
    check_size(size, config.desc().byte_len())?;
    let device = Wanted::parse(gpu_device)?;
    let options = HandleOptions { owner: true, readonly: false, auto_unlink, casting };
    if !matches!(device, Wanted::Nothing | Wanted::Host) {
        let mirror = if cpu_mirror.unwrap_or(false) { Mirror::Host } else { Mirror::None };
        let config = DeviceStreamConfig::new(element, &shape, mirror).map_err(errors::config)?;
        let config = config.cells(cells.0).map_err(errors::config)?;
        let config = config.metadata(metadata.bytes()).map_err(errors::config)?;
        let config = config.replace_existing(replace_existing).temporary(temporary);
        let (stream, side) = cuda::create(py, &name, &config, device)?;
        return SharedMemory::new(py, stream, Some(side), options);
    }
    let config = config.cells(cells.0).map_err(errors::config)?;
    let config = config.metadata(metadata.bytes()).map_err(errors::config)?;
    let config = config.replace_existing(replace_existing).temporary(temporary);
    // Reserving the pages of a large stream takes milliseconds.
    let stream = py.detach(|| Stream::create(&name, &config));
    let stream = stream.map_err(|error| errors::create(py, error))?;
    SharedMemory::new(py, stream, None, options)
}

/// Opens a stream that exists. With readonly=True the frames are mapped read-only and every call that
/// would change the stream raises PermissionError. `timeout` (seconds, None for ever) waits for
/// somebody to create it. `casting` is the handle's rule for write().
///
/// If the frames are on a CUDA device, `gpu_device="cuda"` gives a handle that reads and writes them
/// there, and so does the device's number in this process. None or False gives one without a device: it
/// has the numbers, the locks and the waits, and reads numpy arrays if the stream has a cpu_mirror. For
/// a stream in host memory it means nothing, but must be a device's name.
///
/// Raises FileNotFoundError if there is none; ValueError for a damaged or foreign file, a bad argument,
/// or a device that is not the stream's; PermissionError for another user's stream; RuntimeError if the
/// process whose memory the frames are has ended, or CUDA is not available.
#[pyfunction]
#[pyo3(signature = (
    name, *, gpu_device = None, readonly = false, timeout = Some(0.0), casting = "same_kind"
), text_signature = "(name, *, gpu_device=None, readonly=False, timeout=0.0, casting='same_kind')")]
pub(crate) fn open(
    py: Python<'_>,
    name: &Bound<'_, PyAny>,
    gpu_device: Option<&Bound<'_, PyAny>>,
    readonly: bool,
    timeout: Option<f64>,
    casting: &str,
) -> PyResult<SharedMemory> {
    let name = name_argument(name)?;
    let casting = Casting::parse(casting)?;
    let wanted = Wanted::parse(gpu_device)?;
    let stream = open_within(py, &name, readonly, wait::deadline(timeout)?)?;
    let device = DeviceWish::for_open(py, &stream, wanted)?;
    let options = HandleOptions { owner: false, readonly, auto_unlink: false, casting };
    SharedMemory::new(py, stream, device, options)
}

/// Opens what a pickled handle names.
#[pyfunction]
#[pyo3(signature = (name, readonly, casting, on_device = false))]
pub(crate) fn _reopen(
    py: Python<'_>,
    name: &str,
    readonly: bool,
    casting: &str,
    on_device: bool,
) -> PyResult<SharedMemory> {
    let stream = open_within(py, name, readonly, Deadline::NOW)?;
    let casting = Casting::parse(casting)?;
    let wanted = if on_device { Wanted::Any } else { Wanted::Nothing };
    let device = DeviceWish::for_open(py, &stream, wanted)?;
    let options = HandleOptions { owner: false, readonly, auto_unlink: false, casting };
    SharedMemory::new(py, stream, device, options)
}

fn open_within(py: Python<'_>, name: &str, readonly: bool, deadline: Deadline) -> PyResult<Stream> {
    loop {
        let slice = wait::slice(deadline);
        let attempt = || match readonly {
            true => Reader::open_within(name, slice).map(|reader| reader.stream().clone()),
            false => Stream::open_within(name, slice),
        };
        let opened = match slice.is_zero() {
            true => attempt(),
            false => py.detach(attempt),
        };
        match opened {
            Err(
                OpenError::NotFound { .. } | OpenError::NotReady { .. } | OpenError::Busy { .. },
            ) if !deadline.has_passed() => {
                py.check_signals()?;
            }
            outcome => return outcome.map_err(|error| errors::open(py, error)),
        }
    }
}

/// A name as a program passes it.
pub(crate) fn name_argument(name: &Bound<'_, PyAny>) -> PyResult<String> {
    let refused = |why: &str| {
        let shown = errors::shown(name)?;
        Err(PyValueError::new_err(format!(
            "name must be a non-empty string without NUL characters; {shown} {why}"
        )))
    };
    let Ok(text) = name.cast::<PyString>() else { return refused("is not a string") };
    let Ok(text) = text.to_cow() else { return refused("cannot be written as UTF-8") };
    match text.trim().is_empty() {
        true => refused("is blank"),
        false if text.contains('\0') => refused("holds a NUL character"),
        false => Ok(text.into_owned()),
    }
}

fn check_size(given: Option<&Bound<'_, PyAny>>, expected: usize) -> PyResult<()> {
    let Some(given) = given else { return Ok(()) };
    if !given.hasattr("__index__")? {
        return Err(PyTypeError::new_err(format!(
            "size is {}; expected an integer number of bytes, or None",
            given.get_type()
        )));
    }
    if given.extract::<usize>().is_ok_and(|size| size == expected) {
        return Ok(());
    }
    Err(PyValueError::new_err(format!(
        "size does not match shape and dtype: expected {expected} bytes, got {given}; leave it out"
    )))
}

/// `dtype=`, float32 if it is left out.
pub(crate) enum DefaultDtype<'py> {
    Float32,
    Given(Bound<'py, PyAny>),
}

impl DefaultDtype<'_> {
    pub(crate) const FLOAT32: DefaultDtype<'static> = DefaultDtype::Float32;
}

impl<'py> DefaultDtype<'py> {
    pub(crate) fn descr(self, py: Python<'py>) -> PyResult<Bound<'py, numpy::PyArrayDescr>> {
        match self {
            DefaultDtype::Float32 => dtype::to_numpy(py, shm_core::Dtype::F32),
            DefaultDtype::Given(given) => dtype::from_argument(py, &given),
        }
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for DefaultDtype<'py> {
    type Error = PyErr;

    fn extract(given: Borrowed<'a, 'py, PyAny>) -> PyResult<DefaultDtype<'py>> {
        Ok(DefaultDtype::Given(given.to_owned()))
    }
}

/// `cells=`.
pub(crate) struct Cells(usize);

impl<'a, 'py> FromPyObject<'a, 'py> for Cells {
    type Error = PyErr;

    fn extract(given: Borrowed<'a, 'py, PyAny>) -> PyResult<Cells> {
        match given.extract::<usize>() {
            Ok(cells) => Ok(Cells(cells)),
            Err(error) if error.is_instance_of::<PyTypeError>(given.py()) => Err(error),
            Err(_) => Err(PyValueError::new_err(format!(
                "cells is {}; expected a number of frames from 2 on",
                given.repr()?
            ))),
        }
    }
}

/// `metadata=`, empty if it is left out.
pub(crate) struct Metadata<'py>(std::borrow::Cow<'py, [u8]>);

impl Metadata<'_> {
    pub(crate) const EMPTY: Metadata<'static> = Metadata(std::borrow::Cow::Borrowed(&[]));

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for Metadata<'py> {
    type Error = PyErr;

    fn extract(given: Borrowed<'a, 'py, PyAny>) -> PyResult<Metadata<'py>> {
        let bytes = given.extract::<Vec<u8>>().map_err(|_| {
            PyTypeError::new_err(format!("metadata is {}; expected bytes", given.get_type()))
        });
        match bytes {
            Ok(bytes) => Ok(Metadata(bytes.into())),
            Err(error) => Err(error),
        }
    }
}

//! Finding, inspecting and removing streams by name.
//!
//! Upholds invariants 3 and 9 through [`shm_core`].

use crate::attributes::hexadecimal;
use crate::creation::name_argument;
use crate::cuda::Facts;
use crate::errors;
use crate::publication::Numbers;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use shm_core::{OpenError, ReadError, Reader, Role, Stream, UnlinkError};

/// What the segments of streams are called; other kinds have handles of their own.
const KIND: &str = "stream";

/// Takes a stream's name away. Who is attached keeps the mapping and is told (StaleStreamError); the
/// memory is freed when the last of them lets go. An absent name is no error.
///
/// Raises ValueError for a bad name, PermissionError for another user's stream, OSError if the system
/// refuses.
#[pyfunction]
#[pyo3(name = "unlink")]
pub(crate) fn unlink_by_name(py: Python<'_>, name: &Bound<'_, PyAny>) -> PyResult<()> {
    unlink(py, &name_argument(name)?)
}

/// As unlink(), and never raises: for clean-up.
#[pyfunction]
pub(crate) fn unlink_quiet(py: Python<'_>, name: &Bound<'_, PyAny>) {
    let _ = unlink_by_name(py, name);
}

/// Names of this user's streams that begin with `prefix`, sorted.
///
/// Raises NotImplementedError on platforms that cannot list shared memory.
#[pyfunction]
#[pyo3(signature = (prefix = ""))]
pub(crate) fn list_streams(prefix: &str) -> PyResult<Vec<String>> {
    let found = shm_core::list(prefix).map_err(errors::listing)?;
    Ok(found.into_iter().filter(|info| info.kind == KIND).map(|info| info.name).collect())
}

/// Looks at a stream without keeping it: a dict with name, shape, dtype, size, cells, count,
/// frame_id, write_time (s), write_time_ns, acquired_ns, write_sequence, creator_pid, creator_alive,
/// instance_id, metadata, gpu_enabled, gpu_device, cpu_mirror, notify, path, segment_bytes,
/// allocated_bytes, created_ns, attached, writer_locked, and holders, a list of dicts (pid, uid,
/// role, since_ns) of the attached handles.
///
/// Raises FileNotFoundError and the other errors of open().
#[pyfunction]
pub(crate) fn stat<'py>(py: Python<'py>, name: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyDict>> {
    let name = name_argument(name)?;
    let failed = |error| errors::open(py, error);
    let info = shm_core::stat(&name).map_err(failed)?;
    let reader = Reader::open_read_only(&name).map_err(failed)?;
    let newest = match reader.peek() {
        Ok(info) => Numbers::from(&info),
        Err(ReadError::Empty { .. } | ReadError::Stale { .. }) => Numbers::default(),
        Err(error) => return Err(errors::read(py, error)),
    };
    let (desc, stream) = (reader.desc(), reader.stream());
    let holders = PyList::empty(py);
    for holder in &info.holders {
        let row = PyDict::new(py);
        row.set_item("pid", holder.pid)?;
        row.set_item("uid", holder.uid)?;
        row.set_item("role", role(holder.role))?;
        row.set_item("since_ns", holder.since_mono_ns)?;
        holders.append(row)?;
    }
    let creator_alive = info.holders.iter().any(|holder| holder.pid == info.creator_pid);
    let found = PyDict::new(py);
    found.set_item("name", &info.name)?;
    found.set_item("shape", desc.shape())?;
    found.set_item("dtype", desc.dtype().name())?;
    found.set_item("size", desc.byte_len())?;
    found.set_item("cells", stream.cells())?;
    let facts = Facts::of(stream)?;
    found.set_item("gpu_enabled", facts.is_on_device())?;
    found.set_item("gpu_device", facts.device_name(py))?;
    found.set_item("cpu_mirror", facts.mirrored)?;
    found.set_item("notify", true)?;
    found.set_item("instance_id", hexadecimal(info.instance))?;
    found.set_item("creator_pid", info.creator_pid)?;
    found.set_item("creator_alive", creator_alive)?;
    found.set_item("count", newest.count)?;
    found.set_item("frame_id", newest.frame_id)?;
    found.set_item("write_sequence", newest.count.wrapping_mul(2))?;
    found.set_item("write_time", newest.write_time())?;
    found.set_item("write_time_ns", newest.wall_ns)?;
    found.set_item("acquired_ns", newest.acquired_ns())?;
    found.set_item("metadata", pyo3::types::PyBytes::new(py, stream.metadata()))?;
    found.set_item("path", info.path.to_string_lossy())?;
    found.set_item("segment_bytes", info.len)?;
    found.set_item("allocated_bytes", info.allocated)?;
    found.set_item("created_ns", info.created_wall_ns)?;
    found.set_item("attached", info.attached)?;
    found.set_item("writer_locked", info.writer_locked)?;
    found.set_item("holders", holders)?;
    Ok(found)
}

/// Unlinks every stream of this user whose name begins with `prefix`, in use or not; returns their
/// names, sorted. With dry_run=True it only says which.
///
/// Raises NotImplementedError on platforms that cannot list shared memory.
#[pyfunction]
#[pyo3(signature = (*, prefix = "", dry_run = false))]
pub(crate) fn _purge(py: Python<'_>, prefix: &str, dry_run: bool) -> PyResult<Vec<String>> {
    let mut removed = Vec::new();
    for name in list_streams(prefix)? {
        if !dry_run {
            match shm_core::unlink(&name) {
                Ok(()) => {}
                // Somebody else was faster.
                Err(UnlinkError::Open(OpenError::NotFound { .. }) | UnlinkError::Stale { .. }) => {
                    continue;
                }
                Err(error) => return Err(errors::unlink(py, error)),
            }
        }
        removed.push(name);
    }
    Ok(removed)
}

/// Removes the streams of this user whose name begins with `prefix` and that no process is attached
/// to, and what creators that died half-way left; returns the names of the streams, sorted. With
/// dry_run=True it only says which. Otherwise device memory of this process's closed streams is freed
/// too, as far as no other process has it open any more.
///
/// Raises NotImplementedError on platforms that cannot list shared memory.
#[pyfunction]
#[pyo3(signature = (prefix = "", *, dry_run = false))]
pub(crate) fn gc(py: Python<'_>, prefix: &str, dry_run: bool) -> PyResult<Vec<String>> {
    let mut removed = shm_core::gc(prefix, dry_run).map_err(errors::listing)?.removed;
    removed.sort();
    if !dry_run {
        py.detach(shm_cuda::ipc::collect);
    }
    Ok(removed)
}

/// Takes a name away; absent is fine.
pub(crate) fn unlink(py: Python<'_>, name: &str) -> PyResult<()> {
    match shm_core::unlink(name) {
        Err(UnlinkError::Open(OpenError::NotFound { .. }) | UnlinkError::Stale { .. }) => Ok(()),
        outcome => outcome.map_err(|error| errors::unlink(py, error)),
    }
}

/// Takes the name of `stream` away, and never that of another stream.
pub(crate) fn unlink_stream(py: Python<'_>, stream: &Stream) -> PyResult<()> {
    match stream.unlink() {
        Ok(()) | Err(UnlinkError::Open(OpenError::NotFound { .. })) => Ok(()),
        // Unlinked before, and nobody has the name now: what the caller wanted is so.
        Err(UnlinkError::Stale { .. }) if is_absent(stream.name()) => Ok(()),
        Err(error) => Err(errors::unlink(py, error)),
    }
}

/// As [`unlink_stream`] for a handle that is closed.
pub(crate) fn unlink_instance(py: Python<'_>, name: &str, instance: [u8; 16]) -> PyResult<()> {
    match Stream::open(name) {
        Ok(stream) if stream.instance() == instance => unlink_stream(py, &stream),
        Ok(stream) => {
            let name = stream.name().to_owned();
            Err(errors::unlink(py, UnlinkError::Stale { name }))
        }
        Err(OpenError::NotFound { .. }) => Ok(()),
        Err(error) => Err(errors::open(py, error)),
    }
}

fn is_absent(name: &str) -> bool {
    matches!(shm_core::stat(name), Err(OpenError::NotFound { .. }))
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Reader => "reader",
        Role::Writer => "writer",
        _ => "attached",
    }
}

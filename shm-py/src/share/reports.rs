//! Plain data about servers, tasks and objects, as Python has it.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use shm_cuda::share::{Counters, Failure, ObjectInfo, TaskInfo, TaskState};

const STATES: [(TaskState, &str); 5] = [
    (TaskState::Pending, "pending"),
    (TaskState::Running, "running"),
    (TaskState::Completed, "completed"),
    (TaskState::Failed, "failed"),
    (TaskState::Cancelled, "cancelled"),
];

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads the name of a state.
pub(super) fn state(given: Option<&str>) -> PyResult<Option<TaskState>> {
    let Some(given) = given else { return Ok(None) };
    let found = STATES.iter().find(|(_, name)| *name == given);
    found.map(|&(state, _)| Some(state)).ok_or_else(|| {
        let names: Vec<&str> = STATES.iter().map(|&(_, name)| name).collect();
        PyValueError::new_err(format!("state is '{given}'; expected one of {}", names.join(", ")))
    })
}

pub(super) fn task<'py>(py: Python<'py>, info: &TaskInfo) -> PyResult<Bound<'py, PyDict>> {
    let state = STATES.iter().find(|(state, _)| *state == info.state).map_or("", |&(_, name)| name);
    let dict = PyDict::new(py);
    dict.set_item("task_id", info.task)?;
    dict.set_item("endpoint", &info.endpoint)?;
    dict.set_item("status", state)?;
    dict.set_item("created_at", info.created)?;
    dict.set_item("started_at", info.started)?;
    dict.set_item("completed_at", info.completed)?;
    dict.set_item("failure", info.failure.as_ref().map(|it| failure(py, it)).transpose()?)?;
    dict.set_item("object_id", info.object)?;
    Ok(dict)
}

fn failure<'py>(py: Python<'py>, failure: &Failure) -> PyResult<Bound<'py, PyDict>> {
    let details = PyDict::new(py);
    for (name, detail) in &failure.details {
        details.set_item(name, detail)?;
    }
    let dict = PyDict::new(py);
    dict.set_item("kind", format!("{:?}", failure.kind))?;
    dict.set_item("code", failure.kind.code())?;
    dict.set_item("message", &failure.message)?;
    dict.set_item("error_type", &failure.error_type)?;
    dict.set_item("details", details)?;
    Ok(dict)
}

pub(super) fn object<'py>(py: Python<'py>, info: &ObjectInfo) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("object_id", info.object)?;
    dict.set_item("endpoint", &info.endpoint)?;
    dict.set_item("cache_key", &info.key)?;
    dict.set_item("leases", info.leases)?;
    dict.set_item("nbytes", info.bytes)?;
    dict.set_item("created_at", info.created)?;
    dict.set_item("last_accessed_at", info.accessed)?;
    dict.set_item("survives_server", info.survives)?;
    Ok(dict)
}

pub(super) fn counters<'py>(py: Python<'py>, all: &Counters) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    let named = [
        ("connections", all.connections),
        ("connections_total", all.connections_total),
        ("requests", all.requests),
        ("errors", all.errors),
        ("cache_hits", all.cache_hits),
        ("cache_misses", all.cache_misses),
        ("joined", all.joined),
        ("uncacheable", all.uncacheable),
        ("cache_entries", all.cache_entries),
        ("cache_bytes", all.cache_bytes),
        ("evicted", all.evicted),
        ("invalidated", all.invalidated),
        ("builds", all.builds),
        ("builds_total", all.builds_total),
        ("objects", all.objects),
        ("leases", all.leases),
        ("leases_hung_up", all.leases_hung_up),
        ("tasks", all.tasks),
        ("tasks_total", all.tasks_total),
        ("refused", all.refused),
    ];
    for (name, count) in named {
        dict.set_item(name, count)?;
    }
    Ok(dict)
}

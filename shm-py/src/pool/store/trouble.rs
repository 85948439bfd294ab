//! What Python is told when something goes wrong with a store.

use crate::pool::errors::{self, Kind};
use crate::pool::store::key::Key;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use shm_pool::{AttachError, StoreError};

pub(super) fn attach(py: Python<'_>, error: AttachError) -> PyErr {
    match error {
        AttachError::Open(error) => errors::open(py, error, "Store"),
        AttachError::Io { .. } => errors::system(&error),
        other => Kind::Pool.error(py, other.to_string()),
    }
}

/// For calls about one key, or none.
pub(super) fn store(py: Python<'_>, error: StoreError) -> PyErr {
    let text = error.to_string();
    match error {
        StoreError::Exists { .. } => Kind::Exists.error(py, text),
        StoreError::InProgress { pid, .. } => {
            let text = text.replace("`prepare_retrieve`", "prepare_retrieve(timeout=...)");
            errors::with(py, Kind::Exists.error(py, text), "pid", pid)
        }
        StoreError::Full { holders, .. } | StoreError::Timeout { holders, .. } => {
            errors::with_holders(py, Kind::Full.error(py, text), &holders)
        }
        StoreError::IndexFull { .. } => Kind::Full.error(py, text),
        StoreError::Key { .. }
        | StoreError::NoKeys { .. }
        | StoreError::Tensors { .. }
        | StoreError::TooLarge { .. } => PyValueError::new_err(text),
        StoreError::Io { .. } => errors::system(&error),
        _ => Kind::Pool.error(py, text),
    }
}

/// For calls about several keys.
pub(super) fn retrieve(py: Python<'_>, error: StoreError, keys: &[Key]) -> PyErr {
    let StoreError::Missing { name, missing, of, waited, .. } = error else {
        return store(py, error);
    };
    let told = || -> PyResult<PyErr> {
        let missing: Vec<_> =
            missing.iter().filter_map(|&key| keys.get(key)).map(|key| key.shown(py)).collect();
        let shown = missing.iter().take(8).map(|key| Ok(key.repr()?.to_string()));
        let shown = shown.collect::<PyResult<Vec<_>>>()?.join(", ");
        let more = if missing.len() > 8 { ", ..." } else { "" };
        let after = match waited.is_zero() {
            true => String::new(),
            false => format!(" after {:.3} s", waited.as_secs_f64()),
        };
        let text = format!(
            "store '{name}' lacks {} of {of} keys{after}: {shown}{more}; store them, or wait for them \
             with timeout=",
            missing.len()
        );
        let error = Kind::Missing.error(py, text);
        Ok(errors::with(py, error, "missing", PyTuple::new(py, missing)?))
    };
    told().unwrap_or_else(|error| error)
}

/// The error of a handle that was closed.
pub(super) fn closed(py: Python<'_>, name: &str) -> PyErr {
    errors::closed(py, "store", name, "shm_py.Store.open")
}

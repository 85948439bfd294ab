//! The share service for Python: tensors and modules that one process owns and others use.
//!
//! ```text
//!   _ShareServer ── endpoint       functions, run by the server's workers
//!   _ShareClient ── asking         what is asked and answered
//!        │          waiting        with signals heard
//!        ├───────── _SharePending  for event loops
//!        └───────── _ShareHandle   leased objects
//!
//!   objects ── from_python ── packing, device ── values ── to_python ── objects
//!                                  │                          │
//!                                  └── table: what lies in ───┘
//!                                      shared memory already
//! ```

mod array;
mod asking;
mod client;
mod copies;
mod device;
mod endpoint;
mod errors;
mod from_python;
mod handle;
mod lent;
mod packing;
mod pending;
mod reports;
mod server;
mod table;
mod to_python;
mod trouble;
mod waiting;

use pyo3::prelude::*;

/// Adds everything of share services to the extension module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    errors::register(module)?;
    module.add_class::<server::ShareServer>()?;
    module.add_class::<client::ShareClient>()?;
    module.add_class::<pending::SharePending>()?;
    module.add_class::<handle::ShareHandle>()?;
    module.add_function(wrap_pyfunction!(array::_share_empty, module)?)?;
    module.add_function(wrap_pyfunction!(array::_share_own_writes, module)?)?;
    module.add_function(wrap_pyfunction!(copies::_share_copies, module)?)?;
    module.add_function(wrap_pyfunction!(server::_share_socket_path, module)?)
}

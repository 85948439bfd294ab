//! Tensors of nested data on their way to other processes: what `shm_py.transport` is made of. The module
//! walks the data; here are the tensors in it, one after the other.
//!
//! ```text
//!   _Sender      ── sender     all tensors of a call, or none
//!                   source     where each of them lies
//!   TensorProxy  ── proxy      what travels
//!   _Receiver    ── receiver   each is acknowledged once, whatever became of the others
//! ```

mod errors;
mod proxy;
mod receiver;
mod sender;
mod source;

use pyo3::prelude::*;

/// Adds everything of the transport to the extension module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<proxy::TensorProxy>()?;
    module.add_class::<sender::Sender>()?;
    module.add_class::<receiver::Receiver>()
}

//! Triton Inference Server through shared memory: clients, models, slots.
//!
//! ```text
//!   TritonClient ── TritonModel ─┬─ infer()   arrays in, arrays out: one copy each way
//!        │                       └─ slot() ── TritonSlot   arrays over the memory that the server maps
//!        │
//!   shm-triton   transports, regions, slots, chunks; its futures are polled by event loops here
//! ```
//!
//! Nothing is waited for with the interpreter held, and what may be the last of a client is dropped without
//! it: that ends the client's thread. The thread itself never wants the interpreter.

pub(crate) mod aside;
mod call;
mod client;
mod dtypes;
mod errors;
mod gather;
mod inputs;
mod interrupt;
mod keywords;
mod model;
mod output;
mod reports;
mod shelves;
mod slot;
mod specs;

use pyo3::prelude::*;

/// Adds everything of Triton to the extension module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    errors::register(module)?;
    module.add_class::<client::TritonClient>()?;
    module.add_class::<model::TritonModel>()?;
    module.add_class::<slot::TritonSlot>()?;
    module.add_class::<call::Call>()
}

/// What `await` takes.
fn awaited<'py>(py: Python<'py>, call: call::Call) -> PyResult<Bound<'py, PyAny>> {
    let drive = py.import("shm_py._triton_asyncio")?.getattr("drive")?;
    drive.call1((Bound::new(py, call)?,))
}

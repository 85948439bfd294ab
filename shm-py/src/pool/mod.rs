//! Pools, and what is built on them: tickets, queues, trees of arrays, stores.

pub(crate) mod arguments;
pub(crate) mod audience;
mod consumer;
pub(crate) mod errors;
pub(crate) mod handle;
mod lease;
pub(crate) mod lending;
mod memory;
pub(crate) mod opening;
mod queue;
mod recycler;
pub(crate) mod reports;
mod slot;
pub(crate) mod stage;
mod store;
pub(crate) mod ticket;
mod tree;
mod wish;

use pyo3::prelude::*;

/// Adds everything of pools to the extension module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    errors::register(module)?;
    module.add_class::<handle::Pool>()?;
    module.add_class::<slot::Slot>()?;
    module.add_class::<ticket::Ticket>()?;
    module.add_class::<consumer::Consumer>()?;
    module.add_class::<lease::Lease>()?;
    module.add_class::<queue::Queue>()?;
    module.add_class::<store::Store>()?;
    module.add_class::<store::Reservation>()?;
    module.add_class::<store::Retrieved>()?;
    module.add_class::<recycler::Recycler>()?;
    module.add_class::<wish::Waiter>()?;
    module.add_function(wrap_pyfunction!(handle::remove_pool, module)?)?;
    module.add_function(wrap_pyfunction!(tree::pack, module)?)?;
    module.add_function(wrap_pyfunction!(tree::unpack, module)?)
}

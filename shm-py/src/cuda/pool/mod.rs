//! Pools of device memory for Python: the words of pools in host memory, in the order of streams.
//!
//! ```text
//!   DevicePool      ── handle     made, opened, closed
//!                      lending    lend() and put()
//!                      reports    what it says about itself
//!   DeviceSlot      ── slot       filled on a stream, published on a stream
//!   DeviceTicket    ── ticket     what travels: a Ticket, and the form of the tensor
//!   DeviceConsumer  ── consumer   waits for the bytes, or makes a stream wait
//!   DeviceLease     ── lease      the tensor in place, acknowledged on a stream
//!                      payload    what is put into slots
//!                      sources    what queued copies use, until they are done
//! ```

mod audience;
mod consumer;
pub(crate) mod errors;
pub(crate) mod handle;
mod lease;
mod lending;
pub(crate) mod payload;
mod reports;
mod slot;
pub(crate) mod sources;
mod ticket;

use pyo3::prelude::*;

/// Adds everything of device pools to the extension module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    errors::register(module)?;
    module.add_class::<handle::DevicePool>()?;
    module.add_class::<slot::DeviceSlot>()?;
    module.add_class::<ticket::DeviceTicket>()?;
    module.add_class::<consumer::DeviceConsumer>()?;
    module.add_class::<lease::DeviceLease>()
}

//! Lending device memory: at once where there is room, else in turns.
//!
//! Upholds invariant 5: a turn is one sleep with the interpreter released, after which signals are heard.

use crate::array;
use crate::cuda::layout::Layout;
use crate::cuda::pool::handle::{DevicePool, Opened};
use crate::cuda::pool::payload::Payload;
use crate::cuda::pool::slot::DeviceSlot;
use crate::cuda::pool::ticket::DeviceTicket;
use crate::cuda::pool::{audience, errors};
use crate::cuda::queue::Queue;
use crate::dtype;
use crate::pool::lending;
use crate::wait;
use pyo3::prelude::*;
use pyo3::types::PyList;
use shm_core::{Deadline, Dtype};
use shm_cuda::pool::DeviceLendError;
use shm_pool::{LendError, Policy, Wait};
use std::time::Instant;

#[pymethods]
impl DevicePool {
    /// Lends a slot for a tensor of that shape and dtype: a DeviceSlot to fill and publish, which `with`
    /// gives back unless it was published. A number in the place of the shape is a number of elements;
    /// without a dtype they are bytes.
    ///
    /// When nothing is free, policy="block" waits until `timeout` (seconds; None for ever, 0 not at
    /// all); "fail" never waits; "drop_oldest_unread" takes back the oldest publication that no consumer
    /// has begun to read, and waits if there is none. The wait releases the interpreter.
    ///
    /// Raises PoolFull (a TimeoutError, with `holders`) if nothing came free in time; ValueError for
    /// more bytes than the pool lends at once; PoolError once the pool was removed, and after close().
    #[pyo3(signature = (shape, dtype = None, timeout = None, policy = "block"),
           text_signature = "($self, shape, dtype='uint8', timeout=None, policy='block')")]
    fn lend(
        &self,
        py: Python<'_>,
        shape: &Bound<'_, PyAny>,
        dtype: Option<&Bound<'_, PyAny>>,
        timeout: Option<f64>,
        policy: &str,
    ) -> PyResult<DeviceSlot> {
        let (policy, deadline) = (lending::policy(policy)?, wait::deadline(timeout)?);
        let dtype = match dtype {
            Some(dtype) => dtype::to_core(&dtype::from_argument(py, dtype)?)?,
            None => Dtype::U8,
        };
        let shape = match shape.hasattr("__index__")? {
            true => array::shape_argument(PyList::new(py, [shape])?.as_any())?,
            false => array::shape_argument(shape)?,
        };
        self.lend_within(py, Layout::contiguous(dtype, &shape)?, policy, deadline)
    }

    /// Copies a tensor into a slot, publishes it, and returns its DeviceTicket: lend(),
    /// DeviceSlot.write() and DeviceSlot.publish() in one. `value` and `stream` are as for write(),
    /// `consumers` as for publish(), `timeout` and `policy` as for lend().
    ///
    /// Raises PoolFull (a TimeoutError) if nothing came free in time; ValueError for a tensor that is not
    /// C-contiguous, or a seat on which nobody sits; TypeError for a dtype that tensors cannot have; else
    /// as lend() and DeviceSlot.publish() do. Nothing stays lent.
    #[pyo3(signature = (value, consumers = None, timeout = None, policy = "block", *, stream = None))]
    fn put(
        &self,
        value: &Bound<'_, PyAny>,
        consumers: Option<&Bound<'_, PyAny>>,
        timeout: Option<f64>,
        policy: &str,
        stream: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<DeviceTicket> {
        let py = value.py();
        let audience = audience::from_argument(consumers, self.id())?;
        let (policy, deadline) = (lending::policy(policy)?, wait::deadline(timeout)?);
        let given = Queue::parse(stream)?;
        let shared = self.attached(py)?.shared;
        let queue = given.unwrap_or_else(|| Queue::of(&shared.lane.queue));
        let payload = Payload::of(value, &shared.lane, queue)?;
        let slot = self.lend_within(py, payload.layout()?, policy, deadline)?;
        slot.fill(py, payload, (queue, given.is_some()))?;
        slot.share(py, audience, Some(queue))
    }
}

impl DevicePool {
    fn lend_within(
        &self,
        py: Python<'_>,
        layout: Layout,
        policy: Policy,
        deadline: Deadline,
    ) -> PyResult<DeviceSlot> {
        self.attached(py)?.shared.sources.sweep(py);
        let (bytes, begun) = (layout.byte_len(), Instant::now());
        loop {
            let Opened { pool, shared } = self.attached(py)?;
            let is_last = policy == Policy::Fail || deadline.has_passed();
            let wait = match is_last {
                true => Wait::Try,
                false => Wait::Until(Deadline::after(wait::slice(deadline))),
            };
            match py.detach(|| pool.lend(bytes, wait, policy)) {
                Ok(slot) => return Ok(DeviceSlot::new(slot, shared, layout)),
                Err(error) if error.is_full() && !is_last => {
                    py.detach(|| drop((pool, shared)));
                    py.check_signals()?;
                }
                Err(error) => {
                    let error = if policy == Policy::Fail { error } else { waited(error, begun) };
                    return Err(errors::lend(py, error));
                }
            }
        }
    }
}

/// Tells of the whole wait in the place of its last turn.
fn waited(error: DeviceLendError, begun: Instant) -> DeviceLendError {
    match error {
        DeviceLendError::Pool(LendError::Full { name, bytes, free, holders }) => {
            let waited = begun.elapsed();
            DeviceLendError::Pool(LendError::Timeout { name, bytes, waited, free, holders })
        }
        DeviceLendError::Pool(LendError::Timeout { name, bytes, free, holders, .. }) => {
            let waited = begun.elapsed();
            DeviceLendError::Pool(LendError::Timeout { name, bytes, waited, free, holders })
        }
        other => other,
    }
}

//! Replacing tensors by proxies: all of a call, or none.
//!
//! Upholds invariants 1 and 5: a full pool is waited for in turns, between which everything that was taken
//! is given back and signals are heard.

use crate::cuda::device::Lane;
use crate::cuda::errors as driver;
use crate::cuda::pool::handle::{DevicePool, Shared};
use crate::cuda::queue::Queue;
use crate::cuda::transport::errors;
use crate::cuda::transport::proxy::TensorProxy;
use crate::cuda::transport::source::{Given, Part};
use crate::pool::arguments::Size;
use crate::pool::handle::Pool;
use crate::wait;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use shm_core::Deadline;
use shm_cuda::pool::DeviceLendError;
use shm_cuda::transport::{Fallback, Mode, Nested, Proxy, TransportConfig, WhenFull, WrapError};
use shm_pool::LendError;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long a full pool is waited for at a time.
const TURN: Duration = Duration::from_millis(50);

/// What shm_py.transport.Sender sends with.
#[pyclass(frozen, weakref, name = "_Sender", module = "shm_py._native")]
pub(crate) struct Sender {
    sender: shm_cuda::transport::Sender,
    /// Of the pool on a device.
    shared: Option<Arc<Shared>>,
    patience: Option<Option<f64>>,
    /// Turns of waits: each looks like a failure to the sender.
    turns: AtomicU64,
}

impl Sender {
    /// The lane whose queue reads a tensor.
    fn lane(&self, py: Python<'_>, ordinal: usize) -> PyResult<Arc<Lane>> {
        match &self.shared {
            Some(shared) => Ok(shared.lane.clone()),
            None => Lane::of(py, ordinal),
        }
    }

    /// Wraps tensors that one queue reads, waiting while the pool is full.
    fn wrap_parts(
        &self,
        py: Python<'_>,
        parts: &[Part],
        queue: Queue,
        deadline: Deadline,
    ) -> PyResult<Vec<Proxy>> {
        let begun = Instant::now();
        loop {
            let wrap = || {
                let tensors = parts.iter().map(|part| part.tensor().map(Nested::Tensor));
                let tensors = Nested::List(tensors.collect::<Result<_, PyErr>>()?);
                Ok::<_, PyErr>(self.sender.wrap(&tensors, queue.get()))
            };
            match py.detach(wrap)? {
                Ok(proxies) => return Ok(proxies.tensors().into_iter().cloned().collect()),
                Err(error) if is_full(&error) && !deadline.has_passed() => {
                    self.turns.fetch_add(1, Ordering::Relaxed);
                    py.check_signals()?;
                }
                Err(error) => return Err(errors::wrap(py, told_of(error, begun))),
            }
        }
    }

    /// Keeps what is read later, or waits until it was read.
    fn finish(
        &self,
        py: Python<'_>,
        parts: Vec<Part>,
        lane: &Lane,
        (queue, is_callers): (Queue, bool),
    ) -> PyResult<()> {
        // Without a pool on a device, nothing is read later.
        let Some(shared) = &self.shared else { return Ok(()) };
        if !is_callers {
            return py.detach(|| queue.get().synchronize(&lane.device)).map_err(driver::cuda);
        }
        let owners: Vec<_> = parts.into_iter().filter_map(Part::into_foreign).collect();
        match owners.is_empty() {
            true => Ok(()),
            false => shared.sources.keep(py, &lane.device, queue, Arc::new(owners)),
        }
    }
}

#[pymethods]
impl Sender {
    #[new]
    #[pyo3(signature = (mode, pool, host_pool, consumers, when_full, timeout, fallback, inline_up_to,
                        shares))]
    #[expect(clippy::too_many_arguments, reason = "one for each of the Sender's keywords")]
    fn new(
        py: Python<'_>,
        mode: &str,
        pool: Option<&Bound<'_, DevicePool>>,
        host_pool: Option<&Bound<'_, Pool>>,
        consumers: Size,
        when_full: &str,
        timeout: Option<f64>,
        fallback: &str,
        inline_up_to: Size,
        shares: Size,
    ) -> PyResult<Sender> {
        let mode = Mode::from_name(mode).ok_or_else(|| {
            let names: Vec<&str> = Mode::ALL.iter().map(|mode| mode.name()).collect();
            PyValueError::new_err(format!("mode is '{mode}'; expected one of {}", names.join(", ")))
        })?;
        wait::deadline(timeout)?;
        let (when_full, patience) = match when_full {
            "block" => (WhenFull::Block(TURN), Some(timeout)),
            "fail" => (WhenFull::Fail, None),
            "host" => (WhenFull::Host, None),
            other => {
                return Err(PyValueError::new_err(format!(
                    "when_full is '{other}'; expected 'block', 'fail' or 'host'"
                )));
            }
        };
        let fallback = match fallback {
            "refuse" => Fallback::Refuse,
            "host" => Fallback::Host,
            other => {
                return Err(PyValueError::new_err(format!(
                    "fallback is '{other}'; expected 'refuse' or 'host'"
                )));
            }
        };
        // A pool that the mode does not use is checked like one that it does.
        let opened = pool.map(|pool| pool.get().attached(py)).transpose()?;
        let config = TransportConfig {
            pool: opened.as_ref().map(|opened| opened.pool.clone()),
            host_pool: host_pool.map(|pool| pool.get().attached(py)).transpose()?,
            consumers: consumers.0,
            when_full,
            fallback,
            inline_up_to: inline_up_to.0,
            shares: shares.0,
            ..TransportConfig::new(mode)
        };
        let used = opened.filter(|_| mode == Mode::CudaIpcPool);
        let shared = used.map(|opened| opened.shared);
        let sender = py.detach(|| shm_cuda::transport::Sender::new(config));
        let sender = sender.map_err(|error| errors::config(py, error))?;
        Ok(Sender { sender, shared, patience, turns: AtomicU64::new(0) })
    }

    /// A TensorProxy for every tensor, in order; on an error everything that was taken is given back.
    fn wrap(
        &self,
        py: Python<'_>,
        tensors: Vec<Bound<'_, PyAny>>,
        stream: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Vec<TensorProxy>> {
        let given = Queue::parse(stream)?;
        let deadline = match self.patience {
            Some(timeout) => wait::deadline(timeout)?,
            None => Deadline::NOW,
        };
        // One queue reads the tensors of one device; those of the host go with any.
        let mut groups: BTreeMap<Option<usize>, Vec<(usize, Given<'_>)>> = BTreeMap::new();
        for (index, tensor) in tensors.iter().enumerate() {
            let tensor = Given::of(tensor)?;
            let key = tensor.ordinal().filter(|_| self.shared.is_none());
            groups.entry(key).or_default().push((index, tensor));
        }
        if given.is_some() && groups.keys().flatten().count() > 1 {
            return Err(PyValueError::new_err(
                "stream is of one device, and the tensors are on several; wrap those of each device \
                 with a stream of it, or leave out stream=",
            ));
        }
        let mut wrapped: Vec<(usize, Proxy)> = Vec::with_capacity(tensors.len());
        for group in groups.into_values() {
            let outcome = self.wrap_group(py, group, given, deadline);
            match outcome {
                Ok(proxies) => wrapped.extend(proxies),
                Err(error) => {
                    self.give_back(py, wrapped.into_iter().map(|(_, proxy)| proxy));
                    return Err(error);
                }
            }
        }
        wrapped.sort_by_key(|&(index, _)| index);
        Ok(wrapped.into_iter().map(|(_, proxy)| TensorProxy::new(proxy)).collect())
    }

    /// Takes proxies back that nobody was sent.
    fn take_back(&self, py: Python<'_>, proxies: Vec<Bound<'_, TensorProxy>>) {
        self.give_back(py, proxies.iter().map(|proxy| proxy.get().proxy.clone()));
    }

    /// Lets go of what no consumer has any more.
    fn collect(&self, py: Python<'_>) {
        py.detach(|| self.sender.collect());
    }

    /// wrapped, bytes, full, fallbacks, failed, shared, shared_bytes.
    fn stats(&self, py: Python<'_>) -> (u64, u64, u64, u64, u64, usize, usize) {
        let turns = self.turns.load(Ordering::Relaxed);
        let found = py.detach(|| self.sender.stats());
        let once = |count: u64| count.saturating_sub(turns);
        let (full, failed) = (once(found.full), once(found.failed));
        (
            found.wrapped,
            found.bytes,
            full,
            found.fallbacks,
            failed,
            found.shared,
            found.shared_bytes,
        )
    }
}

impl Sender {
    fn wrap_group(
        &self,
        py: Python<'_>,
        group: Vec<(usize, Given<'_>)>,
        given: Option<Queue>,
        deadline: Deadline,
    ) -> PyResult<Vec<(usize, Proxy)>> {
        let on_device = group.iter().find_map(|(_, tensor)| tensor.ordinal());
        let lane = on_device.map(|ordinal| self.lane(py, ordinal)).transpose()?;
        let own = || lane.as_ref().map(|lane| Queue::of(&lane.queue));
        // Without a device nothing is ever queued.
        let queue = given.or_else(own).unwrap_or(Queue::from_handle(0));
        let (mut frames, mut parts, mut indices) = (Vec::new(), Vec::new(), Vec::new());
        for (index, tensor) in group {
            indices.push(index);
            match (tensor, &lane) {
                (Given::Device(source), Some(lane)) => {
                    parts.push(Part::device(py, source, lane, queue)?);
                }
                (Given::Host(frame), _) => {
                    parts.push(Part::host(&frame)?);
                    frames.push(frame);
                }
                (Given::Device(_), None) => unreachable!("its device was looked up"),
            }
        }
        let proxies = self.wrap_parts(py, &parts, queue, deadline)?;
        if let Some(lane) = &lane
            && let Err(error) = self.finish(py, parts, lane, (queue, given.is_some()))
        {
            self.give_back(py, proxies);
            return Err(error);
        }
        drop(frames);
        Ok(indices.into_iter().zip(proxies).collect())
    }

    fn give_back(&self, py: Python<'_>, proxies: impl IntoIterator<Item = Proxy>) {
        let proxies = Nested::List(proxies.into_iter().map(Nested::Tensor).collect());
        py.detach(|| self.sender.take_back(&proxies));
    }
}

/// Tells of the whole wait in the place of its last turn.
fn told_of(mut error: WrapError, begun: Instant) -> WrapError {
    if let WrapError::Lend {
        source: DeviceLendError::Pool(LendError::Timeout { waited, .. }),
        ..
    }
    | WrapError::HostLend { source: LendError::Timeout { waited, .. }, .. } = &mut error
    {
        *waited = begun.elapsed();
    }
    error
}

/// True if a pool had no room, now or in time.
fn is_full(error: &WrapError) -> bool {
    match error {
        WrapError::Lend { source, .. } => source.is_full(),
        WrapError::HostLend { source, .. } => {
            matches!(source, LendError::Full { .. } | LendError::Timeout { .. })
        }
        _ => false,
    }
}

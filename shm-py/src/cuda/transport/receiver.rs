//! Making tensors of proxies.
//!
//! Upholds invariants 1 and 5, and: each proxy is acknowledged once, whatever became of the others, and
//! not before the copy out of it is done.

use crate::array::{ArrayForm, Bytes};
use crate::cuda::device::Lane;
use crate::cuda::layout::Layout;
use crate::cuda::queue::Queue;
use crate::cuda::transport::errors;
use crate::cuda::transport::proxy::TensorProxy;
use crate::cuda::{DeviceTensor, errors as driver};
use crate::pool::arguments::Size;
use crate::{dtype, wait};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use shm_core::{Deadline, TensorDesc};
use shm_cuda::pool::{DeviceLease, RedeemError};
use shm_cuda::transport::{Nested, Proxy, Received, Route, UnwrapError};
use shm_cuda::{CudaStream, DeviceBuffer};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long bytes are waited for at a time.
const TURN: Duration = Duration::from_millis(50);

/// What shm_py.transport.Receiver receives with.
#[pyclass(frozen, weakref, name = "_Receiver", module = "shm_py._native")]
pub(crate) struct Receiver {
    receiver: shm_cuda::transport::Receiver,
    timeout: Option<f64>,
    unwrapped: AtomicU64,
    bytes: AtomicU64,
    failed: AtomicU64,
}

/// One call's tensors, on their way.
struct Arriving<'a> {
    receiver: &'a shm_cuda::transport::Receiver,
    lane: &'a Lane,
    queue: Queue,
    deadline: Deadline,
    arrived: Vec<Option<Received>>,
    leases: Vec<DeviceLease>,
    failed: u64,
    first: Option<PyErr>,
}

impl Arriving<'_> {
    fn note(&mut self, error: PyErr) {
        self.failed += 1;
        self.first.get_or_insert(error);
    }

    /// A tensor in a pool: waited for in turns, copied, acknowledged later.
    fn out_of_pool(&mut self, py: Python<'_>, index: usize, proxy: Proxy) {
        while !self.deadline.has_passed() {
            match py.detach(|| self.receiver.borrow(&proxy, &self.lane.device)) {
                Ok(Some(lease)) => return self.copy_out(py, index, &proxy, lease),
                Ok(None) => break,
                Err(UnwrapError::Redeem(RedeemError::NotReady { .. })) => {
                    if let Err(interrupt) = py.check_signals() {
                        // Nothing is waited for any more; what is there is acknowledged.
                        self.first = Some(interrupt);
                        self.deadline = Deadline::NOW;
                    }
                }
                Err(error) => return self.note(errors::unwrap(py, error)),
            }
        }
        // The last chance; if it is not there now, it is given up.
        self.all_at_once(py, vec![(index, proxy)]);
    }

    fn copy_out(&mut self, py: Python<'_>, index: usize, proxy: &Proxy, mut lease: DeviceLease) {
        let (desc, device) = (proxy.desc().clone(), &self.lane.device);
        if lease.len() != desc.byte_len() {
            let (expected, found) = (desc.byte_len(), lease.len());
            py.detach(|| drop(lease));
            return self.note(PyValueError::new_err(format!(
                "the tensor has {expected} bytes, its publication has {found}; the proxy is another's"
            )));
        }
        let queue = self.queue.get();
        let copied = py.detach(|| -> Result<_, UnwrapError> {
            let buffer = DeviceBuffer::new(device, desc.byte_len())?;
            let theirs = lease.slice().device().clone();
            if theirs == *device {
                lease.copy_to(buffer.as_slice(), queue)?;
                return Ok((buffer, Some(lease)));
            }
            // The stream is of this device, and the copy is done by the other one.
            let own = CudaStream::new(&theirs)?;
            lease.copy_to(buffer.as_slice(), own.as_ref())?;
            own.synchronize()?;
            lease.release();
            Ok((buffer, None))
        });
        match copied {
            Ok((buffer, lease)) => {
                self.leases.extend(lease);
                self.arrived[index] = Some(Received::Device { desc, buffer });
            }
            Err(error) => self.note(errors::unwrap(py, error)),
        }
    }

    /// Tensors that are there already, or never will be.
    fn all_at_once(&mut self, py: Python<'_>, proxies: Vec<(usize, Proxy)>) {
        let (indices, proxies): (Vec<_>, Vec<_>) = proxies.into_iter().unzip();
        let proxies = Nested::List(proxies.into_iter().map(Nested::Tensor).collect());
        let (device, queue) = (&self.lane.device, self.queue.get());
        match py.detach(|| self.receiver.unwrap(proxies, device, queue)) {
            Ok(Nested::List(items)) => {
                for (index, item) in indices.into_iter().zip(items) {
                    if let Nested::Tensor(received) = item {
                        self.arrived[index] = Some(received);
                    }
                }
            }
            Ok(_) => {}
            Err(error) => self.note(errors::unwrap(py, error)),
        }
    }

    /// Acknowledges what was copied out of pools, behind the copies.
    fn acknowledge(&mut self, py: Python<'_>) {
        let (leases, queue) = (core::mem::take(&mut self.leases), self.queue.get());
        py.detach(|| drop(DeviceLease::release_all_after(leases, queue)));
    }
}

#[pymethods]
impl Receiver {
    #[new]
    #[pyo3(signature = (seat, timeout))]
    fn new(seat: Option<Size>, timeout: Option<f64>) -> PyResult<Receiver> {
        wait::deadline(timeout)?;
        let seat = seat.map(|Size(seat)| seat);
        Ok(Receiver {
            receiver: shm_cuda::transport::Receiver::new(seat).patience(TURN),
            timeout,
            unwrapped: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        })
    }

    /// A tensor for every proxy, in order.
    fn unwrap<'py>(
        &self,
        py: Python<'py>,
        proxies: Vec<Bound<'py, TensorProxy>>,
        device: &Bound<'py, PyAny>,
        stream: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let lane = Lane::named(device)?;
        let given = Queue::parse(stream)?;
        let queue = given.unwrap_or_else(|| Queue::of(&lane.queue));
        let mut arriving = Arriving {
            receiver: &self.receiver,
            lane: &lane,
            queue,
            deadline: wait::deadline(self.timeout)?,
            arrived: proxies.iter().map(|_| None).collect(),
            leases: Vec::new(),
            failed: 0,
            first: None,
        };
        let mut others = Vec::new();
        for (index, proxy) in proxies.iter().enumerate() {
            match proxy.get().take(py) {
                Ok(proxy) if proxy.route() == Route::Pool => arriving.out_of_pool(py, index, proxy),
                Ok(proxy) => others.push((index, proxy)),
                Err(error) => arriving.note(error),
            }
        }
        if !others.is_empty() {
            arriving.all_at_once(py, others);
        }
        arriving.acknowledge(py);
        self.failed.fetch_add(arriving.failed, Ordering::Relaxed);
        if let Some(error) = arriving.first {
            // Freeing what is being copied to waits for the copies.
            py.detach(|| drop(arriving.arrived));
            return Err(error);
        }
        if given.is_none() {
            py.detach(|| queue.get().synchronize(&lane.device)).map_err(driver::cuda)?;
        }
        let tensors = arriving.arrived.into_iter().flatten().map(|received| {
            self.unwrapped.fetch_add(1, Ordering::Relaxed);
            self.bytes.fetch_add(received.desc().byte_len() as u64, Ordering::Relaxed);
            to_python(py, received, &lane)
        });
        tensors.collect()
    }

    /// Takes a seat in a device pool before anything was sent.
    fn join(&self, name: &Bound<'_, PyAny>, device: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = name.py();
        let (name, lane) = (crate::creation::name_argument(name)?, Lane::named(device)?);
        let joined = py.detach(|| self.receiver.join(&name, &lane.device));
        joined.map_err(|error| crate::cuda::pool::errors::pool(py, error))
    }

    /// unwrapped, bytes, failed.
    fn stats(&self) -> (u64, u64, u64) {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (count(&self.unwrapped), count(&self.bytes), count(&self.failed))
    }
}

fn to_python<'py>(
    py: Python<'py>,
    received: Received,
    lane: &Arc<Lane>,
) -> PyResult<Bound<'py, PyAny>> {
    match received {
        Received::Device { desc, buffer } => {
            let layout = Layout::contiguous(desc.dtype(), desc.shape())?;
            let address = buffer.address();
            let tensor = DeviceTensor::over(lane.clone(), layout, address, true, Arc::new(buffer));
            Ok(Bound::new(py, tensor)?.into_any())
        }
        Received::Host { desc, bytes } => host_array(py, &desc, &bytes),
    }
}

fn host_array<'py>(
    py: Python<'py>,
    desc: &TensorDesc,
    bytes: &[u8],
) -> PyResult<Bound<'py, PyAny>> {
    let form = ArrayForm {
        descr: dtype::to_numpy(py, desc.dtype())?.unbind(),
        shape: desc.shape().to_vec(),
        byte_len: desc.byte_len(),
    };
    let array = form.empty(py)?;
    let target = Bytes::of(&array, form.byte_len).start().cast_mut();
    let len = form.byte_len.min(bytes.len());
    // SAFETY: a new array has `byte_len` bytes of its own, and `len` is no more than either.
    unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), target, len) };
    Ok(array.into_any())
}

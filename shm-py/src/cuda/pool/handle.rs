//! The class `DevicePool`: made, opened, closed.
//!
//! Upholds invariants 6 (slots, leases and tensors keep what they use, so closing pulls it from under
//! nobody) and 9 (only the owner's handle takes the name away).

use crate::creation::{self, Metadata};
use crate::cuda::device::Lane;
use crate::cuda::pool::consumer::DeviceConsumer;
use crate::cuda::pool::errors;
use crate::cuda::pool::sources::Sources;
use crate::errors::quoted;
use crate::interpreter;
use crate::pool::arguments::Size;
use crate::pool::errors as host;
use crate::pool::opening::{Terms, may_come};
use crate::wait;
use parking_lot::RwLock;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple, PyType};
use shm_core::fork_generation;
use shm_cuda::pool::{DevicePoolError, Publication};
use shm_pool::PoolConfig;
use std::sync::Arc;
use std::time::Duration;

/// A pool of device memory: lend a slot, let the device fill it, publish it, and send its ticket by any
/// channel. Consumers in other processes redeem the ticket, use the tensor in place or copy it, and
/// release; then the slot is lent again. Nothing is copied through the host, and everything can be
/// ordered by streams, so that nobody waits for the device. Made by create(), create_chunks() and open().
///
/// A process may be killed at any moment: what it held is given back. The process that created the pool
/// owns its memory, which ends with it. Its close() (also at the end of a `with` block) takes the name
/// away; what is lent stays valid while the process lives. Handles pickle, as a name to reopen; they do
/// not work in forked children.
#[pyclass(frozen, weakref, module = "shm_py")]
pub(crate) struct DevicePool {
    opened: RwLock<Option<Opened>>,
    name: String,
    instance: [u8; 16],
    device: String,
    simulated: bool,
    chunks: bool,
    slots: usize,
    slot_size: usize,
    capacity: usize,
    seats: usize,
    metadata: Py<PyBytes>,
    publication: Publication,
}

/// An open handle.
#[derive(Clone)]
pub(crate) struct Opened {
    pub(crate) pool: shm_cuda::pool::DevicePool,
    pub(crate) shared: Arc<Shared>,
}

/// What everything that is made from a handle shares.
pub(crate) struct Shared {
    // Settled before the pool goes: declared first.
    pub(crate) sources: Sources,
    pub(crate) lane: Arc<Lane>,
    pub(crate) name: String,
    pub(crate) instance: [u8; 16],
    born: u64,
}

impl Shared {
    fn of(pool: &shm_cuda::pool::DevicePool, lane: Arc<Lane>) -> Arc<Shared> {
        Arc::new(Shared {
            sources: Sources::default(),
            lane,
            name: pool.name().to_owned(),
            instance: pool.ledger().instance(),
            born: fork_generation(),
        })
    }

    /// Refuses to work in a forked child, where the driver does not.
    pub(crate) fn check(&self, py: Python<'_>, what: &str) -> PyResult<()> {
        match self.born == fork_generation() {
            true => Ok(()),
            false => Err(host::forked(
                py,
                what,
                &self.name,
                "CUDA does not work in forked children: start them with the method 'spawn'",
            )),
        }
    }
}

impl DevicePool {
    fn new(py: Python<'_>, opened: Opened) -> DevicePool {
        let (ledger, lane) = (opened.pool.ledger(), &opened.shared.lane);
        DevicePool {
            name: ledger.name().to_owned(),
            instance: ledger.instance(),
            device: lane.name(),
            simulated: lane.device.is_simulated(),
            chunks: ledger.describe().chunks,
            slots: ledger.slots(),
            slot_size: ledger.slot_size(),
            capacity: ledger.capacity(),
            seats: ledger.seats(),
            metadata: PyBytes::new(py, ledger.metadata()).unbind(),
            publication: opened.pool.publication(),
            opened: RwLock::new(Some(opened)),
        }
    }

    /// What is open, or the error of a closed handle.
    pub(crate) fn attached(&self, py: Python<'_>) -> PyResult<Opened> {
        let Some(opened) = self.opened.read().clone() else {
            return Err(host::closed(py, "device pool", &self.name, "shm_py.DevicePool.open"));
        };
        opened.shared.check(py, "the handle")?;
        Ok(opened)
    }

    /// Random id of the pool.
    pub(crate) fn id(&self) -> [u8; 16] {
        self.instance
    }
}

/// The lane that `device=` names.
fn lane(py: Python<'_>, device: Option<&Bound<'_, PyAny>>) -> PyResult<Arc<Lane>> {
    device.map_or_else(|| Lane::of(py, 0), Lane::named)
}

/// Opens a pool, waiting for it in turns between which signals are heard.
pub(crate) fn open_within(
    name: &Bound<'_, PyAny>,
    device: Option<&Bound<'_, PyAny>>,
    timeout: Option<f64>,
) -> PyResult<Opened> {
    const TURN: Duration = Duration::from_millis(5);
    let py = name.py();
    let name = creation::name_argument(name)?;
    let deadline = wait::deadline(timeout)?;
    let lane = lane(py, device)?;
    loop {
        match py.detach(|| shm_cuda::pool::DevicePool::open(&name, &lane.device)) {
            Ok(pool) => {
                let shared = Shared::of(&pool, lane);
                return Ok(Opened { pool, shared });
            }
            Err(DevicePoolError::Open(error)) if may_come(&error) && !deadline.has_passed() => {
                py.check_signals()?;
                py.detach(|| std::thread::sleep(wait::slice(deadline).min(TURN)));
            }
            Err(error) => return Err(errors::pool(py, error)),
        }
    }
}

fn create(
    name: &Bound<'_, PyAny>,
    config: PoolConfig,
    terms: &Terms<'_>,
    device: Option<&Bound<'_, PyAny>>,
    stream_ordered: bool,
) -> PyResult<DevicePool> {
    let py = name.py();
    let name = creation::name_argument(name)?;
    let config = terms.add_to(config)?;
    let lane = lane(py, device)?;
    let publication = match stream_ordered {
        true => Publication::StreamOrdered,
        false => Publication::HostFunction,
    };
    let create =
        || shm_cuda::pool::DevicePool::create_with(&name, &config, &lane.device, publication);
    let pool = py.detach(create).map_err(|error| errors::pool(py, error))?;
    let shared = Shared::of(&pool, lane);
    Ok(DevicePool::new(py, Opened { pool, shared }))
}

#[pymethods]
impl DevicePool {
    /// Creates a pool of `slots` slots of `slot_size` bytes each on `device` ("cuda:N" or N), for
    /// `consumers` expected consumers (1 to 64), and becomes its owner.
    ///
    /// A publication for everyone waits for each expected consumer, also for those who have not joined
    /// yet. queue_cells, overdue_after and metadata are as for Pool.create(). stream_ordered=False lets
    /// the driver call back into this process in the place of words that the device stores itself, also
    /// where it could; consumers then wait on the host.
    ///
    /// Raises AlreadyOwned (a FileExistsError, with `pid`) if the name has an owner who lives,
    /// FileExistsError if others still use what a dead owner left; MemoryError if the device has no
    /// room, OSError with errno ENOSPC if shared memory is too small, and nothing stays behind;
    /// ValueError or TypeError for a bad argument; RuntimeError where there is no CUDA.
    #[classmethod]
    #[pyo3(signature = (
        name, *, slot_size, slots, consumers = Size(1), queue_cells = None, overdue_after = 1.0,
        metadata = Metadata::EMPTY, device = None, stream_ordered = true
    ), text_signature = "($cls, name, *, slot_size, slots, consumers=1, queue_cells=None, \
overdue_after=1.0, metadata=b'', device='cuda:0', stream_ordered=True)")]
    #[expect(clippy::too_many_arguments, reason = "Python's keywords")]
    fn create<'py>(
        cls: &Bound<'py, PyType>,
        name: &Bound<'py, PyAny>,
        slot_size: Size,
        slots: Size,
        consumers: Size,
        queue_cells: Option<Size>,
        overdue_after: f64,
        metadata: Metadata<'py>,
        device: Option<&Bound<'py, PyAny>>,
        stream_ordered: bool,
    ) -> PyResult<DevicePool> {
        let _ = cls;
        let config = PoolConfig::slots(slots.0, slot_size.0);
        let config = config.map_err(|error| host::config(&error))?;
        let terms = Terms { consumers, queue_cells, overdue_after, persistent: false, metadata };
        create(name, config, &terms, device, stream_ordered)
    }

    /// Creates a pool of `capacity` bytes that lends chunks of any size, in units of `granule` bytes
    /// (a power of two of at least 4096; None: about 1/16000 of the capacity). The rest is as for
    /// create().
    ///
    /// Raises as create() does.
    #[classmethod]
    #[pyo3(signature = (
        name, *, capacity, consumers = Size(1), granule = None, queue_cells = None,
        overdue_after = 1.0, metadata = Metadata::EMPTY, device = None, stream_ordered = true
    ), text_signature = "($cls, name, *, capacity, consumers=1, granule=None, queue_cells=None, \
overdue_after=1.0, metadata=b'', device='cuda:0', stream_ordered=True)")]
    #[expect(clippy::too_many_arguments, reason = "Python's keywords")]
    fn create_chunks<'py>(
        cls: &Bound<'py, PyType>,
        name: &Bound<'py, PyAny>,
        capacity: Size,
        consumers: Size,
        granule: Option<Size>,
        queue_cells: Option<Size>,
        overdue_after: f64,
        metadata: Metadata<'py>,
        device: Option<&Bound<'py, PyAny>>,
        stream_ordered: bool,
    ) -> PyResult<DevicePool> {
        let _ = cls;
        let mut config = PoolConfig::chunks(capacity.0).map_err(|error| host::config(&error))?;
        if let Some(Size(granule)) = granule {
            config = config.granule(granule).map_err(|error| host::config(&error))?;
        }
        let terms = Terms { consumers, queue_cells, overdue_after, persistent: false, metadata };
        create(name, config, &terms, device, stream_ordered)
    }

    /// Opens a pool for producing and consuming with `device`: the one its memory lies on, or another
    /// that has access to it. `timeout` (seconds, None for ever) waits for somebody to create it.
    ///
    /// Raises FileNotFoundError if there is none; PoolError if its memory cannot be reached; OwnerGone
    /// if its owner has ended; ValueError for a bad argument or a file that is no device pool;
    /// PermissionError for another user's; RuntimeError where there is no CUDA.
    #[classmethod]
    #[pyo3(signature = (name, device = None, timeout = Some(0.0)),
           text_signature = "($cls, name, device='cuda:0', timeout=0.0)")]
    fn open(
        cls: &Bound<'_, PyType>,
        name: &Bound<'_, PyAny>,
        device: Option<&Bound<'_, PyAny>>,
        timeout: Option<f64>,
    ) -> PyResult<DevicePool> {
        Ok(DevicePool::new(cls.py(), open_within(name, device, timeout)?))
    }

    /// Takes a seat as a consumer: `seat`, such as the rank of a worker, or the lowest vacant one.
    ///
    /// Raises PoolError if it is taken, or all are, once the pool was removed, and after close();
    /// ValueError if there is no such seat.
    #[pyo3(signature = (seat = None))]
    fn consumer(&self, py: Python<'_>, seat: Option<Size>) -> PyResult<DeviceConsumer> {
        let Opened { pool, shared } = self.attached(py)?;
        let joined = py.detach(|| match seat {
            Some(Size(seat)) => pool.consumer_at(seat),
            None => pool.consumer(),
        });
        let consumer = joined.map_err(|error| errors::pool(py, error))?;
        Ok(DeviceConsumer::new(consumer, shared))
    }

    /// Takes the pool's name away. What is lent stays valid, nothing more is lent.
    ///
    /// Raises PermissionError unless this handle is the owner's, or the owner is dead; PoolError if the
    /// name was taken away before, and after close().
    fn unlink(&self, py: Python<'_>) -> PyResult<()> {
        let outcome = self.attached(py)?.pool.ledger().unlink();
        outcome.map_err(|error| host::remove(py, error, "DevicePool"))
    }

    /// Ends this handle, after the work that was queued through it; the owner's takes the pool's name
    /// away. Waits in other threads end with PoolError. Slots, leases, consumers and tensors that were
    /// made from it stay valid. Closing twice is harmless.
    fn close(&self, py: Python<'_>) {
        let opened = self.opened.write().take();
        py.detach(|| {
            if let Some(Opened { pool, .. }) = &opened
                && pool.ledger().is_owner()
            {
                // Somebody may have taken it away already.
                let _ = pool.ledger().unlink();
            }
            drop(opened);
        });
    }

    /// True after close().
    #[getter(closed)]
    fn is_closed(&self) -> bool {
        self.opened.read().is_none()
    }

    /// True if this handle, in this process, is the owner's.
    #[getter]
    fn is_owner(&self) -> bool {
        self.opened.read().as_ref().is_some_and(|opened| opened.pool.ledger().is_owner())
    }

    /// True once the pool's name was taken away, as far as this handle knows.
    ///
    /// Raises PoolError after close().
    #[getter]
    fn is_retired(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.attached(py)?.pool.ledger().is_retired())
    }

    /// The name exactly as the owner gave it.
    #[getter]
    fn name(&self) -> &str {
        &self.name
    }

    /// Random id, sixteen bytes: two pools that ever had the same name differ in it.
    #[getter]
    fn instance<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.instance)
    }

    /// The device that it uses, "cuda:N", as this process counts them.
    #[getter]
    fn device(&self) -> &str {
        &self.device
    }

    /// True under the simulated driver, which has no GPU behind it.
    #[getter]
    fn simulated(&self) -> bool {
        self.simulated
    }

    /// True if the device itself stores and waits for words, in the order of the streams; False if the
    /// driver calls back, and consumers wait on the host.
    #[getter]
    fn stream_ordered(&self) -> bool {
        self.publication == Publication::StreamOrdered
    }

    /// Number of slots; of a pool of chunks, how many chunks can be lent at once.
    #[getter]
    fn slots(&self) -> usize {
        self.slots
    }

    /// The most bytes that can be lent at once.
    #[getter]
    fn slot_size(&self) -> usize {
        self.slot_size
    }

    /// Bytes of the memory that is lent.
    #[getter]
    fn capacity(&self) -> usize {
        self.capacity
    }

    /// Number of seats, which is the most consumers there can be at once.
    #[getter]
    fn seats(&self) -> usize {
        self.seats
    }

    /// The owner's own bytes.
    #[getter]
    fn metadata(&self, py: Python<'_>) -> Py<PyBytes> {
        self.metadata.clone_ref(py)
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    #[pyo3(signature = (exc_type, exc, tb))]
    fn __exit__(
        &self,
        py: Python<'_>,
        exc_type: &Bound<'_, PyAny>,
        exc: &Bound<'_, PyAny>,
        tb: &Bound<'_, PyAny>,
    ) -> bool {
        let _ = (exc_type, exc, tb);
        self.close(py);
        false
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        // The other process may count its devices differently.
        let device = self.attached(py)?.shared.lane.device.uuid().to_string();
        let open = py.get_type::<DevicePool>().getattr("open")?;
        (open, (&self.name, device)).into_pyobject(py)
    }

    fn __repr__(&self) -> String {
        let DevicePool { slots, slot_size, capacity, device, .. } = self;
        let name = quoted(&self.name);
        let sim = if self.simulated { " (sim)" } else { "" };
        let closed = if self.is_closed() { ", closed" } else { "" };
        let size = match self.chunks {
            true => format!("capacity={capacity}"),
            false => format!("slots={slots}, slot_size={slot_size}"),
        };
        format!("DevicePool(name={name}, {size}, device='{device}'{sim}{closed})")
    }
}

impl Drop for DevicePool {
    fn drop(&mut self) {
        if let Some(opened) = self.opened.get_mut().take() {
            // It waits for the work that was queued through it.
            interpreter::drop_released(opened);
        }
    }
}

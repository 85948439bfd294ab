//! Making tensors of proxies.
//!
//! Upholds invariants 1 and 5, and: each proxy is acknowledged once by each consumer, whatever became of
//! the others.

use super::error::UnwrapError;
use super::nested::Nested;
use super::proxy::{Body, Place, Proxy};
use super::shares::Nothing;
use crate::buffer::DeviceBuffer;
use crate::cuda_stream::{CudaStream, StreamRef};
use crate::device::Device;
use crate::ipc::{self, Import, IpcError, MemoryDescriptor};
use crate::pool::{self, DeviceConsumer, DeviceLease, DevicePool, DevicePoolError};
use core::sync::atomic::{AtomicU64, Ordering};
use parking_lot::Mutex;
use shm_core::TensorDesc;
use shm_pool::{Consumer, JoinError, Lease, Pool, Storage};
use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

/// How long a producer's device may take to put a tensor where it is announced, unless said otherwise.
const PATIENCE: Duration = Duration::from_secs(30);

/// Random id of a pool, or identity of a device.
type Id = [u8; 16];

/// Makes tensors of proxies: one consumer of everything that it is sent.
///
/// Pools are opened when they are first met, and kept open.
#[derive(Debug)]
pub struct Receiver {
    seat: Option<usize>,
    patience: Duration,
    /// By pool, and the device that it is opened with.
    pools: Mutex<HashMap<(Id, Id), DeviceConsumer>>,
    host_pools: Mutex<HashMap<Id, Consumer>>,
    ledgers: Mutex<HashMap<Id, Consumer<Nothing>>>,
    unwrapped: AtomicU64,
    bytes: AtomicU64,
    failed: AtomicU64,
}

/// A tensor that arrived.
#[derive(Debug)]
pub enum Received {
    /// On the device that was named, in the order of the stream that was given.
    Device {
        /// Dtype and shape.
        desc: TensorDesc,
        /// Its memory.
        buffer: DeviceBuffer,
    },
    /// In host memory.
    Host {
        /// Dtype and shape.
        desc: TensorDesc,
        /// Its bytes.
        bytes: Vec<u8>,
    },
}

/// What a receiver has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReceiverStats {
    /// Tensors that were made.
    pub unwrapped: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Proxies that no tensor could be made of, though they were acknowledged.
    pub failed: u64,
}

/// What is given back when the copies out of it are done.
#[derive(Default)]
struct Held {
    leases: Vec<DeviceLease>,
    /// Unmapped before the sender is told: it may free the memory then.
    imports: Vec<(Import, Lease<Nothing>)>,
}

impl Receiver {
    /// A consumer on any seat of each pool, or on that one, such as the rank of a worker.
    pub fn new(seat: Option<usize>) -> Receiver {
        Receiver {
            seat,
            patience: PATIENCE,
            pools: Mutex::default(),
            host_pools: Mutex::default(),
            ledgers: Mutex::default(),
            unwrapped: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }
    }

    /// How long the producer's device may take, 30 seconds by default.
    pub fn patience(self, patience: Duration) -> Receiver {
        Receiver { patience, ..self }
    }

    /// Makes a tensor of every proxy: on `to` what was on a device, in host memory the rest.
    ///
    /// Waits on the host until each tensor is where it was announced; the copies from there are queued on
    /// `stream`, a stream of `to`, and acknowledged behind the last one.
    ///
    /// # Errors
    /// [`UnwrapError`], the first one; all proxies are acknowledged all the same, and nothing else is made.
    pub fn unwrap(
        &self,
        value: Nested<Proxy>,
        to: &Device,
        stream: StreamRef<'_>,
    ) -> Result<Nested<Received>, UnwrapError> {
        // Once for all of it; where it is refused, so is what follows.
        let _current = to.enter();
        let mut held = Held::default();
        let mut first = None;
        let attempts = value.map(|proxy| {
            let bytes = proxy.desc.byte_len() as u64;
            match self.unwrap_one(proxy, to, stream, &mut held) {
                Ok(received) => {
                    self.unwrapped.fetch_add(1, Ordering::Relaxed);
                    self.bytes.fetch_add(bytes, Ordering::Relaxed);
                    Some(received)
                }
                Err(error) => {
                    self.failed.fetch_add(1, Ordering::Relaxed);
                    first.get_or_insert(error);
                    None
                }
            }
        });
        // Before what was received can be dropped: its memory is what is being copied to.
        held.acknowledge(to, stream, &mut first);
        match first {
            Some(error) => Err(error),
            None => Ok(attempts.map(|received| received.expect("no error was met"))),
        }
    }

    /// Takes hold of a tensor in its pool, in place, for as long as the lease; `None` if it takes another
    /// way.
    ///
    /// # Errors
    /// [`UnwrapError`].
    pub fn borrow(
        &self,
        proxy: &Proxy,
        device: &Device,
    ) -> Result<Option<DeviceLease>, UnwrapError> {
        match &proxy.body {
            Body::Pool(place) => {
                let consumer = self.consumer_of(place, device)?;
                Ok(Some(consumer.redeem(&place.ticket, self.patience)?))
            }
            _ => Ok(None),
        }
    }

    /// Takes a seat in a pool before anything is sent, so that publications wait for this consumer.
    ///
    /// # Errors
    /// [`DevicePoolError`].
    pub fn join(&self, name: &str, device: &Device) -> Result<(), DevicePoolError> {
        let consumer = self.open(name, device)?;
        let key = (consumer.pool().ledger().instance(), device.uuid().0);
        self.pools.lock().entry(key).or_insert(consumer);
        Ok(())
    }

    /// What it has done.
    pub fn stats(&self) -> ReceiverStats {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ReceiverStats {
            unwrapped: count(&self.unwrapped),
            bytes: count(&self.bytes),
            failed: count(&self.failed),
        }
    }

    fn unwrap_one(
        &self,
        proxy: Proxy,
        to: &Device,
        stream: StreamRef<'_>,
        held: &mut Held,
    ) -> Result<Received, UnwrapError> {
        pool::fault::hit("cuda.transport.unwrapping");
        let Proxy { desc, on_device, body } = proxy;
        let host = match body {
            Body::Inline(bytes) => bytes,
            Body::HostPool(place) => self.out_of_host_pool(&place, &desc)?,
            Body::Pool(place) => {
                let lease = self.redeem(&place, to, &desc)?;
                return out_of_pool(lease, desc, to, stream, held);
            }
            Body::Legacy { descriptor, ledger } => {
                return self.in_place(&descriptor, &ledger, desc, to, stream, held);
            }
        };
        if !on_device {
            return Ok(Received::Host { desc, bytes: host });
        }
        let buffer = DeviceBuffer::new(to, host.len())?;
        buffer.as_slice().upload(&host, stream)?;
        Ok(Received::Device { desc, buffer })
    }

    fn redeem(
        &self,
        place: &Place,
        to: &Device,
        desc: &TensorDesc,
    ) -> Result<DeviceLease, UnwrapError> {
        let consumer = self.consumer_of(place, to)?;
        let lease = match consumer.redeem(&place.ticket, self.patience) {
            Ok(lease) => lease,
            Err(error) => {
                // Not there in time: it is not needed any more. What is used up already stays so.
                let _ = consumer.skip(&place.ticket);
                return Err(error.into());
            }
        };
        check_len(&place.name, desc, lease.len())?;
        Ok(lease)
    }

    fn out_of_host_pool(&self, place: &Place, desc: &TensorDesc) -> Result<Vec<u8>, UnwrapError> {
        let consumer = known(&self.host_pools, place.ticket.instance, || {
            let pool = Pool::open(&place.name).map_err(JoinError::from)?;
            self.sit_down(&pool)
        });
        let consumer = consumer.map_err(|source| host_pool(place, source))?;
        let lease = consumer.redeem(&place.ticket)?;
        check_len(&place.name, desc, lease.byte_len())?;
        let bytes = lease.to_vec();
        lease.release();
        Ok(bytes)
    }

    fn in_place(
        &self,
        descriptor: &MemoryDescriptor,
        ledger: &Place,
        desc: TensorDesc,
        to: &Device,
        stream: StreamRef<'_>,
        held: &mut Held,
    ) -> Result<Received, UnwrapError> {
        let consumer = known(&self.ledgers, ledger.ticket.instance, || {
            let pool = Pool::<Nothing>::open_over(&ledger.name).map_err(JoinError::from)?;
            self.sit_down(&pool)
        });
        let consumer = consumer.map_err(|source| host_pool(ledger, source))?;
        // From here on the sender keeps the memory until this is dropped.
        let lease = consumer.redeem(&ledger.ticket)?;
        if !consumer.pool().has_owner() {
            return Err(UnwrapError::SenderGone { name: ledger.name.clone() });
        }
        let buffer = DeviceBuffer::new(to, desc.byte_len())?;
        let import = match ipc::import(to, descriptor) {
            Err(IpcError::NoPeerAccess { .. }) => {
                let theirs = Device::by_uuid(descriptor.device()).map_err(IpcError::from)?;
                let import = ipc::import(&theirs, descriptor)?;
                // Copied on a stream of that device, which is waited for: `stream` is another's.
                let own = CudaStream::new(&theirs)?;
                let copied =
                    pool::queue_copy(&theirs, import.as_slice(), buffer.as_slice(), own.as_ref());
                own.synchronize()?;
                copied?;
                import
            }
            import => {
                let import = import?;
                buffer.as_slice().copy_from(import.as_slice(), stream)?;
                import
            }
        };
        held.imports.push((import, lease));
        Ok(Received::Device { desc, buffer })
    }

    fn consumer_of(&self, place: &Place, to: &Device) -> Result<DeviceConsumer, UnwrapError> {
        let key = (place.ticket.instance, to.uuid().0);
        let wrong = |source| UnwrapError::Pool { name: place.name.clone(), source };
        known(&self.pools, key, || self.open(&place.name, to)).map_err(wrong)
    }

    /// Opens a pool with `to`, or with the device it lies on where `to` cannot reach that.
    fn open(&self, name: &str, to: &Device) -> Result<DeviceConsumer, DevicePoolError> {
        let seated = |pool: DevicePool| match self.seat {
            Some(seat) => pool.consumer_at(seat),
            None => pool.consumer(),
        };
        match DevicePool::open(name, to) {
            Err(DevicePoolError::Ipc(IpcError::NoPeerAccess { found, .. })) => {
                let theirs = Device::by_uuid(found).map_err(IpcError::from)?;
                seated(DevicePool::open(name, &theirs)?)
            }
            pool => seated(pool?),
        }
    }

    fn sit_down<S: Storage>(&self, pool: &Pool<S>) -> Result<Consumer<S>, JoinError> {
        match self.seat {
            Some(seat) => pool.consumer_at(seat),
            None => pool.consumer(),
        }
    }
}

impl Received {
    /// Dtype and shape.
    pub fn desc(&self) -> &TensorDesc {
        match self {
            Received::Device { desc, .. } | Received::Host { desc, .. } => desc,
        }
    }

    /// The memory of one that is on a device.
    pub fn buffer(&self) -> Option<&DeviceBuffer> {
        match self {
            Received::Device { buffer, .. } => Some(buffer),
            Received::Host { .. } => None,
        }
    }
}

impl Held {
    /// Gives everything back behind the copies; what is opened in place is closed first, which waits.
    fn acknowledge(self, to: &Device, stream: StreamRef<'_>, first: &mut Option<UnwrapError>) {
        DeviceLease::release_all_after(self.leases, stream);
        if self.imports.is_empty() {
            return;
        }
        // If it cannot be waited for the context is lost, and nothing is going on in it any more.
        if let Err(error) = stream.synchronize(to) {
            first.get_or_insert(error.into());
        }
        for (import, lease) in self.imports {
            drop(import);
            lease.release();
        }
    }
}

fn out_of_pool(
    mut lease: DeviceLease,
    desc: TensorDesc,
    to: &Device,
    stream: StreamRef<'_>,
    held: &mut Held,
) -> Result<Received, UnwrapError> {
    let buffer = DeviceBuffer::new(to, desc.byte_len())?;
    let theirs = lease.slice().device().clone();
    if theirs == *to {
        lease.copy_to(buffer.as_slice(), stream)?;
        held.leases.push(lease);
    } else {
        // `stream` is a stream of `to`, and the copy is done by the other device.
        let own = CudaStream::new(&theirs)?;
        lease.copy_to(buffer.as_slice(), own.as_ref())?;
        own.synchronize()?;
        lease.release();
    }
    Ok(Received::Device { desc, buffer })
}

/// What is open under that key, opened if it is not.
fn known<K: Hash + Eq, C: Clone, E>(
    table: &Mutex<HashMap<K, C>>,
    key: K,
    open: impl FnOnce() -> Result<C, E>,
) -> Result<C, E> {
    let mut table = table.lock();
    if let Some(consumer) = table.get(&key) {
        return Ok(consumer.clone());
    }
    let consumer = open()?;
    table.insert(key, consumer.clone());
    Ok(consumer)
}

fn check_len(name: &str, desc: &TensorDesc, found: usize) -> Result<(), UnwrapError> {
    match desc.byte_len() {
        expected if expected == found => Ok(()),
        expected => Err(UnwrapError::Length { name: name.to_owned(), expected, found }),
    }
}

fn host_pool(place: &Place, source: JoinError) -> UnwrapError {
    UnwrapError::HostPool { name: place.name.clone(), source }
}

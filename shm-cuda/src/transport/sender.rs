//! Replacing tensors by proxies.
//!
//! Upholds invariants 1 (whoever dies leaves nothing behind), 7 (nobody can have a proxy before its slot is
//! published, and nothing of a wrapping that failed stays published) and 8.

use super::config::{ConfigError, Fallback, Mode, TransportConfig, WhenFull};
use super::error::WrapError;
use super::host::{self, HostDraft};
use super::nested::Nested;
use super::proxy::{Body, Place, Proxy};
use super::shares::{NoLedger, Nothing, Shares};
use super::source::{Memory, SourceTensor};
use crate::buffer::DeviceSlice;
use crate::cuda_stream::StreamRef;
use crate::ipc::{self, MemoryDescriptor};
use crate::pool::{DevicePool, DeviceSlot, fault};
use core::any::Any;
use core::sync::atomic::{AtomicU64, Ordering};
use shm_pool::{Audience, Policy, Slot, Wait};
use std::sync::Arc;

/// Replaces the tensors of nested data by proxies.
///
/// In [`Mode::CudaIpc`] it keeps what is lent in place until every consumer is done with it; dropping the
/// sender does not end that.
#[derive(Debug)]
pub struct Sender {
    config: TransportConfig,
    shares: Option<Shares>,
    counted: Counted,
}

#[derive(Debug, Default)]
struct Counted {
    wrapped: AtomicU64,
    bytes: AtomicU64,
    full: AtomicU64,
    fallbacks: AtomicU64,
    failed: AtomicU64,
}

/// What a sender has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SenderStats {
    /// Tensors that were replaced.
    pub wrapped: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How often a pool had no room, now or in time.
    pub full: u64,
    /// Tensors on a device that went through host memory although the mode is another.
    pub fallbacks: u64,
    /// Calls that failed, with everything given back.
    pub failed: u64,
    /// Tensors that consumers still have in place, in [`Mode::CudaIpc`].
    pub shared: usize,
    /// Their bytes.
    pub shared_bytes: usize,
}

/// A tensor for which everything is taken, and nothing is published. Dropping it gives all back.
enum Draft {
    Host(HostDraft),
    Device(DeviceSlot),
    Share(Slot<Nothing>, Box<MemoryDescriptor>, Arc<dyn Any + Send + Sync>),
}

impl Sender {
    /// A sender. In [`Mode::CudaIpc`] it makes the ledger of what is lent, under a name of its own.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn new(config: TransportConfig) -> Result<Sender, ConfigError> {
        config.check()?;
        let shares = match config.mode {
            Mode::CudaIpc => Some(create_shares(&config)?),
            Mode::Default | Mode::CudaIpcPool => None,
        };
        Ok(Sender { config, shares, counted: Counted::default() })
    }

    /// Replaces every tensor. All of them or none: on an error everything that was taken is given back.
    ///
    /// Tensors on a device are read in the order of `stream`, a stream of that device (of the pool's
    /// device with [`Mode::CudaIpcPool`]); they may be changed by work that is queued on it afterwards.
    /// With [`Mode::CudaIpc`] they may not, as long as a consumer has them.
    ///
    /// # Errors
    /// [`WrapError`].
    pub fn wrap(
        &self,
        value: &Nested<SourceTensor<'_>>,
        stream: StreamRef<'_>,
    ) -> Result<Nested<Proxy>, WrapError> {
        let outcome = self.try_wrap(value, stream);
        if outcome.is_err() {
            self.counted.failed.fetch_add(1, Ordering::Relaxed);
        }
        outcome
    }

    /// Takes proxies back that nobody was sent: what they stand for is free again. One that somebody has
    /// redeemed meanwhile stays theirs until they are done.
    pub fn take_back(&self, proxies: &Nested<Proxy>) {
        proxies.tensors().into_iter().for_each(|proxy| self.take_one_back(proxy));
    }

    /// What it has done.
    pub fn stats(&self) -> SenderStats {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (shared, shared_bytes) = self.shares.as_ref().map_or((0, 0), Shares::lent);
        let Counted { wrapped, bytes, full, fallbacks, failed } = &self.counted;
        SenderStats {
            wrapped: count(wrapped),
            bytes: count(bytes),
            full: count(full),
            fallbacks: count(fallbacks),
            failed: count(failed),
            shared,
            shared_bytes,
        }
    }

    /// Lets go of what no consumer has any more, in [`Mode::CudaIpc`]; every wrapping does so too.
    pub fn collect(&self) {
        if let Some(shares) = &self.shares {
            shares.collect();
        }
    }

    /// How it sends.
    pub fn config(&self) -> &TransportConfig {
        &self.config
    }

    fn try_wrap(
        &self,
        value: &Nested<SourceTensor<'_>>,
        stream: StreamRef<'_>,
    ) -> Result<Nested<Proxy>, WrapError> {
        let (mut bytes, mut in_place) = (0, false);
        let drafts = value.as_ref().try_map(|tensor| {
            let draft = self.draft(tensor, stream)?;
            in_place |= matches!(draft, Draft::Share(..));
            bytes += tensor.desc.byte_len() as u64;
            let on_device = matches!(tensor.memory, Memory::Device(_));
            Ok::<_, WrapError>((tensor.desc.clone(), on_device, draft))
        })?;
        if in_place {
            // Whoever opens it reads it at once, and knows nothing of this stream.
            let device = value.tensors().into_iter().find_map(|tensor| match tensor.memory {
                Memory::Device(slice) => Some(slice.device().clone()),
                Memory::Host(_) => None,
            });
            device.map_or(Ok(()), |device| stream.synchronize(&device))?;
        }
        let mut published: Vec<Proxy> = Vec::new();
        let outcome = drafts.try_map(|(desc, on_device, draft)| {
            let body = self.publish(draft, desc.byte_len(), stream)?;
            fault::hit("cuda.transport.wrapped");
            let proxy = Proxy { desc, on_device, body };
            published.push(proxy.clone());
            Ok(proxy)
        });
        match outcome {
            Ok(proxies) => {
                self.counted.wrapped.fetch_add(published.len() as u64, Ordering::Relaxed);
                self.counted.bytes.fetch_add(bytes, Ordering::Relaxed);
                Ok(proxies)
            }
            Err(error) => {
                published.iter().for_each(|proxy| self.take_one_back(proxy));
                Err(error)
            }
        }
    }

    fn draft(&self, tensor: &SourceTensor<'_>, stream: StreamRef<'_>) -> Result<Draft, WrapError> {
        let Memory::Device(slice) = tensor.memory else {
            let inline = tensor.desc.byte_len() <= self.config.inline_up_to;
            return self.through_host(tensor.memory, inline, stream);
        };
        let drafted = match (&self.config.pool, &self.shares, self.config.mode) {
            (Some(pool), _, Mode::CudaIpcPool) => self.to_pool(pool, slice, stream),
            (_, Some(shares), _) => self.in_place(shares, tensor, slice),
            _ => return self.through_host(tensor.memory, false, stream),
        };
        match drafted {
            Err(error) if self.goes_through_host(&error) => {
                self.counted.fallbacks.fetch_add(1, Ordering::Relaxed);
                self.through_host(tensor.memory, false, stream)
            }
            outcome => outcome,
        }
    }

    fn goes_through_host(&self, error: &WrapError) -> bool {
        use crate::pool::DeviceLendError;
        let too_large = matches!(
            error,
            WrapError::Lend {
                source: DeviceLendError::Pool(shm_pool::LendError::TooLarge { .. }),
                ..
            }
        );
        let no_export = matches!(error, WrapError::Export(ipc::IpcError::NotExportable { .. }));
        host::is_full(error) && self.config.when_full == WhenFull::Host
            || (too_large || no_export) && self.config.fallback == Fallback::Host
    }

    fn to_pool(
        &self,
        pool: &DevicePool,
        source: DeviceSlice<'_>,
        stream: StreamRef<'_>,
    ) -> Result<Draft, WrapError> {
        let (wait, policy) = self.patience();
        let bytes = source.len();
        let lent = pool.lend(bytes, wait, policy);
        let mut slot = lent.map_err(|source| self.note_full(WrapError::Lend { bytes, source }))?;
        slot.copy_from(source, stream)?;
        Ok(Draft::Device(slot))
    }

    fn in_place(
        &self,
        shares: &Shares,
        tensor: &SourceTensor<'_>,
        slice: DeviceSlice<'_>,
    ) -> Result<Draft, WrapError> {
        let descriptor = Box::new(ipc::export(slice)?);
        let address = slice.address();
        let owner = tensor.owner.clone().ok_or(WrapError::NoOwner { address })?;
        let (wait, policy) = self.patience();
        let bytes = slice.len();
        let entry = shares
            .lend(wait, policy)
            .map_err(|source| self.note_full(WrapError::HostLend { bytes, source }))?;
        Ok(Draft::Share(entry, descriptor, owner))
    }

    fn through_host(
        &self,
        memory: Memory<'_>,
        inline: bool,
        stream: StreamRef<'_>,
    ) -> Result<Draft, WrapError> {
        let pool = self.config.host_pool.as_ref().filter(|_| !inline);
        let drafted = host::draft(memory, pool, self.patience(), stream)
            .map_err(|error| self.note_full(error));
        match drafted {
            Err(error) if host::is_full(&error) && self.config.when_full == WhenFull::Host => {
                Ok(Draft::Host(host::draft(memory, None, self.patience(), stream)?))
            }
            outcome => Ok(Draft::Host(outcome?)),
        }
    }

    fn publish(
        &self,
        draft: Draft,
        bytes: usize,
        stream: StreamRef<'_>,
    ) -> Result<Body, WrapError> {
        match draft {
            Draft::Host(draft) => match draft.inline() {
                Ok(body) => Ok(body),
                Err(slot) => {
                    let name = self.config.host_pool.as_ref().expect("it lent the slot").name();
                    let ticket = slot.publish(Audience::Everyone)?;
                    Ok(Body::HostPool(Place { name: name.to_owned(), ticket }))
                }
            },
            Draft::Device(slot) => {
                let name = self.config.pool.as_ref().expect("it lent the slot").name().to_owned();
                let ticket = slot.publish(Audience::Everyone, stream)?;
                Ok(Body::Pool(Place { name, ticket }))
            }
            Draft::Share(entry, descriptor, owner) => {
                let shares = self.shares.as_ref().expect("it lent the entry");
                Ok(Body::Legacy { descriptor, ledger: shares.share(entry, bytes, owner)? })
            }
        }
    }

    fn take_one_back(&self, proxy: &Proxy) {
        // What is released already, or is somebody else's, is not there to be taken back.
        match &proxy.body {
            Body::Inline(_) => {}
            Body::Pool(Place { ticket, .. }) => {
                let _ = self.config.pool.as_ref().map(|pool| pool.ledger().revoke(ticket));
            }
            Body::HostPool(Place { ticket, .. }) => {
                let _ = self.config.host_pool.as_ref().map(|pool| pool.revoke(ticket));
            }
            Body::Legacy { ledger, .. } => {
                if let Some(shares) = &self.shares {
                    shares.take_back(&ledger.ticket);
                }
            }
        }
    }

    fn patience(&self) -> (Wait, Policy) {
        match self.config.when_full {
            WhenFull::Block(longest) => (Wait::from(longest), Policy::Block),
            WhenFull::Fail | WhenFull::Host => (Wait::Try, Policy::Fail),
        }
    }

    fn note_full(&self, error: WrapError) -> WrapError {
        if host::is_full(&error) {
            self.counted.full.fetch_add(1, Ordering::Relaxed);
        }
        error
    }
}

/// Two senders of one process have ledgers of different names.
fn create_shares(config: &TransportConfig) -> Result<Shares, ConfigError> {
    static SENDERS: AtomicU64 = AtomicU64::new(0);
    let number = SENDERS.fetch_add(1, Ordering::Relaxed);
    let name = format!("shares-{}-{number}", std::process::id());
    Shares::create(&name, config.shares, config.consumers).map_err(|refused| match refused {
        NoLedger::Config(error) => error.into(),
        NoLedger::Create(error) => error.into(),
    })
}

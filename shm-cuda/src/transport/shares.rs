//! Memory that is lent in place: who still uses it is a pool's ledger over no memory at all, so that whoever
//! dies is taken off it, and nothing is kept for longer than it is used.

use super::error::WrapError;
use super::proxy::Place;
use crate::ipc;
use core::any::Any;
use parking_lot::Mutex;
use shm_pool::{
    Audience, ConfigError, CreateError, Policy, Pool, PoolConfig, Slot, Storage, Ticket, Wait,
};
use std::error::Error;
use std::sync::Arc;

/// A storage of nothing: its slots are entries of a ledger.
#[derive(Debug)]
pub(super) struct Nothing {
    bytes: usize,
}

impl Storage for Nothing {
    const ALIGNMENT: usize = 256;
    /// The copies of whoever was killed may still be going on.
    const WORKS_ON: bool = true;

    fn len(&self) -> usize {
        self.bytes
    }

    fn descriptor(&self) -> Vec<u8> {
        b"nothing".to_vec()
    }

    fn attach(descriptor: &[u8], bytes: usize) -> Result<Nothing, Box<dyn Error + Send + Sync>> {
        match descriptor {
            b"nothing" => Ok(Nothing { bytes }),
            _ => Err("the pool is no ledger of shared memory; the proxy is damaged".into()),
        }
    }
}

/// A sender's shares.
#[derive(Debug)]
pub(super) struct Shares {
    ledger: Pool<Nothing>,
    kept: Mutex<Vec<Kept>>,
}

/// Memory that somebody may still use.
struct Kept {
    index: usize,
    generation: u64,
    bytes: usize,
    owner: Arc<dyn Any + Send + Sync>,
}

impl core::fmt::Debug for Kept {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Kept({} bytes, entry {})", self.bytes, self.index)
    }
}

/// Why there is no ledger.
pub(super) enum NoLedger {
    Config(ConfigError),
    Create(CreateError),
}

impl Shares {
    pub(super) fn create(name: &str, shares: usize, consumers: usize) -> Result<Shares, NoLedger> {
        let config = PoolConfig::slots(shares, 1)
            .and_then(|config| config.consumers(consumers))
            .map_err(NoLedger::Config)?;
        let bytes = config.storage_len(Nothing::ALIGNMENT);
        let ledger =
            Pool::create_over(name, &config, Nothing { bytes }).map_err(NoLedger::Create)?;
        Ok(Shares { ledger, kept: Mutex::new(Vec::new()) })
    }

    /// An entry for one tensor; given back when it is dropped.
    pub(super) fn lend(
        &self,
        wait: Wait,
        policy: Policy,
    ) -> Result<Slot<Nothing>, shm_pool::LendError> {
        self.collect();
        self.ledger.lend(1, wait, policy)
    }

    /// Lends `owner`'s memory until every consumer has said that it is done.
    pub(super) fn share(
        &self,
        entry: Slot<Nothing>,
        bytes: usize,
        owner: Arc<dyn Any + Send + Sync>,
    ) -> Result<Place, WrapError> {
        let (index, generation) = (entry.index(), entry.generation());
        // Kept before anybody can know of it.
        self.kept.lock().push(Kept { index, generation, bytes, owner });
        let ticket = entry.publish(Audience::Everyone).inspect_err(|_| self.collect())?;
        // What travels is the length of the tensor, which the ledger's entry has not.
        Ok(Place { name: self.ledger.name().to_owned(), ticket })
    }

    pub(super) fn take_back(&self, ticket: &Ticket) {
        // One that somebody holds stays theirs until they are done.
        let _ = self.ledger.revoke(ticket);
        self.collect();
    }

    /// How much is still lent: tensors and bytes.
    pub(super) fn lent(&self) -> (usize, usize) {
        self.collect();
        let kept = self.kept.lock();
        (kept.len(), kept.iter().map(|kept| kept.bytes).sum())
    }

    /// Lets go of what nobody uses any more.
    pub(super) fn collect(&self) {
        self.ledger.reap();
        let mut done = Vec::new();
        {
            let mut kept = self.kept.lock();
            let mut index = 0;
            while index < kept.len() {
                match self.is_used(kept[index].index, kept[index].generation) {
                    true => index += 1,
                    false => done.push(kept.swap_remove(index)),
                }
            }
        }
        // Freeing may take a while, and may come back here.
        drop(done);
    }

    fn is_used(&self, index: usize, generation: u64) -> bool {
        self.ledger.is_in_use(index, generation)
    }
}

impl Drop for Shares {
    fn drop(&mut self) {
        let kept = core::mem::take(&mut *self.kept.lock());
        // The ledger keeps its name for as long: who has not opened it yet may still be going to.
        for Kept { index, generation, bytes, owner } in kept {
            let ledger = self.ledger.clone();
            ipc::bury_owner(Box::new(owner), bytes, move || {
                ledger.reap();
                ledger.is_in_use(index, generation)
            });
        }
    }
}

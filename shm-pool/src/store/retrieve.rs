//! Leasing the entries of several keys, all of them or none.
//!
//! Upholds invariants 5 (who waits sleeps, and holds nothing meanwhile: two who wait for each other's
//! room cannot block each other) and 8 (what is missing is named and counted).

use super::entry::{Entry, Retrieved};
use super::error::StoreError;
use super::index::Hash;
use super::key;
use super::worker::Worker;
use crate::layout::at;
use crate::line::RECHECK;
use crate::policy::Wait;
use crate::word::SlotState;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// An entry may be replaced while it is looked up, so often in a row before it counts as missing.
const TRIES: usize = 16;

/// Leases all keys, see [`Store::prepare_retrieve`](super::Store::prepare_retrieve).
pub(super) fn prepare(
    worker: &Arc<Worker>,
    keys: &[&[u8]],
    wait: Wait,
) -> Result<Retrieved, StoreError> {
    let hashes = worker.hashes(keys)?;
    if let Some(entries) = worker.lease_all(keys, &hashes)? {
        return Ok(worker.hit(entries));
    }
    let Wait::Until(deadline) = wait else {
        return Err(worker.missing(keys, &hashes, Duration::ZERO));
    };
    let begun = Instant::now();
    loop {
        let left = deadline.remaining().map_or(RECHECK, |left| left.min(RECHECK));
        if let Some(entries) = worker.nap(keys, &hashes, left)? {
            return Ok(worker.hit(entries));
        }
        if deadline.has_passed() {
            return Err(worker.missing(keys, &hashes, begun.elapsed()));
        }
    }
}

/// Waits in turns, see [`Store::retrieve_nap`](super::Store::retrieve_nap).
pub(super) fn nap(
    worker: &Arc<Worker>,
    keys: &[&[u8]],
    longest: Duration,
) -> Result<Option<Retrieved>, StoreError> {
    let hashes = worker.hashes(keys)?;
    let entries = worker.nap(keys, &hashes, longest)?;
    Ok(entries.map(|entries| worker.hit(entries)))
}

impl Worker {
    fn hashes(&self, keys: &[&[u8]]) -> Result<Vec<Hash>, StoreError> {
        self.admit()?;
        if keys.is_empty() {
            return Err(StoreError::NoKeys { name: self.name() });
        }
        let name = self.ledger().segment.name();
        keys.iter().map(|key| key::check(name, key).map(|()| self.hasher.hash(key))).collect()
    }

    /// One lease per key, or none at all.
    fn lease_all(
        self: &Arc<Self>,
        keys: &[&[u8]],
        hashes: &[Hash],
    ) -> Result<Option<Vec<Entry>>, StoreError> {
        let mut entries = Vec::with_capacity(keys.len());
        for (key, hash) in keys.iter().zip(hashes) {
            match self.lease(key, *hash)? {
                Some(entry) => entries.push(entry),
                None => {
                    // Nobody has used them.
                    entries.into_iter().for_each(Entry::forget);
                    return Ok(None);
                }
            }
        }
        for entry in &entries {
            self.ledger().touch(entry.slot());
        }
        Ok(Some(entries))
    }

    fn lease(self: &Arc<Self>, key: &[u8], hash: Hash) -> Result<Option<Entry>, StoreError> {
        for _ in 0..TRIES {
            let Some(found) = self.ledger().stored(hash) else { return Ok(None) };
            let (slot, generation) = (found.slot, found.state.generation());
            if self.hold(slot, generation) {
                return Entry::read(self, slot, generation, key);
            }
        }
        Ok(None)
    }

    /// Sleeps at most once, and for at most `longest`, unless all keys are there.
    fn nap(
        self: &Arc<Self>,
        keys: &[&[u8]],
        hashes: &[Hash],
        longest: Duration,
    ) -> Result<Option<Vec<Entry>>, StoreError> {
        let ledger = self.ledger();
        ledger.nap_on(ledger.commits(), longest, || {
            // Looking is cheaper than leasing, and leaves what is there alone.
            if hashes.iter().all(|hash| ledger.stored(*hash).is_some())
                && let Some(entries) = self.lease_all(keys, hashes)?
            {
                return Ok(Some(entries));
            }
            match ledger.is_retired() {
                true => Err(StoreError::Retired { name: self.name() }),
                false => Ok(None),
            }
        })
    }

    fn hit(&self, entries: Vec<Entry>) -> Retrieved {
        self.ledger().count(at::HITS, entries.len() as u64);
        Retrieved::new(entries)
    }

    fn missing(&self, keys: &[&[u8]], hashes: &[Hash], waited: Duration) -> StoreError {
        let ledger = self.ledger();
        let mut missing: Vec<usize> =
            (0..keys.len()).filter(|&key| ledger.stored(hashes[key]).is_none()).collect();
        ledger.count(at::MISSES, missing.len().max(1) as u64);
        ledger.count(at::HITS, (keys.len() - missing.len().max(1)) as u64);
        if missing.is_empty() {
            // It came in this moment, or is another key's with the same hash.
            missing = (0..keys.len()).collect();
        }
        let first = key::shown(keys[missing[0]]);
        StoreError::Missing { name: self.name(), missing, of: keys.len(), first, waited }
    }

    /// The keys of all entries, as far as they stand still.
    pub(super) fn keys(self: &Arc<Self>) -> Vec<Vec<u8>> {
        let ledger = self.ledger();
        let mut keys = Vec::new();
        for slot in 0..ledger.layout.slots {
            let state = ledger.slot(slot).load();
            let generation = state.generation();
            let there = state.is(SlotState::Stored) && !ledger.is_expired(slot);
            if there && self.hold(slot, generation) {
                let key = ledger.read_header(slot, generation, |_, key, _| key.to_vec());
                keys.extend(key);
                self.let_go(slot, generation, false);
            }
        }
        keys
    }
}

//! What was built and is there, and who has a lease on it.

use super::super::failure::{Failure, FailureKind};
use super::super::key::Key;
use super::super::wire::{Answer, EncodedValue, ObjectId, ObjectInfo, Reply};
#[cfg(test)]
use super::ConnectionId;
use super::info::seconds;
use super::{Caller, Now, Service};
use std::collections::HashMap;
use std::time::SystemTime;

/// Items and leases. Numbers are never used again.
#[derive(Debug, Default)]
pub(super) struct Holdings {
    items: HashMap<u64, Item>,
    leases: HashMap<u64, Lease>,
    managed: u64,
    last_item: u64,
    last_lease: u64,
}

/// Something that was built.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) value: EncodedValue,
    pub(super) endpoint: usize,
    /// True if it is an object to clients.
    pub(super) managed: bool,
    /// True if being cached is reason enough for it to stay.
    keeps: bool,
    survives: bool,
    pub(super) cached: Option<Key>,
    leases: u64,
    /// Tasks whose result it is and whose result nobody has fetched.
    holds: u64,
    created: SystemTime,
    accessed: SystemTime,
}

#[derive(Debug)]
struct Lease {
    /// Whose it is stands in the connection's own set; here for the tests, which compare the two.
    #[cfg(test)]
    connection: ConnectionId,
    item: u64,
}

impl Service {
    /// A new item. It needs a reason to stay until the next [`Service::settle`].
    pub(super) fn create(&mut self, endpoint: usize, value: EncodedValue, now: Now) -> u64 {
        let options = &self.offers.get(endpoint).endpoint.options;
        let item = Item {
            endpoint,
            managed: options.managed,
            keeps: options.keep_unleased || !options.managed,
            survives: (self.survives)(&value),
            cached: None,
            leases: 0,
            holds: 0,
            created: now.time,
            accessed: now.time,
            value,
        };
        self.holdings.managed += u64::from(item.managed);
        self.holdings.last_item += 1;
        self.holdings.items.insert(self.holdings.last_item, item);
        self.holdings.last_item
    }

    /// Gives an item to a client, with a lease of its own if it needs one.
    pub(super) fn answer(&mut self, caller: Caller, item: u64, now: Now) -> Result<Reply, Failure> {
        let Some(found) = self.holdings.items.get_mut(&item) else { return Err(stale(item)) };
        found.accessed = now.time;
        if let Some(key) = &found.cached {
            self.cache.touch(key);
        }
        let lease = if found.managed || !found.survives {
            found.leases += 1;
            if let (1, Some(key)) = (found.leases, &found.cached) {
                self.cache.set_leased(key, true);
            }
            self.holdings.last_lease += 1;
            let lease = self.holdings.last_lease;
            self.holdings.leases.insert(
                lease,
                Lease {
                    #[cfg(test)]
                    connection: caller.connection,
                    item,
                },
            );
            self.connections.entry(caller.connection).or_default().leases.insert(lease);
            Some(lease)
        } else {
            None
        };
        let object = found.managed.then_some(item);
        Ok(Reply::Answer(Answer { value: found.value.clone(), lease, object }))
    }

    /// For each lease whether it was this client's and is now released.
    pub(super) fn release(&mut self, caller: Caller, leases: &[u64]) -> Vec<bool> {
        let mut released = Vec::with_capacity(leases.len());
        for lease in leases {
            let connection = self.connections.get_mut(&caller.connection);
            let own = connection.is_some_and(|one| one.leases.remove(lease));
            if own {
                self.end_lease(*lease);
            } else {
                self.stale_releases += 1;
            }
            released.push(own);
        }
        self.trim(None);
        released
    }

    /// Ends a lease that is in no connection's list any more. A [`Service::trim`] is to follow.
    pub(super) fn end_lease(&mut self, lease: u64) {
        let Some(Lease { item, .. }) = self.holdings.leases.remove(&lease) else { return };
        let Some(found) = self.holdings.items.get_mut(&item) else { return };
        found.leases -= 1;
        if found.leases > 0 {
            return;
        }
        if let Some(key) = &found.cached {
            self.cache.set_leased(key, false);
        }
        self.settle(item);
    }

    /// A task has it as its result, until somebody fetches that.
    pub(super) fn hold(&mut self, item: u64) {
        if let Some(found) = self.holdings.items.get_mut(&item) {
            found.holds += 1;
        }
    }

    pub(super) fn unhold(&mut self, item: u64) {
        if let Some(found) = self.holdings.items.get_mut(&item) {
            found.holds -= 1;
        }
        self.settle(item);
    }

    /// Lets an item go if there is no reason left for it to stay.
    pub(super) fn settle(&mut self, item: u64) {
        let Some(found) = self.holdings.items.get(&item) else { return };
        if found.leases > 0 || found.holds > 0 || (found.cached.is_some() && found.keeps) {
            return;
        }
        if let Some(key) = found.cached {
            self.cache.remove(&key);
        }
        self.holdings.managed -= u64::from(found.managed);
        self.holdings.items.remove(&item);
    }

    /// One more lease on an object.
    pub(super) fn acquire(
        &mut self,
        caller: Caller,
        object: ObjectId,
        now: Now,
    ) -> Result<Reply, Failure> {
        match self.holdings.items.get(&object) {
            Some(item) if item.managed => self.answer(caller, object, now),
            _ => Err(stale(object)),
        }
    }

    pub(super) fn object_info(&self, object: ObjectId) -> Option<ObjectInfo> {
        let item = self.holdings.items.get(&object).filter(|item| item.managed)?;
        let key = item.cached.map(|key| blake3::Hash::from_bytes(key).to_hex().to_string());
        Some(ObjectInfo {
            object,
            endpoint: self.offers.name(item.endpoint).to_owned(),
            key: key.unwrap_or_default(),
            leases: item.leases,
            bytes: item.bytes(),
            created: seconds(item.created),
            accessed: seconds(item.accessed),
            survives: item.survives,
        })
    }
}

impl Holdings {
    pub(super) fn get_mut(&mut self, item: u64) -> Option<&mut Item> {
        self.items.get_mut(&item)
    }

    pub(super) fn is_managed(&self, item: u64) -> bool {
        self.items.get(&item).is_some_and(|item| item.managed)
    }

    pub(super) fn is_leased(&self, item: u64) -> bool {
        self.items.get(&item).is_some_and(|item| item.leases > 0)
    }

    /// Objects that are managed.
    pub(super) fn objects(&self) -> u64 {
        self.managed
    }

    /// Leases that are out.
    pub(super) fn leases(&self) -> u64 {
        self.leases.len() as u64
    }

    /// True if nothing is left behind.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty() && self.leases.is_empty() && self.managed == 0
    }

    /// Items with their leases and holds, and leases with their connections and items.
    #[cfg(test)]
    pub(super) fn census(&self) -> (Vec<[u64; 3]>, Vec<[u64; 3]>) {
        let mut items: Vec<[u64; 3]> =
            self.items.iter().map(|(id, item)| [*id, item.leases, item.holds]).collect();
        let mut leases: Vec<[u64; 3]> =
            self.leases.iter().map(|(id, lease)| [*id, lease.connection, lease.item]).collect();
        items.sort_unstable();
        leases.sort_unstable();
        (items, leases)
    }
}

impl Item {
    pub(super) fn bytes(&self) -> u64 {
        self.value.storage_len as u64
    }
}

fn stale(object: ObjectId) -> Failure {
    let message = format!("object {object} is not there any more; call its endpoint again");
    Failure::new(FailureKind::Stale, message).with("object", object)
}

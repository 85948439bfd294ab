//! What is kept of what was built, so that it need not be built again.

use super::super::failure::Failure;
use super::super::key::Key;
use super::Service;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

/// Items by their keys, in the order in which they have to go.
#[derive(Debug, Default)]
pub(super) struct Cache {
    entries: HashMap<Key, Entry>,
    /// Those that nobody has a lease on, longest unused first.
    idle: BTreeMap<u64, Key>,
    /// All of them, oldest first.
    ages: BTreeMap<(Instant, u64), Key>,
    of_endpoint: HashMap<usize, BTreeSet<Key>>,
    /// Bytes of all, and of those that nobody has a lease on.
    bytes: u64,
    idle_bytes: u64,
    clock: u64,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) item: u64,
    endpoint: usize,
    bytes: u64,
    /// When it was last used, by the cache's own clock.
    used: u64,
    born: (Instant, u64),
    leased: bool,
    /// The turn of the build that made it: of two, the one that began later is kept.
    turn: u64,
}

impl Service {
    /// The item of a key, unless it is too old.
    pub(super) fn lookup(&mut self, key: &Key, now: Instant) -> Option<u64> {
        let entry = self.cache.entries.get(key)?;
        if self.is_too_old(entry.born.0, now) {
            self.evict(key);
            return None;
        }
        Some(entry.item)
    }

    /// The same, if nothing may change.
    pub(super) fn is_cached(&self, key: &Key, now: Instant) -> bool {
        let entry = self.cache.entries.get(key);
        entry.is_some_and(|entry| !self.is_too_old(entry.born.0, now))
    }

    /// Keeps an item, unless what began to be built later than it is kept already.
    pub(super) fn remember(&mut self, key: Key, item: u64, turn: u64, now: Instant) {
        if self.config.cache_entries == 0 {
            return;
        }
        if let Some(known) = self.cache.entries.get(&key) {
            if known.turn > turn {
                return;
            }
            self.forget_entry(&key);
        }
        let Some(kept) = self.holdings.get_mut(item) else { return };
        kept.cached = Some(key);
        let (endpoint, bytes) = (kept.endpoint, kept.bytes());
        self.cache.insert(key, item, endpoint, bytes, turn, now);
        self.cache.set_leased(&key, self.holdings.is_leased(item));
    }

    /// Lets what is beyond the bounds go. If everything is leased, that is `newest`, which came last.
    pub(super) fn trim(&mut self, newest: Option<Key>) {
        loop {
            let crowded = self.cache.entries.len() > self.config.cache_entries;
            if !crowded && self.cache.idle_bytes <= self.config.cache_bytes as u64 {
                return;
            }
            let idle = self.cache.idle.first_key_value().map(|(_, key)| *key);
            match idle.or(newest.filter(|key| self.cache.entries.contains_key(key))) {
                Some(key) => self.evict(&key),
                None => return,
            }
        }
    }

    /// Forgets the result of a key, and sees to it that what is being built of it is not cached.
    pub(super) fn forget_key(&mut self, key: &Key) -> u64 {
        self.builds.forget(key);
        let forgotten = u64::from(self.forget_entry(key));
        self.counters.invalidated += forgotten;
        forgotten
    }

    /// Forgets all results of an endpoint, and sees to it that what is being built of it is not cached.
    pub(super) fn forget_endpoint(&mut self, name: &str) -> Result<u64, Failure> {
        let index = self.offers.find(name)?;
        self.offers.get_mut(index).epoch += 1;
        let keys = self.cache.of_endpoint.get(&index).cloned().unwrap_or_default();
        keys.iter().for_each(|key| {
            self.forget_entry(key);
        });
        self.counters.invalidated += keys.len() as u64;
        Ok(keys.len() as u64)
    }

    /// Lets what is too old go; when the next will be.
    pub(super) fn expire_cache(&mut self, now: Instant) -> Option<Instant> {
        let age = self.config.cache_age?;
        loop {
            let ((born, _), key) = self.cache.ages.first_key_value()?;
            if !self.is_too_old(*born, now) {
                return born.checked_add(age);
            }
            let key = *key;
            self.evict(&key);
        }
    }

    fn evict(&mut self, key: &Key) {
        self.counters.evicted += u64::from(self.forget_entry(key));
    }

    fn forget_entry(&mut self, key: &Key) -> bool {
        let Some(entry) = self.cache.remove(key) else { return false };
        if let Some(item) = self.holdings.get_mut(entry.item) {
            item.cached = None;
        }
        self.settle(entry.item);
        true
    }

    fn is_too_old(&self, born: Instant, now: Instant) -> bool {
        self.config.cache_age.is_some_and(|age| is_over(born, age, now))
    }
}

impl Cache {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// It was used.
    pub(super) fn touch(&mut self, key: &Key) {
        self.clock += 1;
        let Some(entry) = self.entries.get_mut(key) else { return };
        if !entry.leased {
            self.idle.remove(&entry.used);
            self.idle.insert(self.clock, *key);
        }
        entry.used = self.clock;
    }

    /// Somebody has a lease on it, or nobody any more.
    pub(super) fn set_leased(&mut self, key: &Key, leased: bool) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        if std::mem::replace(&mut entry.leased, leased) == leased {
            return;
        }
        if leased {
            self.idle.remove(&entry.used);
            self.idle_bytes -= entry.bytes;
        } else {
            self.idle.insert(entry.used, *key);
            self.idle_bytes += entry.bytes;
        }
    }

    pub(super) fn remove(&mut self, key: &Key) -> Option<Entry> {
        let entry = self.entries.remove(key)?;
        if !entry.leased {
            self.idle.remove(&entry.used);
            self.idle_bytes -= entry.bytes;
        }
        self.bytes -= entry.bytes;
        self.ages.remove(&entry.born);
        if let Some(keys) = self.of_endpoint.get_mut(&entry.endpoint) {
            keys.remove(key);
            if keys.is_empty() {
                self.of_endpoint.remove(&entry.endpoint);
            }
        }
        Some(entry)
    }

    /// The key must not be there.
    fn insert(
        &mut self,
        key: Key,
        item: u64,
        endpoint: usize,
        bytes: u64,
        turn: u64,
        now: Instant,
    ) {
        self.clock += 1;
        let born = (now, self.clock);
        let used = self.clock;
        self.entries.insert(key, Entry { item, endpoint, bytes, used, born, leased: false, turn });
        self.idle.insert(used, key);
        self.ages.insert(born, key);
        self.of_endpoint.entry(endpoint).or_default().insert(key);
        self.bytes += bytes;
        self.idle_bytes += bytes;
    }

    /// True if nothing is left behind.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
            && self.idle.is_empty()
            && self.ages.is_empty()
            && self.of_endpoint.is_empty()
            && self.bytes == 0
            && self.idle_bytes == 0
    }

    /// Keys and items, and whether they count as idle.
    #[cfg(test)]
    pub(super) fn census(&self) -> Vec<(Key, u64, bool)> {
        let one = |(key, entry): (&Key, &Entry)| {
            (*key, entry.item, self.idle.get(&entry.used) == Some(key))
        };
        self.entries.iter().map(one).collect()
    }

    /// Bytes of those that nobody has a lease on.
    #[cfg(test)]
    pub(super) fn idle_bytes(&self) -> u64 {
        self.idle_bytes
    }
}

/// True if what began at `since` is older than `age`. A clock that goes back makes nothing older.
pub(super) fn is_over(since: Instant, age: Duration, now: Instant) -> bool {
    now.saturating_duration_since(since) >= age
}

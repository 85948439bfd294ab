//! Which memory of this process is shared memory already, by its addresses.
//!
//! Upholds invariant 8: what lies in shared memory is passed on as it is, whatever object shows it, and
//! is never copied because nobody knew. An entry is there for exactly as long as something holds the
//! memory for Python, so that no address is ever taken for what was there before.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

/// Memory of one kind that Python holds.
pub(super) struct Table<M>(Mutex<BTreeMap<u64, Entry<M>>>);

struct Entry<M> {
    end: u64,
    memory: Weak<M>,
    holds: usize,
}

/// Memory that Python holds, and where it is found for as long.
pub(super) struct Hold<M: 'static> {
    memory: Arc<M>,
    start: u64,
    table: &'static Table<M>,
}

impl<M> Table<M> {
    pub(super) const fn new() -> Table<M> {
        Table(Mutex::new(BTreeMap::new()))
    }

    /// Notes that `memory` lies at `len` bytes from `start` on. Memory without bytes lies nowhere.
    pub(super) fn hold(&'static self, memory: Arc<M>, start: u64, len: usize) -> Hold<M> {
        if len > 0 {
            let mut entries = self.0.lock();
            let entry = entries.entry(start).or_insert_with(|| Entry {
                end: start + len as u64,
                memory: Arc::downgrade(&memory),
                holds: 0,
            });
            entry.holds += 1;
        }
        Hold { memory, start, table: self }
    }

    /// The memory in which all bytes from `start` to `end` lie, and where it begins.
    pub(super) fn find(&self, start: u64, end: u64) -> Option<(Arc<M>, u64)> {
        let entries = self.0.lock();
        let (&first, entry) = entries.range(..=start).next_back()?;
        let memory = entry.memory.upgrade().filter(|_| end <= entry.end)?;
        Some((memory, first))
    }

    fn release(&self, start: u64, memory: &Arc<M>) {
        let mut entries = self.0.lock();
        let Some(entry) = entries.get_mut(&start) else { return };
        if !core::ptr::eq(entry.memory.as_ptr(), Arc::as_ptr(memory)) {
            return;
        }
        entry.holds -= 1;
        if entry.holds == 0 {
            entries.remove(&start);
        }
    }
}

impl<M> Hold<M> {
    pub(super) fn memory(&self) -> &Arc<M> {
        &self.memory
    }
}

impl<M> Drop for Hold<M> {
    fn drop(&mut self) {
        self.table.release(self.start, &self.memory);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static TABLE: Table<u8> = Table::new();

    #[test]
    fn memory_is_found_while_it_is_held_and_no_longer() {
        let memory = Arc::new(1);
        let first = TABLE.hold(memory.clone(), 0x1000, 0x100);
        let second = TABLE.hold(memory.clone(), 0x1000, 0x100);
        assert!(
            TABLE
                .find(0x1000, 0x1100)
                .is_some_and(|(found, at)| { Arc::ptr_eq(&found, &memory) && at == 0x1000 })
        );
        assert!(TABLE.find(0x1080, 0x1081).is_some());
        assert!(TABLE.find(0x1000, 0x1101).is_none());
        assert!(TABLE.find(0xfff, 0x1000).is_none());
        drop(first);
        assert!(TABLE.find(0x1000, 0x1100).is_some());
        drop(second);
        assert!(TABLE.find(0x1000, 0x1100).is_none());
    }
}

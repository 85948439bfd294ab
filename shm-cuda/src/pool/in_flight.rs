//! What the device was asked to do in its own time: kept here until it has done so.
//!
//! A task that the driver calls must not call the driver, and dropping the last handle on a pool does.
//! So tasks own nothing: what they finish is in this table, and whoever owns the table waits for it to
//! be empty before letting go. Upholds invariants 6 and 10.

use crate::device::Device;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long tasks of another context are waited for, once this one's work is done.
const PATIENCE: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_micros(100);

#[derive(Debug)]
pub(super) struct InFlight<T> {
    table: Arc<Mutex<Table<T>>>,
}

#[derive(Debug)]
struct Table<T> {
    next: u64,
    items: HashMap<u64, T>,
}

/// The right to end one of them, once.
#[derive(Debug)]
pub(super) struct Landing<T> {
    table: Arc<Mutex<Table<T>>>,
    key: u64,
}

impl<T> InFlight<T> {
    pub(super) fn new() -> InFlight<T> {
        InFlight { table: Arc::new(Mutex::new(Table { next: 0, items: HashMap::new() })) }
    }

    pub(super) fn enter(&self, item: T) -> Landing<T> {
        let mut table = self.table.lock();
        let key = table.next;
        table.next += 1;
        table.items.insert(key, item);
        Landing { table: self.table.clone(), key }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.table.lock().items.is_empty()
    }

    /// Waits until the device has done everything. False if it will not: its context is lost, and nothing
    /// of it is going on any more.
    pub(super) fn settle(&self, device: &Device, more: impl Fn() -> bool) -> bool {
        if self.is_empty() && !more() {
            return true;
        }
        let begun = Instant::now();
        loop {
            if device.synchronize().is_err() {
                return false;
            }
            if self.is_empty() && !more() {
                return true;
            }
            if begun.elapsed() > PATIENCE {
                return false;
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Ends all of them: for when nothing of the context is going on any more.
    pub(super) fn clear(&self) {
        let items = core::mem::take(&mut self.table.lock().items);
        drop(items);
    }
}

impl<T> Clone for Landing<T> {
    fn clone(&self) -> Landing<T> {
        Landing { table: self.table.clone(), key: self.key }
    }
}

impl<T> Landing<T> {
    /// It is done: what was entered, the first time.
    pub(super) fn land(self) -> Option<T> {
        self.table.lock().items.remove(&self.key)
    }
}

//! A lease of this connection, given back when the last of those that need it is gone.
//!
//! Upholds invariant 6: device memory that its owner would free stays leased for as long as a storage
//! over it is used, also by tensors that were taken out of a handle.

use super::super::tensor::Storage;
use super::super::value::Value;
use super::super::wire::Request;
use super::connection::Connection;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

#[derive(Debug)]
pub(super) struct Lease {
    pub(super) connection: Arc<Connection>,
    pub(super) number: u64,
    released: AtomicBool,
}

impl Lease {
    pub(super) fn new(connection: Arc<Connection>, number: u64) -> Arc<Lease> {
        Arc::new(Lease { connection, number, released: AtomicBool::new(false) })
    }

    /// Notes that it is given back otherwise; true the first time.
    pub(super) fn mark_released(&self) -> bool {
        !self.released.swap(true, Ordering::Relaxed)
    }

    pub(super) fn is_released(&self) -> bool {
        self.released.load(Ordering::Relaxed)
    }

    /// Has every storage that its owner could free keep the lease; true if there is one.
    pub(super) fn keep_with(self: &Arc<Lease>, value: &Value) -> bool {
        let mut seen: Vec<&Storage> = Vec::new();
        value.for_each_tensor(&mut |tensor| {
            let storage = tensor.storage();
            if !storage.survives_owner() && !seen.iter().any(|known| known.is_same(storage)) {
                seen.push(storage);
            }
        });
        for storage in &seen {
            if let Storage::Device(device) = storage {
                device.guard(Box::new(self.clone()));
            }
        }
        !seen.is_empty()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.mark_released() {
            self.connection.tell(&Request::Release(vec![self.number]));
        }
    }
}

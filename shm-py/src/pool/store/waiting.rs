//! Waiting for room in a store, and for keys to come.

use crate::pool::store::key::Key;
use crate::pool::store::layout::Layout;
use crate::pool::store::reservation::Reservation;
use crate::pool::store::retrieved::Retrieved;
use crate::pool::store::trouble;
use crate::pool::wish::{Answer, Wish};
use pyo3::prelude::*;
use shm_core::TensorDesc;
use shm_pool::{Retrieved as Leases, Store, StoreError, StoreRequest, Wait};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Room for an entry. The place in line is kept between naps.
pub(super) struct StoreWish {
    pub(super) store: Store,
    pub(super) request: Option<StoreRequest>,
    pub(super) key: Vec<u8>,
    pub(super) layout: Layout,
    pub(super) tensors: Vec<TensorDesc>,
    pub(super) closing: Arc<AtomicBool>,
    pub(super) begun: Instant,
}

impl StoreWish {
    fn turn(&mut self, longest: Duration) -> Result<Option<shm_pool::Reservation>, StoreError> {
        let request = match &mut self.request {
            Some(request) => request,
            none => none.insert(self.store.request_store(&self.key, &self.tensors)?),
        };
        request.nap(longest)
    }

    fn reserved(&self, reservation: shm_pool::Reservation) -> Answer {
        let (store, layout) = (self.store.clone(), self.layout.clone());
        Box::new(move |py| {
            let reservation = Reservation::new(py, store, reservation, &layout)?;
            Ok(Py::new(py, reservation)?.into_any())
        })
    }
}

impl Wish for StoreWish {
    fn nap(&mut self, longest: Duration) -> Option<Answer> {
        if self.closing.load(Ordering::Acquire) {
            return Some(was_closed(&self.store));
        }
        match self.turn(longest) {
            Ok(reservation) => reservation.map(|reservation| self.reserved(reservation)),
            Err(error) => Some(Box::new(move |py| Err(trouble::store(py, error)))),
        }
    }

    fn too_late(&mut self) -> Answer {
        self.request = None;
        match self.store.prepare_store(&self.key, &self.tensors, Wait::Try) {
            Ok(reservation) => self.reserved(reservation),
            Err(StoreError::Full { name, bytes, free, holders }) => {
                let waited = self.begun.elapsed();
                let error = StoreError::Timeout { name, bytes, waited, free, holders };
                Box::new(move |py| Err(trouble::store(py, error)))
            }
            Err(error) => Box::new(move |py| Err(trouble::store(py, error))),
        }
    }
}

/// Keys that are to come.
pub(super) struct RetrieveWish {
    pub(super) store: Store,
    pub(super) keys: Arc<[Key]>,
    pub(super) closing: Arc<AtomicBool>,
    pub(super) begun: Instant,
}

impl RetrieveWish {
    /// Looks for all keys, asleep for at most `longest`.
    pub(super) fn turn(&self, longest: Duration) -> Result<Option<Leases>, StoreError> {
        let keys: Vec<&[u8]> = self.keys.iter().map(Key::bytes).collect();
        self.store.retrieve_nap(&keys, longest)
    }

    /// Looks for all keys, and says which are missing.
    pub(super) fn now(&self) -> Result<Leases, StoreError> {
        let keys: Vec<&[u8]> = self.keys.iter().map(Key::bytes).collect();
        self.store.prepare_retrieve(&keys, Wait::Try)
    }

    /// What the caller is told.
    pub(super) fn answer(&self, outcome: Result<Leases, StoreError>) -> Answer {
        let (store, keys) = (self.store.clone(), self.keys.clone());
        Box::new(move |py| match outcome {
            Ok(leases) => {
                let retrieved = Retrieved::new(py, store, leases, &keys)?;
                Ok(Py::new(py, retrieved)?.into_any())
            }
            Err(error) => Err(trouble::retrieve(py, error, &keys)),
        })
    }
}

impl Wish for RetrieveWish {
    fn nap(&mut self, longest: Duration) -> Option<Answer> {
        if self.closing.load(Ordering::Acquire) {
            return Some(was_closed(&self.store));
        }
        let outcome = self.turn(longest).transpose()?;
        Some(self.answer(outcome))
    }

    fn too_late(&mut self) -> Answer {
        let outcome = self.now().map_err(|error| match error {
            StoreError::Missing { name, missing, of, first, .. } => {
                let waited = self.begun.elapsed();
                StoreError::Missing { name, missing, of, first, waited }
            }
            error => error,
        });
        self.answer(outcome)
    }
}

fn was_closed(store: &Store) -> Answer {
    let name = store.name().to_owned();
    Box::new(move |py| Err(trouble::closed(py, &name)))
}

//! Endless storing, retrieving and removing, with every byte verified.

use super::actor::{Done, PoolActor, Refusal};
use super::mark::Mark;
use fastrand::Rng;
use shm_core::{Dtype, TensorDesc};
use shm_pool::{Retrieved, Store, StoreConfig, StoreError, Wait};
use std::time::Duration;

/// Keys that everybody stores and retrieves.
const KEYS: u32 = 24;
const TURN: Duration = Duration::from_millis(20);

/// The key of a number.
pub(super) fn key(number: u32) -> Vec<u8> {
    format!("prefix/{number}").into_bytes()
}

impl PoolActor {
    pub(super) fn store_create(&mut self, name: &str, capacity: usize, granule: usize) -> Done {
        let config = StoreConfig::new(capacity)?.granule(granule)?;
        self.store = Some(Store::create(name, &config)?);
        Ok(String::new())
    }

    pub(super) fn store_open(&mut self, name: &str) -> Done {
        self.store = Some(Store::open(name)?);
        Ok(String::new())
    }

    /// Stores one key, verified when it is retrieved.
    pub(super) fn store_put(&mut self, number: u32, bytes: usize, ms: u64) -> Done {
        let store = self.store()?;
        self.put_key(&store, number, &[bytes], Wait::from(Duration::from_millis(ms)), true)?;
        Ok(String::new())
    }

    /// Reserves a key, fills half of it, and keeps it.
    pub(super) fn store_half(&mut self, number: u32, bytes: usize) -> Done {
        let layout = [TensorDesc::new(Dtype::U8, &[bytes])?];
        let mut reservation = self.store()?.prepare_store(&key(number), &layout, Wait::Try)?;
        let mut whole = vec![0; bytes];
        self.key_mark(number, 0).fill(&mut whole);
        reservation.tensor_bytes_mut(0)?[..bytes / 2].copy_from_slice(&whole[..bytes / 2]);
        self.reservation = Some(reservation);
        Ok(String::new())
    }

    /// Leases a key, and keeps it; answers who stored it.
    pub(super) fn store_get(&mut self, number: u32, ms: u64) -> Done {
        let wait = Wait::from(Duration::from_millis(ms));
        let retrieved = self.store()?.prepare_retrieve(&[&key(number)], wait)?;
        let pid = verified(&retrieved, &[number])?;
        self.retrieved.push((number, retrieved));
        Ok(pid.to_string())
    }

    pub(super) fn store_verify(&mut self) -> Done {
        for (number, retrieved) in &self.retrieved {
            verified(retrieved, &[*number])?;
        }
        Ok(self.retrieved.len().to_string())
    }

    pub(super) fn store_release(&mut self) -> Done {
        self.retrieved.clear();
        Ok(String::new())
    }

    pub(super) fn store_remove(&mut self, number: u32) -> Done {
        Ok(self.store()?.remove(&key(number))?.to_string())
    }

    /// Every key that is there, verified; answers how many.
    pub(super) fn store_check(&mut self) -> Done {
        let (store, mut found) = (self.store()?, 0);
        for number in 0..KEYS {
            match store.prepare_retrieve(&[&key(number)], Wait::Try) {
                Ok(retrieved) => {
                    verified(&retrieved, &[number])?;
                    found += 1;
                }
                Err(StoreError::Missing { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(found.to_string())
    }

    /// Stores, retrieves and removes; answers how often it stored, and how many entries it verified.
    pub(super) fn store_any(&mut self, stop: &dyn Fn() -> bool) -> Done {
        let (store, mut rng) = (self.store()?, Rng::new());
        let (mut stored, mut read) = (0_u64, 0_u64);
        while !stop() {
            let number = rng.u32(..KEYS);
            let wait = if rng.u8(..8) == 0 { Wait::from(TURN) } else { Wait::Try };
            match rng.u8(..16) {
                0..8 => {
                    let sizes = [rng.usize(24..30_000), rng.usize(24..2_000)];
                    let commit = rng.u8(..8) > 0;
                    let sizes = &sizes[..rng.usize(1..=2)];
                    stored += u64::from(self.put_key(&store, number, sizes, wait, commit)?);
                }
                8..15 => {
                    let numbers: Vec<u32> =
                        (0..rng.usize(1..=3)).map(|_| rng.u32(..KEYS)).collect();
                    read += self.get_keys(&store, &numbers, wait)?;
                }
                _ => match store.remove(&key(number)) {
                    Ok(_) | Err(StoreError::Leased { .. }) => {}
                    Err(error) => return Err(error.into()),
                },
            }
        }
        Ok(format!("{stored} {read}"))
    }

    fn put_key(
        &mut self,
        store: &Store,
        number: u32,
        sizes: &[usize],
        wait: Wait,
        commit: bool,
    ) -> Result<bool, Refusal> {
        let layout: Result<Vec<TensorDesc>, _> =
            sizes.iter().map(|bytes| TensorDesc::new(Dtype::U8, &[*bytes])).collect();
        let mut reservation = match store.prepare_store(&key(number), &layout?, wait) {
            Ok(reservation) => reservation,
            Err(
                StoreError::Exists { .. }
                | StoreError::InProgress { .. }
                | StoreError::Full { .. }
                | StoreError::Timeout { .. }
                | StoreError::IndexFull { .. },
            ) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        for tensor in 0..sizes.len() {
            let mark = self.key_mark(number, tensor);
            mark.fill(reservation.tensor_bytes_mut(tensor)?);
            match Mark::of(reservation.tensor_bytes_mut(tensor)?) {
                Ok(found) if found == mark => {}
                other => return Err(Refusal::of("Torn", format!("{mark:?} became {other:?}"))),
            }
        }
        match commit {
            true => reservation.commit()?,
            false => reservation.abort(),
        }
        Ok(commit)
    }

    fn get_keys(&mut self, store: &Store, numbers: &[u32], wait: Wait) -> Result<u64, Refusal> {
        let keys: Vec<Vec<u8>> = numbers.iter().map(|number| key(*number)).collect();
        let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        let retrieved = match store.prepare_retrieve(&keys, wait) {
            Ok(retrieved) => retrieved,
            Err(StoreError::Missing { .. } | StoreError::Timeout { .. }) => return Ok(0),
            Err(error) => return Err(error.into()),
        };
        let before = verified(&retrieved, numbers)?;
        std::thread::yield_now();
        let after = verified(&retrieved, numbers)?;
        match before == after {
            true => Ok(numbers.len() as u64),
            false => Err(Refusal::of("Torn", format!("{numbers:?} changed while leased"))),
        }
    }

    fn key_mark(&mut self, number: u32, tensor: usize) -> Mark {
        self.sequence += u64::from(tensor == 0);
        let (pid, sequence) = (std::process::id(), self.sequence);
        Mark { pid, slot: number, generation: tensor as u64, sequence }
    }

    fn store(&self) -> Result<Store, Refusal> {
        self.store.clone().ok_or_else(|| Refusal::of("Wrong", "no store"))
    }
}

/// All tensors of all entries are of their key, and of one writer each; answers who wrote the last.
fn verified(retrieved: &Retrieved, numbers: &[u32]) -> Result<u32, Refusal> {
    let mut last = 0;
    for (entry, number) in retrieved.entries().iter().zip(numbers) {
        let mut writer = None;
        for (at, tensor) in entry.tensors().enumerate() {
            let mark = Mark::of(&tensor.to_vec())
                .map_err(|mixed| Refusal::of("Torn", format!("key {number}: {mixed}")))?;
            let same =
                *writer.get_or_insert((mark.pid, mark.sequence)) == (mark.pid, mark.sequence);
            if !same || (mark.slot, mark.generation) != (*number, at as u64) {
                return Err(Refusal::of(
                    "Torn",
                    format!("tensor {at} of key {number} is {mark:?}"),
                ));
            }
            last = mark.pid;
        }
    }
    Ok(last)
}

//! Many threads over several handles on one store.

use super::*;
use std::sync::Barrier;
use std::sync::atomic::AtomicUsize;

const HANDLES: usize = 4;

/// A value that tells which store call made it: `seed` and what follows from it.
fn fill(reservation: &mut Reservation, seed: u64) {
    let bytes = reservation.tensor_bytes_mut(0).unwrap();
    let mut random = fastrand::Rng::with_seed(seed);
    let (head, rest) = bytes.split_at_mut(8);
    head.copy_from_slice(&seed.to_le_bytes());
    random.fill(rest);
}

/// The seed, if every byte follows from it.
fn verify(tensor: Tensor<'_>) -> u64 {
    let bytes = tensor.to_vec();
    let seed = u64::from_le_bytes(bytes[..8].try_into().unwrap());
    let mut expected = vec![0; bytes.len() - 8];
    fastrand::Rng::with_seed(seed).fill(&mut expected);
    assert!(bytes[8..] == expected[..], "an entry is whole");
    seed
}

#[test]
fn one_winner_per_key() {
    const ROUNDS: u64 = 2_000;
    let first = store("winner", 64);
    let barrier = Barrier::new(HANDLES);
    let winners = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..HANDLES {
            scope.spawn(|| {
                let store = Store::open(first.name()).unwrap();
                for round in 0..ROUNDS {
                    let key = round.to_le_bytes();
                    barrier.wait();
                    let prepared = store.prepare_store(&key, &[bytes(8)], Wait::Try);
                    match &prepared {
                        Ok(_) => {
                            winners.fetch_add(1, Ordering::SeqCst);
                        }
                        Err(StoreError::InProgress { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                    if barrier.wait().is_leader() {
                        assert_eq!(winners.swap(0, Ordering::SeqCst), 1, "round {round}");
                    }
                    if let Ok(reservation) = prepared {
                        // Given up every other time: nobody else may have lost for ever.
                        if round % 2 == 0 {
                            reservation.commit().unwrap();
                        }
                    }
                }
            });
        }
    });
    assert_whole(&first);
}

#[test]
fn values_stay_whole_while_everybody_stores_and_evicts() {
    const ROUNDS: usize = 4_000;
    const KEYS: u64 = 40;
    // About half of the keys fit.
    let first = store("churn", 64);
    let next = std::sync::atomic::AtomicU64::new(1);
    let (stored, read) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for thread in 0..HANDLES {
            let (first, next, stored, read) = (&first, &next, &stored, &read);
            scope.spawn(move || {
                // Two threads share a handle.
                let store =
                    if thread < 2 { first.clone() } else { Store::open(first.name()).unwrap() };
                let mut random = fastrand::Rng::with_seed(thread as u64);
                let mut held: Vec<(Vec<u64>, Retrieved)> = Vec::new();
                for _ in 0..ROUNDS {
                    let key = random.u64(..KEYS).to_le_bytes();
                    match random.u32(..10) {
                        0..5 => {
                            let len = random.usize(8..5 * 4096);
                            match store.prepare_store(&key, &[bytes(len)], Wait::Try) {
                                Ok(mut reservation) => {
                                    fill(&mut reservation, next.fetch_add(1, Ordering::Relaxed));
                                    if random.u32(..8) != 0 {
                                        reservation.commit().unwrap();
                                        stored.fetch_add(1, Ordering::Relaxed);
                                    }
                                }
                                Err(
                                    StoreError::Exists { .. }
                                    | StoreError::InProgress { .. }
                                    | StoreError::Full { .. },
                                ) => {}
                                Err(error) => panic!("{error}"),
                            }
                        }
                        5..8 => {
                            let other = random.u64(..KEYS).to_le_bytes();
                            let keys: &[&[u8]] =
                                if random.bool() { &[&key] } else { &[&key, &other, &key] };
                            match get(&store, keys) {
                                Ok(retrieved) => {
                                    let seeds = retrieved.entries().iter();
                                    let seeds = seeds.map(|entry| verify(entry.tensor(0).unwrap()));
                                    held.push((seeds.collect(), retrieved));
                                    read.fetch_add(1, Ordering::Relaxed);
                                }
                                Err(StoreError::Missing { .. }) => {}
                                Err(error) => panic!("{error}"),
                            }
                        }
                        8 if !held.is_empty() => {
                            let (seeds, retrieved) = held.swap_remove(random.usize(..held.len()));
                            for (entry, seed) in retrieved.entries().iter().zip(seeds) {
                                let found = verify(entry.tensor(0).unwrap());
                                assert_eq!(found, seed, "what is leased stays");
                            }
                        }
                        9 if random.u32(..4) == 0 => match store.remove(&key) {
                            Ok(_) | Err(StoreError::Leased { .. }) => {}
                            Err(error) => panic!("{error}"),
                        },
                        _ => {}
                    }
                    if held.len() > 3 {
                        held.remove(0);
                    }
                }
            });
        }
    });
    let evicted = first.stats().evicted;
    assert!(stored.into_inner() > 500 && read.into_inner() > 500 && evicted > 100);
    assert_whole(&first);
}

#[test]
fn waiters_are_served_while_leases_come_and_go() {
    const ROUNDS: u64 = 300;
    let first = store("waiters", 8);
    let barrier = Barrier::new(2);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let store = Store::open(first.name()).unwrap();
            for round in 0..ROUNDS {
                let key = round.to_le_bytes();
                // Most of the store, so that the reader's leases are in the way.
                let reserved = store.prepare_store(&key, &[bytes(5 * 4096)], Wait::FOREVER);
                let mut reservation = reserved.unwrap();
                fill(&mut reservation, round);
                reservation.commit().unwrap();
            }
            barrier.wait();
        });
        let store = Store::open(first.name()).unwrap();
        let mut seen = 0;
        for round in 0..ROUNDS {
            let key = round.to_le_bytes();
            let wait = Wait::from(Duration::from_millis(if round % 16 == 0 { 100 } else { 1 }));
            if let Ok(retrieved) = store.prepare_retrieve(&[&key], wait) {
                assert_eq!(verify(retrieved.tensor(0, 0).unwrap()), round);
                seen += 1;
            }
        }
        barrier.wait();
        assert!(seen > 0);
    });
    assert_whole(&first);
}

//! The store on real segments, in one process and several.

mod crash;
mod model;
mod stress;

use super::*;
use crate::fsck::Fsck;
use crate::policy::Wait;
use crate::word::SlotState;
use shm_core::{Dtype, TensorDesc};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// A name that no other test uses.
fn name(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("test-store-{what}-{}-{number}", std::process::id())
}

/// A store of `granules` granules of 4096 bytes.
fn store(what: &str, granules: usize) -> Store {
    let config = StoreConfig::new(granules * 4096).unwrap().granule(4096).unwrap();
    Store::create(&name(what), &config).unwrap()
}

fn bytes(len: usize) -> TensorDesc {
    TensorDesc::new(Dtype::U8, &[len]).unwrap()
}

/// Stores `len` bytes of `value`.
fn put(store: &Store, key: &[u8], len: usize, value: u8) -> Result<(), StoreError> {
    let mut reservation = store.prepare_store(key, &[bytes(len)], Wait::Try)?;
    reservation.tensor_mut::<u8>(0).unwrap().fill(value);
    reservation.commit()
}

fn get(store: &Store, keys: &[&[u8]]) -> Result<Retrieved, StoreError> {
    store.prepare_retrieve(keys, Wait::Try)
}

#[track_caller]
fn assert_clean(fsck: &Fsck) {
    assert_eq!(fsck.problems, Vec::<String>::new());
}

/// Nothing is leased, reserved or lost: clearing gives all memory back.
#[track_caller]
fn assert_all_memory_is_back(store: &Store) {
    assert_clean(&store.fsck());
    store.clear().unwrap();
    let stats = store.stats();
    assert_eq!((stats.free, stats.largest_free), (stats.slots, stats.capacity), "{stats:?}");
}

/// The same, and nothing is left in the index: nobody was killed.
#[track_caller]
fn assert_whole(store: &Store) {
    assert_all_memory_is_back(store);
    let cells = store.worker().ledger().index();
    let left = cells.iter().filter(|cell| cell.load(Ordering::Relaxed) != 0).count();
    assert_eq!(left, 0, "cells that lead nowhere");
}

#[test]
fn several_tensors_come_back_as_they_were() {
    let store = store("tensors", 64);
    let layout = [
        TensorDesc::new(Dtype::F32, &[3, 5]).unwrap(),
        TensorDesc::new(Dtype::I64, &[]).unwrap(),
        TensorDesc::new(Dtype::Bf16, &[2, 2, 2, 2]).unwrap(),
    ];
    let floats: Vec<f32> = (0..15).map(|number| number as f32 / 3.0).collect();
    let mut reservation = store.prepare_store(b"k", &layout, Wait::Try).unwrap();
    reservation.copy_tensor(0, &floats).unwrap();
    reservation.tensor_mut::<i64>(1).unwrap()[0] = -7;
    reservation.tensor_bytes_mut(2).unwrap().fill(0x3f);
    assert!((reservation.as_mut_ptr(2).unwrap() as usize).is_multiple_of(256));
    reservation.commit().unwrap();

    let worker = Store::open(store.name()).unwrap();
    let retrieved = get(&worker, &[b"k"]).unwrap();
    let entry = &retrieved.entries()[0];
    let found: Vec<TensorDesc> = entry.tensors().map(|tensor| tensor.desc().clone()).collect();
    assert_eq!(found, layout);
    let mut out = [0.0_f32; 15];
    entry.tensor(0).unwrap().copy_to(&mut out).unwrap();
    assert_eq!(out[..], floats[..]);
    assert_eq!(entry.tensor(1).unwrap().get::<i64>(0), Ok(-7));
    assert_eq!(entry.tensor(2).unwrap().to_vec(), [0x3f; 32]);
    // SAFETY: nobody writes the entry while it is leased.
    let in_place = unsafe { entry.tensor(0).unwrap().as_slice::<f32>() }.unwrap();
    assert_eq!(in_place, floats);
}

#[test]
fn wrong_accesses_are_named() {
    let store = store("access", 16);
    let layout = [TensorDesc::new(Dtype::U16, &[4]).unwrap()];
    let mut reservation = store.prepare_store(b"k", &layout, Wait::Try).unwrap();
    let error = reservation.tensor_mut::<i16>(0).unwrap_err();
    assert_eq!(
        error.to_string(),
        "tensor 0 is uint16, not int16; use its own element type, or its bytes"
    );
    let error = reservation.copy_tensor(0, &[1_u16; 3]).unwrap_err();
    assert_eq!(error, TensorAccessError::Length { index: 0, expected: 4, found: 3 });
    let error = reservation.tensor_bytes_mut(1).unwrap_err();
    assert_eq!(error, TensorAccessError::Index { index: 1, tensors: 1 });
    reservation.commit().unwrap();
    let retrieved = get(&store, &[b"k"]).unwrap();
    let tensor = retrieved.tensor(0, 0).unwrap();
    let error = tensor.copy_range(3, &mut [0_u16; 2]).unwrap_err();
    assert_eq!(error, TensorAccessError::Element { index: 0, element: 4, elements: 4 });
    assert!(matches!(tensor.get::<u8>(0), Err(TensorAccessError::Dtype { .. })));
    assert!(matches!(retrieved.tensor(0, 1), Err(TensorAccessError::Index { .. })));
}

#[test]
fn impossible_requests_are_named() {
    let store = store("impossible", 16);
    let prepare = |key: &[u8], layout: &[TensorDesc]| {
        store.prepare_store(key, layout, Wait::Try).unwrap_err()
    };
    assert!(matches!(prepare(b"", &[bytes(1)]), StoreError::Key { found: 0, .. }));
    assert!(matches!(prepare(&[0; 1025], &[bytes(1)]), StoreError::Key { found: 1025, .. }));
    assert!(matches!(prepare(b"k", &[]), StoreError::Tensors { found: 0, .. }));
    let most = 16 * 4096;
    let error = prepare(b"k", &[bytes(most)]);
    assert!(matches!(error, StoreError::TooLarge { most: 65536, .. }), "{error}");
    assert!(matches!(get(&store, &[]), Err(StoreError::NoKeys { .. })));
    // The header takes 256 bytes.
    put(&store, &[1; 1], most - 256, 1).unwrap();
    assert_eq!(store.stats().free_bytes, 0);
}

#[test]
fn an_entry_is_seen_when_it_is_committed_and_not_before() {
    let store = store("commit", 16);
    let worker = Store::open(store.name()).unwrap();
    let reservation = store.prepare_store(b"k", &[bytes(10)], Wait::Try).unwrap();
    assert!(!worker.contains(b"k"));
    let error = get(&worker, &[b"k"]).unwrap_err();
    assert!(matches!(&error, StoreError::Missing { first, .. } if first == "k"), "{error}");
    let error = worker.prepare_store(b"k", &[bytes(10)], Wait::Try).unwrap_err();
    let pid = std::process::id();
    assert!(matches!(error, StoreError::InProgress { pid: storer, .. } if storer == pid));
    assert!(!worker.remove(b"k").unwrap(), "what is not committed is not there");
    reservation.abort();
    let reservation = worker.prepare_store(b"k", &[bytes(10)], Wait::Try).unwrap();
    reservation.commit().unwrap();
    assert!(store.contains(b"k"));
    let error = store.prepare_store(b"k", &[bytes(10)], Wait::Try).unwrap_err();
    assert!(matches!(&error, StoreError::Exists { key, .. } if key == "k"), "{error}");
    assert_eq!((store.len(), store.keys().unwrap()), (1, vec![b"k".to_vec()]));
    assert!(store.remove(b"k").unwrap() && !store.remove(b"k").unwrap());
    assert_whole(&store);
}

#[test]
fn all_keys_or_none() {
    let store = store("all", 16);
    put(&store, b"a", 10, 1).unwrap();
    put(&store, b"c", 10, 3).unwrap();
    let error = get(&store, &[b"a", b"b", b"c", b"d"]).unwrap_err();
    let StoreError::Missing { missing, of, first, .. } = &error else { panic!("{error}") };
    assert_eq!((&missing[..], *of, &first[..]), (&[1, 3][..], 4, "b"));
    assert!(store.remove(b"a").unwrap(), "nothing is leased after a failure");
    put(&store, b"a", 10, 1).unwrap();
    let twice = get(&store, &[b"a", b"c", b"a"]).unwrap();
    let values: Vec<u8> =
        (0..3).map(|key| twice.tensor(key, 0).unwrap().get::<u8>(9).unwrap()).collect();
    assert_eq!(values, [1, 3, 1]);
    let stats = store.stats();
    assert_eq!((stats.hits, stats.misses), (5, 2));
}

#[test]
fn leases_of_one_handle_share_a_flag_and_are_counted() {
    let store = store("leases", 16);
    let worker = Store::open(store.name()).unwrap();
    put(&store, b"k", 10, 1).unwrap();
    let (one, two) = (get(&worker, &[b"k"]).unwrap(), get(&worker, &[b"k", b"k"]).unwrap());
    let mine = get(&store, &[b"k"]).unwrap();
    one.release();
    let mut entries = two.into_entries();
    let StoreError::Leased { holders, .. } = store.remove(b"k").unwrap_err() else { panic!() };
    assert_eq!(holders.len(), 2);
    entries.pop().unwrap().release();
    mine.release();
    assert!(
        matches!(store.remove(b"k"), Err(StoreError::Leased { holders, .. }) if holders.len() == 1)
    );
    drop(entries);
    assert!(store.remove(b"k").unwrap());
    assert_whole(&store);
}

#[test]
fn leases_outlive_handles_and_names() {
    let store = store("outlive", 16);
    let worker = Store::open(store.name()).unwrap();
    put(&store, b"k", 5000, 7).unwrap();
    let retrieved = get(&worker, &[b"k"]).unwrap();
    drop(worker);
    store.unlink().unwrap();
    assert!(store.is_retired());
    let retired = store.prepare_store(b"x", &[bytes(1)], Wait::Try);
    assert!(matches!(retired, Err(StoreError::Retired { .. })));
    drop(store);
    assert_eq!(retrieved.tensor(0, 0).unwrap().to_vec(), [7; 5000]);
}

#[test]
fn workers_cannot_unlink() {
    let store = store("workers", 16);
    let worker = Store::open(store.name()).unwrap();
    assert!(matches!(worker.unlink(), Err(crate::RemoveError::Owned { .. })));
    assert!(store.is_owner() && !worker.is_owner() && worker.has_owner());
    let name = store.name().to_owned();
    assert_eq!(worker.name(), name);
    drop(worker);
    put(&store, b"k", 10, 1).unwrap();
    let worker = Store::open(&name).unwrap();
    assert!(worker.contains(b"k"), "a worker that leaves takes nothing along");
    assert!(matches!(crate::Pool::open(&name), Err(crate::OpenError::Purpose { .. })));
    drop(store);
    assert!(matches!(worker.unlink(), Err(crate::RemoveError::Owned { .. })));
    assert!(
        matches!(Store::open(&name), Err(AttachError::Open(_))),
        "the owner took the name along"
    );
    let pool = crate::Pool::create(&name, &crate::PoolConfig::slots(1, 64).unwrap()).unwrap();
    assert!(matches!(Store::open(pool.name()), Err(AttachError::Open(_))));
}

#[test]
fn the_least_recently_used_goes_first() {
    let store = store("lru", 4);
    for key in [b"a", b"b", b"c", b"d"] {
        put(&store, key, 100, key[0]).unwrap();
    }
    drop(get(&store, &[b"a"]).unwrap());
    let leased = get(&store, &[b"b"]).unwrap();
    put(&store, b"e", 100, 0).unwrap();
    assert!(!store.contains(b"c"), "neither used since nor leased");
    put(&store, b"f", 100, 0).unwrap();
    assert!(!store.contains(b"d"));
    put(&store, b"g", 100, 0).unwrap();
    assert!(!store.contains(b"a") && store.contains(b"b"));
    drop(leased);
    for key in [b"h", b"i", b"j", b"k"] {
        put(&store, key, 100, 0).unwrap();
    }
    assert!(!store.contains(b"b"), "released, it goes in its turn");
    assert_eq!(store.stats().evicted, 7);
    assert_whole(&store);
}

#[test]
fn a_full_store_says_who_has_it() {
    let store = store("full", 4);
    for key in [b"a", b"b", b"c"] {
        put(&store, key, 100, 0).unwrap();
    }
    let leased = get(&store, &[b"a", b"b", b"c"]).unwrap();
    let reserved = store.prepare_store(b"d", &[bytes(1)], Wait::Try).unwrap();
    let StoreError::Full { holders, free, .. } = put(&store, b"e", 100, 0).unwrap_err() else {
        panic!()
    };
    assert_eq!((holders.len(), free), (4, 0));
    let short = Wait::from(Duration::from_millis(20));
    let error = store.prepare_store(b"e", &[bytes(1)], short).unwrap_err();
    let StoreError::Timeout { waited, .. } = &error else { panic!("{error}") };
    assert!(*waited >= Duration::from_millis(20));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(20));
            drop(leased);
        });
        let waited = store.prepare_store(b"e", &[bytes(3 * 4096 - 256)], Wait::FOREVER);
        waited.unwrap().commit().unwrap();
    });
    drop(reserved);
    assert_whole(&store);
}

#[test]
fn a_place_in_the_line_is_kept_between_naps() {
    let store = store("nap", 2);
    put(&store, b"a", 100, 0).unwrap();
    put(&store, b"b", 100, 0).unwrap();
    let leased = get(&store, &[b"a", b"b"]).unwrap();
    let mut request = store.request_store(b"c", &[bytes(1)]).unwrap();
    assert!(request.nap(Duration::from_millis(1)).unwrap().is_none());
    drop(leased);
    let reservation = loop {
        if let Some(reservation) = request.nap(Duration::from_millis(100)).unwrap() {
            break reservation;
        }
    };
    reservation.commit().unwrap();
    assert!(request.nap(Duration::ZERO).unwrap().is_none(), "it was served");
    drop(request);
    assert!(store.contains(b"c"));
    assert_whole(&store);
}

#[test]
fn entries_grow_too_old() {
    let config = StoreConfig::new(16 * 4096).unwrap().granule(4096).unwrap();
    let config = config.ttl(Duration::from_millis(30));
    let store = Store::create(&name("ttl"), &config).unwrap();
    put(&store, b"a", 100, 1).unwrap();
    put(&store, b"b", 100, 1).unwrap();
    let leased = get(&store, &[b"b"]).unwrap();
    std::thread::sleep(Duration::from_millis(31));
    assert!(!store.contains(b"a") && get(&store, &[b"a"]).is_err());
    assert_eq!(leased.tensor(0, 0).unwrap().get::<u8>(99), Ok(1), "a lease outlives the age");
    let error = put(&store, b"b", 100, 2).unwrap_err();
    assert!(matches!(error, StoreError::Leased { .. }), "{error}");
    put(&store, b"a", 100, 2).unwrap();
    assert_eq!(get(&store, &[b"a"]).unwrap().tensor(0, 0).unwrap().get::<u8>(0), Ok(2));
    drop(leased);
    assert!(!store.remove(b"b").unwrap(), "too old to be there");
    assert_whole(&store);
}

#[test]
fn who_waits_for_keys_is_woken_by_commits() {
    let store = store("wait", 16);
    let worker = Store::open(store.name()).unwrap();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let retrieved = worker.prepare_retrieve(&[b"a", b"b"], Wait::FOREVER).unwrap();
            retrieved.entries().iter().map(|entry| entry.tensor(0).unwrap().to_vec()[0]).collect()
        });
        put(&store, b"a", 10, 1).unwrap();
        std::thread::sleep(Duration::from_millis(5));
        put(&store, b"b", 10, 2).unwrap();
        let values: Vec<u8> = waiter.join().unwrap();
        assert_eq!(values, [1, 2]);
    });
    let short = Wait::from(Duration::from_millis(10));
    let error = worker.prepare_retrieve(&[b"a", b"x"], short).unwrap_err();
    let StoreError::Missing { waited, missing, .. } = error else { panic!("{error}") };
    assert!(waited >= Duration::from_millis(10) && missing == [1]);
    assert!(worker.retrieve_nap(&[b"x"], Duration::from_millis(1)).unwrap().is_none());
    assert!(worker.retrieve_nap(&[b"a"], Duration::ZERO).unwrap().is_some());
    store.unlink().unwrap();
    let retired = worker.prepare_retrieve(&[b"x"], Wait::FOREVER);
    assert!(matches!(retired, Err(StoreError::Retired { .. })));
}

#[test]
fn full_buckets_give_way_to_new_keys() {
    let config = StoreConfig::new(256 * 4096).unwrap().granule(4096).unwrap();
    let store = Store::create(&name("buckets"), &config.entries(64).unwrap()).unwrap();
    let (ledger, hasher) = (store.worker().ledger(), store.worker().hasher);
    // Keys that share both buckets.
    let cells = ledger.layout.index_cells;
    let buckets = |key: u64| index::buckets(cells, hasher.hash(&key.to_le_bytes()));
    let keys: Vec<u64> = (0..).filter(|&key| buckets(key) == buckets(0)).take(18).collect();
    for key in &keys[..17] {
        put(&store, &key.to_le_bytes(), 100, 1).unwrap();
    }
    assert_eq!((store.len(), store.stats().evicted), (16, 1));
    assert!(!store.contains(&keys[0].to_le_bytes()), "the least recently used of the buckets went");
    let all: Vec<[u8; 8]> = keys[1..17].iter().map(|key| key.to_le_bytes()).collect();
    let all: Vec<&[u8]> = all.iter().map(|key| &key[..]).collect();
    let leased = get(&store, &all).unwrap();
    let error = put(&store, &keys[17].to_le_bytes(), 100, 1).unwrap_err();
    assert!(matches!(error, StoreError::IndexFull { .. }), "{error}");
    drop(leased);
    assert_whole(&store);
}

#[test]
fn damage_is_refused() {
    let store = store("damage", 16);
    let at_payload = |offset: usize, byte: u8| {
        let target = store.worker().ledger().segment.payload(offset, 1);
        // SAFETY: one byte of the payload of a store that only this thread uses now.
        unsafe { shm_core::copy::copy_in(target, &byte, 1) };
    };
    put(&store, b"key", 100, 1).unwrap();
    let offset = get(&store, &[b"key"]).unwrap().tensor(0, 0).unwrap().offset() - 256;
    for (at, byte, field) in [
        (0, 0, "magic"),
        (8, 0, "key_len"),
        (16, 0xff, "total"),
        (25, 0, "header_len"),
        (32, 99, "dtype"),
    ] {
        let retrieved = get(&store, &[b"key"]).unwrap();
        let before = store.worker().ledger().segment.payload(offset + at, 1);
        // SAFETY: as above.
        let before = unsafe { core::ptr::read_volatile(before) };
        drop(retrieved);
        at_payload(offset + at, byte);
        match get(&store, &[b"key"]) {
            Err(StoreError::Damaged { field: found, .. }) => assert_eq!(found, field),
            other => panic!("{field}: {:?}", other.map(|retrieved| retrieved.entries().len())),
        }
        at_payload(offset + at, before);
    }
    // The key itself: another key's entry is no answer.
    at_payload(offset + 32 + 24, b'K');
    assert!(matches!(get(&store, &[b"key"]), Err(StoreError::Missing { .. })));
    assert!(store.remove(b"key").unwrap(), "no lease is left by any of that");
    // Garbage in the index leads nowhere, and is used again.
    for (at, cell) in store.worker().ledger().index().iter().enumerate() {
        cell.store((at as u64) << 40 | 0xdead_beef_0000 | 2, Ordering::Relaxed);
    }
    put(&store, b"key", 100, 1).unwrap();
    assert!(store.contains(b"key"));
    assert_eq!(store.worker().ledger().slot(0).load().state(), Some(SlotState::Stored));
}

#[test]
fn old_leases_are_reported() {
    let config = StoreConfig::new(16 * 4096).unwrap().overdue_after(Duration::ZERO);
    let store = Store::create(&name("overdue"), &config).unwrap();
    put(&store, b"k", 10, 1).unwrap();
    assert!(store.overdue().is_empty(), "an entry that nobody has is not overdue");
    let leased = get(&store, &[b"k"]).unwrap();
    let reserved = store.prepare_store(b"r", &[bytes(1)], Wait::Try).unwrap();
    let overdue = store.overdue();
    let states: Vec<SlotState> = overdue.iter().map(|overdue| overdue.state).collect();
    assert!(states.contains(&SlotState::Stored) && states.contains(&SlotState::Filling));
    drop((leased, reserved));
    assert!(store.overdue().is_empty());
    let info = store.describe();
    assert_eq!((info.seats, info.consumers.len()), (64, 1));
}

#[test]
fn a_store_inside_one_process() {
    let config = StoreConfig::new(16 * 4096).unwrap();
    let store = Store::process_local("test-local", &config).unwrap();
    put(&store, b"k", 10, 4).unwrap();
    let clone = store.clone();
    assert_eq!(get(&clone, &[b"k"]).unwrap().tensor(0, 0).unwrap().get::<u8>(3), Ok(4));
    assert_whole(&store);
}

#[test]
fn there_are_64_seats() {
    let store = store("seats", 4);
    let workers: Vec<Store> = (1..64).map(|_| Store::open(store.name()).unwrap()).collect();
    let error = Store::open(store.name()).unwrap_err();
    assert!(matches!(error, AttachError::Full { seats: 64, .. }), "{error}");
    drop(workers);
    Store::open(store.name()).unwrap();
}

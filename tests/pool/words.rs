//! One hostile word at a time in what belongs to a queue, and to a store.

use crate::rig::slots;
use core::sync::atomic::Ordering::SeqCst;
use shm_core::{Dtype, TensorDesc};
use shm_pool::{
    Audience, Consumer, Mode, Policy, Pool, Queue, QueueError, Store, StoreConfig, StoreError, Wait,
};
use shm_tests::Scene;
use shm_tests::pool::{Part, RawPool};
use std::time::Duration;

const VALUES: [u64; 13] = [
    0,
    1,
    2,
    0xFF,
    0xFFFF,
    0xFFFF_FFFF,
    u64::MAX,
    u64::MAX - 1,
    u64::MAX / 2,
    1 << 63,
    (1 << 63) - 2,
    0xFFFF_FFFF_0000_0000,
    0x0101_0101_0101_0101,
];
const BRIEF: Duration = Duration::from_micros(300);

fn use_queue(pool: &Pool, queue: &Queue, consumer: &Consumer) -> Result<(), QueueError> {
    let _ = (queue.len(), queue.is_empty(), Queue::list(pool), Queue::open("queue", pool).is_ok());
    let audience = if queue.mode() == Mode::Work { Audience::Any } else { Audience::Everyone };
    if let Ok(slot) = pool.lend(64, Wait::Try, Policy::DropOldestUnread)
        && let Ok(ticket) = slot.publish(audience)
    {
        let put = queue.put(&ticket, Wait::Try);
        let napped = queue.put_nap(&ticket, BRIEF);
        // What is not in the queue is nobody's to get.
        let _ = pool.revoke(&ticket);
        put.and(napped.map(|_| ()))?;
    }
    for _ in 0..3 {
        let got = queue.get(consumer, Wait::Try);
        if let Ok(ticket) = &got {
            let _ = consumer.redeem(ticket).map(|lease| lease.to_vec());
        }
        let _ = queue.get_nap(consumer, BRIEF)?;
    }
    Ok(())
}

fn in_a_queue(mode: Mode) {
    let scene = Scene::new("queue words");
    let pool = slots(&scene, "pool", 8, 1);
    let raw = RawPool::of(pool.name()).unwrap();
    let consumer = pool.consumer().unwrap();
    let (entry, cells) = (raw.part(Part::Queues), raw.part(Part::Cells));
    let offsets: Vec<usize> = (0..128)
        .map(|at| entry.start + 8 * at)
        .chain((0..6).map(|at| cells.start + 8 * at))
        .collect();
    let (mut written, mut errors) = (0, 0);
    for offset in offsets {
        for value in VALUES {
            let queue = Queue::create("queue", &pool, 4, mode).unwrap();
            let _ = use_queue(&pool, &queue, &consumer);
            let before = raw.control(offset).swap(value, SeqCst);
            errors += usize::from(use_queue(&pool, &queue, &consumer).is_err());
            let _ = Queue::create("other", &pool, 4, mode).map(|other| other.remove());
            raw.control(offset).store(before, SeqCst);
            let _ = queue.remove();
            // Whatever became of it, the next round begins with none.
            for at in entry.clone().chain(cells.clone()).step_by(8) {
                raw.control(at).store(0, SeqCst);
            }
            written += 1;
        }
    }
    println!("{mode:?}: {written} hostile words in a queue, {errors} typed errors");
    assert!(errors > 0);
}

#[test]
fn of_a_queue_of_work() {
    in_a_queue(Mode::Work);
}

#[test]
fn of_a_queue_of_broadcasts() {
    in_a_queue(Mode::Broadcast);
}

fn use_store(store: &Store) -> Result<(), StoreError> {
    let layout = [TensorDesc::new(Dtype::U8, &[5000]).unwrap()];
    for key in [b"one", b"two"] {
        if let Ok(mut reservation) = store.prepare_store(key, &layout, Wait::Try) {
            let _ = reservation.tensor_bytes_mut(0).map(|bytes| bytes.fill(3));
            reservation.commit()?;
        }
    }
    let _ = (store.stats(), store.fsck(), store.overdue(), store.len(), store.contains(b"one"));
    let _ = (store.keys(), store.retrieve_nap(&[b"one", b"two"], BRIEF));
    let retrieved = store.prepare_retrieve(&[b"one"], Wait::Try)?;
    for tensor in retrieved.entries().iter().flat_map(|entry| entry.tensors()) {
        assert!(tensor.to_vec().len() <= store.capacity());
    }
    drop(retrieved);
    store.remove(b"two").map(|_| ())
}

fn in_a_store(part: Part, words: usize) {
    let scene = Scene::new("store words");
    let config = StoreConfig::new(64 << 10).unwrap().granule(4096).unwrap();
    let (mut written, mut errors) = (0, 0);
    let store = Store::create(&scene.name("store"), &config).unwrap();
    let raw = RawPool::of(store.name()).unwrap();
    for at in raw.part(part).step_by(8).take(words) {
        for value in VALUES {
            let _ = use_store(&store);
            let before = raw.control(at).swap(value, SeqCst);
            errors += usize::from(use_store(&store).is_err());
            store.reap();
            raw.control(at).store(before, SeqCst);
            written += 1;
        }
    }
    println!("{part:?} of a store: {written} hostile words, {errors} typed errors");
}

#[test]
fn of_the_index() {
    in_a_store(Part::Index, 64);
}

#[test]
fn of_the_entries() {
    in_a_store(Part::Entries, 24);
}

#[test]
fn of_the_slots_of_a_store() {
    in_a_store(Part::Slots, 48);
}

#[test]
fn of_the_counters_of_a_store() {
    in_a_store(Part::Counters, 80);
}

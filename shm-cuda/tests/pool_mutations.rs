//! Each synchronisation is needed: a check of the suite fails where it is left out.

mod peer;
mod pool_rig;
mod simulation;

use peer::{hex, listen, say, unhex};
use pool_rig::{LONG, Scene, name, pattern, role, scene, start};
use shm_cuda::pool::mutate::{Mutation, mutate};
use shm_cuda::pool::{DevicePool, RedeemError};
use shm_cuda::{CudaStream, DeviceBuffer};
use shm_pool::{Audience, Policy, PoolConfig, Ticket, Wait};
use std::time::{Duration, Instant};

const BYTES: usize = 20_000;
/// Long enough for everything that is not delayed to happen in between.
const SLOW: u64 = 80_000;

/// What a check found: `Err` says what is wrong.
type Found = Result<(), &'static str>;

fn needed(mutation: Mutation, check: fn(&Scene) -> Found) {
    let Some(scene) = scene() else { return };
    assert_eq!(check(&scene), Ok(()), "without a mutation");
    mutate(Some(mutation));
    let found = check(&scene);
    mutate(None);
    simulation::delay_us(0, 0);
    scene.device.synchronize().unwrap();
    assert!(found.is_err(), "the check does not notice {mutation:?}");
    simulation::delay_us(0, 200);
    assert_eq!(check(&scene), Ok(()), "after the mutation");
}

struct Parts {
    pool: DevicePool,
    fast: CudaStream,
    /// The two patterns, on the device.
    sources: [DeviceBuffer; 2],
}

/// One slot, and nothing queued.
fn parts(scene: &Scene) -> Parts {
    simulation::delay_us(0, 0);
    let config = PoolConfig::slots(1, BYTES).unwrap();
    let pool = DevicePool::create(&name("mutation"), &config, &scene.device).unwrap();
    let sources = [1, 2].map(|number| pool_rig::buffer(scene, &pattern(number, BYTES)));
    Parts { pool, fast: CudaStream::new(&scene.device).unwrap(), sources }
}

fn publish(parts: &Parts, source: usize, stream: &CudaStream) -> Ticket {
    let mut slot = parts.pool.lend(BYTES, Wait::from(LONG), Policy::Block).unwrap();
    slot.copy_from(parts.sources[source].as_slice(), stream.as_ref()).unwrap();
    slot.publish(Audience::Everyone, stream.as_ref()).unwrap()
}

/// Lets the device begin what was queued slowly; what is queued from here on is fast.
fn begun_slowly() {
    std::thread::sleep(Duration::from_millis(5));
    simulation::delay_us(0, 0);
}

fn is(found: Vec<u8>, number: u64) -> Found {
    if found == pattern(number, BYTES) { Ok(()) } else { Err("other bytes than were published") }
}

fn the_copy_out_is_whole(scene: &Scene) -> Found {
    let parts = parts(scene);
    let consumer = parts.pool.consumer().unwrap();
    let ticket = publish(&parts, 0, &parts.fast);
    let mut lease = consumer.redeem(&ticket, LONG).unwrap();
    let out = DeviceBuffer::new(&scene.device, BYTES).unwrap();
    simulation::delay_us(SLOW, SLOW);
    lease.copy_to(out.as_slice(), scene.stream.as_ref()).unwrap();
    lease.release_after(scene.stream.as_ref());
    begun_slowly();
    publish(&parts, 1, &parts.fast);
    is(out.as_slice().to_vec(scene.stream.as_ref()).unwrap(), 1)
}

#[test]
fn acknowledging_before_the_copy_is_noticed() {
    needed(Mutation::AcknowledgeEarly, the_copy_out_is_whole);
}

fn what_is_redeemed_is_there(scene: &Scene) -> Found {
    let parts = parts(scene);
    let consumer = parts.pool.consumer().unwrap();
    simulation::delay_us(SLOW, SLOW);
    let ticket = publish(&parts, 0, &scene.stream);
    begun_slowly();
    let lease = consumer.redeem(&ticket, LONG).unwrap();
    is(lease.slice().to_vec(parts.fast.as_ref()).unwrap(), 1)
}

#[test]
fn announcing_before_the_copy_is_noticed() {
    needed(Mutation::ReadyEarly, what_is_redeemed_is_there);
}

fn a_stream_goes_on_in_time(scene: &Scene) -> Found {
    let parts = parts(scene);
    let consumer = parts.pool.consumer().unwrap();
    simulation::delay_us(1_000_000, 1_000_000);
    let ticket = publish(&parts, 0, &scene.stream);
    begun_slowly();
    let begun = Instant::now();
    let lease =
        consumer.redeem_on(&ticket, parts.fast.as_ref(), Duration::from_millis(20)).unwrap();
    let patience = Duration::from_millis(300);
    while !parts.fast.as_ref().is_done(&scene.device).unwrap() {
        if begun.elapsed() > patience {
            // Whoever waits is let go on again, so that this can end.
            mutate(None);
            parts.fast.synchronize().unwrap();
            lease.release();
            return Err("the stream hangs");
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    lease.release();
    Ok(())
}

#[test]
fn a_watcher_that_lets_nobody_go_on_is_noticed() {
    needed(Mutation::NoRelease, a_stream_goes_on_in_time);
}

fn nothing_is_stored_late(scene: &Scene) -> Found {
    let parts = parts(scene);
    let consumer = parts.pool.consumer().unwrap();
    simulation::delay_us(SLOW, SLOW);
    let first = publish(&parts, 0, &scene.stream);
    consumer.skip(&first).unwrap();
    begun_slowly();
    let second = publish(&parts, 1, &parts.fast);
    let lease = consumer.redeem(&second, LONG).unwrap();
    scene.stream.synchronize().unwrap();
    is(lease.slice().to_vec(parts.fast.as_ref()).unwrap(), 2)
}

#[test]
fn lending_memory_that_is_stored_to_is_noticed() {
    needed(Mutation::LendUnsettled, nothing_is_stored_late);
}

fn a_dead_producers_slot_is_not_read(scene: &Scene) -> Found {
    let parts = parts(scene);
    let consumer = parts.pool.consumer().unwrap();
    let mut producer = start("child", &[parts.pool.name()]);
    let ticket = Ticket::from_bytes(&unhex(&producer.try_hear().unwrap())).unwrap();
    producer.kill();
    match consumer.redeem(&ticket, LONG) {
        Err(RedeemError::ProducerGone { .. }) => Ok(()),
        Ok(lease) => is(lease.slice().to_vec(scene.stream.as_ref()).unwrap(), 1),
        Err(_) => Err("another error"),
    }
}

#[test]
fn believing_the_dead_is_noticed() {
    needed(Mutation::BelieveTheDead, a_dead_producers_slot_is_not_read);
}

#[test]
#[ignore = "the other process of the test before"]
fn child() {
    let Some(words) = role() else { return };
    let device = simulation::device().unwrap();
    let stream = CudaStream::new(&device).unwrap();
    let source = DeviceBuffer::new(&device, BYTES).unwrap();
    source.as_slice().upload(&pattern(1, BYTES), stream.as_ref()).unwrap();
    let pool = DevicePool::open(&words[0], &device).unwrap();
    let mut slot = pool.lend(BYTES, Wait::from(LONG), Policy::Block).unwrap();
    simulation::delay_us(10_000_000, 10_000_000);
    slot.copy_from(source.as_slice(), stream.as_ref()).unwrap();
    let ticket = slot.publish(Audience::Everyone, stream.as_ref()).unwrap();
    say(&hex(&ticket.to_bytes()));
    listen();
}

//! One process: what a pool on a device promises about the order of things.

mod peer;
mod pool_rig;
mod simulation;

use pool_rig::{LONG, Scene, buffer, eventually, name, pattern, scene};
use shm_cuda::pool::{
    ArrivalError, CopyError, DeviceLendError, DevicePool, Publication, RedeemError,
};
use shm_cuda::{CudaStream, DeviceBuffer};
use shm_pool::{Audience, Policy, PoolConfig, Ticket, Wait};
use simulation::Failure;
use std::time::{Duration, Instant};

const BYTES: usize = 40_000;
const ORDERED: Publication = Publication::StreamOrdered;
const WAYS: [Publication; 2] = [Publication::StreamOrdered, Publication::HostFunction];

fn pool(scene: &Scene, slots: usize, way: Publication, becomes: Publication) -> DevicePool {
    let config = PoolConfig::slots(slots, BYTES).unwrap();
    let pool = DevicePool::create_with(&name("pool"), &config, &scene.device, way).unwrap();
    assert_eq!(pool.publication(), becomes);
    pool
}

fn publish(scene: &Scene, pool: &DevicePool, source: &DeviceBuffer) -> Ticket {
    let mut slot = pool.lend(BYTES, Wait::from(LONG), Policy::Block).unwrap();
    slot.copy_from(source.as_slice(), scene.stream.as_ref()).unwrap();
    slot.publish(Audience::Everyone, scene.stream.as_ref()).unwrap()
}

#[test]
fn what_is_published_is_what_is_copied_out() {
    let Some(scene) = scene() else { return };
    for way in WAYS {
        let pool = pool(&scene, 3, way, way);
        let consumer = pool.consumer().unwrap();
        let other = CudaStream::new(&scene.device).unwrap();
        for number in 0..50 {
            let bytes = pattern(number, BYTES);
            let source = buffer(&scene, &bytes);
            let ticket = publish(&scene, &pool, &source);
            let out = DeviceBuffer::new(&scene.device, BYTES).unwrap();
            let mut lease = match number % 2 {
                0 => consumer.redeem(&ticket, LONG).unwrap(),
                _ => consumer.redeem_on(&ticket, other.as_ref(), LONG).unwrap(),
            };
            lease.copy_to(out.as_slice(), other.as_ref()).unwrap();
            let arrival = match number % 4 {
                0 | 1 => lease.release_after(other.as_ref()),
                _ => lease.arrival().clone(),
            };
            assert!(out.as_slice().to_vec(other.as_ref()).unwrap() == bytes, "{number}");
            arrival.check().unwrap();
        }
        drop(consumer);
        eventually("all is free", || pool.stats().pool.free == 3);
        let stats = pool.stats();
        assert_eq!((stats.released_waits, stats.producer_gone), (0, 0));
        assert_eq!(stats.pool.late, 0);
    }
    simulation::assert_clean();
}

#[test]
fn publishing_returns_before_the_copy_and_redeeming_after_it() {
    let Some(scene) = scene() else { return };
    for way in WAYS {
        let pool = pool(&scene, 2, way, way);
        let consumer = pool.consumer().unwrap();
        let source = buffer(&scene, &pattern(7, BYTES));
        simulation::delay_us(60_000, 60_000);
        let begun = Instant::now();
        let ticket = publish(&scene, &pool, &source);
        assert!(begun.elapsed() < Duration::from_millis(30), "{:?}", begun.elapsed());
        let early = consumer.redeem(&ticket, Duration::from_millis(5));
        assert!(matches!(early, Err(RedeemError::NotReady { .. })), "{early:?}");
        let lease = consumer.redeem(&ticket, LONG).unwrap();
        assert!(begun.elapsed() >= Duration::from_millis(40), "{:?}", begun.elapsed());
        simulation::delay_us(0, 0);
        assert!(lease.slice().to_vec(scene.stream.as_ref()).unwrap() == pattern(7, BYTES));
        lease.release();
        assert_eq!(pool.stats().pool.free, 2);
        simulation::delay_us(0, 200);
    }
}

#[test]
fn a_slot_is_not_free_before_the_copy_out_of_it_is_done() {
    let Some(scene) = scene() else { return };
    let pool = pool(&scene, 1, ORDERED, ORDERED);
    let consumer = pool.consumer().unwrap();
    let out = DeviceBuffer::new(&scene.device, BYTES).unwrap();
    for explicit in [true, false] {
        let source = buffer(&scene, &pattern(1, BYTES));
        let ticket = publish(&scene, &pool, &source);
        let mut lease = consumer.redeem(&ticket, LONG).unwrap();
        simulation::delay_us(60_000, 60_000);
        let begun = Instant::now();
        lease.copy_to(out.as_slice(), scene.stream.as_ref()).unwrap();
        match explicit {
            true => drop(lease.release_after(scene.stream.as_ref())),
            false => drop(lease),
        }
        assert!(begun.elapsed() < Duration::from_millis(30), "{:?}", begun.elapsed());
        assert_eq!(pool.stats().pool.free, 0);
        eventually("the slot is free", || pool.stats().pool.free == 1);
        assert!(begun.elapsed() >= Duration::from_millis(40), "{:?}", begun.elapsed());
        simulation::delay_us(0, 200);
    }
}

#[test]
fn memory_is_not_lent_again_while_the_device_stores_there() {
    let Some(scene) = scene() else { return };
    let source = buffer(&scene, &pattern(1, BYTES));
    let configs = [PoolConfig::slots(1, BYTES).unwrap(), PoolConfig::chunks(10 * 4096).unwrap()];
    for config in configs {
        let pool = DevicePool::create(&name("settle"), &config, &scene.device).unwrap();
        let consumer = pool.consumer().unwrap();
        simulation::delay_us(80_000, 80_000);
        let begun = Instant::now();
        let ticket = publish(&scene, &pool, &source);
        // Acknowledged although nothing is there yet: free for the ledger, and not for the device.
        consumer.skip(&ticket).unwrap();
        assert_eq!(pool.stats().pool.free, pool.stats().pool.slots);
        let refused = pool.lend(BYTES, Wait::Try, Policy::Fail).unwrap_err();
        assert!(matches!(refused, DeviceLendError::Unsettled { slots: 1, .. }), "{refused}");
        assert!(refused.is_full());
        drop(pool.lend(BYTES, Wait::from(LONG), Policy::Block).unwrap());
        assert!(begun.elapsed() >= Duration::from_millis(50), "{:?}", begun.elapsed());
        simulation::delay_us(0, 200);
    }
}

#[test]
fn a_slot_that_is_given_up_waits_for_its_copies() {
    let Some(scene) = scene() else { return };
    let pool = pool(&scene, 1, ORDERED, ORDERED);
    let source = buffer(&scene, &pattern(1, BYTES));
    simulation::delay_us(50_000, 50_000);
    let begun = Instant::now();
    let mut slot = pool.lend(BYTES, Wait::Try, Policy::Fail).unwrap();
    slot.copy_from(source.as_slice(), scene.stream.as_ref()).unwrap();
    drop(slot);
    assert!(begun.elapsed() >= Duration::from_millis(40), "{:?}", begun.elapsed());
    let begun = Instant::now();
    let mut slot = pool.lend(BYTES, Wait::Try, Policy::Fail).unwrap();
    slot.copy_from(source.as_slice(), scene.stream.as_ref()).unwrap();
    slot.abort_after(scene.stream.as_ref()).unwrap();
    assert!(begun.elapsed() < Duration::from_millis(30), "{:?}", begun.elapsed());
    assert!(pool.lend(BYTES, Wait::Try, Policy::Fail).unwrap_err().is_full());
    assert!(pool.lend(BYTES, Wait::from(LONG), Policy::Block).is_ok());
    simulation::delay_us(0, 200);
    assert_eq!(pool.stats().pool.free, 1);
}

#[test]
fn a_stream_that_waits_for_too_long_goes_on_and_says_so() {
    let Some(scene) = scene() else { return };
    let pool = pool(&scene, 1, ORDERED, ORDERED);
    let consumer = pool.consumer().unwrap();
    let source = buffer(&scene, &pattern(1, BYTES));
    let other = CudaStream::new(&scene.device).unwrap();
    simulation::delay_us(200_000, 200_000);
    let ticket = publish(&scene, &pool, &source);
    let lease = consumer.redeem_on(&ticket, other.as_ref(), Duration::from_millis(20)).unwrap();
    assert_eq!(lease.check(), Err(ArrivalError::Pending { slot: 0 }));
    let begun = Instant::now();
    other.synchronize().unwrap();
    assert!(begun.elapsed() < Duration::from_millis(150), "{:?}", begun.elapsed());
    assert_eq!(lease.check(), Err(ArrivalError::Late { slot: 0 }));
    // It stays so, although the bytes come in the end.
    let arrival = lease.release_after(other.as_ref());
    scene.stream.synchronize().unwrap();
    assert_eq!(arrival.check(), Err(ArrivalError::Late { slot: 0 }));
    simulation::delay_us(0, 200);
    assert_eq!(pool.stats().released_waits, 1);
    assert!(pool.lend(BYTES, Wait::from(LONG), Policy::Block).is_ok());
}

#[test]
fn a_consumer_that_is_let_go_lets_its_streams_go_on() {
    let Some(scene) = scene() else { return };
    let pool = pool(&scene, 1, ORDERED, ORDERED);
    let consumer = pool.consumer().unwrap();
    let source = buffer(&scene, &pattern(1, BYTES));
    let other = CudaStream::new(&scene.device).unwrap();
    simulation::delay_us(100_000, 100_000);
    let ticket = publish(&scene, &pool, &source);
    let lease = consumer.redeem_on(&ticket, other.as_ref(), shm_core::Deadline::NEVER).unwrap();
    drop(lease);
    drop(consumer);
    let begun = Instant::now();
    other.synchronize().unwrap();
    assert!(begun.elapsed() < LONG);
    simulation::delay_us(0, 200);
}

#[test]
fn tickets_are_redeemed_once_and_only_in_their_time() {
    let Some(scene) = scene() else { return };
    let pool = pool(&scene, 2, ORDERED, ORDERED);
    let consumers = [pool.consumer_at(0).unwrap(), pool.consumer_at(1).unwrap()];
    let source = buffer(&scene, &pattern(3, BYTES));
    let ticket = publish(&scene, &pool, &source);
    let lease = consumers[0].redeem(&ticket, LONG).unwrap();
    let again = consumers[0].redeem(&ticket, LONG);
    assert!(
        matches!(again, Err(RedeemError::Pool(shm_pool::RedeemError::AlreadyRedeemed { .. }))),
        "{again:?}"
    );
    lease.release();
    let late = consumers[0].redeem(&ticket, LONG);
    assert!(
        matches!(late, Err(RedeemError::Pool(shm_pool::RedeemError::NotAddressed { .. }))),
        "{late:?}"
    );
    assert_eq!(pool.stats().pool.free, 1, "the other one has not read it");
    consumers[1].redeem_on(&ticket, scene.stream.as_ref(), LONG).unwrap().release();
    assert_eq!(pool.stats().pool.free, 2);
    let stale = consumers[1].redeem(&ticket, LONG);
    assert!(
        matches!(stale, Err(RedeemError::Pool(shm_pool::RedeemError::Stale { .. }))),
        "{stale:?}"
    );
    for forged in [
        Ticket { generation: ticket.generation + 1, ..ticket },
        Ticket { index: 7, ..ticket },
        Ticket { instance: [1; 16], ..ticket },
    ] {
        let refused = consumers[0].redeem_on(&forged, scene.stream.as_ref(), LONG);
        assert!(matches!(refused, Err(RedeemError::Pool(_))), "{refused:?}");
    }
}

#[test]
fn wrong_lengths_are_named() {
    let Some(scene) = scene() else { return };
    let pool = pool(&scene, 1, ORDERED, ORDERED);
    let short = DeviceBuffer::new(&scene.device, 100).unwrap();
    let mut slot = pool.lend(BYTES, Wait::Try, Policy::Fail).unwrap();
    let refused = slot.copy_from(short.as_slice(), scene.stream.as_ref());
    assert_eq!(refused, Err(CopyError::Length { expected: BYTES, found: 100 }));
    let refused = slot.copy_part(BYTES..BYTES + 100, short.as_slice(), scene.stream.as_ref());
    assert_eq!(refused, Err(CopyError::Range { range: BYTES..BYTES + 100, bytes: BYTES }));
    let refused = slot.upload(&[1, 2], scene.stream.as_ref());
    assert_eq!(refused, Err(CopyError::Length { expected: BYTES, found: 2 }));
    drop(slot);
    assert_eq!(pool.stats().pool.free, 1);
}

#[test]
fn what_the_device_cannot_do_is_done_by_the_host_and_counted() {
    let Some(scene) = scene() else { return };
    // Pages that cannot be registered; a store, and a wait, that the driver refuses.
    simulation::inject(Failure::Registration, 1);
    let unregistered = pool(&scene, 2, ORDERED, Publication::HostFunction);
    simulation::clear_failures();
    assert_eq!(unregistered.stats().host_fallbacks, 1);
    let registered = pool(&scene, 2, ORDERED, ORDERED);
    assert_eq!(registered.stats().host_fallbacks, 0);
    for pool in [unregistered, registered] {
        let before = pool.stats().host_fallbacks;
        let consumer = pool.consumer().unwrap();
        let source = buffer(&scene, &pattern(4, BYTES));
        simulation::delay_us(30_000, 30_000);
        if pool.publication() == Publication::StreamOrdered {
            simulation::inject(Failure::MemOp, 1);
        }
        let ticket = publish(&scene, &pool, &source);
        simulation::clear_failures();
        let other = CudaStream::new(&scene.device).unwrap();
        let lease = consumer.redeem_on(&ticket, other.as_ref(), LONG).unwrap();
        other.synchronize().unwrap();
        lease.check().unwrap();
        simulation::delay_us(0, 200);
        assert!(lease.slice().to_vec(other.as_ref()).unwrap() == pattern(4, BYTES));
        // The publication by the host; where nothing is registered the wait, too.
        let fell_back = pool.stats().host_fallbacks - before;
        assert_eq!(fell_back, if before == 1 { 2 } else { 1 });
        lease.release();
        assert_eq!(pool.stats().pool.free, 2);
    }
    simulation::assert_clean();
}

#[test]
fn a_device_that_is_lost_lets_everything_go() {
    let Some(scene) = scene() else { return };
    let pool = pool(&scene, 2, ORDERED, ORDERED);
    let consumer = pool.consumer().unwrap();
    let source = buffer(&scene, &pattern(4, BYTES));
    let first = publish(&scene, &pool, &source);
    let mut lease = consumer.redeem(&first, LONG).unwrap();
    let out = DeviceBuffer::new(&scene.device, BYTES).unwrap();
    simulation::delay_us(30_000, 30_000);
    let second = publish(&scene, &pool, &source);
    lease.copy_to(out.as_slice(), scene.stream.as_ref()).unwrap();
    simulation::inject(Failure::Launch, 1);
    let waiting = consumer.redeem_on(&second, scene.stream.as_ref(), Duration::from_millis(50));
    let begun = Instant::now();
    let _ = scene.stream.synchronize();
    lease.release_after(scene.stream.as_ref());
    drop(waiting);
    drop(consumer);
    assert!(pool.lend(BYTES, Wait::from(Duration::from_millis(100)), Policy::Block).is_ok());
    drop(pool);
    assert!(begun.elapsed() < LONG);
    simulation::clear_failures();
    simulation::delay_us(0, 200);
}

//! Several processes: who is killed or stopped anywhere takes nothing with it, and nobody hangs.

mod peer;
mod pool_rig;
mod simulation;

use peer::{Peer, hex, listen, say, unhex};
use pool_rig::{LONG, Scene, eventually, name, pattern, role, scene, start};
use shm_core::fault::{Action, arm_in};
use shm_cuda::pool::{
    ArrivalError, DeviceConsumer, DevicePool, DevicePoolError, RedeemError, fault,
};
use shm_cuda::{CudaStream, Device, DeviceBuffer};
use shm_pool::{Audience, Policy, PoolConfig, Ticket, Wait};
use std::process::Command;
use std::time::{Duration, Instant};

const BYTES: usize = 20_000;
const SLOTS: usize = 4;

fn pool(scene: &Scene, consumers: usize) -> DevicePool {
    let config = PoolConfig::slots(SLOTS, BYTES).unwrap().consumers(consumers).unwrap();
    DevicePool::create(&name("deaths"), &config, &scene.device).unwrap()
}

/// What the other processes do, by the words that they were started with.
#[test]
#[ignore = "the other processes of the tests here"]
fn child() {
    let Some(words) = role() else { return };
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let device = simulation::device().unwrap();
    let stream = CudaStream::new(&device).unwrap();
    match words[..] {
        ["producer", pool, point] => {
            arm(point, 2);
            produce(&DevicePool::open(pool, &device).unwrap(), &device, &stream);
        }
        ["late", pool] => {
            let pool = DevicePool::open(pool, &device).unwrap();
            let (ticket, _source) = publish_late(&pool, &device, &stream);
            say(&hex(&ticket.to_bytes()));
            listen();
        }
        ["consumer", pool, point] => {
            arm(point, 1);
            consume(&DeviceConsumer::open(pool, &device).unwrap(), &device, &stream);
        }
        ["owner", name, point] => {
            arm(point, 1);
            let config = PoolConfig::slots(SLOTS, BYTES).unwrap();
            let pool = DevicePool::create(name, &config, &device).unwrap();
            say("created");
            while let Some(line) = listen() {
                let (ticket, _source) = match line.as_str() {
                    "late" => publish_late(&pool, &device, &stream),
                    _ => publish(&pool, 1, &device, &stream),
                };
                say(&hex(&ticket.to_bytes()));
                // Kept until the copy is done, or this process is.
                if line == "late" {
                    listen();
                }
            }
        }
        ref other => panic!("no role {other:?}"),
    }
}

fn arm(point: &str, nth: u64) {
    if point != "-" {
        arm_in(fault::POINTS, point, Action::Kill, nth);
    }
}

fn publish(
    pool: &DevicePool,
    number: u64,
    device: &Device,
    stream: &CudaStream,
) -> (Ticket, DeviceBuffer) {
    let source = DeviceBuffer::new(device, BYTES).unwrap();
    source.as_slice().upload(&pattern(number, BYTES), stream.as_ref()).unwrap();
    let mut slot = pool.lend(BYTES, Wait::from(LONG), Policy::Block).unwrap();
    slot.copy_from(source.as_slice(), stream.as_ref()).unwrap();
    (slot.publish(Audience::Everyone, stream.as_ref()).unwrap(), source)
}

/// Published, and the copy takes ten seconds.
fn publish_late(pool: &DevicePool, device: &Device, stream: &CudaStream) -> (Ticket, DeviceBuffer) {
    let source = DeviceBuffer::new(device, BYTES).unwrap();
    source.as_slice().upload(&pattern(1, BYTES), stream.as_ref()).unwrap();
    let mut slot = pool.lend(BYTES, Wait::from(LONG), Policy::Block).unwrap();
    simulation::delay_us(10_000_000, 10_000_000);
    slot.copy_from(source.as_slice(), stream.as_ref()).unwrap();
    (slot.publish(Audience::Everyone, stream.as_ref()).unwrap(), source)
}

fn produce(pool: &DevicePool, device: &Device, stream: &CudaStream) {
    let mut kept = Vec::new();
    for number in 0..4 {
        let (ticket, source) = publish(pool, number, device, stream);
        kept.push(source);
        say(&format!("{number} {}", hex(&ticket.to_bytes())));
    }
    say("done");
    listen();
}

fn consume(consumer: &DeviceConsumer, device: &Device, stream: &CudaStream) {
    say("ready");
    let out = DeviceBuffer::new(device, BYTES).unwrap();
    while let Some(line) = listen() {
        let ticket = Ticket::from_bytes(&unhex(&line)).unwrap();
        let mut lease = consumer.redeem_on(&ticket, stream.as_ref(), LONG).unwrap();
        lease.copy_to(out.as_slice(), stream.as_ref()).unwrap();
        lease.release_after(stream.as_ref());
        stream.synchronize().unwrap();
        say("read");
    }
}

fn ticket_of(peer: &mut Peer) -> Ticket {
    Ticket::from_bytes(&unhex(&peer.try_hear().unwrap())).unwrap()
}

fn all_comes_back(pool: &DevicePool) {
    eventually("every slot is free", || {
        pool.ledger().reap();
        pool.stats().pool.free == SLOTS
    });
    // Free, and to be had: nothing of the dead is waited for.
    let all: Vec<_> =
        (0..SLOTS).map(|_| pool.lend(BYTES, Wait::from(LONG), Policy::Block).unwrap()).collect();
    drop(all);
    let problems = pool.ledger().fsck().problems;
    assert!(problems.is_empty(), "{problems:?}");
}

#[test]
fn a_producer_that_is_killed_anywhere_leaves_nothing_behind() {
    let Some(scene) = scene() else { return };
    for point in [
        "cuda.pool.lent",
        "cuda.pool.noted",
        "cuda.pool.queued",
        "cuda.pool.announced",
        "cuda.pool.published",
    ] {
        let pool = pool(&scene, 1);
        let consumer = pool.consumer().unwrap();
        let mut producer = start("child", &["producer", pool.name(), point]);
        let mut heard = 0;
        while let Some(line) = producer.try_hear() {
            let (number, ticket) = line.split_once(' ').expect("it dies before it is done");
            let ticket = Ticket::from_bytes(&unhex(ticket)).unwrap();
            match consumer.redeem(&ticket, LONG) {
                Ok(lease) => {
                    let found = lease.slice().to_vec(scene.stream.as_ref()).unwrap();
                    assert!(found == pattern(number.parse().unwrap(), BYTES), "{point}");
                }
                Err(RedeemError::ProducerGone { .. }) => {}
                Err(error) => panic!("{point}: {error}"),
            }
            heard += 1;
        }
        assert_eq!(heard, 1, "{point}");
        producer.wait();
        // What it had published and told nobody of stays readable, as in every pool.
        drop(consumer);
        all_comes_back(&pool);
    }
    simulation::assert_clean();
}

#[test]
fn a_producer_that_dies_before_its_copy_is_noticed_at_once() {
    let Some(scene) = scene() else { return };
    for on_device in [false, true] {
        let pool = pool(&scene, 1);
        let consumer = pool.consumer().unwrap();
        let mut producer = start("child", &["late", pool.name()]);
        let ticket = ticket_of(&mut producer);
        let out = DeviceBuffer::new(&scene.device, BYTES).unwrap();
        let begun = Instant::now();
        if on_device {
            let mut lease = consumer
                .redeem_on(&ticket, scene.stream.as_ref(), shm_core::Deadline::NEVER)
                .unwrap();
            lease.copy_to(out.as_slice(), scene.stream.as_ref()).unwrap();
            let arrival = lease.release_after(scene.stream.as_ref());
            assert_eq!(arrival.check(), Err(ArrivalError::Pending { slot: ticket.index as usize }));
            producer.kill();
            scene.stream.synchronize().unwrap();
            let gone = ArrivalError::ProducerGone { slot: ticket.index as usize };
            assert_eq!(arrival.check(), Err(gone));
            assert_eq!(pool.stats().released_waits, 1);
        } else {
            let early = consumer.redeem(&ticket, Duration::from_millis(10));
            assert!(matches!(early, Err(RedeemError::NotReady { .. })), "{early:?}");
            producer.kill();
            let gone = consumer.redeem(&ticket, shm_core::Deadline::NEVER);
            assert!(matches!(gone, Err(RedeemError::ProducerGone { .. })), "{gone:?}");
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        assert_eq!(pool.stats().producer_gone, 1);
        all_comes_back(&pool);
    }
    simulation::assert_clean();
}

#[test]
fn a_producer_that_is_stopped_is_slow_and_not_dead() {
    let Some(scene) = scene() else { return };
    let pool = pool(&scene, 1);
    let consumer = pool.consumer().unwrap();
    let mut producer = start("child", &["late", pool.name()]);
    let ticket = ticket_of(&mut producer);
    signal("-STOP", &producer);
    let slow = consumer.redeem(&ticket, Duration::from_millis(100));
    assert!(matches!(slow, Err(RedeemError::NotReady { .. })), "{slow:?}");
    let patience = Duration::from_millis(50);
    let lease = consumer.redeem_on(&ticket, scene.stream.as_ref(), patience).unwrap();
    scene.stream.synchronize().unwrap();
    assert_eq!(lease.check(), Err(ArrivalError::Late { slot: ticket.index as usize }));
    lease.release();
    // Free for the ledger; its memory is not to be had while the stopped one lives.
    assert_eq!(pool.stats().pool.free, SLOTS);
    let lent: Vec<_> =
        (1..SLOTS).map(|_| pool.lend(BYTES, Wait::from(LONG), Policy::Block).unwrap()).collect();
    assert!(lent.iter().all(|slot| slot.index() != ticket.index as usize));
    assert!(pool.lend(BYTES, Wait::from(patience), Policy::Block).unwrap_err().is_full());
    producer.kill();
    drop(lent);
    all_comes_back(&pool);
}

fn signal(which: &str, peer: &Peer) {
    let done = Command::new("kill").args([which, &peer.id().to_string()]).status().unwrap();
    assert!(done.success());
}

#[test]
fn a_consumer_that_is_killed_anywhere_keeps_nothing() {
    let Some(scene) = scene() else { return };
    for point in
        ["cuda.pool.redeemed", "cuda.pool.watched", "cuda.pool.copying", "cuda.pool.acknowledging"]
    {
        let pool = pool(&scene, 2);
        let other = pool.consumer_at(1).unwrap();
        let mut consumer = start("child", &["consumer", pool.name(), point]);
        assert_eq!(consumer.try_hear().as_deref(), Some("ready"), "{point}");
        // Slow enough to be waited for on the device.
        simulation::delay_us(30_000, 30_000);
        let (ticket, _source) = publish(&pool, 7, &scene.device, &scene.stream);
        consumer.tell(&hex(&ticket.to_bytes()));
        assert_eq!(consumer.try_hear(), None, "{point}: it was to die");
        consumer.wait();
        simulation::delay_us(0, 200);
        let lease = other.redeem(&ticket, LONG).unwrap();
        let found = lease.slice().to_vec(scene.stream.as_ref()).unwrap();
        assert!(found == pattern(7, BYTES), "{point}");
        lease.release();
        drop(other);
        all_comes_back(&pool);
        assert_eq!(pool.stats().pool.consumers, 0, "{point}");
    }
    simulation::assert_clean();
}

#[test]
fn memory_that_ended_with_its_process_is_named() {
    let Some(scene) = scene() else { return };
    let name = name("owner");
    let mut owner = start("child", &["owner", &name, "-"]);
    assert_eq!(owner.try_hear().as_deref(), Some("created"));
    let consumer = DeviceConsumer::open(&name, &scene.device).unwrap();
    owner.tell("one");
    let first = ticket_of(&mut owner);
    consumer.redeem(&first, LONG).unwrap().release();
    owner.tell("two");
    let second = ticket_of(&mut owner);
    let mut held = consumer.redeem(&second, LONG).unwrap();
    owner.tell("late");
    let third = ticket_of(&mut owner);
    owner.kill();
    let out = DeviceBuffer::new(&scene.device, BYTES).unwrap();
    let refused = held.copy_to(out.as_slice(), scene.stream.as_ref());
    assert!(matches!(refused, Err(shm_cuda::pool::CopyError::OwnerGone { .. })), "{refused:?}");
    let gone = consumer.redeem(&third, LONG);
    assert!(matches!(gone, Err(RedeemError::ProducerGone { .. })), "{gone:?}");
    let opened = DevicePool::open(&name, &scene.device);
    assert!(matches!(opened, Err(DevicePoolError::OwnerGone { .. })), "{opened:?}");
    drop((held, consumer));
    let config = PoolConfig::slots(SLOTS, BYTES).unwrap();
    let again = DevicePool::create(&name, &config, &scene.device).unwrap();
    assert_eq!(again.stats().pool.free, SLOTS);
    simulation::assert_clean();
}

#[test]
fn a_pool_that_was_being_made_by_one_who_was_killed_can_be_made() {
    let Some(scene) = scene() else { return };
    for point in ["cuda.pool.allocated", "cuda.pool.created"] {
        let name = name("birth");
        let mut owner = start("child", &["owner", &name, point]);
        assert_eq!(owner.try_hear(), None, "{point}");
        owner.wait();
        let config = PoolConfig::slots(SLOTS, BYTES).unwrap();
        let pool = DevicePool::create(&name, &config, &scene.device).unwrap();
        all_comes_back(&pool);
    }
}

#[test]
fn memory_is_freed_when_the_last_process_lets_it_go() {
    let Some(scene) = scene() else { return };
    let allocated = || simulation::report().map(|report| report["allocations"].as_u64().unwrap());
    let before = allocated();
    for _ in 0..5 {
        let pool = pool(&scene, 1);
        let mut consumer = start("child", &["consumer", pool.name(), "-"]);
        assert_eq!(consumer.try_hear().as_deref(), Some("ready"));
        let (ticket, source) = publish(&pool, 7, &scene.device, &scene.stream);
        consumer.tell(&hex(&ticket.to_bytes()));
        assert_eq!(consumer.try_hear().as_deref(), Some("read"));
        drop((pool, source));
        // Still mapped there.
        shm_cuda::ipc::collect();
        assert!(allocated() > before || before.is_none());
        assert!(consumer.wait().success());
        eventually("the memory is freed", || {
            shm_cuda::ipc::collect();
            allocated() == before
        });
    }
    simulation::assert_clean();
}

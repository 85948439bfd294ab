//! A pool over a storage of one's own: the bytes of another file, between processes.

use crate::rig::until;
use shm_pool::{Audience, Policy, Pool, PoolConfig, SlotState, Ticket, Wait};
use shm_tests::pool::{Mark, SharedFile};
use shm_tests::{Peer, Scene};
use std::time::Duration;

fn pool(scene: &Scene, config: PoolConfig) -> Pool<SharedFile> {
    let storage = SharedFile::new(1 << 20).unwrap();
    let config = config.consumers(2).unwrap();
    Pool::create_over(&scene.name("pool"), &config, storage).unwrap()
}

fn publish(pool: &Pool<SharedFile>, bytes: usize, sequence: u64) {
    let wait = Wait::from(Duration::from_secs(30));
    let slot = pool.lend(bytes, wait, Policy::Block).unwrap();
    assert_eq!((slot.offset() % 512, slot.offset() + bytes <= 1 << 20), (0, true));
    let mark = Mark::on(&slot, sequence);
    let mut whole = vec![0; bytes];
    mark.fill(&mut whole);
    pool.storage().write(slot.offset(), &whole).unwrap();
    slot.publish(Audience::Seats(0b10)).unwrap();
}

fn carried(config: PoolConfig) {
    let scene = Scene::new("storage");
    let pool = pool(&scene, config);
    let own = pool.consumer().unwrap();
    let mut peer: Peer = scene.peer();
    peer.start(&format!("pool over-exchange {}", pool.name())).unwrap();
    assert_eq!(pool.describe().consumers.len(), 2);
    let (mut back, mut bytes_read) = (0, 0);
    for sequence in 1..=200 {
        let bytes = 24 + (sequence as usize * 977) % 3000;
        publish(&pool, bytes, sequence);
        until("the answer", || {
            pool.fsck()
                .slots
                .iter()
                .any(|slot| slot.state == Some(SlotState::Shared) && slot.waiting_for == 1)
        });
        for slot in pool.fsck().slots {
            if slot.state != Some(SlotState::Shared) || slot.waiting_for != 1 {
                continue;
            }
            let ticket = Ticket {
                instance: pool.instance(),
                generation: slot.generation,
                index: slot.index as u32,
                parts: 1,
                byte_len: 0,
            };
            let lease = own.redeem(&ticket).unwrap();
            let read = pool.storage().read(lease.offset(), lease.byte_len()).unwrap();
            let mark = Mark::of(&read).unwrap();
            assert_eq!((mark.pid, mark.generation), (peer.pid(), lease.generation()));
            bytes_read += read.len();
            back += 1;
        }
    }
    assert_eq!(peer.finish().unwrap(), "200");
    println!("200 publications there, {back} back with {bytes_read} bytes, all verified");
    assert_eq!(back, 200);
    assert_eq!(pool.stats().free, pool.slots());

    // A peer that dies over it is cleared away like any other.
    peer.start(&format!("pool over-exchange {}", pool.name())).unwrap();
    peer.signal(rustix::process::Signal::STOP);
    peer.await_stop();
    publish(&pool, 100, 201);
    assert_eq!(pool.stats().shared, 1);
    peer.kill();
    assert_eq!(pool.reap().consumers, 1);
    assert_eq!(pool.stats().free, pool.slots());
}

#[test]
fn slots_of_it() {
    carried(PoolConfig::slots(8, 3100).unwrap());
}

#[test]
fn chunks_of_it() {
    carried(PoolConfig::chunks(256 << 10).unwrap().granule(4096).unwrap());
}

#[test]
fn a_storage_that_is_gone_or_too_short_is_refused() {
    let scene = Scene::new("no storage");
    let config = PoolConfig::slots(8, 3100).unwrap();
    let short = SharedFile::new(4096).unwrap();
    let error = Pool::create_over(&scene.name("short"), &config, short).unwrap_err().to_string();
    assert!(error.contains("length is 4096"), "{error}");
    let pool = pool(&scene, config);
    let mut peer = scene.peer();
    // It is not the payload of a segment, and says so.
    assert!(peer.refusal(&format!("pool open {}", pool.name())).starts_with("Segment "));
    assert!(Pool::<SharedFile>::open_over(pool.name()).is_ok());
}

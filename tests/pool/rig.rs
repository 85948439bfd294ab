//! What the tests of this program share.

use shm_pool::{Pool, PoolConfig, SlotState};
use shm_tests::{Failure, Peer, Scene};
use std::time::{Duration, Instant};

pub(crate) const SIGKILL: Option<i32> = Some(libc::SIGKILL);

/// For what has to come about by itself. Not a statement about speed.
const PATIENCE: Duration = Duration::from_secs(20);

/// A pool of slots that this process owns.
#[track_caller]
pub(crate) fn slots(scene: &Scene, suffix: &str, slots: usize, consumers: usize) -> Pool {
    let config = PoolConfig::slots(slots, 2048).unwrap().consumers(consumers).unwrap();
    Pool::create(&scene.name(suffix), &config.overdue_after(Duration::from_millis(20))).unwrap()
}

/// A chunk pool of 64 granules that this process owns.
#[track_caller]
pub(crate) fn chunks(scene: &Scene, suffix: &str, consumers: usize) -> Pool {
    let config = PoolConfig::chunks(256 << 10).unwrap().granule(4096).unwrap();
    let config = config.consumers(consumers).unwrap().overdue_after(Duration::from_millis(20));
    Pool::create(&scene.name(suffix), &config).unwrap()
}

/// A process with the pool open.
pub(crate) fn opened(scene: &Scene, pool: &Pool) -> Peer {
    let mut peer = scene.peer();
    peer.ask(&format!("pool open {}", pool.name())).unwrap();
    peer
}

/// A process with a seat.
pub(crate) fn seated(scene: &Scene, pool: &Pool) -> Peer {
    let mut peer = opened(scene, pool);
    peer.ask("pool join").unwrap();
    peer
}

/// Waits for something to come about; returns how long that took.
#[track_caller]
pub(crate) fn until(what: &str, holds: impl Fn() -> bool) -> Duration {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_micros(200));
    }
    begun.elapsed()
}

/// Everything adds up, and nothing is wrong.
#[track_caller]
pub(crate) fn assert_sound(pool: &Pool, place: &str) {
    let stats = pool.stats();
    let sum = stats.free + stats.filling + stats.shared + stats.linked + stats.draining;
    assert_eq!(sum + stats.quarantined, stats.slots, "{place}: {stats:?}");
    assert_eq!(pool.fsck().problems, Vec::<String>::new(), "{place}");
}

/// How many slots are in a state.
pub(crate) fn in_state(pool: &Pool, state: SlotState) -> usize {
    pool.fsck().slots.iter().filter(|slot| slot.state == Some(state)).count()
}

/// The variant with which a peer was refused.
#[track_caller]
pub(crate) fn refused_as(peer: &mut Peer, command: &str) -> String {
    let answer = peer.refusal(command);
    answer.split_once(' ').map_or(answer.clone(), |(kind, _)| kind.to_owned())
}

/// Moves a peer into new namespaces, see the streams' tests; `None` where the system forbids it.
pub(crate) fn moved(scene: &Scene, test: &str) -> Option<Peer> {
    use std::io::Write;
    let mut reasons = Vec::new();
    for what in ["mount pid", "user mount pid"] {
        let mut peer = scene.peer();
        let entered = peer.ask(&format!("unshare {what}")).and_then(|_| {
            peer.ask("fork")?;
            peer.ask("mount-proc")
        });
        match entered {
            Ok(_) => return Some(peer),
            Err(Failure::Refused { answer, .. }) => reasons.push(format!("{what}: {answer}")),
            Err(other) => panic!("{other}"),
        }
    }
    // Past the capture of the test harness: a skipped test must be seen.
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {}", reasons.join("; "));
    None
}

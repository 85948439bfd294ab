//! What happens in one round.

use super::stage::Stage;
use crate::failure::Failure;
use crate::peer::Peer;
use crate::scene::Scene;
use shm_core::fault::POINTS;
use shm_core::{OpenError, Stream};
use std::thread::sleep;

/// Who dies, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scenario {
    /// A writer at a named point of locking or publishing.
    WriterAtPoint,
    /// A writer that publishes back to back, at a random instant.
    WriterAnytime,
    /// A writer that has half a frame in place.
    HalfLoan,
    /// A reader that waits for a frame.
    BlockedReader,
    /// A reader that reads back to back, beside a writer that goes on.
    BusyReader,
    /// One of two processes that wait for the lock; the other gets it.
    LockWaiter,
    /// The holder of the lock while another waits for it.
    LockHolder,
    /// One or two of three writers that take the lock for each frame.
    SeveralWriters,
    /// A process that creates or unlinks a name.
    NameChange,
}

impl core::fmt::Display for Scenario {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.pad(match self {
            Scenario::WriterAtPoint => "writer-at-point",
            Scenario::WriterAnytime => "writer-anytime",
            Scenario::HalfLoan => "half-loan",
            Scenario::BlockedReader => "blocked-reader",
            Scenario::BusyReader => "busy-reader",
            Scenario::LockWaiter => "lock-waiter",
            Scenario::LockHolder => "lock-holder",
            Scenario::SeveralWriters => "several-writers",
            Scenario::NameChange => "name-change",
        })
    }
}

impl Scenario {
    /// All of them.
    pub const ALL: [Scenario; 9] = [
        Scenario::WriterAtPoint,
        Scenario::WriterAnytime,
        Scenario::HalfLoan,
        Scenario::BlockedReader,
        Scenario::BusyReader,
        Scenario::LockWaiter,
        Scenario::LockHolder,
        Scenario::SeveralWriters,
        Scenario::NameChange,
    ];

    /// Plays it; returns how many processes were killed. All of its processes are gone afterwards.
    pub(super) fn play(
        self,
        scene: &Scene,
        stage: &mut Stage,
        rng: &mut fastrand::Rng,
    ) -> Result<u64, Failure> {
        match self {
            Scenario::WriterAtPoint => writer_at_point(scene, stage, rng),
            Scenario::WriterAnytime => writer_anytime(scene, stage, rng),
            Scenario::HalfLoan => half_loan(scene, stage),
            Scenario::BlockedReader => blocked_reader(scene, stage),
            Scenario::BusyReader => busy_reader(scene, stage, rng),
            Scenario::LockWaiter => lock_waiter(scene, stage, rng),
            Scenario::LockHolder => lock_holder(scene, stage, rng),
            Scenario::SeveralWriters => several_writers(scene, stage, rng),
            Scenario::NameChange => name_change(scene, rng),
        }
    }
}

fn writer_at_point(scene: &Scene, stage: &Stage, rng: &mut fastrand::Rng) -> Result<u64, Failure> {
    let points: Vec<&str> = POINTS
        .iter()
        .copied()
        .filter(|point| point.starts_with("publish.") || point.starts_with("lock."))
        .collect();
    let point = points[rng.usize(..points.len())];
    let mut peer = stage.writer(scene)?;
    let nth = rng.u64(1..10);
    if point.starts_with("lock.") || rng.bool() {
        peer.ask(&format!("arm {point} kill {nth}"))?;
        peer.send("loop-locked");
    } else {
        peer.ask("writer 0")?;
        peer.ask(&format!("arm {point} kill {nth}"))?;
        peer.send("loop-publish");
    }
    killed_itself(&mut peer, point)
}

fn writer_anytime(scene: &Scene, stage: &Stage, rng: &mut fastrand::Rng) -> Result<u64, Failure> {
    let mut peer = stage.writer(scene)?;
    let command = ["loop-publish", "loop-loan", "loop-locked"][rng.usize(..3)];
    if command != "loop-locked" {
        peer.ask("writer 0")?;
    }
    peer.start(command)?;
    sleep(stage.random_instant(rng));
    peer.kill();
    Ok(1)
}

fn half_loan(scene: &Scene, stage: &Stage) -> Result<u64, Failure> {
    let mut peer = stage.writer(scene)?;
    peer.ask("writer 0")?;
    peer.ask("loan-half")?;
    peer.kill();
    Ok(1)
}

fn blocked_reader(scene: &Scene, stage: &mut Stage) -> Result<u64, Failure> {
    let (mut dying, mut living) = (stage.reader(scene)?, stage.reader(scene)?);
    let count = stage.count();
    for peer in [&mut dying, &mut living] {
        peer.send(&format!("read-after {count} 60000"));
        peer.await_parked();
    }
    dying.kill();
    stage.publish()?;
    let read = living.receive()?;
    match read.parse::<u64>() {
        Ok(read) if read > count => Ok(1),
        _ => Err(Failure::Unexpected(format!("the other reader got frame {read}"))),
    }
}

fn busy_reader(scene: &Scene, stage: &Stage, rng: &mut fastrand::Rng) -> Result<u64, Failure> {
    let (mut writer, mut reader) = (stage.writer(scene)?, stage.reader(scene)?);
    let mut living = stage.reader(scene)?;
    let command = ["follow read", "follow wait", "follow history", "follow view"][rng.usize(..4)];
    writer.ask("writer 0")?;
    writer.start("loop-publish")?;
    reader.start(command)?;
    living.start("follow history")?;
    sleep(stage.random_instant(rng));
    reader.kill();
    writer.finish()?;
    living.finish()?;
    Ok(1)
}

fn lock_waiter(scene: &Scene, stage: &Stage, rng: &mut fastrand::Rng) -> Result<u64, Failure> {
    let [mut holder, mut dying, mut living] =
        [stage.writer(scene)?, stage.writer(scene)?, stage.writer(scene)?];
    holder.ask("writer 0")?;
    dying.send("writer 60000");
    living.send("writer 60000");
    living.await_parked();
    let unlock_first = rng.bool();
    sleep(stage.random_instant(rng));
    if unlock_first {
        // Perhaps the dying one gets the lock, and dies with it.
        holder.ask("unlock")?;
        dying.kill();
    } else {
        dying.kill();
        holder.ask("unlock")?;
    }
    living.receive()?;
    living.ask("publish 1")?;
    Ok(1)
}

fn lock_holder(scene: &Scene, stage: &Stage, rng: &mut fastrand::Rng) -> Result<u64, Failure> {
    let (mut holder, mut waiter) = (stage.writer(scene)?, stage.writer(scene)?);
    holder.ask("writer 0")?;
    waiter.send("writer 60000");
    waiter.await_parked();
    holder.start("loop-publish")?;
    sleep(stage.random_instant(rng));
    holder.kill();
    waiter.receive()?;
    waiter.ask("publish 1")?;
    Ok(1)
}

fn several_writers(scene: &Scene, stage: &Stage, rng: &mut fastrand::Rng) -> Result<u64, Failure> {
    let before = stage.count();
    let mut peers = [stage.writer(scene)?, stage.writer(scene)?, stage.writer(scene)?];
    for peer in &mut peers {
        peer.start("loop-locked")?;
    }
    let dying = rng.usize(1..3);
    let (dying, living) = peers.split_at_mut(dying);
    for peer in dying.iter_mut() {
        sleep(stage.random_instant(rng));
        peer.kill();
    }
    let mut published = 0;
    for peer in living {
        published += peer.finish()?.parse::<u64>().map_err(Failure::from_display)?;
    }
    let counted = stage.count() - before;
    match counted >= published {
        true => Ok(dying.len() as u64),
        false => Err(Failure::Unexpected(format!(
            "{counted} frames counted, the living writers alone published {published}"
        ))),
    }
}

fn name_change(scene: &Scene, rng: &mut fastrand::Rng) -> Result<u64, Failure> {
    let name = scene.name("rounds-name");
    let points: Vec<&str> = POINTS
        .iter()
        .copied()
        .filter(|point| point.starts_with("create.") || point.starts_with("unlink."))
        .collect();
    let point = points[rng.usize(..points.len())];
    let mut peer = scene.peer();
    peer.ask(&format!("arm {point} kill 1"))?;
    peer.send(&format!("create {name} 8"));
    if point.starts_with("unlink.") {
        peer.receive()?;
        peer.send(&format!("unlink {name}"));
    }
    let killed = killed_itself(&mut peer, point)?;
    match (point, Stream::open(&name)) {
        ("create.published", Ok(stream)) => stream.unlink().map_err(Failure::from_display)?,
        ("create.published", Err(error)) => return Err(Failure::from_display(error)),
        (_, Err(OpenError::NotFound { .. })) => {}
        (_, other) => {
            return Err(Failure::Unexpected(format!("after a kill at {point}: {other:?}")));
        }
    }
    let mut next = scene.peer();
    next.ask(&format!("create {name} 8"))?;
    next.ask(&format!("unlink {name}"))?;
    scene.sweep_drafts();
    Ok(killed)
}

fn killed_itself(peer: &mut Peer, point: &str) -> Result<u64, Failure> {
    match peer.ended_by() {
        Some(libc::SIGKILL) => Ok(1),
        other => Err(Failure::Unexpected(format!("armed at {point}, ended by signal {other:?}"))),
    }
}

//! Rounds of killing on pools: of slots, of chunks, and with many consumers.
//!
//! After each round free, lent and quarantined slots add up, whatever was published is whole, and all of
//! the pool can be lent again.

use super::{Outcome, Plan, Summary};
use crate::failure::Failure;
use crate::peer::Peer;
use crate::pool::{Kind, QueueStage, Stage, StoreStage};
use crate::scene::Scene;
use fastrand::Rng;
use rustix::process::Signal;
use shm_pool::fault::POINTS;
use shm_pool::{Mode, Pool, PoolConfig};
use std::thread::sleep;
use std::time::Duration;

/// Who passes a fault point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Lends, fills and publishes.
    Producer,
    /// Redeems and releases, and takes seats anew.
    Consumer,
    /// Revokes publications.
    Revoker,
    /// Gives back what a dead process held.
    Reaper,
}

/// Who passes that point; `None` if it is no point of a pool.
pub fn role_at(point: &str) -> Option<Role> {
    Some(match point.split_once('.')? {
        ("lend" | "fill" | "batch" | "publish" | "line" | "drop", _) => Role::Producer,
        ("seat" | "redeem" | "release" | "free", _) => Role::Consumer,
        ("revoke", _) => Role::Revoker,
        ("reap", _) => Role::Reaper,
        _ => return None,
    })
}

impl Role {
    /// Everybody works, and one more who will kill itself at `point`.
    ///
    /// # Errors
    /// Whatever stands in the way.
    pub fn begin(
        self,
        scene: &Scene,
        stage: &mut Stage,
        point: &str,
        nth: u64,
    ) -> Result<Peer, Failure> {
        let mut victim = stage.peer(scene)?;
        if self == Role::Reaper {
            // Nobody else may reap before it does.
            let mut dead = stage.peer(scene)?;
            dead.ask("pool lend 100 0 block")?;
            dead.kill();
            victim.ask(&format!("arm {point} kill {nth}"))?;
            victim.send("pool reap");
            return Ok(victim);
        }
        if matches!(self, Role::Consumer | Role::Revoker) {
            victim.ask("pool join")?;
        }
        stage.begin()?;
        victim.ask(&format!("arm {point} kill {nth}"))?;
        victim.send(match self {
            Role::Producer => "pool produce mixed",
            Role::Revoker => "pool revoke-any",
            Role::Consumer | Role::Reaper => "pool consume-all",
        });
        Ok(victim)
    }
}

/// Who dies, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PoolScenario {
    /// Somebody at a named point.
    AtPoint,
    /// A producer at a random instant.
    Producer,
    /// A consumer at a random instant.
    Consumer,
    /// Two producers and a consumer, one after the other, at random instants.
    Several,
    /// A producer with all that is free in its hands, half of it filled.
    Hoarder,
    /// A stopped producer, and a stopped consumer.
    Stopped,
    /// A producer that waits in the line.
    Waiter,
    /// The owner of a pool, beside others who use it.
    Owner,
    /// Somebody who puts into a queue or gets out of it, at a named point or a random instant.
    Queue,
    /// A worker of a store, at a named point or a random instant.
    Store,
}

impl core::fmt::Display for PoolScenario {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.pad(match self {
            PoolScenario::AtPoint => "pool-at-point",
            PoolScenario::Producer => "pool-producer",
            PoolScenario::Consumer => "pool-consumer",
            PoolScenario::Several => "pool-several",
            PoolScenario::Hoarder => "pool-hoarder",
            PoolScenario::Stopped => "pool-stopped",
            PoolScenario::Waiter => "pool-waiter",
            PoolScenario::Owner => "pool-owner",
            PoolScenario::Queue => "queue",
            PoolScenario::Store => "store",
        })
    }
}

impl PoolScenario {
    /// All of them.
    pub const ALL: [PoolScenario; 10] = [
        PoolScenario::AtPoint,
        PoolScenario::Producer,
        PoolScenario::Consumer,
        PoolScenario::Several,
        PoolScenario::Hoarder,
        PoolScenario::Stopped,
        PoolScenario::Waiter,
        PoolScenario::Owner,
        PoolScenario::Queue,
        PoolScenario::Store,
    ];

    /// Plays it; returns how many processes were killed.
    fn play(self, scene: &Scene, stage: &mut Stage, rng: &mut Rng) -> Result<u64, Failure> {
        match self {
            PoolScenario::AtPoint => at_point(scene, stage, rng),
            PoolScenario::Producer => anytime(scene, stage, rng, &[Role::Producer]),
            PoolScenario::Consumer => anytime(scene, stage, rng, &[Role::Consumer]),
            PoolScenario::Several => {
                anytime(scene, stage, rng, &[Role::Producer, Role::Consumer, Role::Producer])
            }
            PoolScenario::Hoarder => hoarder(scene, stage),
            PoolScenario::Stopped => stopped(scene, stage, rng),
            PoolScenario::Waiter => waiter(scene, stage, rng),
            PoolScenario::Owner => owner(scene, rng),
            PoolScenario::Queue => queue(scene, rng),
            PoolScenario::Store => store(scene, rng),
        }
    }
}

/// Plays all rounds; `tell` hears of each.
///
/// # Errors
/// When the pools or the surviving processes cannot be set up. What goes wrong later is in the
/// summary.
pub fn run(plan: Plan, mut tell: impl FnMut(&Outcome<'_>)) -> Result<Summary, Failure> {
    let bound = Duration::from_secs(120 + 10 * plan.rounds);
    let scene = Scene::within("kill rounds of pools", bound);
    let mut rng = Rng::with_seed(plan.seed);
    let mut made = 0;
    let mut make = |kind| {
        made += 1;
        Stage::new(&scene, kind, &format!("rounds-{made}"))
    };
    let mut stages = Vec::new();
    for kind in Kind::ALL {
        stages.push(make(kind)?);
    }
    let mut summary = Summary::default();
    for round in 1..=plan.rounds {
        // Few rounds begin somewhere else each time.
        let turn = round.wrapping_add(plan.seed) as usize;
        let scenario = PoolScenario::ALL[turn % PoolScenario::ALL.len()];
        let stage = &mut stages[rng.usize(..Kind::ALL.len())];
        let played = scenario.play(&scene, stage, &mut rng);
        let outcome = played.and_then(|killed| stage.settle().map(|()| killed));
        summary.rounds += 1;
        let (len, kind) = (stage.pool().slot_size(), stage.kind());
        match &outcome {
            Ok(killed) => summary.killed += killed,
            Err(failure) => {
                summary.note(&format!("round {round} ({scenario}, {kind:?})"), failure);
                // What is wrong with this one would be found again after each round.
                summary.verified += stage.verified();
                *stage = make(kind)?;
            }
        }
        let failure = outcome.as_ref().err();
        tell(&Outcome { round, scenario: &scenario, len, failure });
    }
    for stage in stages {
        summary.verified += stage.verified();
        // A generation is one grant.
        let grants = stage.pool().fsck().slots.iter().map(|slot| slot.generation).sum::<u64>();
        summary.published += grants;
    }
    scene.sweep_drafts();
    summary.leftovers = scene.leftovers().len() as u64;
    Ok(summary)
}

fn at_point(scene: &Scene, stage: &mut Stage, rng: &mut Rng) -> Result<u64, Failure> {
    let points: Vec<(&str, Role)> = POINTS
        .iter()
        .filter(|point| **point != "lend.granule" || stage.kind() == Kind::Chunks)
        .filter_map(|point| Some((*point, role_at(point)?)))
        .collect();
    let (point, role) = points[rng.usize(..points.len())];
    let nth = if role == Role::Reaper { 1 } else { rng.u64(1..20) };
    let mut victim = role.begin(scene, stage, point, nth)?;
    match victim.ended_by() {
        Some(libc::SIGKILL) => {}
        other => {
            let text = format!("armed at {point}, ended by signal {other:?}");
            return Err(Failure::Unexpected(text));
        }
    }
    if role == Role::Reaper {
        return Ok(2);
    }
    stage.rest()?;
    Ok(1)
}

fn anytime(
    scene: &Scene,
    stage: &mut Stage,
    rng: &mut Rng,
    roles: &[Role],
) -> Result<u64, Failure> {
    let mut victims = Vec::new();
    for role in roles {
        let mut victim = stage.peer(scene)?;
        if *role == Role::Consumer {
            victim.ask("pool join")?;
        }
        victims.push(victim);
    }
    stage.begin()?;
    for (victim, role) in victims.iter_mut().zip(roles) {
        victim.start(match role {
            Role::Consumer => "pool consume-all",
            _ => "pool produce mixed",
        })?;
    }
    for victim in &mut victims {
        sleep(random_instant(rng));
        victim.kill();
    }
    sleep(random_instant(rng));
    stage.rest()?;
    Ok(victims.len() as u64)
}

fn hoarder(scene: &Scene, stage: &mut Stage) -> Result<u64, Failure> {
    let mut victim = stage.peer(scene)?;
    let bytes = stage.pool().capacity() / stage.pool().slots();
    let mut hoarded = 0;
    while victim.ask(&format!("pool lend {bytes} 0 block")).is_ok() {
        hoarded += 1;
    }
    if hoarded != stage.pool().slots() {
        return Err(Failure::Unexpected(format!("only {hoarded} slots were to be had")));
    }
    victim.ask("pool fill-half")?;
    stage.begin()?;
    victim.kill();
    // Those who wait find the dead by themselves.
    sleep(Duration::from_millis(60));
    stage.rest()?;
    Ok(1)
}

fn stopped(scene: &Scene, stage: &mut Stage, rng: &mut Rng) -> Result<u64, Failure> {
    let mut victims = [stage.peer(scene)?, stage.peer(scene)?];
    victims[1].ask("pool join")?;
    stage.begin()?;
    victims[0].start("pool produce mixed")?;
    victims[1].start("pool consume-all")?;
    for victim in &mut victims {
        sleep(random_instant(rng));
        victim.signal(Signal::STOP);
        victim.await_stop();
    }
    sleep(random_instant(rng));
    for victim in &mut victims {
        victim.kill();
    }
    stage.rest()?;
    Ok(2)
}

fn waiter(scene: &Scene, stage: &mut Stage, rng: &mut Rng) -> Result<u64, Failure> {
    let mut holder = stage.peer(scene)?;
    let bytes = stage.pool().capacity() / stage.pool().slots();
    while holder.ask(&format!("pool lend {bytes} 0 block")).is_ok() {}
    let mut waiters = [stage.peer(scene)?, stage.peer(scene)?, stage.peer(scene)?];
    for waiter in &mut waiters {
        waiter.send(&format!("pool lend {bytes} 60000 block"));
        waiter.await_parked();
    }
    let dying = rng.usize(..3);
    waiters[dying].signal(Signal::KILL);
    holder.ask("pool abort")?;
    for (at, waiter) in waiters.iter_mut().enumerate() {
        match at == dying {
            true => waiter.kill(),
            false => {
                waiter.receive()?;
            }
        }
    }
    Ok(1)
}

fn owner(scene: &Scene, rng: &mut Rng) -> Result<u64, Failure> {
    let name = scene.name("rounds-owned");
    let (mut owner, mut producer, mut consumer) = (scene.peer(), scene.peer(), scene.peer());
    owner.ask(&format!("pool create {name} slots 8 512 1 1000"))?;
    consumer.ask(&format!("pool consume {name}"))?;
    producer.ask(&format!("pool open {name}"))?;
    owner.start("pool produce all")?;
    producer.start("pool produce all")?;
    consumer.start("pool consume-all")?;
    sleep(random_instant(rng));
    owner.kill();
    sleep(random_instant(rng));
    producer.finish()?;
    consumer.finish()?;
    consumer.ask("pool reap")?;
    consumer.ask("pool drain")?;
    producer.ask("pool fsck")?;
    let stats = producer.ask("pool stats")?;
    if !stats.contains("free=8 ") {
        return Err(Failure::Unexpected(format!("after the owner's death: {stats}")));
    }
    let config = PoolConfig::slots(1, 64).map_err(Failure::from_display)?;
    if Pool::create(&name, &config).is_ok() {
        return Err(Failure::Unexpected("a pool in use was replaced".into()));
    }
    shm_pool::remove(&name).map_err(Failure::from_display)?;
    Ok(1)
}

/// A queue of its own each time, as small as queues are.
fn queue(scene: &Scene, rng: &mut Rng) -> Result<u64, Failure> {
    let mode = if rng.bool() { Mode::Work } else { Mode::Broadcast };
    let mut stage = QueueStage::new(scene, mode, "rounds-queue")?;
    let points = points_of("queue.");
    let (point, gets) = (points[rng.usize(..points.len())], rng.bool());
    let mut victim = stage.peer(scene, gets)?;
    // Only work is claimed.
    let armed = rng.bool() && gets == (point != "queue.put") && mode == Mode::Work;
    stage.begin()?;
    if armed {
        victim.ask(&format!("arm {point} kill {}", rng.u64(1..20)))?;
    }
    victim.start(if gets { "pool queue-get-all" } else { "pool queue-put-all" })?;
    die(&mut victim, armed, rng);
    stage.rest()?;
    stage.settle().map(|()| 1)
}

fn store(scene: &Scene, rng: &mut Rng) -> Result<u64, Failure> {
    let mut stage = StoreStage::new(scene, "rounds-store")?;
    let points = points_of("store.");
    let mut victim = stage.peer(scene)?;
    let armed = rng.bool();
    stage.begin()?;
    if armed {
        let point = points[rng.usize(..points.len())];
        victim.ask(&format!("arm {point} kill {}", rng.u64(1..10)))?;
    }
    victim.start("pool store-any")?;
    die(&mut victim, armed, rng);
    stage.rest()?;
    stage.settle().map(|()| 1)
}

fn points_of(prefix: &str) -> Vec<&'static str> {
    POINTS.iter().copied().filter(|point| point.starts_with(prefix)).collect()
}

fn die(victim: &mut Peer, armed: bool, rng: &mut Rng) {
    if armed {
        victim.ended_by();
    } else {
        sleep(random_instant(rng));
        victim.kill();
    }
}

fn random_instant(rng: &mut Rng) -> Duration {
    Duration::from_micros(rng.u64(..6_000))
}

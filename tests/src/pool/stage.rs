//! One pool on which processes die, with others that survive, and what must hold afterwards.

use super::mark::Mark;
use super::not_free;
use crate::failure::Failure;
use crate::peer::Peer;
use crate::scene::Scene;
use shm_pool::{Policy, Pool, PoolConfig, Slot, Wait};

/// What a stage's pool is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Slots of one size, two consumers.
    Slots,
    /// Chunks of any size, two consumers.
    Chunks,
    /// Slots of one size, ten consumers, whose flags need two words.
    Lanes,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 3] = [Kind::Slots, Kind::Chunks, Kind::Lanes];

    fn config(self) -> Result<PoolConfig, Failure> {
        let config = match self {
            Kind::Slots => PoolConfig::slots(16, 2048),
            Kind::Chunks => PoolConfig::chunks(256 << 10).and_then(|chunks| chunks.granule(4096)),
            Kind::Lanes => PoolConfig::slots(12, 1024),
        };
        let seats = 2 * self.seats_each();
        config.and_then(|config| config.consumers(seats)).map_err(Failure::from_display)
    }

    /// Seats of each of the two consuming processes.
    fn seats_each(self) -> usize {
        if self == Kind::Lanes { 5 } else { 1 }
    }
}

/// A pool that this process owns, a process that produces and two that consume.
#[derive(Debug)]
pub struct Stage {
    pool: Pool,
    kind: Kind,
    producer: Peer,
    consumers: [Peer; 2],
    verified: u64,
}

impl Stage {
    /// Everybody is there, and idle.
    ///
    /// # Errors
    /// Whatever stands in the way.
    pub fn new(scene: &Scene, kind: Kind, suffix: &str) -> Result<Stage, Failure> {
        let name = scene.name(suffix);
        let pool = Pool::create(&name, &kind.config()?).map_err(Failure::from_display)?;
        let open = |peer: &mut Peer| peer.ask(&format!("pool open {name}"));
        let (mut producer, mut consumers) = (scene.peer(), [scene.peer(), scene.peer()]);
        open(&mut producer)?;
        for consumer in &mut consumers {
            open(consumer)?;
            for _ in 0..kind.seats_each() {
                consumer.ask("pool join")?;
            }
        }
        Ok(Stage { pool, kind, producer, consumers, verified: 0 })
    }

    /// The pool, as its owner has it.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// What it is like.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// How many publications were read and verified until now.
    pub fn verified(&self) -> u64 {
        self.verified
    }

    /// One more process with the pool open.
    ///
    /// # Errors
    /// Whatever stands in the way.
    pub fn peer(&self, scene: &Scene) -> Result<Peer, Failure> {
        let mut peer = scene.peer();
        peer.ask(&format!("pool open {}", self.pool.name()))?;
        Ok(peer)
    }

    /// The survivors begin to work.
    ///
    /// # Errors
    /// Whatever stands in the way.
    pub fn begin(&mut self) -> Result<(), Failure> {
        self.producer.start("pool produce mixed")?;
        self.consumers.iter_mut().try_for_each(|consumer| consumer.start("pool consume-all"))
    }

    /// The survivors stop working; they hold nothing then.
    ///
    /// # Errors
    /// What they found to be wrong.
    pub fn rest(&mut self) -> Result<(), Failure> {
        self.producer.finish()?;
        for consumer in &mut self.consumers {
            self.verified += count(&consumer.finish()?)?;
        }
        Ok(())
    }

    /// What must hold when everybody rests and nobody is left who could hold anything: it adds up,
    /// what is published is whole, and all of the pool can be lent.
    ///
    /// # Errors
    /// What does not hold.
    pub fn settle(&mut self) -> Result<(), Failure> {
        self.pool.reap();
        let stats = self.pool.stats();
        let (busy, idle) = (stats.filling + stats.draining, stats.free + stats.quarantined);
        if busy > 0 || idle + stats.shared + stats.linked != stats.slots {
            return Err(self.wrong(&format!("does not add up: {stats:?}")));
        }
        self.expect_clean("after reaping")?;
        for consumer in &mut self.consumers {
            self.verified += count(&consumer.ask("pool drain")?)?;
        }
        let free = self.pool.stats().free;
        if free != self.pool.slots() {
            return Err(self.wrong(&format!("only {free} slots are free after draining")));
        }
        self.fill_up()?;
        self.expect_clean("after filling it up")
    }

    /// All of it is lent at once, each piece to one.
    fn fill_up(&self) -> Result<(), Failure> {
        let sizes = match self.kind {
            Kind::Slots | Kind::Lanes => vec![self.pool.slot_size()],
            Kind::Chunks => vec![self.pool.capacity(), 4096],
        };
        for size in sizes {
            let (mut slots, pieces) = (Vec::new(), self.pool.capacity() / size);
            for piece in 0..pieces {
                slots.push(self.lend(size).map_err(|error| {
                    self.wrong(&format!("piece {piece} of {pieces} of {size} bytes: {error}"))
                })?);
            }
            for (slot, mark) in &mut slots {
                match Mark::of(slot.bytes_mut()) {
                    Ok(found) if found == *mark => {}
                    other => return Err(Failure::Torn(format!("{mark:?} became {other:?}"))),
                }
            }
        }
        Ok(())
    }

    fn lend(&self, bytes: usize) -> Result<(Slot, Mark), shm_pool::LendError> {
        let mut slot = self.pool.lend(bytes, Wait::Try, Policy::Fail)?;
        let mark = Mark::on(&slot, slot.offset() as u64);
        mark.fill(slot.bytes_mut());
        Ok((slot, mark))
    }

    fn expect_clean(&self, when: &str) -> Result<(), Failure> {
        match self.pool.fsck().problems.as_slice() {
            [] => Ok(()),
            problems => Err(self.wrong(&format!("{when}: {}", problems.join("; ")))),
        }
    }

    /// Names the slots that are not free, too.
    fn wrong(&self, what: &str) -> Failure {
        let slots = not_free(&self.pool.fsck());
        Failure::Unexpected(format!("{:?} pool {what}; {slots}", self.kind))
    }
}

fn count(answer: &str) -> Result<u64, Failure> {
    answer.parse().map_err(|_| Failure::Unexpected(format!("'{answer}' is no count")))
}

//! One queue on which processes die, with others that survive, and what must hold afterwards.

use super::not_free;
use crate::failure::Failure;
use crate::peer::Peer;
use crate::scene::Scene;
use shm_pool::{Mode, Pool, PoolConfig, Queue};

const NAME: &str = "stage";
const SLOTS: usize = 32;
const CELLS: usize = 8;

/// A pool with a queue that this process owns, two processes that put and two that get.
#[derive(Debug)]
pub struct QueueStage {
    pool: Pool,
    queue: Queue,
    putters: [Peer; 2],
    getters: [Peer; 2],
    verified: u64,
}

impl QueueStage {
    /// Everybody is there, and idle.
    ///
    /// # Errors
    /// Whatever stands in the way.
    pub fn new(scene: &Scene, mode: Mode, suffix: &str) -> Result<QueueStage, Failure> {
        let config = PoolConfig::slots(SLOTS, 1024).and_then(|config| config.consumers(2));
        let config = config.map_err(Failure::from_display)?;
        let pool = Pool::create(&scene.name(suffix), &config).map_err(Failure::from_display)?;
        let queue = Queue::create(NAME, &pool, CELLS, mode).map_err(Failure::from_display)?;
        let mut peers = Vec::new();
        for _ in 0..4 {
            peers.push(QueueStage::opened(scene, &pool)?);
        }
        let [first, second, third, fourth] =
            peers.try_into().map_err(|_| Failure::Unexpected("four peers".into()))?;
        let mut stage = QueueStage {
            pool,
            queue,
            putters: [first, second],
            getters: [third, fourth],
            verified: 0,
        };
        stage.getters.iter_mut().try_for_each(|peer| peer.ask("pool join").map(|_| ()))?;
        Ok(stage)
    }

    /// The pool, as its owner has it.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// The queue, as its owner has it.
    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    /// How many tickets were got, redeemed and verified until now.
    pub fn verified(&self) -> u64 {
        self.verified
    }

    /// One more process with the queue open; with a seat if it is to get.
    ///
    /// # Errors
    /// Whatever stands in the way.
    pub fn peer(&self, scene: &Scene, gets: bool) -> Result<Peer, Failure> {
        let mut peer = QueueStage::opened(scene, &self.pool)?;
        if gets {
            peer.ask("pool join")?;
        }
        Ok(peer)
    }

    fn opened(scene: &Scene, pool: &Pool) -> Result<Peer, Failure> {
        let mut peer = scene.peer();
        peer.ask(&format!("pool open {}", pool.name()))?;
        peer.ask(&format!("pool queue-open {NAME}"))?;
        Ok(peer)
    }

    /// The survivors begin to work.
    ///
    /// # Errors
    /// Whatever stands in the way.
    pub fn begin(&mut self) -> Result<(), Failure> {
        self.putters.iter_mut().try_for_each(|peer| peer.start("pool queue-put-all"))?;
        self.getters.iter_mut().try_for_each(|peer| peer.start("pool queue-get-all"))
    }

    /// The survivors stop working.
    ///
    /// # Errors
    /// What they found to be wrong.
    pub fn rest(&mut self) -> Result<(), Failure> {
        self.putters.iter_mut().try_for_each(|peer| peer.finish().map(|_| ()))?;
        for peer in &mut self.getters {
            self.verified += count(&peer.finish()?)?;
        }
        Ok(())
    }

    /// What must hold when everybody rests: what is in the queue is whole, then it is empty, and all of
    /// it and of the pool can be used again.
    ///
    /// # Errors
    /// What does not hold.
    pub fn settle(&mut self) -> Result<(), Failure> {
        self.pool.reap();
        let problems = self.pool.fsck().problems;
        if !problems.is_empty() {
            return Err(Failure::Unexpected(problems.join("; ")));
        }
        for peer in &mut self.getters {
            self.verified += count(&peer.ask("pool queue-get-rest")?)?;
        }
        // What was published and never put.
        for peer in &mut self.getters {
            peer.ask("pool drain")?;
        }
        let (left, free) = (self.queue.len(), self.pool.stats().free);
        if (left, free) != (0, SLOTS) {
            let slots = not_free(&self.pool.fsck());
            let text = format!("{left} tickets are left, {free} slots free: {slots}");
            return Err(Failure::Unexpected(text));
        }
        for _ in 0..CELLS {
            self.putters[0].ask("pool queue-put 64 5000")?;
        }
        let taken: Result<Vec<u64>, Failure> = self
            .getters
            .iter_mut()
            .map(|peer| peer.ask("pool queue-get-rest").and_then(|told| count(&told)))
            .collect();
        let (taken, all) = (taken?, CELLS as u64);
        let right = match self.queue.mode() {
            Mode::Work => taken == [all, 0],
            _ => taken == [all, all],
        };
        match right {
            true => Ok(()),
            false => Err(Failure::Unexpected(format!("{all} were put, {taken:?} got"))),
        }
    }
}

fn count(answer: &str) -> Result<u64, Failure> {
    answer.parse().map_err(|_| Failure::Unexpected(format!("'{answer}' is no count")))
}

//! One store on which processes die, with others that survive, and what must hold afterwards.

use super::not_free;
use super::storing::key;
use crate::failure::Failure;
use crate::peer::Peer;
use crate::scene::Scene;
use shm_core::{Dtype, TensorDesc};
use shm_pool::{Store, StoreConfig, Wait};

/// A store that this process owns, and three processes that use it.
#[derive(Debug)]
pub struct StoreStage {
    store: Store,
    workers: [Peer; 3],
    stored: u64,
    verified: u64,
}

impl StoreStage {
    /// Everybody is there, and idle.
    ///
    /// # Errors
    /// Whatever stands in the way.
    pub fn new(scene: &Scene, suffix: &str) -> Result<StoreStage, Failure> {
        let config = StoreConfig::new(256 << 10).and_then(|config| config.granule(4096));
        let config = config.map_err(Failure::from_display)?;
        let store = Store::create(&scene.name(suffix), &config).map_err(Failure::from_display)?;
        let open = || StoreStage::opened(scene, &store);
        let workers = [open()?, open()?, open()?];
        Ok(StoreStage { store, workers, stored: 0, verified: 0 })
    }

    /// The store, as its owner has it.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// How many entries were read and verified until now.
    pub fn verified(&self) -> u64 {
        self.verified
    }

    /// How many entries were stored until now by those who survive.
    pub fn stored(&self) -> u64 {
        self.stored
    }

    /// One more worker.
    ///
    /// # Errors
    /// Whatever stands in the way.
    pub fn peer(&self, scene: &Scene) -> Result<Peer, Failure> {
        StoreStage::opened(scene, &self.store)
    }

    fn opened(scene: &Scene, store: &Store) -> Result<Peer, Failure> {
        let mut peer = scene.peer();
        peer.ask(&format!("pool store-open {}", store.name()))?;
        Ok(peer)
    }

    /// The survivors begin to work.
    ///
    /// # Errors
    /// Whatever stands in the way.
    pub fn begin(&mut self) -> Result<(), Failure> {
        self.workers.iter_mut().try_for_each(|peer| peer.start("pool store-any"))
    }

    /// The survivors stop working; they hold nothing then.
    ///
    /// # Errors
    /// What they found to be wrong.
    pub fn rest(&mut self) -> Result<(), Failure> {
        for worker in &mut self.workers {
            let told = worker.finish()?;
            let counts = told.split_once(' ').and_then(|(stored, read)| {
                Some((stored.parse::<u64>().ok()?, read.parse::<u64>().ok()?))
            });
            let (stored, read) =
                counts.ok_or_else(|| Failure::Unexpected(format!("'{told}' are no counts")))?;
            self.stored += stored;
            self.verified += read;
        }
        Ok(())
    }

    /// What must hold when everybody rests: entries and free slots are all there is, every entry is
    /// whole, and all of the store can be used again.
    ///
    /// # Errors
    /// What does not hold.
    pub fn settle(&mut self) -> Result<(), Failure> {
        self.store.reap();
        let stats = self.store.stats();
        if stats.free + stats.stored != stats.slots {
            return Err(self.wrong(&format!("does not add up: {stats:?}")));
        }
        let found = self.workers[0].ask("pool store-check")?;
        if found != stats.stored.to_string() || self.store.len() != stats.stored {
            let len = self.store.len();
            return Err(self.wrong(&format!("{found} keys of {} entries ({len})", stats.stored)));
        }
        let problems = self.store.fsck().problems;
        if !problems.is_empty() {
            return Err(Failure::Unexpected(problems.join("; ")));
        }
        let cleared = self.store.clear().map_err(Failure::from_display)?;
        let free = self.store.stats().free;
        if (cleared, free) != (stats.stored, stats.slots) {
            return Err(self.wrong(&format!("{cleared} were cleared, {free} slots are free")));
        }
        let whole = TensorDesc::new(Dtype::U8, &[(256 << 10) - 4096]);
        let layout = [whole.map_err(Failure::from_display)?];
        let all = self.store.prepare_store(&key(u32::MAX), &layout, Wait::Try);
        all.map_err(|error| self.wrong(&error.to_string()))?.abort();
        Ok(())
    }

    fn wrong(&self, what: &str) -> Failure {
        let slots = not_free(&self.store.fsck());
        Failure::Unexpected(format!("store: {what}; {slots}"))
    }
}

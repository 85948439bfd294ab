//! What all users of one handle share: a seat, its pins, and the words of entries.
//!
//! A handle has one flag per entry, so it counts the leases that share the flag. Upholds invariants 1
//! (a worker that dies is taken off its seat, which clears its flags) and 2 (what an entry says is
//! checked against a private copy).

use super::error::StoreError;
use super::evict::Candidates;
use super::header::{PRELUDE, Plan, Wrong};
use super::index::{Entries, Found, Hash, Index};
use super::key::Hasher;
use crate::bell::Bell;
use crate::consumer::Consumer;
use crate::fault;
use crate::layout::at;
use crate::ledger::Ledger;
use crate::slot::SlotWords;
use crate::sync::{AtomicU64, Ordering};
use crate::word::SlotState;
use parking_lot::Mutex;
use shm_core::{clock, fork_generation};
use std::collections::HashMap;

/// Words of an entry.
pub(super) mod field {
    /// Two words.
    pub(crate) const HASH: usize = 0;
    /// When it is not found any more, nanoseconds of the monotonic clock; 0 is never.
    pub(crate) const EXPIRES: usize = 2;
    /// When it was last committed, leased or released, nanoseconds of the monotonic clock.
    pub(crate) const USED: usize = 3;
    /// When it was committed, nanoseconds of the monotonic clock.
    pub(crate) const COMMITTED: usize = 4;
    /// Where in the index it is.
    pub(crate) const CELL: usize = 5;
}

/// One handle.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(super) consumer: Consumer,
    pub(super) hasher: Hasher,
    pub(super) candidates: Mutex<Candidates>,
    /// How often the store seemed full.
    pub(super) full: AtomicU64,
    held: Mutex<HashMap<usize, Hold>>,
    born: u64,
}

/// Leases of this handle on one entry.
#[derive(Clone, Copy, Debug)]
struct Hold {
    generation: u64,
    leases: usize,
}

impl Worker {
    pub(super) fn new(consumer: Consumer) -> Worker {
        let instance = consumer.seated().core.ledger.segment.instance();
        Worker {
            consumer,
            hasher: Hasher::new(instance),
            candidates: Mutex::default(),
            full: AtomicU64::new(0),
            held: Mutex::default(),
            born: fork_generation(),
        }
    }

    #[inline]
    pub(super) fn ledger(&self) -> &Ledger {
        &self.consumer.seated().core.ledger
    }

    pub(super) fn name(&self) -> String {
        self.ledger().segment.name().to_owned()
    }

    /// Whether this process is the one that opened the store. Nothing is locked before that is known:
    /// a forked child may have got the locks locked.
    #[inline]
    pub(super) fn is_at_home(&self) -> bool {
        self.born == fork_generation()
    }

    pub(super) fn admit(&self) -> Result<(), StoreError> {
        match self.is_at_home() {
            true => Ok(()),
            false => Err(StoreError::Forked { name: self.name() }),
        }
    }

    /// Leases an entry. False if that generation is not in the store.
    pub(super) fn hold(&self, slot: usize, generation: u64) -> bool {
        let mut held = self.held.lock();
        if let Some(hold) = held.get_mut(&slot).filter(|hold| hold.generation == generation) {
            hold.leases += 1;
            return true;
        }
        let pinned = self.ledger().slot(slot).pin(self.consumer.seat(), generation);
        if pinned {
            held.insert(slot, Hold { generation, leases: 1 });
            fault::hit("store.pinned");
        }
        pinned
    }

    /// Gives a lease back. `touch` notes that the entry was in use until now.
    pub(super) fn let_go(&self, slot: usize, generation: u64, touch: bool) {
        let mut held = self.held.lock();
        let Some(hold) = held.get_mut(&slot).filter(|hold| hold.generation == generation) else {
            self.ledger().count(at::LATE, 1);
            return;
        };
        hold.leases -= 1;
        if hold.leases > 0 {
            return;
        }
        held.remove(&slot);
        let ledger = self.ledger();
        if touch {
            ledger.touch(slot);
        }
        if !ledger.slot(slot).unpin(self.consumer.seat(), generation) {
            ledger.count(at::LATE, 1);
        }
    }
}

impl Entries for Ledger {
    #[inline]
    fn words(&self, slot: usize) -> Option<SlotWords<'_>> {
        (slot < self.layout.slots).then(|| self.slot(slot))
    }

    #[inline]
    fn hash(&self, slot: usize) -> Option<[&AtomicU64; 2]> {
        (self.layout.entries && slot < self.layout.slots).then(|| {
            let words = self.entry(slot);
            [&words[field::HASH], &words[field::HASH + 1]]
        })
    }
}

impl Ledger {
    #[inline]
    pub(super) fn keys(&self) -> Index<'_, Ledger> {
        Index { cells: self.index(), entries: self }
    }

    pub(super) fn commits(&self) -> Bell<'_> {
        Bell { word: self.word(at::COMMITS) }
    }

    /// Whether the index of a store leads to that generation of a slot.
    pub(crate) fn is_indexed(&self, slot: usize, generation: u64) -> bool {
        self.keys().leads_to(slot, generation)
    }

    /// Notes that an entry is in use.
    #[inline]
    pub(super) fn touch(&self, slot: usize) {
        self.entry(slot)[field::USED].store(clock::monotonic_ns(), Ordering::Relaxed);
    }

    /// When an entry was last in use.
    #[inline]
    pub(super) fn used(&self, slot: usize) -> u64 {
        self.entry(slot)[field::USED].load(Ordering::Relaxed)
    }

    /// Whether an entry is too old to be found.
    #[inline]
    pub(super) fn is_expired(&self, slot: usize) -> bool {
        let expires = self.entry(slot)[field::EXPIRES].load(Ordering::Relaxed);
        expires != 0 && clock::monotonic_ns() >= expires
    }

    /// The entry of a key, if it is in the store and not too old.
    pub(super) fn stored(&self, hash: Hash) -> Option<Found> {
        self.keys().find(hash).filter(|found| {
            let stored =
                matches!(found.state.state(), Some(SlotState::Stored | SlotState::Evicting));
            found.spot.cell.is_established() && stored && !self.is_expired(found.slot)
        })
    }

    /// What an entry that the caller has leased says about itself, and where its memory begins:
    /// `with` gets the key too.
    pub(super) fn read_header<R>(
        &self,
        slot: usize,
        generation: u64,
        with: impl FnOnce(Plan, &[u8], usize) -> R,
    ) -> Result<R, Wrong> {
        const SHORT: usize = 512;
        let run = self.believed_run(slot, generation);
        let run = run.ok_or_else(|| ("run", "granules of its own".to_owned(), slot as u64))?;
        let (offset, capacity) = self.place_of(slot, run);
        let mut short = [0; SHORT];
        let short = &mut short[..capacity.min(SHORT)];
        self.copy_payload(offset, short);
        let (prelude, _) = short
            .split_first_chunk::<PRELUDE>()
            .ok_or_else(|| ("capacity", format!("at least {PRELUDE}"), capacity as u64))?;
        let len = Plan::header_len(prelude, capacity)?;
        let long;
        // One copy is both checked and used.
        let header = match short.get(..len) {
            Some(header) => header,
            None => {
                let mut bytes = vec![0; len];
                self.copy_payload(offset, &mut bytes);
                long = bytes;
                &long[..]
            }
        };
        let (plan, key) = Plan::decode(header, capacity)?;
        Ok(with(plan, key, offset))
    }

    /// Copies bytes of an entry that the caller has leased.
    #[inline]
    pub(super) fn copy_payload(&self, offset: usize, out: &mut [u8]) {
        let source = self.segment.payload(offset, out.len());
        // SAFETY: `out.len()` mapped bytes at `source`, by the check in `payload`. The entry is leased,
        // so no thread of this process that follows the protocol writes them; another process may, which
        // `copy_out` is made for. `out` is borrowed exclusively.
        unsafe { shm_core::copy::copy_out(out.as_mut_ptr(), source, out.len()) }
    }
}

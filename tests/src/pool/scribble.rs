//! A process that writes anything anywhere into a pool's control area, and one that goes on using the
//! pool meanwhile.

use super::actor::{Done, PoolActor, Refusal};
use super::mark::Mark;
use super::raw::{Part, RawPool};
use super::storing::key;
use super::traffic::ticket_for;
use core::fmt::Debug;
use core::ops::Range;
use core::sync::atomic::Ordering;
use fastrand::Rng;
use shm_core::{Dtype, TensorDesc};
use shm_pool::{Audience, Consumer, Mode, Policy, Pool, Queue, Store, Ticket, Wait};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Writes for that long into the parts that `which` names: `all`, or `soft`, which are those that
/// decide about no slot. Answers how many words it wrote.
pub(super) fn scribble(name: &str, which: &str, seconds: u64) -> Done {
    let raw = RawPool::of(name)?;
    let parts: &[Part] = match which {
        "all" => &Part::ALL,
        "soft" => &Part::SOFT,
        other => return Err(Refusal::of("Command", format!("no parts '{other}'"))),
    };
    let ranges: Vec<Range<usize>> =
        parts.iter().map(|part| raw.part(*part)).filter(|range| !range.is_empty()).collect();
    let (mut rng, mut written) = (Rng::new(), 0_u64);
    let until = Instant::now() + Duration::from_secs(seconds);
    while !written.is_multiple_of(64) || Instant::now() < until {
        let range = ranges[rng.usize(..ranges.len())].clone();
        let word = raw.control(range.start + rng.usize(..range.len() / 8) * 8);
        let before = word.load(Ordering::Relaxed);
        let value = match rng.u8(..8) {
            0 => 0,
            1 => 1,
            2 => u64::MAX,
            3 => rng.u64(..) >> rng.u32(..64),
            4 => before ^ 1 << rng.u32(..64),
            5 => before.wrapping_add(rng.u64(..3)).wrapping_sub(1),
            // Another state, flag or party in the generation that is there.
            6 => before & !0xFFFF | rng.u64(..1 << 16),
            _ => rng.u64(..),
        };
        word.store(value, Ordering::Relaxed);
        written += 1;
        if written.is_multiple_of(256) {
            std::thread::yield_now();
        }
    }
    Ok(written.to_string())
}

/// What was called, and what came of it.
#[derive(Debug, Default)]
struct Tally {
    calls: u64,
    errors: BTreeMap<String, u64>,
}

impl Tally {
    fn note<T, E: Debug>(&mut self, outcome: Result<T, E>) -> Option<T> {
        self.calls += 1;
        outcome
            .map_err(|error| {
                let debug = format!("{error:?}");
                let end = debug.find(|c: char| !c.is_alphanumeric()).unwrap_or(debug.len());
                *self.errors.entry(debug[..end].to_owned()).or_default() += 1;
            })
            .ok()
    }
}

impl PoolActor {
    /// Uses the pool in every way for that long, whatever its words say; every error will do. Answers
    /// how many calls there were, and how many of each error.
    pub(super) fn endure(&mut self, seconds: u64) -> Done {
        let (pool, mut rng, mut tally) = (self.pool()?, Rng::new(), Tally::default());
        let until = Instant::now() + Duration::from_secs(seconds);
        let (mut consumer, mut queue) = (None, None);
        while Instant::now() < until {
            match rng.u8(..4) {
                0 => self.use_queue(&pool, consumer.as_ref(), &mut queue, &mut rng, &mut tally),
                _ => self.use_once(&pool, &mut consumer, &mut rng, &mut tally),
            }
        }
        Ok(format!("{} calls, {:?}", tally.calls, tally.errors))
    }

    /// The same for a store.
    pub(super) fn endure_store(&mut self, seconds: u64) -> Done {
        let store = self.store.clone().ok_or_else(|| Refusal::of("Wrong", "no store"))?;
        let (mut rng, mut tally) = (Rng::new(), Tally::default());
        let until = Instant::now() + Duration::from_secs(seconds);
        while Instant::now() < until {
            use_store(&store, &mut rng, &mut tally)?;
        }
        Ok(format!("{} calls, {:?}", tally.calls, tally.errors))
    }

    fn use_queue(
        &mut self,
        pool: &Pool,
        consumer: Option<&Consumer>,
        queue: &mut Option<Queue>,
        rng: &mut Rng,
        tally: &mut Tally,
    ) {
        let (name, wait) = (format!("q{}", rng.u8(..3)), Wait::from(Duration::from_millis(2)));
        let Some(found) = queue else {
            let mode = if rng.bool() { Mode::Work } else { Mode::Broadcast };
            *queue = tally.note(Queue::create(&name, pool, rng.usize(1..20), mode));
            if queue.is_none() {
                *queue = tally.note(Queue::open(&name, pool));
            }
            return;
        };
        match rng.u8(..8) {
            0..3 => {
                let slot = tally.note(pool.lend(64, wait, Policy::Block));
                let audience = if rng.bool() { Audience::Any } else { Audience::Everyone };
                let ticket = slot.and_then(|slot| tally.note(slot.publish(audience)));
                ticket.map(|ticket| tally.note(found.put(&ticket, wait)));
            }
            3..6 => {
                let Some(consumer) = consumer else { return };
                let ticket = tally.note(found.get(consumer, wait));
                ticket.and_then(|ticket| tally.note(consumer.redeem(&ticket)));
                tally.note(found.get_nap(consumer, Duration::from_millis(1)));
            }
            6 => {
                let _ = (found.len(), found.maxsize(), Queue::list(pool));
                tally.calls += 3;
            }
            _ => {
                tally.note(found.remove());
                *queue = None;
            }
        }
    }

    fn use_once(
        &mut self,
        pool: &Pool,
        consumer: &mut Option<Consumer>,
        rng: &mut Rng,
        tally: &mut Tally,
    ) {
        let bytes = rng.usize(Mark::LEAST..=pool.slot_size() / 4);
        let wait = Wait::from(Duration::from_millis(2));
        let audience = match rng.u8(..3) {
            0 => Audience::Everyone,
            1 => Audience::Any,
            _ => Audience::Seats(rng.u64(..)),
        };
        match rng.u8(..14) {
            0..4 => {
                let policy = [Policy::Block, Policy::Fail, Policy::DropOldestUnread];
                let lent = tally.note(pool.lend(bytes, wait, policy[rng.usize(..3)]));
                if let Some(mut slot) = lent {
                    let mark = self.mark_of(&slot);
                    mark.fill(slot.bytes_mut());
                    tally.note(slot.publish(audience));
                }
            }
            4 => {
                if let Some(mut batch) =
                    tally.note(pool.lend_many(&[bytes; 3], wait, Policy::Block))
                {
                    self.mark_batch(&mut batch);
                    tally.note(batch.publish(audience));
                }
            }
            5 => {
                if let Some(mut request) = tally.note(pool.request(bytes)) {
                    tally.note(request.nap(Duration::from_millis(2)));
                }
            }
            6 => {
                *consumer = None;
                *consumer = match rng.bool() {
                    true => tally.note(pool.consumer()),
                    false => tally.note(pool.consumer_at(rng.usize(..pool.seats()))),
                };
            }
            7..11 => {
                let Some(consumer) = consumer else { return };
                for report in pool.fsck().slots {
                    let ticket = ticket_for(pool, &report);
                    let lease = tally.note(consumer.redeem(&ticket));
                    let hostile = Ticket { parts: rng.u32(..20), ..ticket };
                    tally.note(consumer.redeem_batch(&hostile)).map(|batch| batch.to_vec(0));
                    lease.inspect(|lease| drop(lease.to_vec()));
                }
                let _ = consumer.pending();
            }
            11 => {
                for report in pool.fsck().slots {
                    tally.note(pool.revoke(&ticket_for(pool, &report)));
                }
            }
            12 => {
                let _ = (pool.reap(), pool.stats(), pool.overdue(), pool.describe());
                tally.calls += 4;
            }
            _ => {
                if let Some(fresh) = tally.note(Pool::open(pool.name())) {
                    let _ = (fresh.stats().fragmentation(), fresh.is_retired(), fresh.has_owner());
                }
                tally.note(Consumer::open(pool.name()));
            }
        }
    }
}

fn use_store(store: &Store, rng: &mut Rng, tally: &mut Tally) -> Result<(), Refusal> {
    let (number, wait) = (rng.u32(..24), Wait::from(Duration::from_millis(2)));
    match rng.u8(..12) {
        0..4 => {
            let layout = [TensorDesc::new(Dtype::U8, &[rng.usize(24..30_000)])?];
            if let Some(mut reservation) =
                tally.note(store.prepare_store(&key(number), &layout, wait))
            {
                tally.note(reservation.tensor_bytes_mut(0).map(|bytes| bytes.fill(7)));
                tally.note(reservation.commit());
            }
        }
        4..9 => {
            let (one, other) = (key(number), key(rng.u32(..24)));
            let keys: [&[u8]; 2] = [&one, &other];
            let retrieved = tally.note(store.prepare_retrieve(&keys[..rng.usize(1..=2)], wait));
            for entry in retrieved.iter().flat_map(|retrieved| retrieved.entries()) {
                entry.tensors().for_each(|tensor| drop(tensor.to_vec()));
            }
        }
        9 => {
            tally.note(store.remove(&key(number)));
        }
        10 => {
            tally.note(store.keys());
            tally.note(store.clear());
            tally.note(Store::open(store.name()));
        }
        _ => {
            let _ = (store.stats(), store.fsck(), store.overdue(), store.reap(), store.len());
            let _ = store.contains(&key(number));
            tally.calls += 6;
        }
    }
    Ok(())
}

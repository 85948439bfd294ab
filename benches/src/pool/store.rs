//! What the keyed store costs beyond the copy of a value.

use std::time::{Duration, Instant};

use anyhow::Result;
use shm_core::{Dtype, TensorDesc};
use shm_pool::{Audience, Consumer, Policy, Pool, PoolConfig, Store, StoreConfig, Wait};

use crate::limits::{CopyKind, Mapping};
use crate::measure::{Quantiles, Samples, alternate, median, pin};
use crate::report::{NS, Row, US};
use crate::scratch;
use crate::suites::Setting;

const LEN: usize = 2 << 20;
/// Values that are stored, then retrieved, then removed.
const VALUES: usize = 16;
/// Room for many more, as a store has: the granules of a small one are small, and a value has many.
const CAPACITY: usize = 512 << 20;
const BUDGET_NS: f64 = 1000.0;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Payload {
    Copied,
    Untouched,
}

pub(super) fn run(setting: &Setting<'_>) -> Result<Vec<Row>> {
    pin(setting.cores.near)?;
    let plan = setting.plan;
    let mut values = Values::create()?;
    let slice = plan.slice() * 2;
    let kinds = CopyKind::available();
    // The first round warms up.
    let results = alternate(1 + plan.rounds(), 3 + kinds.len(), |which| match which {
        0 => values.through_the_store(slice, Payload::Copied),
        1 => values.through_the_store(slice, Payload::Untouched),
        2 => values.same_copy(slice),
        _ => values.bare(slice, kinds[which - 3]),
    })?;
    let middle = |which: usize, of: fn(&Took) -> &Samples| {
        median(results[which].iter().skip(1).map(|round| of(round).p50()))
    };
    let all = |which: usize, of: fn(&Took) -> &Samples| -> Result<Samples> {
        let mut all = Samples::default();
        results[which].iter().skip(1).try_for_each(|round| all.add(of(round)))?;
        Ok(all)
    };
    let mut rows = Vec::new();
    for (name, of, words) in SIDES {
        let (ours, copy) = (middle(0, of), middle(2, of));
        let (copied, untouched) = (all(0, of)?, all(1, of)?);
        let each: Vec<String> = (0..kinds.len())
            .map(|kind| format!("{} {:.1} us", kinds[kind].name(), middle(3 + kind, of) / 1000.0))
            .collect();
        rows.push(
            Row::new(format!("store/{name}/2MiB"), ours / 1000.0, "us")
                .with_samples(&copied, US)
                .with_limit(
                    "the same copy, into a slot that is lent, out of one that is leased",
                    copy / 1000.0,
                )
                .with_limit_quantiles(Quantiles::of(&all(2, of)?, US))
                .touching_payload()
                .with_note(format!(
                    "{words} and the copy; goal: at most 1 us over the copy; it is {:.2} us",
                    (ours - copy) / 1000.0
                ))
                .with_note(format!("bare: {}", each.join(", "))),
        );
        rows.push(
            Row::new(format!("store/{name}/touch-free"), middle(1, of), "ns")
                .with_samples(&untouched, NS)
                .with_limit("budget of 1 us", BUDGET_NS)
                .with_note(format!("{words}, payload untouched; one reading of the clock in each")),
        );
    }
    Ok(rows)
}

/// Name, figures and what was called.
type Side = (&'static str, fn(&Took) -> &Samples, &'static str);

const SIDES: [Side; 2] = [
    ("put", |took| &took.stored, "prepare_store + commit"),
    ("get", |took| &took.retrieved, "prepare_retrieve of one key + release"),
];

/// The durations of single operations.
#[derive(Default)]
struct Took {
    stored: Samples,
    retrieved: Samples,
}

/// The store, bare cells, and private memory on the other side of both.
struct Values {
    store: Store,
    layout: [TensorDesc; 1],
    keys: Vec<[u8; 32]>,
    /// As many slots as there are values.
    pool: Pool,
    consumer: Consumer,
    cells: Mapping,
    source: Vec<u8>,
    target: Vec<u8>,
}

impl Values {
    fn create() -> Result<Values> {
        let config = StoreConfig::new(CAPACITY)?;
        let pool = Pool::create(&scratch::name("values"), &PoolConfig::slots(VALUES, LEN)?)?;
        let source: Vec<u8> = (0..LEN).map(|index| (index % 251) as u8).collect();
        Ok(Values {
            store: Store::create(&scratch::name("store"), &config)?,
            layout: [TensorDesc::new(Dtype::U8, &[LEN])?],
            keys: (0..VALUES).map(|value| [value as u8; 32]).collect(),
            consumer: pool.consumer()?,
            pool,
            cells: Mapping::create("cells", VALUES * LEN)?,
            target: vec![0; source.len()],
            source,
        })
    }

    fn through_the_store(&mut self, slice: Duration, payload: Payload) -> Result<Took> {
        let mut took = Took::default();
        let begun = Instant::now();
        while begun.elapsed() < slice {
            for key in &self.keys {
                let before = Instant::now();
                let mut reservation = self.store.prepare_store(key, &self.layout, Wait::Try)?;
                if payload == Payload::Copied {
                    reservation.copy_tensor(0, &self.source)?;
                }
                reservation.commit()?;
                took.stored.record(before.elapsed().as_nanos() as u64);
            }
            for key in &self.keys {
                let before = Instant::now();
                let retrieved = self.store.prepare_retrieve(&[key], Wait::Try)?;
                if payload == Payload::Copied {
                    retrieved.tensor(0, 0)?.copy_to(&mut self.target)?;
                }
                retrieved.release();
                took.retrieved.record(before.elapsed().as_nanos() as u64);
            }
            for key in &self.keys {
                self.store.remove(key)?;
            }
        }
        Ok(took)
    }

    /// What the store copies with: lending and publishing are outside of the measurement.
    fn same_copy(&mut self, slice: Duration) -> Result<Took> {
        let mut took = Took::default();
        let begun = Instant::now();
        while begun.elapsed() < slice {
            let mut tickets = Vec::with_capacity(VALUES);
            for _ in 0..VALUES {
                let mut slot = self.pool.lend(LEN, Wait::Try, Policy::Fail)?;
                let before = Instant::now();
                slot.copy_from(&self.source)?;
                took.stored.record(before.elapsed().as_nanos() as u64);
                tickets.push(slot.publish(Audience::Everyone)?);
            }
            for ticket in &tickets {
                let lease = self.consumer.redeem(ticket)?;
                let before = Instant::now();
                lease.copy_to(&mut self.target)?;
                took.retrieved.record(before.elapsed().as_nanos() as u64);
            }
        }
        Ok(took)
    }

    fn bare(&mut self, slice: Duration, kind: CopyKind) -> Result<Took> {
        let mut took = Took::default();
        let begun = Instant::now();
        while begun.elapsed() < slice {
            for value in 0..VALUES {
                let before = Instant::now();
                self.cells.copy_in(kind, value * LEN, &self.source)?;
                took.stored.record(before.elapsed().as_nanos() as u64);
            }
            for value in 0..VALUES {
                let before = Instant::now();
                self.cells.copy_out(kind, value * LEN, &mut self.target)?;
                took.retrieved.record(before.elapsed().as_nanos() as u64);
            }
        }
        Ok(took)
    }
}

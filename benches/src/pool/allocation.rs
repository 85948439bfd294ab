//! What it costs to find a slot, or to find that there is none, by how many there are and how many
//! are taken.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use fastrand::Rng;
use shm_pool::{LendError, Policy, Pool, PoolConfig, Slot, Wait};

use super::one_by_one;
use crate::limits::FreeList;
use crate::measure::{Plan, alternate, median, pin, repeat};
use crate::report::{NS, Row};
use crate::scratch;
use crate::suites::Setting;

const SLOT_SIZE: usize = 256;
/// Slots that are taken before the first is given back.
const AT_ONCE: usize = 64;
/// Lends between two readings of the clock, if only one slot can be had at a time or none.
const BATCH: u32 = 16;

/// How much of a pool is taken by others meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fill {
    Empty,
    /// Every second slot or so, chosen by chance.
    HalfFull,
    /// All but one, chosen by chance.
    OneLeft,
    Full,
}

const FILLS: [(Fill, &str, &str); 4] = [
    (Fill::Empty, "", "lend + abort; empty pool, 64 slots are taken, then given back"),
    (
        Fill::HalfFull,
        "-half-full",
        "lend + abort; half of the slots, chosen by chance, are taken, 64 more are taken, then given \
         back",
    ),
    (Fill::OneLeft, "-one-left", "lend + abort; one slot is free, chosen by chance"),
    (Fill::Full, "-refused", "a lend that is refused, as no slot is free"),
];

const SIZES: [(u32, &str); 3] = [(1000, "1k"), (100_000, "100k"), (1_000_000, "1M")];

pub(super) fn run(setting: &Setting<'_>) -> Result<Vec<Row>> {
    pin(setting.cores.near)?;
    let mut pools = Vec::new();
    for (slots, _) in SIZES {
        pools.push(Contenders::new(slots)?);
    }
    let mut rows = Vec::new();
    for (fill, suffix, note) in FILLS {
        for pool in &mut pools {
            pool.fill(fill)?;
        }
        rows.extend(measure(setting.plan, &pools, fill, suffix, note)?);
    }
    Ok(rows)
}

fn measure(
    plan: Plan,
    pools: &[Contenders],
    fill: Fill,
    suffix: &str,
    note: &str,
) -> Result<Vec<Row>> {
    let slice = plan.slice() / 2;
    // The first round warms up. Ours and the bare list take turns, and so do the sizes.
    let results = alternate(1 + plan.rounds(), 2 * pools.len(), |which| {
        let pool = &pools[which / 2];
        if which % 2 == 0 { pool.ours(slice, fill) } else { pool.bare(slice, fill) }
    })?;
    let middle = |which: usize| median(results[which].iter().skip(1).copied());
    let mut rows = Vec::new();
    for (index, (_, size)) in SIZES.into_iter().enumerate() {
        let single = one_by_one(plan, || pools[index].once(fill))?;
        let mut row = Row::new(format!("allocation/{size}{suffix}"), middle(2 * index), "ns")
            .with_samples(&single, NS)
            .with_limit("bare tagged free list of as many", middle(2 * index + 1))
            .with_note("goal: the same whatever the number of slots");
        if index > 0 {
            row = row.with_note(format!("{:.2} of 1k", middle(2 * index) / middle(0)));
        }
        rows.push(row.with_note(note).with_note("payload untouched"));
    }
    Ok(rows)
}

/// A pool and a bare list with as many slots, and as many of them taken.
struct Contenders {
    pool: Pool,
    taken: Vec<Slot>,
    list: FreeList,
    listed: Vec<u32>,
    slots: usize,
}

impl Contenders {
    fn new(slots: u32) -> Result<Contenders> {
        let config = PoolConfig::slots(slots as usize, SLOT_SIZE)?;
        Ok(Contenders {
            pool: Pool::create(&scratch::name("allocation"), &config)?,
            taken: Vec::new(),
            list: FreeList::new(slots),
            listed: Vec::new(),
            slots: slots as usize,
        })
    }

    /// Takes all slots and gives some back, in an order of chance.
    fn fill(&mut self, fill: Fill) -> Result<()> {
        let free = match fill {
            Fill::Empty => return Ok(()),
            Fill::HalfFull => self.slots / 2,
            Fill::OneLeft => 1,
            Fill::Full => 0,
        };
        while self.taken.len() < self.slots {
            self.taken.push(self.pool.lend(SLOT_SIZE, Wait::Try, Policy::Fail)?);
        }
        self.listed.extend(std::iter::from_fn(|| self.list.pop()));
        let mut rng = Rng::with_seed(self.slots as u64);
        for _ in 0..free {
            self.taken.swap_remove(rng.usize(..self.taken.len())).abort();
            self.list.push(self.listed.swap_remove(rng.usize(..self.listed.len())));
        }
        Ok(())
    }

    /// One lend and what undoes it.
    #[inline]
    fn once(&self, fill: Fill) -> Result<()> {
        match self.pool.lend(SLOT_SIZE, Wait::Try, Policy::Fail) {
            Ok(slot) if fill != Fill::Full => slot.abort(),
            Err(LendError::Full { .. }) if fill == Fill::Full => {}
            Ok(_) => bail!("a full pool lent a slot"),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn ours(&self, slice: Duration, fill: Fill) -> Result<f64> {
        if matches!(fill, Fill::OneLeft | Fill::Full) {
            let begun = Instant::now();
            self.once(fill)?;
            // Beside one that takes so long, a reading of the clock is nothing.
            let batch = if begun.elapsed() > Duration::from_micros(10) { 1 } else { BATCH };
            return repeat(slice, batch, || self.once(fill));
        }
        let mut held = Vec::with_capacity(AT_ONCE);
        let each = repeat(slice, 1, || {
            for _ in 0..AT_ONCE {
                held.push(self.pool.lend(SLOT_SIZE, Wait::Try, Policy::Fail)?);
            }
            held.drain(..).for_each(Slot::abort);
            Ok(())
        })?;
        Ok(each / AT_ONCE as f64)
    }

    fn bare(&self, slice: Duration, fill: Fill) -> Result<f64> {
        if matches!(fill, Fill::OneLeft | Fill::Full) {
            return repeat(slice, BATCH, || {
                if let Some(index) = black_box(self.list.pop()) {
                    self.list.push(index);
                }
                Ok(())
            });
        }
        let mut held = Vec::with_capacity(AT_ONCE);
        let each = repeat(slice, 1, || {
            held.extend((0..AT_ONCE).map_while(|_| self.list.pop()));
            held.drain(..).for_each(|index| self.list.push(index));
            Ok(())
        })?;
        Ok(each / AT_ONCE as f64)
    }
}

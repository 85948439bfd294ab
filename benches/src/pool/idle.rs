//! What those cost who wait for something that does not come.

use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use serde::{Deserialize, Serialize};
use shm_pool::{Consumer, LendError, Mode, Policy, Pool, PoolConfig, Queue, QueueError, Wait};

use crate::child::{self, Child, Role};
use crate::measure::Spent;
use crate::report::Row;
use crate::scratch;
use crate::suites::Setting;

/// The child's part.
pub(super) const IDLE_WAITERS: Role = Role { name: "idle-waiters", run: wait };

const BUDGET_PERCENT: f64 = 0.1;
/// Until the waiter is in the kernel.
const SETTLING: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Waiter {
    /// In `lend`, on a full pool.
    Producer,
    /// In `get`, on an empty queue.
    Consumer,
    /// The thread that gives back what dead processes held.
    Recycler,
}

const WAITERS: [(Waiter, &str, &str); 3] = [
    (Waiter::Producer, "idle/producer", "one thread blocked in lend on a full pool"),
    (Waiter::Consumer, "idle/consumer", "one thread blocked in get on an empty queue"),
    (Waiter::Recycler, "idle/recycler", "the recycler's thread of a pool with a live member"),
];

pub(super) fn run(setting: &Setting<'_>) -> Result<Vec<Row>> {
    let seconds = setting.plan.pick(1.5, 6.0);
    let pool = Pool::create(&scratch::name("idle"), &PoolConfig::slots(1, 64)?)?;
    let queue_name = scratch::name("idle-queue");
    let _queue = Queue::create(&queue_name, &pool, 1, Mode::Work)?;
    // The pool is full as long as this is held.
    let _slot = pool.lend(64, Wait::Try, Policy::Fail)?;
    let mut children = Vec::new();
    // They disturb neither each other nor anybody else, so all wait at the same time.
    for (waiter, ..) in WAITERS {
        let job =
            WaitJob { waiter, pool: pool.name().to_owned(), queue: queue_name.clone(), seconds };
        children.push(Child::start(&IDLE_WAITERS, setting.cores.far, &job)?);
    }
    let mut rows = Vec::new();
    for (child, (_, name, note)) in children.into_iter().zip(WAITERS) {
        let spent: Spent = child.report()?;
        rows.push(
            Row::new(name, spent.percent(), "% of a core")
                .with_limit("budget of 0.1 % of a core", BUDGET_PERCENT)
                .with_note(note)
                .with_note(format!("processor time of its process over {seconds} s")),
        );
    }
    Ok(rows)
}

#[derive(Debug, Serialize, Deserialize)]
struct WaitJob {
    waiter: Waiter,
    pool: String,
    queue: String,
    seconds: f64,
}

fn wait(job: &str) -> Result<()> {
    let job: WaitJob = child::job(job)?;
    let measured = Duration::from_secs_f64(job.seconds);
    // The waiter gives up after the measurement, so that giving up is no part of it.
    let patience = measured + 5 * SETTLING;
    let pool = Pool::open(&job.pool)?;
    let spent = thread::scope(|scope| -> Result<Spent> {
        let (pool, queue) = (&pool, &job.queue);
        let waiting = scope.spawn(move || match job.waiter {
            Waiter::Producer => fruitless_lend(pool, patience),
            Waiter::Consumer => fruitless_get(pool, &pool.consumer()?, queue, patience),
            Waiter::Recycler => {
                let _recycler = pool.recycler()?;
                thread::sleep(patience);
                Ok(())
            }
        });
        thread::sleep(SETTLING);
        child::ready()?;
        let spent = Spent::asleep(measured);
        waiting.join().map_err(|_| anyhow!("the waiter panicked"))??;
        Ok(spent)
    })?;
    child::tell(&spent)
}

fn fruitless_lend(pool: &Pool, patience: Duration) -> Result<()> {
    let outcome = pool.lend(64, Wait::from(patience), Policy::Block);
    ensure!(matches!(outcome, Err(LendError::Timeout { .. })), "a full pool lent a slot");
    Ok(())
}

fn fruitless_get(pool: &Pool, consumer: &Consumer, queue: &str, patience: Duration) -> Result<()> {
    let outcome = Queue::open(queue, pool)?.get(consumer, Wait::from(patience));
    ensure!(matches!(outcome, Err(QueueError::Timeout { .. })), "an empty queue gave a ticket");
    Ok(())
}

//! One rank of a tensor-parallel model: redeems the ticket that all ranks get, and computes on its
//! share of the columns.
//!
//! It may be killed while it holds a batch: the others go on, and what it held is free at once.

use anyhow::{Context, Result, ensure};
use clap::Parser;
use shm_core::OpenError;
use shm_pool::{BatchLease, Consumer, JoinError, Queue, QueueError, RedeemError, Wait};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Computes on its share of each batch
#[derive(Parser)]
#[command(name = "rank")]
struct Args {
    /// Which rank this is, from 0
    rank: usize,
    /// The pool to take batches from
    #[arg(default_value = "examples/batches")]
    name: String,
    /// How many ranks there are
    #[arg(long, default_value_t = 2)]
    ranks: usize,
    /// Milliseconds that the model takes for a batch, which is held meanwhile
    #[arg(long, default_value_t = 0)]
    work: u64,
    /// End after so many batches
    #[arg(long, default_value_t = u64::MAX, hide_default_value = true)]
    frames: u64,
    /// End after so many seconds
    #[arg(long, default_value_t = u32::MAX, hide_default_value = true)]
    seconds: u32,
}

/// How long one wait takes at most, so that Ctrl-C is heard.
const BREATH: Duration = Duration::from_millis(100);

static STOP: AtomicBool = AtomicBool::new(false);

fn main() -> Result<()> {
    let args = Args::parse();
    ensure!(
        args.rank < args.ranks,
        "rank {} of {}: give 0 to {}",
        args.rank,
        args.ranks,
        args.ranks - 1
    );
    ctrlc::set_handler(|| STOP.store(true, Ordering::Relaxed))?;

    let ends = Instant::now() + Duration::from_secs(args.seconds.into());
    let Some((consumer, queue)) = join(&args.name, ends)? else { return Ok(()) };
    println!("rank {}: takes seat {} of {}", args.rank, consumer.seat(), args.name);
    let mut batches = 0;
    while batches < args.frames && Instant::now() < ends && !STOP.load(Ordering::Relaxed) {
        let ticket = match queue.get(&consumer, Wait::from(BREATH)) {
            Ok(ticket) => ticket,
            Err(QueueError::Timeout { .. }) => continue,
            // The tokenizer has ended, and there is nothing left to do.
            Err(QueueError::Retired { .. } | QueueError::Removed { .. }) => break,
            Err(error) => return Err(error.into()),
        };
        match consumer.redeem_batch(&ticket) {
            Ok(batch) => compute(&args, batch)?,
            // A ticket whose time is over says so; it never leads to somebody else's tensors.
            Err(RedeemError::Stale { .. }) => continue,
            Err(error) => return Err(error.into()),
        }
        batches += 1;
    }
    println!("rank {}: {batches} batches", args.rank);
    Ok(())
}

/// A seat in the pool, and the queue of its batches; nothing if the program is to end.
fn join(name: &str, ends: Instant) -> Result<Option<(Consumer, Queue)>> {
    let mut seat: Option<Consumer> = None;
    while Instant::now() < ends && !STOP.load(Ordering::Relaxed) {
        // A seat that was taken is kept: the tokenizer counts on whoever has one.
        let consumer = match seat.take() {
            Some(consumer) => consumer,
            None => match Consumer::open_within(name, BREATH) {
                Ok(consumer) => consumer,
                Err(JoinError::Open(error)) if is_early(&error) => continue,
                Err(error) => return Err(error).context("cannot join the pool"),
            },
        };
        match Queue::open("batches", &consumer.pool()) {
            Ok(queue) => return Ok(Some((consumer, queue))),
            // The tokenizer is about to make it.
            Err(QueueError::NotFound { .. }) => std::thread::sleep(Duration::from_millis(2)),
            Err(error) => return Err(error.into()),
        }
        seat = Some(consumer);
    }
    Ok(None)
}

fn compute(args: &Args, batch: BatchLease) -> Result<()> {
    ensure!(batch.parts().len() == 3, "a batch has 3 tensors, not {}", batch.parts().len());
    let part = |index| batch.to_vec(index).unwrap_or_default();
    let head: Vec<u64> = bytemuck::pod_collect_to_vec(&part(2));
    let [number, tokens, width] = head[..] else {
        anyhow::bail!("the head of a batch has 3 values, not {}", head.len())
    };
    // The copy a rank makes anyway: into the memory that it computes in, such as its GPU's.
    let ids: Vec<u32> = bytemuck::pod_collect_to_vec(&part(1));
    let embeddings: Vec<f32> = bytemuck::pod_collect_to_vec(&part(0));
    let width = usize::try_from(width)?;
    ensure!(ids.len() as u64 == tokens && embeddings.len() == ids.len() * width, "not one batch");

    let columns = args.rank * width / args.ranks..(args.rank + 1) * width / args.ranks;
    let mine = embeddings.chunks_exact(width).flat_map(|row| &row[columns.clone()]);
    let sum: f64 = mine.copied().map(f64::from).sum();
    println!("rank {}: batch {number} has {tokens} tokens, sum {sum}", args.rank);
    std::thread::sleep(Duration::from_millis(args.work));
    // One acknowledgement for the whole batch. Dropping the lease does the same.
    batch.release();
    Ok(())
}

fn is_early(error: &shm_pool::OpenError) -> bool {
    matches!(
        error,
        shm_pool::OpenError::Segment(OpenError::NotFound { .. } | OpenError::NotReady { .. })
    )
}

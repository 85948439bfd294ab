//! One tokenizer feeds all ranks of a tensor-parallel model: each batch is several tensors of any
//! size, written once, read by every rank where it lies.
//!
//! Memory is lent from a pool of chunks. A batch is all or nothing: its tensors are lent together,
//! published under one ticket, and free again together once the last rank is done.

use anyhow::{Context, Result, ensure};
use clap::Parser;
use shm_pool::{
    Audience, Batch, LendError, Mode, Policy, Pool, PoolConfig, PublishError, Queue, QueueError,
    Revoked, Ticket, Wait,
};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Sends batches of tokens and embeddings to all ranks
#[derive(Parser)]
#[command(name = "tokenizer")]
struct Args {
    /// The pool to lend from
    #[arg(default_value = "examples/batches")]
    name: String,
    /// Ranks to wait for before the first batch
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=32))]
    ranks: u8,
    /// Size of the pool in MiB
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(2..))]
    capacity: u16,
    /// Batches per second
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
    /// End after so many batches
    #[arg(long, default_value_t = u64::MAX, hide_default_value = true)]
    frames: u64,
    /// End after so many seconds
    #[arg(long)]
    seconds: Option<u64>,
}

/// What the ranks have to know, too: it is in the last tensor of each batch.
const WIDTH: usize = 64;
const TEXT: &str = "The quick brown fox jumps over the lazy dog. Größe ist relativ, 形も。";
/// Tokens of the longest batch.
const LONGEST: usize = 4096;
/// How long one wait takes at most, so that Ctrl-C is heard.
const BREATH: Duration = Duration::from_millis(100);

static STOP: AtomicBool = AtomicBool::new(false);

fn main() -> Result<()> {
    let args = Args::parse();
    ctrlc::set_handler(|| STOP.store(true, Ordering::Relaxed))?;

    // Every rank that is expected is waited for, be it there or not; those that have died are not.
    let config =
        PoolConfig::chunks(usize::from(args.capacity) << 20)?.consumers(args.ranks.into())?;
    let pool = Pool::create(&args.name, &config).context("the pool cannot be created")?;
    // Everybody gets every ticket. The pool is the limit of what may be under way, and so is this.
    let queue = Queue::create("batches", &pool, 16, Mode::Broadcast)?;
    // What a killed rank held comes back within milliseconds, also while nobody lends.
    let recycler = pool.recycler()?;
    println!("tokenizer: waiting for {} ranks in {}", args.ranks, pool.name());
    wait_until(|| pool.stats().consumers >= args.ranks.into(), None);

    let begun = Instant::now();
    let ends = args.seconds.map(|seconds| begun + Duration::from_secs(seconds));
    let mut chance = fastrand::Rng::with_seed(1);
    for number in 0..args.frames {
        let due = begun + Duration::from_secs(number) / args.rate;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let ids = tokenize(TEXT, chance.usize(1..=LONGEST));
        if ends.is_some_and(|ends| Instant::now() >= ends) || !send(&pool, &queue, number, &ids)? {
            break;
        }
        let sum: f64 = ids.iter().flat_map(|&id| embedding(id)).map(f64::from).sum();
        println!("tokenizer: batch {number} has {} tokens, sum {sum}", ids.len());
    }

    // Ranks finish what they have been sent. The pool goes with its owner, and they end then.
    let all_back = wait_until(|| pool.stats().in_use() == 0, Some(Duration::from_secs(20)));
    let stats = pool.stats();
    println!(
        "tokenizer: {} chunks in use, {} came back from dead ranks, at most {} KiB at once",
        stats.in_use(),
        stats.reclaimed,
        stats.high_water_bytes >> 10
    );
    ensure!(all_back, "somebody still holds a batch: {:?}", pool.overdue());
    drop(recycler);
    Ok(())
}

/// Lends, fills, publishes and announces one batch; false if the program is to end.
fn send(pool: &Pool, queue: &Queue, number: u64, ids: &[u32]) -> Result<bool> {
    let bytes = [WIDTH * size_of_val(ids), size_of_val(ids), 3 * size_of::<u64>()];
    while !STOP.load(Ordering::Relaxed) {
        // All three or none. Where there is no room, whoever came first gets it first.
        let batch = match pool.lend_many(&bytes, BREATH.into(), Policy::Block) {
            Ok(batch) => batch,
            Err(LendError::Timeout { .. }) => continue,
            Err(error) => return Err(error.into()),
        };
        match fill(batch, number, ids)?.publish(Audience::Everyone) {
            Ok(ticket) => return announce(queue, &ticket),
            Err(PublishError::NoConsumers { .. }) => {
                // The last rank has died; there will be another.
                wait_until(|| pool.stats().consumers > 0, None);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(false)
}

/// Writes the tensors where the ranks will read them.
fn fill(mut batch: Batch, number: u64, ids: &[u32]) -> Result<Batch> {
    if let [embeddings, tokens, head] = batch.slots() {
        let shape = [number, ids.len() as u64, WIDTH as u64];
        head.as_mut_slice()?.copy_from_slice(&shape);
        tokens.as_mut_slice()?.copy_from_slice(ids);
        let rows = embeddings.as_mut_slice::<f32>()?.chunks_exact_mut(WIDTH);
        rows.zip(ids).for_each(|(row, &id)| row.copy_from_slice(&embedding(id)));
    }
    Ok(batch)
}

fn announce(queue: &Queue, ticket: &Ticket) -> Result<bool> {
    while !STOP.load(Ordering::Relaxed) {
        match queue.put(ticket, Wait::from(BREATH)) {
            Ok(()) => return Ok(true),
            // A rank is behind, or was killed a moment ago.
            Err(QueueError::Timeout { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // Nobody will hear of it, so nobody shall be waited for.
    let revoked = queue.pool().revoke(ticket)?;
    ensure!(revoked == Revoked::Freed, "a batch that nobody was told of is held: {revoked:?}");
    Ok(false)
}

/// Tokens of a byte-level tokenizer: one for each byte of UTF-8, with 0 to 2 reserved.
fn tokenize(text: &str, tokens: usize) -> Vec<u32> {
    text.bytes().cycle().take(tokens).map(|byte| u32::from(byte) + 3).collect()
}

/// A row of the embedding table. Its values are multiples of 1/64, so sums of them are exact.
fn embedding(id: u32) -> [f32; WIDTH] {
    std::array::from_fn(|column| ((id as usize * 31 + column * 17) % 97) as f32 / 64.0 - 0.75)
}

/// Waits for something, but no longer than it is told to, or until the program is to end.
fn wait_until(is_so: impl Fn() -> bool, longest: Option<Duration>) -> bool {
    let begun = Instant::now();
    while !is_so() {
        if longest.map_or(STOP.load(Ordering::Relaxed), |longest| begun.elapsed() > longest) {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    true
}

//! A worker of an inference engine: takes the keys and values of a prompt's blocks from the store
//! that all workers share, and computes those that nobody has stored yet.
//!
//! The key of a block stands for all tokens up to its end, so prompts that begin alike share
//! blocks. A worker that is killed before it commits has stored nothing, whatever it had written.

use anyhow::{Context, Result, bail};
use clap::Parser;
use shm_core::{Dtype, TensorDesc};
use shm_pool::{Reservation, Retrieved, Store, StoreError, Wait};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use xxhash_rust::xxh3::xxh3_128;

/// Serves prompts from a shared cache
#[derive(Parser)]
#[command(name = "kv-worker")]
struct Args {
    /// The store to use
    #[arg(default_value = "examples/kv")]
    name: String,
    /// Which prompts it gets: other workers have other numbers
    #[arg(long, default_value_t = 0)]
    rank: u64,
    /// Wait for ever with one block written and not committed; kill it then
    #[arg(long)]
    hang: bool,
    /// End after so many prompts
    #[arg(long, default_value_t = 1000)]
    frames: u64,
    /// End after so many seconds
    #[arg(long, default_value_t = u32::MAX, hide_default_value = true)]
    seconds: u32,
}

/// Of one block, as keys and as values.
const SHAPE: [usize; 3] = [4, BLOCK, 64];
/// Tokens in a block.
const BLOCK: usize = 16;
/// How long a peer may take for a block before this worker gives up.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long one wait takes at most, so that Ctrl-C is heard.
const BREATH: Duration = Duration::from_millis(100);

static STOP: AtomicBool = AtomicBool::new(false);

fn main() -> Result<()> {
    let args = Args::parse();
    ctrlc::set_handler(|| STOP.store(true, Ordering::Relaxed))?;

    let ends = Instant::now() + Duration::from_secs(args.seconds.into());
    let store = Store::open_within(&args.name, Duration::from_secs(20))
        .context("there is no store to use; start kv-store first")?;
    let mut chance = fastrand::Rng::with_seed(args.rank);
    let (mut prompts, mut asked, mut computed) = (0, 0, 0);
    while prompts < args.frames && Instant::now() < ends && !STOP.load(Ordering::Relaxed) {
        let keys = keys(&prompt(&mut chance));
        if args.hang {
            hang(&store, &keys[0])?;
        }
        computed += serve(&store, &keys)?;
        asked += keys.len();
        prompts += 1;
    }
    println!(
        "worker {}: {prompts} prompts, {asked} blocks asked for, {computed} computed",
        args.rank
    );
    Ok(())
}

type Key = [u8; 16];

/// One of a few system prompts, and what a user has to say.
fn prompt(chance: &mut fastrand::Rng) -> Vec<u32> {
    let system = chance.u32(0..4);
    let mut tokens: Vec<u32> = (0..8 * BLOCK as u32).map(|token| 1000 * system + token).collect();
    tokens.extend((0..chance.usize(1..=4) * BLOCK).map(|_| chance.u32(0..50_000)));
    tokens
}

/// Each block's key contains the one before, as its values depend on all tokens before.
fn keys(tokens: &[u32]) -> Vec<Key> {
    let mut before = Key::default();
    let chain = tokens.chunks_exact(BLOCK).map(|block| {
        let text = [&before[..], bytemuck::cast_slice(block)].concat();
        before = xxh3_128(&text).to_le_bytes();
        before
    });
    chain.collect()
}

/// Has all blocks of a prompt at once, computing what nobody has; how many it computed.
fn serve(store: &Store, keys: &[Key]) -> Result<usize> {
    let wanted: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
    let deadline = Instant::now() + PATIENCE;
    let mut computed = 0;
    let mut wait = Wait::Try;
    while !STOP.load(Ordering::Relaxed) {
        // All or none: while they are leased, none of them is evicted.
        match store.prepare_retrieve(&wanted, wait) {
            Ok(found) => {
                attend(&found, keys)?;
                found.release();
                break;
            }
            Err(StoreError::Missing { missing, .. }) if Instant::now() < deadline => {
                for index in missing {
                    computed += usize::from(compute(store, &keys[index])?);
                }
                // What others are computing may come.
                wait = Wait::from(BREATH);
            }
            Err(error) => return Err(error).context("the blocks of a prompt do not come"),
        }
    }
    Ok(computed)
}

/// Stores one block, unless somebody else has or is about to.
fn compute(store: &Store, key: &Key) -> Result<bool> {
    let Some(mut reservation) = reserve(store, key)? else { return Ok(false) };
    for (index, numbers) in numbers(key).iter().enumerate() {
        // In place: nothing is copied, and nobody sees it before the commit.
        reservation.tensor_mut(index)?.copy_from_slice(numbers);
    }
    reservation.commit()?;
    Ok(true)
}

fn reserve(store: &Store, key: &Key) -> Result<Option<Reservation>> {
    let tensor = TensorDesc::new(Dtype::F32, &SHAPE)?;
    match store.prepare_store(key, &[tensor.clone(), tensor], PATIENCE.into()) {
        Ok(reservation) => Ok(Some(reservation)),
        Err(StoreError::Exists { .. } | StoreError::InProgress { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Stands for the transformer's layers: keys and values that depend on all tokens up to the block.
fn numbers(key: &Key) -> [Vec<f32>; 2] {
    let mut chance = fastrand::Rng::with_seed(xxh3_128(key) as u64);
    [(); 2].map(|()| (0..SHAPE.iter().product()).map(|_| chance.f32()).collect())
}

/// Stands for attention: reads every number, and knows what it should be.
fn attend(found: &Retrieved, keys: &[Key]) -> Result<()> {
    for (block, key) in keys.iter().enumerate() {
        for (index, expected) in numbers(key).iter().enumerate() {
            let tensor = found.tensor(block, index)?;
            let mut seen = vec![0.0_f32; expected.len()];
            tensor.copy_to(&mut seen)?;
            if seen != *expected {
                bail!("block {block} has the numbers of another one");
            }
        }
    }
    Ok(())
}

/// Half-way through a block, for ever.
fn hang(store: &Store, key: &Key) -> Result<()> {
    let mut reservation = reserve(store, key)?.context("somebody has stored that block already")?;
    reservation.tensor_mut::<f32>(0)?.fill(f32::NAN);
    println!("worker: hangs before the commit of block {:032x}", u128::from_le_bytes(*key));
    while !STOP.load(Ordering::Relaxed) {
        std::thread::sleep(BREATH);
    }
    bail!("interrupted before the commit")
}

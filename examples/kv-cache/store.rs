//! Owns the memory of a cache of keys and values, and tells what goes on in it.
//!
//! It serves nobody: workers reach the store by themselves, and go on while this program is
//! stopped.

use anyhow::{Context, Result};
use clap::Parser;
use shm_pool::{Store, StoreConfig};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Owns a store, and reports once a second
#[derive(Parser)]
#[command(name = "kv-store")]
struct Args {
    /// The store to create
    #[arg(default_value = "examples/kv")]
    name: String,
    /// Its size in MiB; what nobody has in use makes room for what is new
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..))]
    capacity: u16,
    /// End after so many seconds
    #[arg(long, default_value_t = u32::MAX, hide_default_value = true)]
    seconds: u32,
}

static STOP: AtomicBool = AtomicBool::new(false);

fn main() -> Result<()> {
    let args = Args::parse();
    ctrlc::set_handler(|| STOP.store(true, Ordering::Relaxed))?;

    let config = StoreConfig::new(usize::from(args.capacity) << 20)?;
    let store = Store::create(&args.name, &config).context("the store cannot be created")?;
    // What a worker reserved and never committed is free again as soon as it is dead.
    let _recycler = store.recycler()?;
    println!("store: {} MiB in {}", store.capacity() >> 20, store.name());

    let ends = Instant::now() + Duration::from_secs(args.seconds.into());
    let mut reported = Instant::now();
    while Instant::now() < ends && !STOP.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(20));
        if reported.elapsed() >= Duration::from_secs(1) {
            report(&store, "now");
            reported = Instant::now();
        }
    }
    report(&store, "in the end");
    let report = store.fsck();
    anyhow::ensure!(report.is_clean(), "the store is damaged: {:?}", report.problems);
    Ok(())
}

fn report(store: &Store, when: &str) {
    let stats = store.stats();
    println!(
        "store: {when} {} stored, {} being stored, {} hits, {} misses, {} evicted, {} reclaimed, \
         {} workers",
        stats.stored,
        stats.filling,
        stats.hits,
        stats.misses,
        stats.evicted,
        stats.reclaimed,
        // The owner is attached as a worker, too.
        stats.consumers.saturating_sub(1)
    );
}

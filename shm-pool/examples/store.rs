//! A keyed store: reserve, fill, commit, retrieve, release; and what each costs beyond the copy.
//!
//! `cargo run --release -p shm-pool --example store`

use shm_core::{Dtype, TensorDesc};
use shm_pool::{Store, StoreConfig, Wait};
use std::hint::black_box;
use std::time::{Duration, Instant};

const VALUE: usize = 2 << 20;
const ROUNDS: usize = 400;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let name = format!("demo-store-{}", std::process::id());
    let store = Store::create(&name, &StoreConfig::new(1 << 30)?)?;
    // Usually in another process.
    let worker = Store::open(&name)?;

    let layout = [TensorDesc::new(Dtype::U8, &[VALUE])?];
    let value = vec![7_u8; VALUE];
    let mut reservation = store.prepare_store(b"prompt-17/layer-0", &layout, Wait::Try)?;
    reservation.copy_tensor(0, &value)?;
    reservation.commit()?;
    let retrieved = worker.prepare_retrieve(&[b"prompt-17/layer-0"], Wait::Try)?;
    let tensor = retrieved.tensor(0, 0)?;
    println!("{}, the last element is {}", tensor.desc(), tensor.get::<u8>(VALUE - 1)?);
    retrieved.release();
    println!("removed: {}", store.remove(b"prompt-17/layer-0")?);

    // Filling the store, with room to spare: every page is written once before anything is timed.
    for round in 0..2 {
        let stored = store_all(&store, &layout, &value, 0)?;
        if round == 1 {
            println!("\nof 2 MiB values, median (and 99th percentile):");
            stored.print("prepare_store + commit, room to spare");
        }
        let got = retrieve_all(&worker)?;
        if round == 1 {
            got.print("prepare_retrieve + release");
            store.clear()?;
            store_all(&store, &layout, &value, 0)?;
            let evicted = store.stats().evicted;
            store_all(&store, &layout, &value, ROUNDS)?;
            let full = store_all(&store, &layout, &value, 2 * ROUNDS)?;
            full.print("prepare_store + commit, evicting one for each");
            println!("  evicted meanwhile: {}", store.stats().evicted - evicted);
        }
        store.clear()?;
    }
    let stats = store.stats();
    println!("{} hits, {} misses, {} evicted", stats.hits, stats.misses, stats.evicted);
    Ok(())
}

fn key(number: usize) -> [u8; 32] {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&number.to_le_bytes());
    key
}

/// Stores `ROUNDS` values; what that costs without the copy, and the copy.
fn store_all(
    store: &Store,
    layout: &[TensorDesc],
    value: &[u8],
    from: usize,
) -> Result<Timings, Box<dyn std::error::Error>> {
    let mut timings = Timings::default();
    for number in from..from + ROUNDS {
        let key = key(number);
        let begun = Instant::now();
        let mut reservation = store.prepare_store(&key, layout, Wait::Try)?;
        let prepared = begun.elapsed();
        let begun = Instant::now();
        reservation.copy_tensor(0, value)?;
        timings.copies.push(begun.elapsed());
        let begun = Instant::now();
        reservation.commit()?;
        timings.rest.push(prepared + begun.elapsed());
    }
    Ok(timings)
}

/// Retrieves `ROUNDS` values; what that costs without the copy, and the copy.
fn retrieve_all(worker: &Store) -> Result<Timings, Box<dyn std::error::Error>> {
    let mut timings = Timings::default();
    let mut out = vec![0_u8; VALUE];
    for number in 0..ROUNDS {
        let key = key(number);
        let begun = Instant::now();
        let retrieved = worker.prepare_retrieve(&[&key], Wait::Try)?;
        let prepared = begun.elapsed();
        let begun = Instant::now();
        retrieved.tensor(0, 0)?.copy_to(black_box(&mut out))?;
        timings.copies.push(begun.elapsed());
        let begun = Instant::now();
        retrieved.release();
        timings.rest.push(prepared + begun.elapsed());
    }
    Ok(timings)
}

#[derive(Default)]
struct Timings {
    rest: Vec<Duration>,
    copies: Vec<Duration>,
}

impl Timings {
    fn print(mut self, what: &str) {
        let at = |timings: &mut Vec<Duration>, part: usize| {
            timings.sort_unstable();
            timings[timings.len() * part / 100]
        };
        let rest = (at(&mut self.rest, 50), at(&mut self.rest, 99));
        let copy = (at(&mut self.copies, 50), at(&mut self.copies, 99));
        println!(
            "  {what}: {:.2?} ({:.2?}), the copy: {:.1?} ({:.1?})",
            rest.0, rest.1, copy.0, copy.1
        );
    }
}

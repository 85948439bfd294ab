//! Slots of one size: lend, fill, publish, redeem, release.
//!
//! `cargo run --release -p shm-pool --example slots`

use shm_pool::{Audience, Consumer, Policy, Pool, PoolConfig, Wait};
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let name = format!("demo-slots-{}", std::process::id());
    let pool = Pool::create(&name, &PoolConfig::slots(8, 640 * 480)?)?;
    // Usually in another process.
    let consumer = Consumer::open(&name)?;

    let mut slot = pool.lend(640 * 480, Wait::from(Duration::from_secs(1)), Policy::Block)?;
    slot.bytes_mut().fill(7);
    let ticket = slot.publish(Audience::Everyone)?;
    let lease = consumer.redeem(&ticket)?;
    println!("{} bytes, the last one is {}", lease.byte_len(), lease.get::<u8>(640 * 480 - 1)?);
    lease.release();

    let rounds = 1_000_000;
    let begun = Instant::now();
    for _ in 0..rounds {
        let slot = pool.lend(64, Wait::Try, Policy::Fail)?;
        let ticket = slot.publish(Audience::Everyone)?;
        consumer.redeem(&ticket)?.release();
    }
    let each = begun.elapsed() / rounds;
    println!("lend, publish, redeem and release: {each:?}");
    println!("{:#?}", pool.stats());
    Ok(())
}

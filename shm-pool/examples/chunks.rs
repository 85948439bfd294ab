//! Chunks of any size from one arena, and what happens when it is full.
//!
//! `cargo run --release -p shm-pool --example chunks`

use shm_pool::{Audience, Policy, Pool, PoolConfig, Wait};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let name = format!("demo-chunks-{}", std::process::id());
    let pool = Pool::create(&name, &PoolConfig::chunks(64 << 20)?.consumers(1)?)?;
    let consumer = pool.consumer()?;

    let mut tickets = Vec::new();
    for megabytes in [1, 5, 20, 30] {
        let mut slot = pool.lend(megabytes << 20, Wait::Try, Policy::Fail)?;
        slot.bytes_mut().fill(megabytes as u8);
        tickets.push(slot.publish(Audience::Everyone)?);
    }
    let stats = pool.stats();
    println!("{} chunks, {} MiB free", stats.shared, stats.free_bytes >> 20);

    // Nothing that large is free. The error names who has had memory for longest.
    let full = pool.lend(20 << 20, Wait::Try, Policy::Fail).unwrap_err();
    println!("{full}");

    // The oldest publication that nobody has begun to read makes room, as often as it takes.
    let slot = pool.lend(20 << 20, Wait::Try, Policy::DropOldestUnread)?;
    println!("got {} MiB; {} were dropped", slot.byte_len() >> 20, pool.stats().dropped);

    for ticket in &tickets {
        match consumer.redeem(ticket) {
            Ok(lease) => println!("{} MiB of {}", lease.byte_len() >> 20, lease.get::<u8>(0)?),
            Err(error) => println!("{error}"),
        }
    }
    Ok(())
}

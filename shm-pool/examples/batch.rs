//! Several slots that are published, held and freed as one.
//!
//! `cargo run --release -p shm-pool --example batch`

use shm_pool::{Audience, Policy, Pool, PoolConfig, Wait};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let name = format!("demo-batch-{}", std::process::id());
    let pool = Pool::create(&name, &PoolConfig::chunks(16 << 20)?)?;
    let consumer = pool.consumer()?;

    // Pixels, mask and positions of one image: all of them, or none.
    let mut batch = pool.lend_many(&[3 << 20, 1 << 20, 4096], Wait::Try, Policy::Block)?;
    for (value, slot) in (1..).zip(batch.slots()) {
        slot.bytes_mut().fill(value);
    }
    let ticket = batch.publish(Audience::Everyone)?;

    let lease = consumer.redeem_batch(&ticket)?;
    for (index, part) in lease.parts().iter().enumerate() {
        let bytes = lease.to_vec(index).unwrap_or_default();
        println!("part {index}: {} bytes of {}", part.byte_len, bytes[0]);
    }
    lease.release();
    println!("{} of {} slots are free", pool.stats().free, pool.slots());
    Ok(())
}

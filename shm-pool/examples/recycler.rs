//! A producer is killed with a slot in its hands; a thread that sleeps in the kernel gives it back.
//!
//! `cargo run --release -p shm-pool --example recycler`

use shm_pool::{Policy, Pool, PoolConfig, Wait};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    if let Some(name) = std::env::args().nth(1) {
        return hold_a_slot(&name);
    }
    let name = format!("demo-recycler-{}", std::process::id());
    let pool = Pool::create(&name, &PoolConfig::slots(4, 4096)?)?;
    let _recycler = pool.recycler()?;

    let mut child = Command::new(std::env::current_exe()?)
        .arg(&name)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let output = child.stdout.take().ok_or("the child has no output")?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line)?;
    println!("the child {}: {} of 4 slots are free", line.trim(), pool.stats().free);

    child.kill()?;
    let killed = Instant::now();
    while pool.stats().free < 4 && killed.elapsed() < Duration::from_secs(5) {
        std::thread::sleep(Duration::from_micros(100));
    }
    println!("killed; {} of 4 are free after {:.1?}", pool.stats().free, killed.elapsed());
    child.wait()?;
    Ok(())
}

fn hold_a_slot(name: &str) -> Result<(), Box<dyn std::error::Error>> {
    let pool = Pool::open(name)?;
    let slot = pool.lend(4096, Wait::Try, Policy::Fail)?;
    println!("holds slot {}", slot.index());
    // Until it is killed, or its parent is gone.
    std::io::stdin().lock().read_line(&mut String::new())?;
    Ok(())
}

//! Tickets through a queue: to one of several workers, to everybody, and what one hop costs.
//!
//! `cargo run --release -p shm-pool --example queue`

use shm_pool::{Audience, Consumer, Mode, Policy, Pool, PoolConfig, Queue, Ticket, Wait};
use std::hint::black_box;
use std::time::{Duration, Instant};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> Outcome {
    let name = format!("demo-queue-{}", std::process::id());
    let pool = Pool::create(&name, &PoolConfig::slots(64, 4096)?.consumers(2)?)?;
    let workers = [Consumer::open(&name)?, Consumer::open(&name)?];
    let requests = Queue::create("requests", &pool, 32, Mode::Work)?;
    let frames = Queue::create("frames", &pool, 32, Mode::Broadcast)?;

    // Usually the workers are other processes, which open pool and queues by their names.
    for value in 0..4 {
        requests.put(&publish(&pool, value, Audience::Any)?, Wait::FOREVER)?;
        frames.put(&publish(&pool, 10 + value, Audience::Everyone)?, Wait::FOREVER)?;
    }
    for worker in &workers {
        let requests = Queue::open("requests", &worker.pool())?;
        let frames = Queue::open("frames", &worker.pool())?;
        for queue in [&requests, &requests, &frames, &frames, &frames, &frames] {
            let lease = worker.redeem(&queue.get(worker, Wait::from(Duration::from_secs(1)))?)?;
            println!("worker {}: {} from {}", worker.seat(), lease.get::<u64>(0)?, queue.name());
        }
    }

    let seat = &workers[0];
    time("put and get for anybody, with lend, publish, redeem and release", 1_000_000, || {
        let ticket = publish(&pool, 0, Audience::Any)?;
        requests.put(&ticket, Wait::Try)?;
        seat.redeem(&requests.get(seat, Wait::Try)?)?.release();
        Ok(())
    })?;
    time("the same without the queue", 1_000_000, || {
        let ticket = publish(&pool, 0, Audience::Any)?;
        seat.redeem(&ticket)?.release();
        Ok(())
    })?;
    // A ticket that is for this seat may be passed through any number of times.
    let ticket = publish(&pool, 0, Audience::Seats(1 << seat.seat()))?;
    time("put and get alone, work", 10_000_000, || {
        requests.put(black_box(&ticket), Wait::Try)?;
        black_box(requests.get(seat, Wait::Try)?);
        Ok(())
    })?;
    let [seat, other] = workers;
    other.leave();
    time("put and get alone, broadcast to one", 10_000_000, || {
        frames.put(black_box(&ticket), Wait::Try)?;
        black_box(frames.get(&seat, Wait::Try)?);
        Ok(())
    })?;
    seat.redeem(&ticket)?.release();
    across_threads(&pool, &requests, &seat)?;
    println!("{:#?}", Queue::list(&pool));
    Ok(())
}

fn publish(pool: &Pool, value: u64, audience: Audience) -> Result<Ticket, shm_pool::PublishError> {
    let mut slot = pool.lend(64, Wait::FOREVER, Policy::Block).expect("64 bytes fit");
    slot.bytes_mut()[..8].copy_from_slice(&value.to_ne_bytes());
    slot.publish(audience)
}

fn time(what: &str, rounds: u32, mut round: impl FnMut() -> Outcome) -> Outcome {
    let begun = Instant::now();
    for _ in 0..rounds {
        round()?;
    }
    println!("{what}: {:?}", begun.elapsed() / rounds);
    Ok(())
}

/// A producer and a worker at the same time.
fn across_threads(pool: &Pool, queue: &Queue, worker: &Consumer) -> Outcome {
    let rounds = 1_000_000;
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let producer = scope.spawn(move || {
            for value in 0..rounds {
                let ticket = publish(pool, value.into(), Audience::Any).expect("a worker is there");
                queue.put(&ticket, Wait::FOREVER).expect("the queue is there");
            }
        });
        for _ in 0..rounds {
            worker.redeem(&queue.get(worker, Wait::FOREVER)?)?.release();
        }
        producer.join().expect("the producer does not panic");
        println!("from one thread to another: {:?} each", begun.elapsed() / rounds);
        Ok(())
    })
}

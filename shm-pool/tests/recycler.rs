//! The thread that gives back what the dead had, while nobody calls.
#![cfg(target_os = "linux")]

use shm_pool::{Audience, Consumer, Policy, Pool, PoolConfig, Slot, Ticket, Wait};
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Under this name the test program finds the pool that it is to hold something of, as a child.
const POOL: &str = "SHM_POOL_TEST_HOLD";

/// Long enough for any machine; what is measured is said by each test itself.
const PATIENCE: Duration = Duration::from_secs(60);

fn name(test: &str) -> String {
    format!("test-recycler-{test}-{}", std::process::id())
}

/// A child that holds a slot it fills, one it has published, and a lease.
struct Holder {
    child: Child,
    published: Ticket,
}

impl Holder {
    fn start(pool: &str, ticket: &Ticket) -> Holder {
        let program = std::env::current_exe().unwrap();
        let mut child = Command::new(program)
            .args(["--exact", "the_child_of_the_tests", "--nocapture"])
            .env(POOL, format!("{pool} {}", hex(&ticket.to_bytes())))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let published = lines
            .map_while(Result::ok)
            .find_map(|line| Some(unhex(line.split_once("published ")?.1)))
            .expect("the child holds what it should");
        Holder { child, published: Ticket::from_bytes(&published).unwrap() }
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.trim().as_bytes().chunks(2);
    digits.map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}

fn lend(pool: &Pool) -> Slot {
    pool.lend(100, Wait::Try, Policy::Fail).unwrap()
}

/// What the child does; nothing where the test program was not started as one.
#[test]
fn the_child_of_the_tests() {
    let Ok(text) = std::env::var(POOL) else { return };
    let (name, ticket) = text.split_once(' ').unwrap();
    let pool = Pool::open(name).unwrap();
    let consumer = Consumer::open(name).unwrap();
    let lease = consumer.redeem(&Ticket::from_bytes(&unhex(ticket)).unwrap()).unwrap();
    let mut filling = lend(&pool);
    filling.bytes_mut().fill(7);
    let published = lend(&pool).publish(Audience::Seats(1)).unwrap();
    println!("\npublished {}", hex(&published.to_bytes()));
    thread::sleep(PATIENCE);
    drop((lease, filling));
    panic!("nobody killed this child");
}

/// Processor time of a thread of this process, in clock ticks.
fn ticks(thread: &str) -> Option<u64> {
    let threads = fs::read_dir("/proc/self/task").unwrap().map_while(Result::ok);
    threads.into_iter().find_map(|entry| {
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        let (head, tail) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = tail.split_whitespace().collect();
        // Fields 14 and 15 of the line, of which two came before the bracket.
        let time = fields[11].parse::<u64>().ok()? + fields[12].parse::<u64>().ok()?;
        head.ends_with(&format!("({thread}")).then_some(time)
    })
}

/// One recycler at a time, so that a thread of that name is the one that is meant.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The name of a recycler's thread, as the kernel keeps it.
const THREAD: &str = "shm-pool-recycl";

#[test]
fn what_a_killed_process_held_comes_back() {
    let _alone = alone();
    let name = name("kill");
    let config = PoolConfig::slots(4, 256).unwrap().consumers(2).unwrap();
    let pool = Pool::create(&name, &config).unwrap();
    let own = pool.consumer().unwrap();
    let recycler = pool.recycler().unwrap();
    let mut fastest = PATIENCE;
    for round in 0..3 {
        let ticket = lend(&pool).publish(Audience::Any).unwrap();
        let mut holder = Holder::start(&name, &ticket);
        let stats = pool.stats();
        assert_eq!((stats.filling, stats.shared, stats.consumers), (1, 2, 2), "round {round}");

        holder.kill();
        let died = Instant::now();
        // Counted last, when all else is given back.
        while pool.stats().reclaimed < 2 * (round + 1) {
            assert!(died.elapsed() < PATIENCE, "{:?}", pool.fsck());
            thread::sleep(Duration::from_millis(1));
        }
        fastest = fastest.min(died.elapsed());
        // What it published stays, for those it was for.
        let lease = own.redeem(&holder.published).unwrap();
        assert_eq!(lease.byte_len(), 100);
        lease.release();
        let stats = pool.stats();
        assert_eq!((stats.free, stats.consumers), (4, 1), "round {round}");
        assert_eq!(pool.fsck().problems, Vec::<String>::new());
        assert_eq!(stats.reclaimed, 2 * (round + 1), "round {round}");
    }
    assert!(fastest < Duration::from_millis(100), "the fastest of three took {fastest:?}");
    drop(recycler);
}

#[test]
fn a_stopped_recycler_leaves_the_dead_to_the_others() {
    let _alone = alone();
    let name = name("stop");
    let config = PoolConfig::slots(4, 256).unwrap().consumers(2).unwrap();
    let pool = Pool::create(&name, &config).unwrap();
    let _own = pool.consumer().unwrap();
    drop(pool.recycler().unwrap());
    let ticket = lend(&pool).publish(Audience::Any).unwrap();
    let mut holder = Holder::start(&name, &ticket);
    holder.kill();
    assert_eq!(pool.stats().free, 1, "nobody has looked yet");
    let reaped = pool.reap();
    assert_eq!((reaped.members, reaped.consumers, reaped.slots), (2, 1, 2));
    assert_eq!(pool.reap(), shm_pool::Reaped::default());
    assert_eq!(pool.stats().free, 3);
}

#[test]
fn it_sleeps() {
    let _alone = alone();
    let pool = Pool::create(&name("sleep"), &PoolConfig::slots(4, 256).unwrap()).unwrap();
    let _consumer = pool.consumer().unwrap();
    assert_eq!(ticks(THREAD), None);
    let recycler = pool.recycler().unwrap();
    let begun = Instant::now();
    let before = loop {
        // A thread gives itself its name.
        if let Some(ticks) = ticks(THREAD) {
            break ticks;
        }
        assert!(begun.elapsed() < PATIENCE, "its thread is there");
    };
    // Lending and releasing wakes it as little as doing nothing.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(1) {
        drop(lend(&pool));
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(ticks(THREAD), Some(before), "ticks of processor time");
    drop(recycler);
    assert_eq!(ticks(THREAD), None, "its thread ends with it");
}

#[test]
fn there_is_nothing_to_watch_inside_a_process() {
    let pool = Pool::process_local("test-recycler", &PoolConfig::slots(1, 1).unwrap()).unwrap();
    assert_eq!(pool.recycler().unwrap_err().kind(), ErrorKind::Unsupported);
}

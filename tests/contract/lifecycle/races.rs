//! Openers, creators, unlinkers and sweepers at the same name at the same time.

use crate::support::child;
use crate::support::limit::within;
use crate::support::name::Name;
use crate::support::pattern::{assert_same, pattern};
use shm_core::{
    CreateError, Deadline, LockError, OpenError, PublishError, ReadError, Reader, Stream,
    StreamConfig, UnlinkError,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const FOR: Duration = Duration::from_millis(2500);
const LIMIT: Duration = Duration::from_secs(60);
/// Set for processes that join the race of their parent.
const NAME: &str = "SHM_CONTRACT_RACE";

type Tally = BTreeMap<&'static str, u64>;

fn config(elements: usize) -> StreamConfig {
    StreamConfig::of::<u32>(&[elements]).unwrap()
}

/// Opens and reads; whatever is read is one whole frame of a size that belongs to its shape.
fn open_and_read(name: &str, tally: &mut Tally) {
    let what = match Reader::open(name) {
        Ok(mut reader) => match reader.read::<u32>() {
            Ok(frame) => {
                let elements = reader.desc().elements();
                assert_same(&frame.data, &pattern::<u32>(elements, elements as u64));
                "read"
            }
            Err(ReadError::Empty { .. }) => "empty",
            Err(ReadError::Stale { .. }) => "stale",
            Err(error) => panic!("{error:?}"),
        },
        Err(OpenError::NotFound { .. }) => "not found",
        Err(OpenError::NotReady { .. }) => "not ready",
        Err(error) => panic!("{error:?}"),
    };
    *tally.entry(what).or_default() += 1;
}

fn create_and_publish(name: &str, round: usize, replace: bool, tally: &mut Tally) {
    let elements = [1, 300, 3000][round % 3];
    let stream = match Stream::create(name, &config(elements).replace_existing(replace)) {
        Ok(stream) => stream,
        Err(CreateError::Exists { .. }) if !replace => {
            *tally.entry("exists").or_default() += 1;
            return;
        }
        Err(error) => panic!("{error:?}"),
    };
    *tally.entry("created").or_default() += 1;
    match stream.writer(Deadline::NOW) {
        Ok(mut writer) => match writer.publish(&pattern::<u32>(elements, elements as u64)) {
            Ok(1) | Err(PublishError::Stale { .. }) => {}
            outcome => panic!("{outcome:?}"),
        },
        Err(LockError::Stale { .. }) => {}
        Err(error) => panic!("{error:?}"),
    }
}

fn remove(name: &str, tally: &mut Tally) {
    let what = match shm_core::unlink(name) {
        Ok(()) => "unlinked",
        Err(UnlinkError::Stale { .. }) => "stale",
        Err(UnlinkError::Open(OpenError::NotFound { .. })) => "not found",
        Err(error) => panic!("{error:?}"),
    };
    *tally.entry(what).or_default() += 1;
}

/// Runs every job in a loop until the time is up; returns what each counted.
fn race(name: &str, jobs: &[fn(&str, usize, &mut Tally)], time: Duration) -> Vec<Tally> {
    let done = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = jobs
        .iter()
        .map(|&job| {
            let (name, done) = (name.to_owned(), done.clone());
            thread::spawn(move || {
                let (mut tally, mut round) = (Tally::new(), 0);
                while !done.load(Ordering::Relaxed) {
                    job(&name, round, &mut tally);
                    round += 1;
                }
                tally
            })
        })
        .collect();
    let until = Instant::now() + time;
    while Instant::now() < until && !threads.iter().any(thread::JoinHandle::is_finished) {
        thread::sleep(Duration::from_millis(5));
    }
    done.store(true, Ordering::Relaxed);
    within(LIMIT, move || {
        // All of them first: none may go on under a name that a panic has given up.
        let ended: Vec<_> = threads.into_iter().map(thread::JoinHandle::join).collect();
        ended
            .into_iter()
            .map(|outcome| outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

fn sum(tallies: &[Tally], what: &str) -> u64 {
    tallies.iter().filter_map(|tally| tally.get(what)).sum()
}

#[test]
fn threads_race_for_one_name() {
    let name = Name::new("race");
    let tallies = race(
        &name,
        &[
            |name, _, tally| open_and_read(name, tally),
            |name, round, tally| create_and_publish(name, round, false, tally),
            |name, _, tally| remove(name, tally),
        ],
        FOR,
    );
    for what in ["created", "unlinked", "read", "not found"] {
        assert!(sum(&tallies, what) > 0, "no '{what}' in {tallies:?}");
    }
}

#[test]
fn replacing_is_one_step_for_openers() {
    let name = Name::new("replace-race");
    let _first = Stream::create(&name, &config(1)).unwrap();
    let tallies = race(
        &name,
        &[
            |name, _, tally| open_and_read(name, tally),
            |name, round, tally| create_and_publish(name, round, true, tally),
        ],
        FOR,
    );
    assert!(sum(&tallies, "created") > 0 && sum(&tallies, "read") > 0);
    assert_eq!(sum(&tallies, "not found"), 0, "somebody has the name all the time");
}

#[test]
fn processes_race_for_one_name() {
    if let Ok(name) = std::env::var(NAME) {
        let tallies = race(
            &name,
            &[
                |name, _, tally| open_and_read(name, tally),
                |name, round, tally| create_and_publish(name, round, round % 7 == 0, tally),
                |name, _, tally| remove(name, tally),
            ],
            FOR,
        );
        assert!(sum(&tallies, "created") > 0, "{tallies:?}");
        return;
    }
    let name = Name::new("process-race");
    let racers: Vec<_> = (0..3)
        .map(|_| {
            std::process::Command::new(std::env::current_exe().unwrap())
                .args(["lifecycle::races::processes_race_for_one_name", "--exact", "--nocapture"])
                .env(NAME, &*name)
                .stdout(std::process::Stdio::piped())
                .stderr(std::process::Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let pids: Vec<u32> = racers.iter().map(std::process::Child::id).collect();
    let outputs = within(LIMIT, move || {
        racers.into_iter().map(|racer| racer.wait_with_output().unwrap()).collect::<Vec<_>>()
    });
    for output in outputs {
        let text = child::text(&output);
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
    }
    // Whatever the name leads to now is not meant, only what the racers left half done.
    let drafts = shm_tests::leftovers("contract-no-such-prefix", &pids);
    assert!(drafts.is_empty(), "{drafts:?}");
}

/// A sweep holds the name for an instant; an opener must come through or be told that it is gone.
#[test]
fn opening_while_a_sweep_runs() {
    let name = Name::new("sweep-race");
    let tallies = race(
        &name,
        &[
            |name, _, tally| open_and_read(name, tally),
            |name, round, tally| create_and_publish(name, round, false, tally),
            |name, _, tally| {
                let report = shm_core::gc(name, false).unwrap();
                *tally.entry("swept").or_default() += report.removed.len() as u64;
            },
        ],
        FOR,
    );
    for what in ["created", "swept"] {
        assert!(sum(&tallies, what) > 0, "no '{what}' in {tallies:?}");
    }
}

//! One writer at a time, and how the next one gets its turn.

use super::backing::{Backing, on_every_backing};
use crate::support::limit::within;
use crate::support::pattern::{assert_same, pattern};
use shm_core::{Deadline, LockError, StreamConfig};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

on_every_backing!(
    a_second_writer_times_out_and_learns_who_holds_the_lock,
    dropping_a_writer_hands_the_stream_over,
    a_waiting_writer_is_woken,
    many_writers_take_turns_without_losing_a_count,
    a_writer_outlives_its_handle,
);

const SOON: Duration = Duration::from_secs(20);
const LIMIT: Duration = Duration::from_secs(50);

fn config() -> StreamConfig {
    StreamConfig::of::<u64>(&[64]).unwrap()
}

fn a_second_writer_times_out_and_learns_who_holds_the_lock(on: &impl Backing) {
    let subject = on.create(&config());
    let _first = subject.stream.writer(SOON).unwrap();
    for stream in [subject.stream.clone(), subject.second()] {
        for wait in [Duration::ZERO, Duration::from_millis(30)] {
            let error = stream.writer(wait).unwrap_err();
            let LockError::Timeout { name, holder: Some(holder), waited } = error else {
                panic!("{error:?}");
            };
            assert_eq!(name, subject.stream.name());
            assert_eq!(holder.pid, std::process::id());
            assert!(waited >= wait);
            assert!(holder.held_for >= waited && holder.held_for < LIMIT);
        }
    }
}

fn dropping_a_writer_hands_the_stream_over(on: &impl Backing) {
    let subject = on.create(&config());
    let streams = [subject.stream.clone(), subject.second(), subject.second()];
    let mut reader = subject.reader();
    for (count, stream) in (1..=9).zip(streams.iter().cycle()) {
        let mut writer = stream.writer(Deadline::NOW).unwrap();
        assert_eq!(writer.publish(&pattern::<u64>(64, count)), Ok(count));
        assert_same(&reader.read::<u64>().unwrap().data, &pattern::<u64>(64, count));
    }
}

fn a_waiting_writer_is_woken(on: &impl Backing) {
    let subject = on.create(&config());
    for other in [subject.stream.clone(), subject.second()] {
        let first = subject.stream.writer(SOON).unwrap();
        within(LIMIT, move || {
            let next =
                thread::spawn(move || other.writer(Deadline::NEVER).unwrap().publish(&[3_u64; 64]));
            thread::sleep(Duration::from_millis(40));
            drop(first);
            next.join().unwrap().unwrap();
        });
    }
    assert_eq!(subject.stream.count(), 2);
}

fn many_writers_take_turns_without_losing_a_count(on: &impl Backing) {
    const EACH: u64 = 150;
    let subject = on.create(&config());
    let streams =
        [subject.stream.clone(), subject.stream.clone(), subject.second(), subject.second()];
    let writers = streams.len() as u64;
    within(LIMIT, move || {
        let newest = AtomicU64::new(0);
        thread::scope(|scope| {
            for (seed, stream) in streams.iter().enumerate() {
                let newest = &newest;
                scope.spawn(move || {
                    for _ in 0..EACH {
                        let mut writer = stream.writer(SOON).unwrap();
                        let count = writer.publish(&pattern::<u64>(64, seed as u64)).unwrap();
                        // While the lock is held nobody else can publish.
                        assert_eq!(newest.swap(count, Ordering::SeqCst), count - 1);
                    }
                });
            }
        });
        assert_eq!(newest.into_inner(), writers * EACH);
    });
    assert_eq!(subject.stream.count(), writers * EACH);
}

fn a_writer_outlives_its_handle(on: &impl Backing) {
    let subject = on.create(&config());
    let handle = subject.second();
    let mut writer = handle.writer(SOON).unwrap();
    drop(handle);
    assert_eq!(writer.publish(&[5_u64; 64]), Ok(1));
    assert!(matches!(subject.stream.writer(Deadline::NOW), Err(LockError::Timeout { .. })));
    drop(writer);
    assert_eq!(subject.stream.writer(Deadline::NOW).unwrap().publish(&[6_u64; 64]), Ok(2));
}

//! Waiting for frames: level and edge, wake-up by a writer, deadlines.

use super::backing::{Backing, on_every_backing};
use crate::support::limit::within;
use crate::support::pattern::{assert_same, pattern};
use shm_core::{Deadline, ReadError, Reader, StreamConfig, Writer};
use std::thread;
use std::time::{Duration, Instant};

on_every_backing!(
    read_after_is_level_triggered,
    read_new_is_edge_triggered,
    a_sleeping_reader_is_woken,
    every_one_of_many_sleepers_is_woken,
    deadlines_are_kept,
    the_timeout_says_whether_a_writer_lives,
    a_long_conversation_loses_no_wake_up,
);

const SOON: Duration = Duration::from_secs(20);
const LIMIT: Duration = Duration::from_secs(50);

fn config() -> StreamConfig {
    StreamConfig::of::<u64>(&[40]).unwrap()
}

fn publish_later(
    mut writer: Writer,
    seeds: std::ops::RangeInclusive<u64>,
) -> thread::JoinHandle<Writer> {
    thread::spawn(move || {
        for seed in seeds {
            thread::sleep(Duration::from_millis(30));
            writer.publish(&pattern::<u64>(40, seed)).unwrap();
        }
        writer
    })
}

fn read_after_is_level_triggered(on: &impl Backing) {
    let subject = on.create(&config());
    let mut writer = subject.stream.writer(SOON).unwrap();
    let mut reader = subject.reader();
    for seed in 1..=3 {
        writer.publish(&pattern::<u64>(40, seed)).unwrap();
    }
    assert_eq!(reader.wait_after(0, Deadline::NOW), Ok(3));
    assert_eq!(reader.wait_after(2, Deadline::NOW), Ok(3));
    let frame = reader.read_after::<u64>(1, Deadline::NOW).unwrap();
    assert_same(&frame.data, &pattern::<u64>(40, 3));
    assert_eq!(reader.read_after::<u64>(2, Deadline::NOW).unwrap().info.count, 3, "again");
    let late = reader.read_after::<u64>(3, Deadline::NOW);
    assert!(matches!(late, Err(ReadError::Timeout { after: 3, .. })));
    let mut out = [0; 40];
    assert_eq!(reader.read_after_into(2, &mut out, Deadline::NOW).unwrap().count, 3);
    assert_same(&out, &pattern::<u64>(40, 3));
}

fn read_new_is_edge_triggered(on: &impl Backing) {
    let subject = on.create(&config());
    let mut writer = subject.stream.writer(SOON).unwrap();
    writer.publish(&pattern::<u64>(40, 1)).unwrap();
    let mut reader = subject.reader();
    let late = reader.read_new::<u64>(Duration::from_millis(5));
    assert!(matches!(late, Err(ReadError::Timeout { after: 1, .. })), "frame 1 is not new");
    let mut reader = within(LIMIT, move || {
        let writer = publish_later(writer, 2..=2);
        let frame = reader.read_new::<u64>(SOON).unwrap();
        assert_eq!(frame.info.count, 2);
        assert_same(&frame.data, &pattern::<u64>(40, 2));
        drop(writer.join().unwrap());
        reader
    });
    let late = reader.read_new_into(&mut [0_u64; 40], Duration::from_millis(5));
    assert!(matches!(late, Err(ReadError::Timeout { after: 2, .. })));
}

fn a_sleeping_reader_is_woken(on: &impl Backing) {
    let subject = on.create(&config());
    for spin in [Duration::ZERO, Duration::from_micros(2), Duration::from_millis(60)] {
        let writer = subject.second().writer(SOON).unwrap();
        let mut reader = subject.reader();
        reader.set_spin(spin);
        within(LIMIT, move || {
            let start = reader.count();
            let thread = publish_later(writer, start + 1..=start + 5);
            let mut seen = start;
            while seen < start + 5 {
                let frame = reader.read_after::<u64>(seen, SOON).unwrap();
                assert!(frame.info.count > seen);
                seen = frame.info.count;
                assert_same(&frame.data, &pattern::<u64>(40, seen));
            }
            thread.join().unwrap();
        });
    }
}

fn every_one_of_many_sleepers_is_woken(on: &impl Backing) {
    let subject = on.create(&config());
    let readers: Vec<Reader> = (0..12).map(|_| subject.reader()).collect();
    let writer = subject.stream.writer(SOON).unwrap();
    within(LIMIT, move || {
        let waiting: Vec<_> = readers
            .into_iter()
            .map(|reader| thread::spawn(move || reader.wait_after(0, SOON)))
            .collect();
        publish_later(writer, 1..=1).join().unwrap();
        for thread in waiting {
            assert_eq!(thread.join().unwrap(), Ok(1));
        }
    });
}

fn deadlines_are_kept(on: &impl Backing) {
    let subject = on.create(&config());
    let mut reader = subject.reader();
    for wait in [0, 1, 7, 120] {
        let wait = Duration::from_millis(wait);
        let begun = Instant::now();
        let error = reader.read_after::<u64>(0, wait).unwrap_err();
        let ReadError::Timeout { after: 0, waited, writer_alive: Some(false), name } = error else {
            panic!("{error:?}");
        };
        assert_eq!(name, subject.stream.name());
        assert!(waited >= wait && waited <= begun.elapsed());
    }
    let at = Instant::now() + Duration::from_millis(20);
    assert!(matches!(reader.read_new::<u64>(at), Err(ReadError::Timeout { .. })));
    assert!(Instant::now() >= at);
    let past = reader.wait_after(0, Instant::now() - Duration::from_millis(1));
    assert!(matches!(past, Err(ReadError::Timeout { .. })));
}

fn the_timeout_says_whether_a_writer_lives(on: &impl Backing) {
    let subject = on.create(&config());
    let reader = subject.reader();
    let alive = |expected| match reader.wait_after(0, Deadline::NOW) {
        Err(ReadError::Timeout { writer_alive, .. }) => assert_eq!(writer_alive, Some(expected)),
        other => panic!("{other:?}"),
    };
    alive(false);
    let writer = subject.second().writer(SOON).unwrap();
    alive(true);
    drop(writer);
    alive(false);
}

fn a_long_conversation_loses_no_wake_up(on: &impl Backing) {
    let ping = on.create(&config());
    let pong = on.create(&config());
    let mut asks = ping.stream.writer(SOON).unwrap();
    let mut answers = pong.stream.writer(SOON).unwrap();
    let (mut heard, mut told) = (ping.reader(), pong.reader());
    within(LIMIT, move || {
        let rounds = 300;
        let echo = thread::spawn(move || {
            heard.set_spin(Duration::ZERO);
            for round in 0..rounds {
                let frame = heard.read_after::<u64>(round, SOON).unwrap();
                answers.publish(&frame.data).unwrap();
            }
        });
        told.set_spin(Duration::ZERO);
        for round in 0..rounds {
            let data = pattern::<u64>(40, round);
            asks.publish(&data).unwrap();
            assert_same(&told.read_after::<u64>(round, SOON).unwrap().data, &data);
        }
        echo.join().unwrap();
    });
}

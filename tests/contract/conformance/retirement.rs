//! After `unlink`: the last frame can still be read once, everybody who waits is told.

use super::backing::{Backing, on_every_backing};
use crate::support::limit::within;
use crate::support::pattern::{assert_same, pattern};
use shm_core::{Deadline, LockError, PublishError, ReadError, StreamConfig};
use std::thread;
use std::time::Duration;

on_every_backing!(
    an_unseen_frame_can_be_read_once,
    a_seen_frame_is_stale,
    an_empty_stream_is_stale,
    blocked_readers_are_told,
    a_blocked_writer_is_told,
    writers_are_told,
    every_handle_knows,
    what_was_mapped_stays_usable,
);

const SOON: Duration = Duration::from_secs(20);
const LIMIT: Duration = Duration::from_secs(50);

fn config() -> StreamConfig {
    StreamConfig::of::<u16>(&[300]).unwrap()
}

fn an_unseen_frame_can_be_read_once(on: &impl Backing) {
    let subject = on.create(&config());
    let (mut first, mut second) = (subject.reader(), subject.reader());
    let mut writer = subject.stream.writer(SOON).unwrap();
    writer.publish(&pattern::<u16>(300, 1)).unwrap();
    first.read::<u16>().unwrap();
    writer.publish(&pattern::<u16>(300, 2)).unwrap();
    subject.unlink();
    for reader in [&mut first, &mut second] {
        assert_same(&reader.read_after::<u16>(1, SOON).unwrap().data, &pattern::<u16>(300, 2));
        let stale = ReadError::Stale { name: reader.name().to_owned() };
        assert_eq!(reader.read::<u16>(), Err(stale.clone()));
        assert_eq!(reader.read_new::<u16>(SOON), Err(stale.clone()));
        assert_eq!(reader.wait_after(2, Deadline::NEVER), Err(stale.clone()));
        assert_eq!(reader.read_after::<u16>(2, Deadline::NOW), Err(stale));
        assert_eq!(reader.wait_after(1, Deadline::NOW), Ok(2), "what is there needs no waiting");
    }
}

fn a_seen_frame_is_stale(on: &impl Backing) {
    let subject = on.create(&config());
    let mut reader = subject.reader();
    subject.stream.writer(SOON).unwrap().publish(&pattern::<u16>(300, 1)).unwrap();
    let view = reader.view().unwrap();
    subject.unlink();
    let stale = ReadError::Stale { name: reader.name().to_owned() };
    assert_eq!(reader.view().map(drop), Err(stale.clone()));
    assert_eq!(reader.read_into(&mut [0_u16; 300]), Err(stale));
    assert_eq!(view.validate(), Ok(()), "the view was taken before");
    assert_same(&reader.read_frame::<u16>(1).unwrap().data, &pattern::<u16>(300, 1));
}

fn an_empty_stream_is_stale(on: &impl Backing) {
    let subject = on.create(&config());
    let mut reader = subject.reader();
    subject.unlink();
    let stale = ReadError::Stale { name: reader.name().to_owned() };
    assert_eq!(reader.read::<u16>(), Err(stale.clone()));
    assert_eq!(reader.read_new::<u16>(SOON), Err(stale));
}

fn blocked_readers_are_told(on: &impl Backing) {
    let subject = on.create(&config());
    let readers: Vec<_> = (0..4).map(|_| subject.reader()).collect();
    let name = subject.stream.name().to_owned();
    let waiting: Vec<_> = readers
        .into_iter()
        .map(|reader| thread::spawn(move || reader.wait_after(0, Deadline::NEVER)))
        .collect();
    thread::sleep(Duration::from_millis(40));
    subject.unlink();
    within(LIMIT, move || {
        for thread in waiting {
            assert_eq!(thread.join().unwrap(), Err(ReadError::Stale { name: name.clone() }));
        }
    });
}

fn a_blocked_writer_is_told(on: &impl Backing) {
    let subject = on.create(&config());
    let _first = subject.stream.writer(SOON).unwrap();
    let second = subject.second();
    let waiting = thread::spawn(move || second.writer(Deadline::NEVER).map(drop));
    thread::sleep(Duration::from_millis(40));
    subject.unlink();
    let outcome = within(LIMIT, move || waiting.join().unwrap());
    assert!(matches!(outcome, Err(LockError::Stale { .. })), "{outcome:?}");
}

fn writers_are_told(on: &impl Backing) {
    let subject = on.create(&config());
    let mut writer = subject.stream.writer(SOON).unwrap();
    subject.unlink();
    let stale = PublishError::Stale { name: subject.stream.name().to_owned() };
    assert_eq!(writer.publish(&pattern::<u16>(300, 1)), Err(stale.clone()));
    assert_eq!(writer.clear(), Err(stale.clone()));
    assert_eq!(writer.loan().map(drop), Err(stale));
    assert_eq!(subject.stream.count(), 0);
    drop(writer);
    let refused = subject.stream.writer(Deadline::NOW).map(drop);
    assert!(matches!(refused, Err(LockError::Stale { .. })));
}

fn every_handle_knows(on: &impl Backing) {
    let subject = on.create(&config());
    let (second, reader) = (subject.second(), subject.reader());
    assert!(!subject.stream.is_retired() && !second.is_retired());
    subject.unlink();
    assert!(subject.stream.is_retired() && second.is_retired() && reader.stream().is_retired());
    assert_eq!((second.name(), second.cells()), (subject.stream.name(), 3));
}

fn what_was_mapped_stays_usable(on: &impl Backing) {
    let subject = on.create(&config());
    let mut writer = subject.stream.writer(SOON).unwrap();
    writer.publish(&pattern::<u16>(300, 1)).unwrap();
    let mut reader = subject.reader();
    let view = reader.view().unwrap();
    let mut loan = writer.loan().unwrap();
    subject.unlink();
    drop(subject);
    loan.as_mut_slice::<u16>().unwrap().copy_from_slice(&pattern(300, 2));
    assert_eq!(loan.commit(), 2, "begun before, finished after");
    assert_same(&reader.read::<u16>().unwrap().data, &pattern::<u16>(300, 2));
    drop((writer, reader));
    assert_same(&view.iter::<u16>().unwrap().collect::<Vec<_>>(), &pattern::<u16>(300, 1));
}

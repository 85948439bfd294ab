//! A name that goes without a word: whoever took it away was killed before it could tell. Everybody
//! who waits finds out by itself.

use crate::conformance::block_on;
use crate::support::limit::within;
use crate::support::name::Name;
use shm_core::{Deadline, LockError, ReadError, Reader, Stream, StreamConfig};
use std::thread;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(20);
const SOON: Duration = Duration::from_secs(5);

fn create(name: &Name) -> Stream {
    Stream::create(name, &StreamConfig::of::<u8>(&[100]).unwrap()).unwrap()
}

/// What a killed unlinker does: the name goes, nobody is told.
fn vanish(name: &Name) {
    std::fs::remove_file(name.path()).unwrap();
}

#[test]
fn blocked_readers_find_out() {
    let name = Name::new("vanished");
    let _stream = create(&name);
    let waiting = [Reader::open(&name).unwrap(), Reader::open_read_only(&name).unwrap()]
        .map(|reader| thread::spawn(move || reader.wait_after(0, Deadline::NEVER)));
    thread::sleep(Duration::from_millis(30));
    vanish(&name);
    for reader in waiting {
        let outcome = within(LIMIT, move || reader.join().unwrap());
        assert!(matches!(outcome, Err(ReadError::Stale { .. })), "{outcome:?}");
    }
}

#[test]
fn a_blocked_writer_finds_out() {
    let name = Name::new("vanished-writer");
    let stream = create(&name);
    let _writer = stream.writer(Deadline::NOW).unwrap();
    let second = Stream::open(&name).unwrap();
    let waiting = thread::spawn(move || second.writer(Deadline::NEVER).map(drop));
    thread::sleep(Duration::from_millis(30));
    vanish(&name);
    let outcome = within(LIMIT, move || waiting.join().unwrap());
    assert!(matches!(outcome, Err(LockError::Stale { .. })), "{outcome:?}");
}

#[test]
fn a_pending_future_finds_out() {
    let name = Name::new("vanished-async");
    let _stream = create(&name);
    let mut reader = Reader::open(&name).unwrap().into_async();
    let waiting = thread::spawn(move || block_on(reader.read_new::<u8>(SOON)));
    thread::sleep(Duration::from_millis(30));
    vanish(&name);
    let outcome = within(LIMIT, move || waiting.join().unwrap());
    assert!(matches!(outcome, Err(ReadError::Stale { .. })), "{outcome:?}");
}

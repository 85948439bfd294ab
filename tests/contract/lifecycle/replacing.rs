//! One name, one stream after another.

use crate::support::limit::within;
use crate::support::name::Name;
use crate::support::pattern::{assert_same, pattern};
use shm_core::{
    CreateError, Deadline, LockError, PublishError, ReadError, Reader, Stream, StreamConfig,
    UnlinkError,
};
use std::thread;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

fn config() -> StreamConfig {
    StreamConfig::of::<u32>(&[500]).unwrap()
}

#[test]
fn a_name_is_taken_once() {
    let name = Name::new("taken");
    let first = Stream::create(&name, &config()).unwrap();
    first.writer(Deadline::NOW).unwrap().publish(&pattern::<u32>(500, 1)).unwrap();
    for _ in 0..3 {
        assert!(matches!(Stream::create(&name, &config()), Err(CreateError::Exists { .. })));
    }
    assert!(!first.is_retired());
    assert_same(&Reader::open(&name).unwrap().read::<u32>().unwrap().data, &pattern::<u32>(500, 1));
    first.unlink().unwrap();
    let second = Stream::create(&name, &config()).unwrap();
    assert_ne!(second.instance(), first.instance());
    assert_eq!(second.count(), 0);
}

#[test]
fn replacing_wakes_and_retires_the_old_one() {
    let name = Name::new("replaced");
    let old = Stream::create(&name, &config()).unwrap();
    let mut old_writer = old.writer(Deadline::NOW).unwrap();
    let waiting: Vec<_> = (0..3)
        .map(|_| Reader::open(&name).unwrap())
        .chain([Reader::open_read_only(&name).unwrap()])
        .map(|reader| thread::spawn(move || reader.wait_after(0, Deadline::NEVER)))
        .collect();
    let locking = {
        let old = Stream::open(&name).unwrap();
        thread::spawn(move || old.writer(Deadline::NEVER).map(drop))
    };
    thread::sleep(Duration::from_millis(40));
    let other = StreamConfig::of::<f64>(&[2, 2]).unwrap().replace_existing(true);
    let new = Stream::create(&name, &other).unwrap();
    within(LIMIT, move || {
        for thread in waiting {
            assert!(matches!(thread.join().unwrap(), Err(ReadError::Stale { .. })));
        }
        assert!(matches!(locking.join().unwrap(), Err(LockError::Stale { .. })));
    });
    assert!(old.is_retired() && !new.is_retired());
    assert!(matches!(old_writer.publish(&pattern::<u32>(500, 1)), Err(PublishError::Stale { .. })));
    assert!(matches!(old.unlink(), Err(UnlinkError::Stale { .. })));
    new.writer(Deadline::NOW).unwrap().publish(&[1.0, 2.0, 3.0, 4.0]).unwrap();
    let mut reader = Reader::open(&name).unwrap();
    assert_eq!(reader.desc().to_string(), "float64 [2, 2]");
    assert_eq!(reader.read::<f64>().unwrap().data, [1.0, 2.0, 3.0, 4.0]);
}

#[test]
fn replacing_nothing_creates() {
    let name = Name::new("fresh");
    Stream::create(&name, &config().replace_existing(true)).unwrap();
    Reader::open(&name).unwrap();
}

#[test]
fn an_old_handle_leaves_the_new_stream_alone() {
    let name = Name::new("old-handle");
    let old = Stream::create(&name, &config()).unwrap();
    shm_core::unlink(&name).unwrap();
    assert!(matches!(old.unlink(), Err(UnlinkError::Stale { .. })), "nobody has the name");
    let new = Stream::create(&name, &config()).unwrap();
    assert!(matches!(old.unlink(), Err(UnlinkError::Stale { .. })), "the name is another's");
    assert!(!new.is_retired());
    assert_eq!(Reader::open(&name).unwrap().stream().instance(), new.instance());
    new.unlink().unwrap();
    assert!(new.is_retired());
}

#[test]
fn dropping_handles_removes_nothing() {
    let name = Name::new("dropped");
    let stream = Stream::create(&name, &config()).unwrap();
    stream.writer(Deadline::NOW).unwrap().publish(&pattern::<u32>(500, 4)).unwrap();
    drop(stream);
    for _ in 0..3 {
        let mut reader = Reader::open(&name).unwrap();
        assert_same(&reader.read::<u32>().unwrap().data, &pattern::<u32>(500, 4));
        drop(Stream::open(&name).unwrap());
    }
    assert!(name.path().exists());
}

#[test]
fn nothing_opens_after_unlink() {
    let name = Name::new("gone");
    let stream = Stream::create(&name, &config()).unwrap();
    stream.unlink().unwrap();
    assert!(Reader::open(&name).unwrap_err().may_appear());
    assert!(Stream::open_within(&name, Duration::from_millis(10)).unwrap_err().may_appear());
    assert!(matches!(shm_core::unlink(&name), Err(UnlinkError::Open(_))));
    let appearing = {
        let name = name.to_string();
        thread::spawn(move || Reader::open_within(&name, Duration::from_secs(20)))
    };
    thread::sleep(Duration::from_millis(30));
    let next = Stream::create(&name, &config()).unwrap();
    let reader = within(LIMIT, move || appearing.join().unwrap()).unwrap();
    assert_eq!(reader.stream().instance(), next.instance());
}

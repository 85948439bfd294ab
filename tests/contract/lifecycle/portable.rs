//! The portable backing, where it promises what the others promise.

use crate::support::name::Name;
use crate::support::pattern::pattern;
use crate::support::portable_locks;
use shm_core::{Deadline, LockError, Stream, StreamConfig};

fn create(name: &Name) -> Stream {
    Stream::create_portable(name, &StreamConfig::of::<u32>(&[500]).unwrap()).unwrap()
}

#[test]
fn an_old_handle_leaves_the_new_stream_alone() {
    let name = Name::new("old-portable");
    let old = create(&name);
    Stream::open_portable(&name).unwrap().unlink_portable().unwrap();
    let new = create(&name);
    let outcome = old.unlink_portable();
    let (survived, told) = (Stream::open_portable(&name).is_ok(), !new.is_retired());
    if survived {
        new.unlink_portable().unwrap();
    }
    drop((old, new));
    portable_locks::remove(&name);
    assert!(outcome.is_err() && survived && told, "{outcome:?}, still there: {survived}");
}

#[test]
fn unlinking_leaves_no_lock_file() {
    let name = Name::new("portable-locks");
    let stream = create(&name);
    let mut writer = stream.writer(Deadline::NOW).unwrap();
    writer.publish(&pattern::<u32>(500, 1)).unwrap();
    assert!(!portable_locks::of(&name).is_empty(), "locks are files");
    stream.unlink_portable().unwrap();
    assert_eq!(portable_locks::of(&name), [""; 0].map(std::path::PathBuf::from));
    drop(writer);
    // Whoever still has a handle may look at the locks, and must not bring them back.
    assert!(matches!(stream.writer(Deadline::NOW), Err(LockError::Stale { .. })));
    assert_eq!(stream.reader().writer_alive(), Some(false));
    drop(stream);
    let left = portable_locks::of(&name);
    portable_locks::remove(&name);
    assert!(left.is_empty(), "{left:?}");
}

//! `UnlinkError`.

use super::chain;
use crate::support::child::alone;
use crate::support::layout::lock;
use crate::support::name::Name;
use crate::support::private_shm;
use crate::support::raw_file::RawFile;
use shm_core::{Deadline, Stream, StreamConfig, UnlinkError};

fn config() -> StreamConfig {
    StreamConfig::of::<u8>(&[1000]).unwrap()
}

#[test]
fn not_there() {
    let name = Name::new("absent");
    let error = shm_core::unlink(&name).unwrap_err();
    assert!(matches!(error, UnlinkError::Open(_)));
    assert_eq!(
        error.to_string(),
        format!(
            "segment '{}' does not exist; create it first, or wait for it with a deadline",
            &*name
        )
    );
}

#[test]
fn busy() {
    let name = Name::new("busy");
    let stream = Stream::create(&name, &config()).unwrap();
    let file = RawFile::of(&name);
    assert!(file.lock(lock::UNLINK, true));
    let text = format!("segment '{}' is being unlinked by another process; try again", &*name);
    assert_eq!(shm_core::unlink(&name).unwrap_err().to_string(), text);
    assert_eq!(stream.unlink().unwrap_err().to_string(), text);
    let replace = Stream::create(&name, &config().replace_existing(true)).unwrap_err();
    assert_eq!(chain(&replace), format!("cannot replace segment '{}': {text}", &*name));
    assert!(!stream.is_retired());
}

#[test]
fn stale() {
    let name = Name::new("stale");
    let stream = Stream::create(&name, &config()).unwrap();
    stream.unlink().unwrap();
    let text = format!(
        "segment '{}' was unlinked or replaced since this handle was opened; nothing was removed, open the name again",
        &*name
    );
    assert_eq!(stream.unlink().unwrap_err().to_string(), text);
    let _next = Stream::create(&name, &config()).unwrap();
    assert_eq!(stream.unlink().unwrap_err().to_string(), text);
    assert!(name.path().exists());
}

#[test]
fn refused_by_the_system() {
    alone!(refused_by_the_system, || {
        if !private_shm::mount(1 << 20) {
            return;
        }
        let stream = Stream::create("mount-point", &config()).unwrap();
        private_shm::make_mount_point(&shm_core::stat("mount-point").unwrap().path);
        let error = stream.unlink().unwrap_err();
        assert!(matches!(error, UnlinkError::Io { step: "unlink", .. }), "{error:?}");
        assert_eq!(
            chain(&error),
            "cannot unlink segment 'mount-point': Device or resource busy (os error 16)"
        );
        assert!(!stream.is_retired(), "the name is still there");
        stream.writer(Deadline::NOW).unwrap().clear().unwrap();
    });
}

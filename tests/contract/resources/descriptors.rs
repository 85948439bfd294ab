//! File descriptors: one per handle, and a typed error when there are none.

use crate::support::child::alone;
use crate::support::name::Name;
use crate::support::pattern::{assert_same, pattern};
use rustix::process::{Resource, Rlimit, setrlimit};
use shm_core::{
    CreateError, Deadline, OpenError, ReadError, Reader, Stream, StreamConfig, UnlinkError,
};
use std::fs::File;
use std::time::Duration;

fn limit(descriptors: u64) {
    let limit = Rlimit { current: Some(descriptors), maximum: Some(descriptors) };
    setrlimit(Resource::Nofile, limit).unwrap();
}

fn config() -> StreamConfig {
    StreamConfig::of::<u64>(&[32]).unwrap()
}

/// Descriptors on nothing, as many as the process may still have.
fn hoard() -> Vec<File> {
    std::iter::from_fn(|| File::open("/dev/null").ok()).collect()
}

#[test]
fn a_thousand_streams_in_one_process() {
    alone!(a_thousand_streams_in_one_process, || {
        limit(1024);
        let names: Vec<Name> = (0..1000).map(|_| Name::new("many")).collect();
        let streams: Vec<Stream> =
            names.iter().map(|name| Stream::create(name, &config()).unwrap()).collect();
        let mut writers: Vec<_> =
            streams.iter().map(|stream| stream.writer(Deadline::NOW).unwrap()).collect();
        let mut readers: Vec<_> = streams.iter().map(Stream::reader).collect();
        for round in 1..=3 {
            for (seed, writer) in (round..).zip(&mut writers) {
                assert_eq!(writer.publish(&pattern::<u64>(32, seed)), Ok(round));
            }
            for (seed, reader) in (round..).zip(&mut readers) {
                assert_same(&reader.read::<u64>().unwrap().data, &pattern::<u64>(32, seed));
            }
        }
    });
}

#[test]
fn without_descriptors_there_is_a_typed_error() {
    alone!(without_descriptors_there_is_a_typed_error, || {
        let (present, absent) = (Name::new("present"), Name::new("absent"));
        let stream = Stream::create(&present, &config()).unwrap();
        let mut reader = Reader::open(&present).unwrap();
        limit(64);
        let hoard = hoard();
        let text = |name: &Name| {
            format!(
                "segment '{}' needs one file descriptor and the process has none left; raise `ulimit -n` or drop handles",
                &**name
            )
        };
        let created = Stream::create(&absent, &config()).unwrap_err();
        assert!(matches!(created, CreateError::TooManyOpenFiles { .. }), "{created:?}");
        assert_eq!(created.to_string(), text(&absent));
        for open in [Reader::open, Reader::open_read_only] {
            let opened = open(&present).unwrap_err();
            assert!(matches!(opened, OpenError::TooManyOpenFiles { .. }), "{opened:?}");
            assert_eq!(opened.to_string(), text(&present));
        }
        let removed = shm_core::unlink(&present).unwrap_err();
        assert!(
            matches!(removed, UnlinkError::Open(OpenError::TooManyOpenFiles { .. })),
            "{removed:?}"
        );
        // What is open goes on working.
        let mut writer = stream.writer(Deadline::NOW).unwrap();
        writer.publish(&pattern::<u64>(32, 1)).unwrap();
        assert_same(&reader.read::<u64>().unwrap().data, &pattern::<u64>(32, 1));
        let waited = reader.wait_after(1, Duration::from_millis(20));
        assert!(matches!(waited, Err(ReadError::Timeout { writer_alive: Some(true), .. })));
        drop(hoard);
        Stream::create(&absent, &config()).unwrap();
        assert_eq!(Reader::open(&present).unwrap().count(), 1);
    });
}

#[test]
fn stat_says_it_like_open() {
    alone!(stat_says_it_like_open, || {
        let name = Name::new("stat");
        let _stream = Stream::create(&name, &config()).unwrap();
        limit(64);
        let hoard = hoard();
        let outcome = shm_core::stat(&name).map(drop);
        drop(hoard);
        assert!(matches!(outcome, Err(OpenError::TooManyOpenFiles { .. })), "{outcome:?}");
    });
}

#[test]
fn creating_fails_cleanly_at_every_step() {
    alone!(creating_fails_cleanly_at_every_step, || {
        limit(64);
        let mut succeeded = 0;
        for left in 0..6 {
            let name = Name::new("steps");
            let mut hoard = hoard();
            hoard.truncate(hoard.len() - left);
            let created = Stream::create(&name, &config());
            drop(hoard);
            match created {
                Ok(stream) => {
                    succeeded += 1;
                    stream.unlink().unwrap();
                }
                Err(CreateError::TooManyOpenFiles { .. }) => {}
                Err(error) => panic!("{left} left: {error:?}"),
            }
            let left_behind = shm_tests::leftovers(&name, &[std::process::id()]);
            assert!(left_behind.is_empty(), "{left} left: {left_behind:?}");
        }
        assert!((1..6).contains(&succeeded), "{succeeded} of 6");
    });
}

//! A stream that can be damaged, and the check that opening it is an error with a type.

use crate::support::name::Name;
use crate::support::pattern::pattern;
use crate::support::raw_file::RawFile;
use shm_core::{Deadline, OpenError, Reader, Stream, StreamConfig};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Elements of a frame; more than 256 bytes, so that cell headers stand side by side.
pub(super) const ELEMENTS: usize = 150;

/// A stream with three frames in it, its file, and its handle.
pub(super) struct Subject {
    pub(super) name: Name,
    pub(super) stream: Stream,
    pub(super) file: RawFile,
}

impl Subject {
    pub(super) fn new(label: &str) -> Subject {
        let name = Name::new(label);
        let config = StreamConfig::of::<u32>(&[ELEMENTS]).unwrap().metadata(b"metadata").unwrap();
        let stream = Stream::create(&name, &config).unwrap();
        let mut writer = stream.writer(Deadline::NOW).unwrap();
        for seed in 1..=3 {
            writer.publish(&pattern::<u32>(ELEMENTS, seed)).unwrap();
        }
        let file = RawFile::of(&name);
        Subject { name, stream, file }
    }
}

type Open<'a> = &'a dyn Fn() -> Result<(), OpenError>;

/// What every way to open the name says; a panic is told with `what` was done to the file.
pub(super) fn open_every_way(name: &str, what: &str) -> [Result<(), OpenError>; 4] {
    let tries: [(&str, Open<'_>); 4] = [
        ("Reader::open", &|| Reader::open(name).map(drop)),
        ("Stream::open", &|| Stream::open(name).map(drop)),
        ("Reader::open_read_only", &|| Reader::open_read_only(name).map(drop)),
        ("stat", &|| shm_core::stat(name).map(drop)),
    ];
    tries.map(|(way, open)| {
        let outcome = catch_unwind(AssertUnwindSafe(open));
        outcome.unwrap_or_else(|_| panic!("{way} panicked: {what}"))
    })
}

/// Opening fails every way, with an error that speaks of the damage.
pub(super) fn assert_damaged(name: &str, what: &str) {
    for (way, outcome) in open_every_way(name, what).into_iter().enumerate() {
        match outcome {
            Err(
                OpenError::Foreign { .. }
                | OpenError::NotReady { .. }
                | OpenError::Abi { .. }
                | OpenError::Truncated { .. }
                | OpenError::Kind { .. }
                | OpenError::Corrupt { .. },
            ) => {}
            other => panic!("{what}: way {way} said {other:?}"),
        }
    }
}

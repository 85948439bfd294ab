//! Files that are no finished segments of this user: cut, grown, of other kinds, half-born, copied.

use super::subject::{ELEMENTS, Subject, assert_damaged};
use crate::support::layout::{header, lock};
use crate::support::limit::within;
use crate::support::name::Name;
use crate::support::pattern::pattern;
use crate::support::portable_locks;
use crate::support::raw_file::RawFile;
use rustix::fs::{CWD, FileType, Mode};
use shm_core::{CreateError, Deadline, OpenError, Reader, Stream, StreamConfig, UnlinkError};
use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

fn config() -> StreamConfig {
    StreamConfig::of::<u32>(&[ELEMENTS]).unwrap()
}

/// `create` leaves the file alone, with and without `replace_existing`, and says why.
fn assert_not_replaced(name: &str) -> UnlinkError {
    let path = crate::support::name::file_path(name);
    let before = std::fs::symlink_metadata(&path).unwrap();
    assert!(matches!(Stream::create(name, &config()), Err(CreateError::Exists { .. })));
    let error = Stream::create(name, &config().replace_existing(true)).unwrap_err();
    let CreateError::NotReplaceable { source, .. } = error else { panic!("{error:?}") };
    let after = std::fs::symlink_metadata(&path).unwrap();
    assert_eq!((after.ino(), after.len()), (before.ino(), before.len()));
    *source
}

#[test]
fn a_truncated_file() {
    within(LIMIT, || {
        let subject = Subject::new("truncated");
        let bytes = subject.file.bytes();
        let word = |at: u64| subject.file.word(at);
        let lens = [
            1,
            7,
            8,
            16,
            24,
            255,
            256,
            257,
            word(header::FIXED_LEN) - 1,
            word(header::FIXED_LEN),
            word(header::HOT_OFFSET),
            word(header::CONTROL_OFFSET),
            word(header::PAYLOAD_OFFSET),
            bytes.len() as u64 - 4096,
            bytes.len() as u64 - 1,
        ];
        // A copy under a name of its own: nobody who has it mapped may lose pages.
        let copy = Name::new("truncated-copy");
        for len in lens {
            RawFile::create(&copy.path(), &bytes[..len as usize]);
            assert_damaged(&copy, &format!("cut to {len} bytes"));
            RawFile::create(&copy.path(), &[]);
            for outcome in super::subject::open_every_way(&copy, "empty") {
                assert!(matches!(outcome, Err(OpenError::NotReady { .. })), "{outcome:?}");
            }
        }
    });
}

#[test]
fn a_file_cut_anywhere_behind_its_header_is_truncated() {
    let subject = Subject::new("cut");
    let total = subject.file.len();
    // Nobody touches the pages that go.
    for len in (256..total).rev().step_by(97) {
        subject.file.set_len(len);
        let outcome = Reader::open(&subject.name).map(drop);
        let Err(OpenError::Truncated { expected, found, .. }) = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!((expected, found), (total, len));
    }
    std::mem::forget(subject.stream);
}

#[test]
fn a_longer_file_is_the_same_stream() {
    let subject = Subject::new("longer");
    subject.file.set_len(subject.file.len() + 12_345);
    let mut reader = Reader::open(&subject.name).unwrap();
    assert_eq!(reader.read::<u32>().unwrap().data, pattern::<u32>(ELEMENTS, 3));
    assert_eq!(reader.stream().segment_len(), subject.stream.segment_len());
    subject.stream.writer(Deadline::NOW).unwrap().clear().unwrap();
    assert_eq!(reader.read::<u32>().unwrap().info.count, 4);
}

#[test]
fn a_copy_under_another_name() {
    let subject = Subject::new("original");
    let copy = Name::new("copy");
    std::fs::copy(subject.file.path(), copy.path()).unwrap();
    let error = Reader::open(&copy).unwrap_err();
    let OpenError::Corrupt { field: "name", expected, found, .. } = error else {
        panic!("{error:?}")
    };
    assert_eq!(expected, format!("'{}'", &*copy));
    assert_eq!(found, format!("'{}'", &*subject.name));
    let listed = shm_core::list(&copy).unwrap();
    assert!(listed.is_empty(), "{listed:?}");
}

#[test]
fn a_copy_under_another_name_on_the_portable_backing() {
    let name = Name::new("portable-original");
    let stream = Stream::create_portable(&name, &config()).unwrap();
    let copy = Name::new("portable-copy");
    std::fs::copy(name.path(), copy.path()).unwrap();
    let outcome = Stream::open_portable(&copy).map(drop);
    stream.unlink_portable().unwrap();
    drop(stream);
    portable_locks::remove(&copy);
    assert!(matches!(outcome, Err(OpenError::Corrupt { field: "name", .. })), "{outcome:?}");
}

#[test]
fn a_file_of_another_user() {
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: giving a file to another user takes root");
        return;
    }
    let subject = Subject::new("owner");
    chown(subject.file.path(), Some(54_321), None).unwrap();
    for outcome in super::subject::open_every_way(&subject.name, "another owner") {
        let Err(OpenError::Owner { expected: 0, found: 54_321, .. }) = outcome else {
            panic!("{outcome:?}");
        };
    }
    let error = assert_not_replaced(&subject.name);
    assert!(matches!(error, UnlinkError::Open(OpenError::Owner { .. })));
    let refused = shm_core::unlink(&subject.name);
    assert!(matches!(refused, Err(UnlinkError::Open(OpenError::Owner { .. }))));
    assert!(subject.file.path().exists());
}

#[test]
fn links_pipes_sockets_and_directories() {
    within(LIMIT, || {
        let target = Subject::new("target");
        type Make = fn(&std::path::Path, &Subject);
        let kinds: [(&str, Make); 5] = [
            ("link", |path, target| symlink(target.file.path(), path).unwrap()),
            ("dangling link", |path, _| symlink("/nowhere", path).unwrap()),
            ("directory", |path, _| std::fs::create_dir(path).unwrap()),
            ("pipe", |path, _| {
                rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0)
                    .unwrap();
            }),
            ("socket", |path, _| {
                rustix::fs::mknodat(CWD, path, FileType::Socket, Mode::from_raw_mode(0o600), 0)
                    .unwrap();
            }),
        ];
        for (kind, make) in kinds {
            let name = Name::new("irregular");
            make(&name.path(), &target);
            for open in [Reader::open, Reader::open_read_only, |name: &str| {
                Stream::open(name).map(|s| s.reader())
            }] {
                let outcome = open(&name).map(drop);
                assert!(
                    matches!(outcome, Err(OpenError::NotRegular { .. })),
                    "{kind}: {outcome:?}"
                );
            }
            let error = assert_not_replaced(&name);
            assert!(matches!(error, UnlinkError::Open(OpenError::NotRegular { .. })), "{kind}");
            let refused = shm_core::unlink(&name);
            assert!(
                matches!(refused, Err(UnlinkError::Open(OpenError::NotRegular { .. }))),
                "{kind}"
            );
            assert!(std::fs::symlink_metadata(name.path()).is_ok(), "{kind} stays");
            if kind.contains("link") {
                std::fs::remove_file(name.path()).unwrap();
            }
        }
    });
}

#[test]
fn stat_says_of_links_and_sockets_what_open_says() {
    let name = Name::new("stat-irregular");
    symlink("/nowhere", name.path()).unwrap();
    let link = shm_core::stat(&name);
    std::fs::remove_file(name.path()).unwrap();
    assert!(matches!(link, Err(OpenError::NotRegular { .. })), "{link:?}");
}

#[test]
fn a_half_born_file_whose_creator_lives() {
    let name = Name::new("half-born");
    let file = RawFile::create(&name.path(), &[0; 8192]);
    assert!(file.lock(lock::PRESENCE, false));
    assert!(matches!(Reader::open(&name), Err(OpenError::NotReady { .. })));
    let error = assert_not_replaced(&name);
    assert!(matches!(error, UnlinkError::Open(OpenError::NotReady { .. })), "{error:?}");
    let refused = shm_core::unlink(&name);
    assert!(matches!(refused, Err(UnlinkError::Open(OpenError::NotReady { .. }))));
    let waited = Reader::open_within(&name, Duration::from_millis(20)).map(drop);
    assert!(matches!(waited, Err(OpenError::NotReady { .. })));
    assert!(name.path().exists());
}

#[test]
fn a_half_born_file_whose_creator_died() {
    for replace in [false, true] {
        for len in [0, 1, 4096] {
            let name = Name::new("orphan");
            RawFile::create(&name.path(), &vec![0; len]);
            assert!(matches!(Reader::open(&name), Err(OpenError::NotReady { .. })));
            let stream = Stream::create(&name, &config().replace_existing(replace)).unwrap();
            stream.writer(Deadline::NOW).unwrap().publish(&pattern::<u32>(ELEMENTS, 1)).unwrap();
            let frame = Reader::open(&name).unwrap().read::<u32>().unwrap();
            assert_eq!(frame.data, pattern::<u32>(ELEMENTS, 1));
        }
    }
    let name = Name::new("orphan-unlinked");
    RawFile::create(&name.path(), &[0; 100]);
    shm_core::unlink(&name).unwrap();
    assert!(!name.path().exists());
}

#[test]
fn a_foreign_file_is_kept() {
    let name = Name::new("foreign");
    RawFile::create(&name.path(), b"somebody's notes");
    let found = u64::from_le_bytes(*b"somebody");
    let error = assert_not_replaced(&name);
    let UnlinkError::Open(OpenError::Foreign { found: told, .. }) = error else {
        panic!("{error:?}")
    };
    assert_eq!(told, found);
    assert!(matches!(shm_core::unlink(&name), Err(UnlinkError::Open(OpenError::Foreign { .. }))));
    assert_eq!(std::fs::read(name.path()).unwrap(), b"somebody's notes");
}

#[test]
fn a_damaged_stream_can_be_removed_and_replaced() {
    for replace in [false, true] {
        let subject = Subject::new("damaged");
        subject.file.set_word(header::CHECKSUM, 0);
        assert_damaged(&subject.name, "checksum 0");
        if replace {
            let new = Stream::create(&subject.name, &config().replace_existing(true)).unwrap();
            assert_eq!(Reader::open(&subject.name).unwrap().stream().instance(), new.instance());
        } else {
            assert!(matches!(
                Stream::create(&subject.name, &config()),
                Err(CreateError::Exists { .. })
            ));
            shm_core::unlink(&subject.name).unwrap();
            assert!(matches!(Reader::open(&subject.name), Err(OpenError::NotFound { .. })));
        }
    }
}

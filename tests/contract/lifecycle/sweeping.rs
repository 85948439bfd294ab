//! What `gc` takes and what it leaves.

use crate::support::child::alone;
use crate::support::layout::header;
use crate::support::name::Name;
use crate::support::private_shm;
use crate::support::raw_file::RawFile;
use shm_core::{CreateError, Deadline, Reader, Stream, StreamConfig, gc};

fn config() -> StreamConfig {
    StreamConfig::of::<u8>(&[10_000]).unwrap()
}

/// Several names with a common beginning of their own.
fn names(stem: &Name, count: usize) -> Vec<Name> {
    (0..count).map(|number| Name::exactly(format!("{}-{number}", &**stem))).collect()
}

fn texts<'a>(names: impl IntoIterator<Item = &'a Name>) -> Vec<String> {
    names.into_iter().map(|name| name.to_string()).collect()
}

#[test]
fn orphans_go_and_attached_ones_stay() {
    let stem = Name::new("gc");
    let names = names(&stem, 5);
    let streams: Vec<Stream> =
        names.iter().map(|name| Stream::create(name, &config()).unwrap()).collect();
    let reader = Reader::open(&names[1]).unwrap();
    let observer = Reader::open_read_only(&names[3]).unwrap();
    let everybody = gc(&stem, false).unwrap();
    assert_eq!((everybody.removed.len(), everybody.in_use), (0, texts(&names)));
    drop(streams);
    let orphans = [&names[0], &names[2], &names[4]];
    let bytes: u64 = orphans.iter().map(|name| shm_core::stat(name).unwrap().allocated).sum();
    let dry = gc(&stem, true).unwrap();
    assert_eq!(dry.removed, texts(orphans));
    assert_eq!(dry.in_use, texts([&names[1], &names[3]]));
    assert_eq!(dry.bytes, bytes);
    assert!(names.iter().all(|name| name.path().exists()), "a dry run removes nothing");
    let wet = gc(&stem, false).unwrap();
    assert_eq!((&wet.removed, &wet.in_use, wet.bytes), (&dry.removed, &dry.in_use, bytes));
    assert!(orphans.iter().all(|name| !name.path().exists()));
    assert!(!reader.stream().is_retired() && !observer.stream().is_retired());
    drop((reader, observer));
    assert_eq!(gc(&stem, false).unwrap().removed, texts([&names[1], &names[3]]));
    assert!(gc(&stem, false).unwrap().removed.is_empty());
}

#[test]
fn an_orphan_can_be_opened_again() {
    let name = Name::new("adopted");
    drop(Stream::create(&name, &config()).unwrap());
    assert!(!shm_core::stat(&name).unwrap().attached);
    let reader = Reader::open(&name).unwrap();
    assert_eq!(gc(&name, false).unwrap().in_use, [name.to_string()]);
    assert!(shm_core::stat(&name).unwrap().attached);
    drop(reader);
}

#[test]
fn views_and_writers_keep_a_stream_attached() {
    let name = Name::new("kept");
    let stream = Stream::create(&name, &config()).unwrap();
    let mut writer = stream.writer(Deadline::NOW).unwrap();
    writer.publish(&[3_u8; 10_000]).unwrap();
    drop(stream);
    assert_eq!(gc(&name, false).unwrap().removed, [""; 0]);
    let view = Reader::open(&name).unwrap().view().unwrap();
    drop(writer);
    assert_eq!(gc(&name, false).unwrap().removed, [""; 0]);
    assert_eq!((view.get::<u8>(9_999), view.validate()), (Ok(3), Ok(())));
    drop(view);
    assert_eq!(gc(&name, false).unwrap().removed, [name.to_string()]);
}

#[test]
fn unknown_files_are_reported_and_kept() {
    let (foreign, half, damaged) = (Name::new("foreign"), Name::new("half"), Name::new("damaged"));
    RawFile::create(&foreign.path(), b"not a segment at all");
    RawFile::create(&half.path(), &[0; 4096]);
    drop(Stream::create(&damaged, &config()).unwrap());
    RawFile::of(&damaged).set_word(header::CHECKSUM, 1);
    // Nobody's prefix: what is unknown has no name that could begin with it.
    let report = gc("contract-no-such-prefix", false).unwrap();
    assert_eq!((report.removed, report.in_use), (Vec::new(), Vec::new()));
    for name in [&foreign, &half, &damaged] {
        let file = name.path().file_name().unwrap().to_string_lossy().into_owned();
        assert!(report.unknown.contains(&file), "{file} in {:?}", report.unknown);
        assert!(name.path().exists());
    }
}

#[test]
fn drafts_of_the_dead_go_and_those_of_the_living_stay() {
    let uid = rustix::process::geteuid().as_raw();
    let own = std::process::id();
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let start = stat.rsplit(')').next().unwrap().split_whitespace().nth(19).unwrap().to_owned();
    let path = |creator: &str| {
        std::path::PathBuf::from(format!("/dev/shm/shm.{uid}~{creator}.{own:032x}"))
    };
    // No process has this id: the kernel's limit is 2^22.
    let (dead, reused) = (path("4194305.77"), path(&format!("{own}.1")));
    let living = path(&format!("{own}.{start}"));
    for draft in [&dead, &reused, &living] {
        std::fs::write(draft, [0; 100]).unwrap();
    }
    let in_dry_run = gc("contract-no-such-prefix", true).unwrap().drafts;
    let all_there = dead.exists() && reused.exists() && living.exists();
    let gone = gc("contract-no-such-prefix", false).unwrap().drafts;
    let after = [&dead, &reused, &living].map(|draft| draft.exists());
    for draft in [&dead, &reused, &living] {
        let _ = std::fs::remove_file(draft);
    }
    let file = |path: &std::path::Path| path.file_name().unwrap().to_string_lossy().into_owned();
    for report in [in_dry_run, gone] {
        assert!(report.contains(&file(&dead)) && report.contains(&file(&reused)), "{report:?}");
        assert!(!report.contains(&file(&living)), "{report:?}");
    }
    assert!(all_there);
    assert_eq!(after, [false, false, true]);
}

#[test]
fn temporary_streams_make_room() {
    alone!(temporary_streams_make_room, || {
        if !private_shm::mount(4 << 20) {
            return;
        }
        let frame = |bytes| StreamConfig::of::<u8>(&[bytes]).unwrap().cells(2).unwrap();
        let temporary = frame(500_000).temporary(true);
        drop(Stream::create("temporary", &temporary).unwrap());
        let used = Stream::create("temporary-used", &temporary).unwrap();
        drop(Stream::create("persistent", &frame(300_000)).unwrap());
        let exists = |name: &str| shm_core::stat(name).is_ok();
        drop(Stream::create("fits", &frame(100_000)).unwrap());
        assert!(exists("temporary"), "swept without need");
        // Does not fit beside the orphan, and does without it.
        let large = Stream::create("large", &frame(750_000)).unwrap();
        assert!(!exists("temporary"));
        assert!(exists("temporary-used") && exists("persistent") && exists("fits"));
        assert!(!used.is_retired());
        large.writer(Deadline::NOW).unwrap().publish(&vec![1_u8; 750_000]).unwrap();
        let error = Stream::create("too-large", &frame(750_000)).unwrap_err();
        assert!(matches!(error, CreateError::NoSpace { .. }), "{error:?}");
        assert!(exists("persistent"), "a persistent orphan is not garbage");
    });
}

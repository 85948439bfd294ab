//! The geometry, the file, and what can be asked of a stream.

use super::*;
use crate::ConfigError;
use crate::stream::layout::{GEOMETRY_LEN, Layout};

const VERSION_AT: usize = GEOMETRY_LEN;

#[test]
fn an_ordinary_geometry_is_what_it_was() {
    let ordinary = StreamConfig::of::<u64>(&[WORDS]).unwrap();
    assert_eq!(ordinary.layout().encode().len(), GEOMETRY_LEN);
    let external = config(true).layout().encode();
    assert_eq!(external[..GEOMETRY_LEN], ordinary.layout().encode()[..]);
    assert_eq!(external.len(), GEOMETRY_LEN + 16 + b"elsewhere".len());
    let counters = |config: &StreamConfig| config.spec().counters.len();
    assert_eq!(counters(&ordinary) + 1, counters(&config(false)));
    assert_eq!((ordinary.spec().hold, config(false).spec().hold), (None, Some(0)));
}

#[test]
fn descriptors_come_back_and_are_bounded() {
    for len in [0, 1, 7, 4096] {
        for mirrored in [false, true] {
            let descriptor: Vec<u8> = (0..len).map(|at| at as u8).collect();
            let config = StreamConfig::of::<u64>(&[WORDS]).unwrap();
            // The number of cells may be chosen before or after.
            let config = config.external(&descriptor, mirrored).unwrap().cells(5).unwrap();
            let layout = Layout::decode("x", &config.layout().encode()).unwrap();
            assert_eq!(&layout, config.layout());
            let stream = Stream::process_local("x", &config).unwrap();
            assert_eq!(stream.external(), Some(&*descriptor));
            assert_eq!((stream.has_host_payload(), stream.cells()), (mirrored, 5));
        }
    }
    let refused = StreamConfig::of::<u64>(&[1]).unwrap().external(&[0; 4097], true);
    assert_eq!(refused.err(), Some(ConfigError::Descriptor { found: 4097 }));
    let ordinary = Stream::process_local("x", &StreamConfig::of::<u8>(&[1]).unwrap()).unwrap();
    assert_eq!((ordinary.external(), ordinary.has_host_payload()), (None, true));
    assert_eq!((ordinary.publication_pages(), ordinary.host_cell(0)), (None, None));
    assert_eq!(ordinary.creator_alive(), None);
}

#[test]
fn every_damaged_field_of_the_extension_is_named() {
    let good = config(false).layout().encode();
    let word = |at: usize, value: u32| {
        let mut bad = good.clone();
        bad[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        bad
    };
    let flags = VERSION_AT + 4;
    for (bad, text) in [
        (good[..good.len() - 1].to_vec(), "descriptor length is 9, expected 8, and at most 4096"),
        (good[..VERSION_AT + 15].to_vec(), "geometry length is 167, expected 152, or from 168"),
        (word(VERSION_AT, 0), "geometry extension version is 0, expected 1"),
        (word(VERSION_AT, 2), "geometry extension version is 2"),
        (word(flags, 0), "geometry extension flags is 0, expected 1 or 3"),
        (word(flags, 2), "geometry extension flags is 2"),
        (word(flags, 5), "geometry extension flags is 5"),
        (word(flags, u32::MAX), "geometry extension flags is 4294967295"),
        (word(VERSION_AT + 8, 0), "descriptor length is 0, expected 9"),
        (word(VERSION_AT + 8, u32::MAX), "descriptor length is 4294967295"),
        (word(VERSION_AT + 12, 1), "geometry extension reserved is 1, expected 0"),
        ([&good[..], &[0; 5000]].concat(), "descriptor length is 9, expected 5009"),
    ] {
        let message = Layout::decode("x", &bad).unwrap_err().to_string();
        assert!(message.contains(text), "{message}");
    }
}

#[test]
fn every_word_of_a_publication_lies_in_the_pages() {
    for mirrored in [false, true] {
        for cells in [2, 3, 200] {
            let stream =
                Stream::process_local("x", &config(mirrored).cells(cells).unwrap()).unwrap();
            let (base, len) = stream.publication_pages().unwrap();
            assert!(base.addr().is_multiple_of(4096) && len.is_multiple_of(4096));
            let inside = |at: *mut u8, bytes: usize| {
                at.addr() >= base.addr() && at.addr() + bytes <= base.addr() + len
            };
            let mut writer = writer(&stream);
            for _ in 0..cells {
                let announced = writer.announce(FrameTag::default()).unwrap();
                for store in announced.begin().iter().chain(&announced.finish()) {
                    assert!(inside(store.address.cast(), 8), "{store:?} of {base:?} + {len}");
                }
                let payload = stream.host_cell(announced.cell());
                assert_eq!(payload.is_some(), mirrored);
                assert!(payload.is_none_or(|at| at.addr() % 64 == 0 && inside(at, 8 * WORDS)));
            }
            assert_eq!(stream.host_cell(cells), None, "no such cell");
            writer.withdraw();
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn without_a_mirror_the_file_has_no_payload() {
    let name = format!("test-external-file-{}", std::process::id());
    // 4 GiB a frame, of which nothing is in shared memory.
    let config =
        StreamConfig::new(crate::Dtype::F32, &[1 << 30]).unwrap().external(b"d", false).unwrap();
    let stream = Stream::create(&name, &config).unwrap();
    let len = std::fs::metadata(stream.segment().path().unwrap()).unwrap().len();
    assert_eq!((stream.segment_len() as u64, stream.segment().payload_len()), (len, 0));
    assert!(len <= 2 * 4096, "{len} bytes: header and words, and the control page");
    stream.unlink().unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn what_others_see() {
    let name = format!("test-external-others-{}", std::process::id());
    let created = Stream::create(&name, &config(true)).unwrap();
    let opened = Stream::open(&name).unwrap();
    let info = crate::stat(&name).unwrap();
    let external = info.external().unwrap();
    assert_eq!((&*external.descriptor, external.mirrored), (&b"elsewhere"[..], true));
    assert_eq!(info.counter("announced"), Some(0));
    assert_eq!(opened.external(), Some(&b"elsewhere"[..]));
    // Only who may write can register pages for a device to write.
    assert!(opened.publication_pages().is_some());
    let reader = crate::Reader::open(&name).unwrap();
    assert_eq!(reader.stream().publication_pages(), None);

    assert_eq!(opened.creator_alive(), Some(true));
    assert_eq!(created.creator_alive(), Some(true));
    assert!(opened.segment().try_hold(0).unwrap().is_none(), "the creator's byte");
    let held = opened.segment().try_hold(1).unwrap().unwrap();
    assert!(created.segment().is_held(1).unwrap());
    opened.segment().let_go(held);
    drop(created);
    assert_eq!(opened.creator_alive(), Some(false));
    assert_eq!(reader.stream().creator_alive(), Some(false));

    let mut writer = writer(&opened);
    let _announced = writer.announce(FrameTag::default()).unwrap();
    assert_eq!((opened.announced(), opened.count()), (1, 0));
    assert_eq!(crate::stat(&name).unwrap().counter("announced"), Some(1));
    writer.withdraw();
    opened.unlink().unwrap();

    let name = format!("test-ordinary-others-{}", std::process::id());
    let ordinary = Stream::create(&name, &StreamConfig::of::<u8>(&[3]).unwrap()).unwrap();
    assert_eq!(crate::stat(&name).unwrap().external(), None);
    ordinary.unlink().unwrap();
}

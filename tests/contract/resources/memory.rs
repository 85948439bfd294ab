//! How much memory a stream takes: its frames, and two pages.

use crate::support::limit::within;
use crate::support::name::Name;
use crate::support::pattern::pattern;
use shm_core::{Deadline, Reader, Stream, StreamConfig};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

const PAGE: u64 = 4096;

fn occupied(name: &Name) -> u64 {
    let blocks = std::fs::metadata(name.path()).unwrap().blocks() * 512;
    assert_eq!(shm_core::stat(name).unwrap().allocated, blocks);
    blocks
}

#[test]
fn frames_and_two_pages() {
    for frame in [1_usize, 64, 256, 257, 1000, 4096, 4097, 10_000, 1 << 20, 5_000_011] {
        for cells in [2, 3, 4, 9] {
            let name = Name::new("memory");
            let config = StreamConfig::of::<u8>(&[frame]).unwrap().cells(cells).unwrap();
            let stream = Stream::create(&name, &config).unwrap();
            let align = if frame as u64 > PAGE { PAGE } else { 64 };
            let payload = cells as u64 * (frame as u64).next_multiple_of(align);
            // Memory comes in pages, so payloads below one are rounded up to one together.
            let bound = payload.next_multiple_of(PAGE) + 2 * PAGE;
            let after_creation = occupied(&name);
            assert!(
                after_creation <= bound,
                "{cells} x {frame} takes {after_creation}, bound {bound}"
            );
            let mut writer = stream.writer(Deadline::NOW).unwrap();
            for seed in 0..=cells as u64 {
                writer.publish(&pattern::<u8>(frame, seed)).unwrap();
            }
            assert_eq!(occupied(&name), after_creation, "every page was there from the start");
        }
    }
}

#[test]
fn a_small_stream_takes_two_pages() {
    let name = Name::new("small");
    let _stream = Stream::create(&name, &StreamConfig::of::<f64>(&[8]).unwrap()).unwrap();
    assert_eq!(occupied(&name), 2 * PAGE);
}

#[test]
fn readers_take_nothing() {
    let name = Name::new("readers");
    let config = StreamConfig::of::<u8>(&[300_000]).unwrap();
    let stream = Stream::create(&name, &config).unwrap();
    let mut writer = stream.writer(Deadline::NOW).unwrap();
    writer.publish(&pattern::<u8>(300_000, 1)).unwrap();
    let alone = occupied(&name);
    let mut readers: Vec<Reader> = (0..8).map(|_| Reader::open(&name).unwrap()).collect();
    for reader in &mut readers {
        reader.read::<u8>().unwrap();
        assert!(reader.wait_after(1, Duration::from_millis(2)).is_err());
    }
    let views: Vec<_> = readers.iter_mut().map(|reader| reader.view().unwrap()).collect();
    writer.publish(&pattern::<u8>(300_000, 2)).unwrap();
    assert_eq!(occupied(&name), alone);
    drop((views, readers));
    assert_eq!(occupied(&name), alone);
}

/// The table of participants has 96 entries; more readers than that only miss a line in it.
#[test]
fn any_number_of_readers() {
    within(Duration::from_secs(30), || {
        let name = Name::new("crowd");
        let stream = Stream::create(&name, &StreamConfig::of::<u8>(&[100]).unwrap()).unwrap();
        let mut readers: Vec<Reader> = (0..150).map(|_| Reader::open(&name).unwrap()).collect();
        stream.writer(Deadline::NOW).unwrap().publish(&[7_u8; 100]).unwrap();
        for reader in &mut readers {
            assert_eq!(reader.read::<u8>().unwrap().data, [7; 100]);
        }
        let info = shm_core::stat(&name).unwrap();
        assert!(info.attached && info.holders.len() == 96, "{} holders", info.holders.len());
        drop(readers);
        assert_eq!(shm_core::stat(&name).unwrap().holders.len(), 1);
    });
}

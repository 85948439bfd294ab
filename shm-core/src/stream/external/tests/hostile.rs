//! Geometry and words that nobody of good will stored.

use super::*;
use crate::stream::layout::{GEOMETRY_LEN, HOT, Layout};
use crate::sync::Ordering;
use crate::{LockError, Reader};
use proptest::prelude::*;
use std::time::Duration;

const VALUES: [u64; 7] = [0, 1, 2, 1 << 32, u64::MAX - 1, u64::MAX, 0x9e37_79b9_7f4a_7c15];
const SOON: Duration = Duration::from_millis(5);

/// Whatever is accepted describes itself again in the same words, and no more than it may.
fn check_accepted(bytes: &[u8]) -> Result<(), TestCaseError> {
    let Ok(layout) = Layout::decode("x", bytes) else { return Ok(()) };
    if let Some(external) = &layout.external {
        prop_assert!(external.descriptor.len() <= 4096);
        prop_assert_eq!(layout.host_payload, external.mirrored);
        prop_assert_eq!(layout.payload_len() > 0 && !external.mirrored, false);
    }
    let again = Layout::decode("x", &layout.encode()).unwrap();
    prop_assert_eq!(again, layout);
    Ok(())
}

proptest! {
    #[test]
    fn any_few_changes_to_a_geometry_do_no_harm(
        mirrored: bool,
        changes in proptest::collection::vec((0_usize..GEOMETRY_LEN + 25, any::<u8>()), 1..4),
        cut in proptest::option::of(0_usize..GEOMETRY_LEN + 25),
    ) {
        let mut bytes = config(mirrored).layout().encode();
        for (at, value) in changes {
            bytes[at] = value;
        }
        bytes.truncate(cut.unwrap_or(bytes.len()));
        check_accepted(&bytes)?;
    }

    #[test]
    fn any_extension_is_an_error_or_a_description(
        extension in proptest::collection::vec(any::<u8>(), 1..64),
        words in proptest::option::of([0_u32..3, 0_u32..5, 0_u32..50, 0_u32..2]),
    ) {
        let mut bytes = config(false).layout().encode();
        bytes.truncate(GEOMETRY_LEN);
        bytes.extend(extension);
        // Without these, nothing would ever get past the version.
        for (index, word) in words.into_iter().flatten().enumerate() {
            let at = GEOMETRY_LEN + 4 * index;
            if let Some(place) = bytes.get_mut(at..at + 4) {
                place.copy_from_slice(&word.to_ne_bytes());
            }
        }
        check_accepted(&bytes)?;
    }
}

/// Everything that reads the words, once.
fn look_at_everything(stream: &Stream, reader: &mut Reader) {
    let _ = (stream.announced(), stream.count(), stream.creator_alive());
    let _ = (stream.publication_pages(), stream.host_cell(0), stream.host_cell(usize::MAX));
    let _ = reader.wait_for(u64::MAX - 2, SOON);
    let _ = reader.naps_after(7).sleep(SOON);
    for count in [0, 1, 3, u64::MAX] {
        let _ = reader.look_at(count).map(|glance| glance.validate());
    }
    if let Ok(glance) = reader.look() {
        assert!(glance.cell() < stream.cells());
        let _ = (glance.validate(), reader.note(&glance));
    }
}

#[test]
fn any_word_may_be_anything() {
    let words = [HOT.writer_pid, HOT.writer_since, HOT.writer_start, HOT.latest, HOT.announced];
    for at in words {
        for (turn, value) in VALUES.into_iter().enumerate() {
            let stream = stream(turn % 2 == 0);
            let (mut reader, mut writer) = (stream.reader(), writer(&stream));
            frame(&stream, &mut writer, 1);
            let set = || stream.shared().segment.hot(at).store(value, Ordering::Relaxed);
            set();
            look_at_everything(&stream, &mut reader);
            let announced = writer.announce(FrameTag::default()).unwrap();
            set();
            if at != HOT.latest {
                // That would only spend another second on the same discovery.
                look_at_everything(&stream, &mut reader);
            }
            carry_out(&stream, &announced);
            set();
            writer.withdraw();
            let _ = writer.in_flight();
            drop(writer);
            set();
            // At worst somebody else's frames seem to be in flight.
            match stream.writer(SOON) {
                Ok(mut writer) => {
                    let count = frame(&stream, &mut writer, 2);
                    assert_eq!((stream.count(), stream.announced()), (count, count));
                }
                Err(LockError::Timeout { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
}

#[test]
fn a_stream_that_was_damaged_heals_with_its_next_writer() {
    let stream = stream(false);
    frame(&stream, &mut writer(&stream), 1);
    for value in VALUES {
        stream.shared().segment.hot(HOT.announced).store(value, Ordering::Relaxed);
        let count = stream.count();
        let mut next = writer(&stream);
        assert_eq!((next.in_flight(), stream.announced()), (0, count), "{value:#x}");
        assert_eq!(frame(&stream, &mut next, 1), count + 1);
    }
}

//! The reader's side.

use super::*;
use crate::ReadError;
use core::future::Future;
use core::pin::pin;
use core::task::Poll;

#[test]
fn frames_that_live_elsewhere_are_not_read_here() {
    let stream = stream(false);
    let mut writer = writer(&stream);
    frame(&stream, &mut writer, 5);
    let mut reader = stream.reader();
    let (mut words, mut bytes) = ([0_u64; WORDS], [0_u8; 8 * WORDS]);
    let soon = std::time::Duration::from_millis(1);
    for refused in [
        reader.read_into(&mut words).map(drop),
        reader.read_bytes_into(&mut bytes).map(drop),
        reader.read_with(|_| unreachable!()).map(drop),
        reader.read::<u64>().map(drop),
        reader.read_new::<u64>(soon).map(drop),
        reader.read_new_into(&mut words, soon).map(drop),
        reader.read_after::<u64>(0, soon).map(drop),
        reader.read_after_into(0, &mut words, soon).map(drop),
        reader.read_frame::<u64>(1).map(drop),
        reader.frame_with(1, |_| unreachable!()).map(drop),
        reader.history::<u64>(1).map(drop),
        reader.view().map(drop),
    ] {
        let error = refused.unwrap_err();
        assert_eq!(error, ReadError::NoHostPayload { name: "external".into() });
        let text = error.to_string();
        assert!(text.contains("cpu_mirror=True") && text.contains("Mirror::Host"), "{text}");
    }
    let mut awaiting = stream.reader().into_async();
    let mut context = core::task::Context::from_waker(core::task::Waker::noop());
    let refused = pin!(awaiting.read_new::<u64>(soon)).poll(&mut context);
    assert!(matches!(refused, Poll::Ready(Err(ReadError::NoHostPayload { .. }))), "at once");
    assert_eq!(reader.peek().unwrap().frame_id, 5);
    assert_eq!((reader.count(), reader.seen()), (1, 0));
    assert!(!reader.is_stale(std::time::Duration::from_secs(60)));
}

#[test]
fn mirrored_frames_are_read_as_ever() {
    let stream = stream(true);
    let mut writer = writer(&stream);
    let mut reader = stream.reader();
    for count in 1..=5 {
        frame(&stream, &mut writer, count);
        let read = reader.read::<u64>().unwrap();
        assert_eq!((read.info.count, &*read.data), (count, &[count; WORDS][..]));
        let view = reader.view().unwrap();
        assert!(view.iter::<u64>().unwrap().all(|word| word == count));
        view.validate().unwrap();
    }
    let history: Vec<u64> =
        reader.history::<u64>(9).unwrap().iter().map(|frame| frame.data[7]).collect();
    assert_eq!(history, [3, 4, 5]);
}

#[test]
fn a_glance_says_whether_its_frame_is_still_there() {
    let stream = stream(false);
    let mut writer = writer(&stream);
    let mut reader = stream.reader();
    assert!(matches!(reader.look(), Err(ReadError::Empty { .. })));
    assert!(matches!(reader.look_at(1), Err(ReadError::Overwritten { count: 1, .. })));
    for id in 1..=4 {
        frame(&stream, &mut writer, id * 10);
    }
    let newest = reader.look().unwrap();
    assert_eq!((newest.info().count, newest.cell(), newest.info().frame_id), (4, 1, 40));
    let older = reader.look_at(2).unwrap();
    assert_eq!((older.info().count, older.cell()), (2, 2));
    assert!(matches!(reader.look_at(1), Err(ReadError::Overwritten { count: 1, .. })));
    assert!(matches!(reader.look_at(5), Err(ReadError::Overwritten { count: 5, .. })));
    assert!(newest.validate().is_ok() && older.validate().is_ok());
    // The cell of frame 2 is frame 5's.
    let next = writer.announce(FrameTag::default()).unwrap();
    assert!(older.validate().is_ok(), "an announcement touches no cell");
    next.begin_on_host();
    let error = older.validate().unwrap_err();
    assert_eq!(error, ReadError::Overwritten { name: "external".into(), count: 2 });
    newest.validate().unwrap();
    next.finish_on_host();
    assert_eq!(reader.seen(), 0, "looking is not reading");
    reader.note(&newest);
    assert_eq!((reader.seen(), reader.missed_total()), (4, 0));
    assert_eq!(reader.note(&older).count, 2);
    assert_eq!(reader.seen(), 4, "an older frame changes nothing");
    for id in 6..=8 {
        frame(&stream, &mut writer, id);
    }
    let glance = reader.look().unwrap();
    assert_eq!(glance.info().missed, 3);
    assert_eq!(reader.note(&glance).missed, 3);
    assert_eq!((reader.seen(), reader.missed_total()), (8, 3));
    drop((stream, writer, reader));
    assert!(glance.validate().is_ok(), "a glance owns its mapping");
}

#[test]
fn a_glance_at_another_stream_is_not_counted() {
    let (one, other) = (stream(false), stream(false));
    frame(&one, &mut writer(&one), 1);
    let mut reader = other.reader();
    assert_eq!(reader.note(&one.reader().look().unwrap()).count, 1);
    assert_eq!(reader.seen(), 0);
}

//! What bindings need: cells lent apart from their writer, looks without payload, waits of foreign
//! executors.

use crate::support::name::Name;
use shm_core::{
    Deadline, FrameTag, Loan, PublishError, ReadError, Reader, Stream, StreamConfig, Writer, copy,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

fn create(name: &Name) -> Stream {
    Stream::create(name, &StreamConfig::of::<u8>(&[4]).unwrap()).unwrap()
}

fn fill(loan: &Loan, value: u8) {
    // SAFETY: the writer that lent it is held and idle in every test.
    unsafe { loan.as_mut_ptr().write_bytes(value, loan.byte_len()) };
}

fn published(writer: &mut Writer, value: u8) -> u64 {
    writer.publish(&[value; 4]).unwrap()
}

#[test]
fn a_loan_is_unreadable_until_it_is_committed() {
    let name = Name::new("lend");
    let stream = create(&name);
    let mut writer = stream.writer(Deadline::NOW).unwrap();
    published(&mut writer, 1);
    let loan = writer.lend().unwrap();
    assert_eq!((loan.byte_len(), loan.as_mut_ptr() as usize % 64), (4, 0));
    fill(&loan, 2);
    let mut reader = stream.reader();
    assert_eq!(reader.read::<u8>().unwrap().data, [1; 4]);
    let tag = FrameTag::id(77).acquired_ns(88);
    assert_eq!(writer.commit_loan(loan, tag).unwrap(), 2);
    let frame = reader.read::<u8>().unwrap();
    assert_eq!((frame.info.frame_id, frame.info.acquired_wall_ns), (77, 88));
    assert_eq!(frame.data, [2; 4]);
}

#[test]
fn a_dropped_loan_publishes_nothing_and_is_counted() {
    let name = Name::new("drop");
    let stream = create(&name);
    let mut writer = stream.writer(Deadline::NOW).unwrap();
    published(&mut writer, 1);
    let loan = writer.lend().unwrap();
    fill(&loan, 2);
    drop(loan);
    assert_eq!(stream.reader().read::<u8>().unwrap().data, [1; 4]);
    assert_eq!(shm_core::stat(&name).unwrap().counter("aborted"), Some(1));
    assert_eq!(published(&mut writer, 3), 2);
}

#[test]
fn a_loan_that_was_overtaken_cannot_be_committed() {
    let name = Name::new("overtaken");
    let stream = create(&name);
    let mut writer = stream.writer(Deadline::NOW).unwrap();
    let loan = writer.lend().unwrap();
    published(&mut writer, 1);
    let error = writer.commit_loan(loan, FrameTag::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "loan for frame 1 cannot be committed: the next frame of this writer of stream '{}' is 2; \
             lend anew",
            &*name
        )
    );
    assert_eq!(stream.reader().read::<u8>().unwrap().data, [1; 4]);
}

#[test]
fn a_loan_of_another_stream_is_refused() {
    let (one, other) = (Name::new("one"), Name::new("other"));
    let (stream, foreign) = (create(&one), create(&other));
    let mut writer = stream.writer(Deadline::NOW).unwrap();
    let loan = foreign.writer(Deadline::NOW).unwrap().lend().unwrap();
    let outcome = writer.commit_loan(loan, FrameTag::default());
    assert!(matches!(outcome, Err(PublishError::Loan { .. })), "{outcome:?}");
    assert_eq!((stream.count(), foreign.count()), (0, 0));
}

#[test]
fn a_loan_of_an_unlinked_stream_is_refused_and_its_memory_stays() {
    let name = Name::new("unlinked");
    let stream = create(&name);
    let mut writer = stream.writer(Deadline::NOW).unwrap();
    let loan = writer.lend().unwrap();
    shm_core::unlink(&name).unwrap();
    fill(&loan, 5);
    let outcome = writer.commit_loan(loan, FrameTag::default());
    assert!(matches!(outcome, Err(PublishError::Stale { .. })), "{outcome:?}");
}

#[test]
fn peeking_does_not_count_as_reading() {
    let name = Name::new("peek");
    let stream = create(&name);
    let mut reader = stream.reader();
    assert!(matches!(reader.peek(), Err(ReadError::Empty { .. })));
    let mut writer = stream.writer(Deadline::NOW).unwrap();
    published(&mut writer, 1);
    writer.clear_tagged(FrameTag::id(9)).unwrap();
    let info = reader.peek().unwrap();
    assert_eq!((info.count, info.frame_id, reader.seen()), (2, 9, 0));
    assert_eq!(reader.read::<u8>().unwrap().data, [0; 4]);
}

#[test]
fn past_frames_are_read_by_count() {
    let name = Name::new("past");
    let stream = create(&name);
    let reader = stream.reader();
    let mut writer = stream.writer(Deadline::NOW).unwrap();
    for value in 1..=5 {
        published(&mut writer, value);
    }
    let mut out = [0_u8; 4];
    // SAFETY: four bytes on both sides, which do not overlap.
    let mut take = |payload| unsafe { copy::copy_out(out.as_mut_ptr(), payload, 4) };
    for count in [0, 1, 2, 6, u64::MAX] {
        let outcome = reader.frame_with(count, &mut take);
        assert!(matches!(outcome, Err(ReadError::Overwritten { .. })), "{count}: {outcome:?}");
    }
    for count in 3..=5 {
        assert_eq!(reader.frame_with(count, &mut take).unwrap().count, count);
    }
    assert_eq!((out, reader.seen()), ([5; 4], 0));
}

#[test]
fn a_frame_that_is_filled_by_hand_is_one_frame() {
    let name = Name::new("by-hand");
    let stream = create(&name);
    let mut writer = stream.writer(Deadline::NOW).unwrap();
    for value in 1..=4_u8 {
        // SAFETY: four bytes, which only this writer writes now.
        let fill = |payload: *mut u8| unsafe { payload.write_bytes(value, 4) };
        assert_eq!(writer.publish_with(FrameTag::id(9), fill).unwrap(), u64::from(value));
    }
    let (mut reader, mut out) = (stream.reader(), [0_u8; 4]);
    // SAFETY: as above.
    let take = |payload| unsafe { copy::copy_out(out.as_mut_ptr(), payload, 4) };
    let info = reader.read_with(take).unwrap();
    assert_eq!((info.count, info.frame_id, reader.seen()), (4, 9, 4));
    assert_eq!(out, [4; 4]);
}

#[derive(Default)]
struct Counting(AtomicUsize);

impl Wake for Counting {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_foreign_executor_is_woken_once_per_wish() {
    let name = Name::new("poll");
    let stream = create(&name);
    let mut writer = stream.writer(Deadline::NOW).unwrap();
    let mut reader = stream.reader().into_async();
    let woken = Arc::new(Counting::default());
    let waker = Waker::from(woken.clone());
    let mut context = Context::from_waker(&waker);
    assert!(reader.poll_after(0, Deadline::NEVER, &mut context).is_pending());
    published(&mut writer, 1);
    until(|| woken.0.load(Ordering::SeqCst) == 1);
    assert!(matches!(reader.poll_after(0, Deadline::NEVER, &mut context), Poll::Ready(Ok(1))));
    let soon = Duration::from_millis(20);
    let deadline = Deadline::after(soon);
    assert!(reader.poll_after(1, deadline, &mut context).is_pending());
    until(|| woken.0.load(Ordering::SeqCst) == 2);
    let outcome = reader.poll_after(1, deadline, &mut context);
    assert!(matches!(outcome, Poll::Ready(Err(ReadError::Timeout { .. }))), "{outcome:?}");
    assert!(reader.poll_after(1, Deadline::NEVER, &mut context).is_pending());
    stream.unlink().unwrap();
    until(|| woken.0.load(Ordering::SeqCst) == 3);
    let outcome = reader.poll_after(1, Deadline::NEVER, &mut context);
    assert!(matches!(outcome, Poll::Ready(Err(ReadError::Stale { .. }))), "{outcome:?}");
}

fn until(mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(30), "nobody woke");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_stream_knows_how_it_was_made() {
    let (kept, passing) = (Name::new("kept"), Name::new("passing"));
    let config = StreamConfig::of::<u8>(&[4]).unwrap();
    let kept = Stream::create(&kept, &config).unwrap();
    let passing = Stream::create(&passing, &config.clone().temporary(true)).unwrap();
    assert_eq!((kept.is_temporary(), passing.is_temporary()), (false, true));
    let opened = Stream::open(passing.name()).unwrap();
    assert_eq!((opened.is_temporary(), opened.creator_pid()), (true, std::process::id()));
}

#[test]
fn a_wait_in_pieces_ends_with_each_sleep() {
    let name = Name::new("naps");
    let stream = create(&name);
    for reader in [Reader::open(&name).unwrap(), Reader::open_read_only(&name).unwrap()] {
        let before = stream.count();
        let mut naps = reader.naps_after(before);
        for _ in 0..20 {
            assert_eq!(naps.sleep(Duration::from_millis(1)).unwrap(), None);
        }
        let producer = std::thread::spawn({
            let stream = stream.clone();
            move || {
                std::thread::sleep(Duration::from_millis(20));
                published(&mut stream.writer(Deadline::NOW).unwrap(), 1)
            }
        });
        let found = std::iter::repeat_with(|| naps.sleep(Duration::from_secs(30)).unwrap());
        assert_eq!(found.flatten().next(), Some(before + 1));
        producer.join().unwrap();
        assert_eq!(naps.sleep(Duration::ZERO).unwrap(), Some(before + 1), "it stays so");
    }
    let reader = Reader::open(&name).unwrap();
    let mut naps = reader.naps_after(reader.count());
    stream.unlink().unwrap();
    assert!(matches!(naps.sleep(Duration::from_secs(30)), Err(ReadError::Stale { .. })));
}

//! Numbers, times and history of frames; frames written in place, given up, and cleared.

use super::backing::{Backing, on_every_backing};
use crate::support::pattern::{assert_same, pattern};
use shm_core::{FrameTag, PublishError, ReadError, StreamConfig, clock};
use std::time::Duration;

on_every_backing!(
    an_empty_stream_says_so,
    numbers_and_times_belong_to_the_frame,
    missed_frames_are_counted_per_reader,
    a_loan_is_seen_after_its_commit_only,
    an_abandoned_loan_costs_nothing_but_its_cell,
    a_single_cell_is_lost_with_its_loan,
    clear_is_a_frame_of_zeroes,
    history_is_the_newest_frames_in_order,
    a_frame_is_found_by_its_count,
    wrong_dtype_and_length_change_nothing,
    age_and_liveness,
);

const NOW: Duration = Duration::from_secs(5);

fn config(cells: usize) -> StreamConfig {
    StreamConfig::of::<u32>(&[100]).unwrap().cells(cells).unwrap()
}

fn an_empty_stream_says_so(on: &impl Backing) {
    let subject = on.create(&config(3));
    let mut reader = subject.reader();
    let name = reader.name().to_owned();
    let empty = ReadError::Empty { name: name.clone() };
    assert_eq!(reader.read::<u32>(), Err(empty.clone()));
    assert_eq!(reader.read_into(&mut [0_u32; 100]), Err(empty.clone()));
    assert_eq!(reader.history::<u32>(1), Err(empty.clone()));
    assert_eq!(reader.view().map(drop), Err(empty));
    assert_eq!(
        reader.read_frame::<u32>(0),
        Err(ReadError::Overwritten { name: name.clone(), count: 0 })
    );
    assert_eq!(reader.read_frame::<u32>(1), Err(ReadError::Overwritten { name, count: 1 }));
    assert_eq!((reader.count(), reader.seen(), reader.missed_total()), (0, 0, 0));
    assert_eq!(reader.age(), None);
    assert!(reader.is_stale(Duration::MAX));
}

fn numbers_and_times_belong_to_the_frame(on: &impl Backing) {
    let subject = on.create(&config(4));
    let mut writer = subject.stream.writer(NOW).unwrap();
    let mut reader = subject.reader();
    let data = pattern::<u32>(100, 1);
    let (mono, wall) = (clock::monotonic_ns(), clock::wall_ns());
    writer.publish_tagged(&data, FrameTag::id(u64::MAX).acquired_ns(123_456_789)).unwrap();
    writer.publish_tagged(&data, FrameTag::default().acquired_ns(u64::MAX)).unwrap();
    writer.publish_tagged(&data, FrameTag::id(0)).unwrap();
    writer.publish(&data).unwrap();
    let (mono_after, wall_after) = (clock::monotonic_ns(), clock::wall_ns());
    let frames = reader.history::<u32>(4).unwrap();
    let tags: Vec<_> = frames
        .iter()
        .map(|frame| (frame.info.count, frame.info.frame_id, frame.info.acquired_wall_ns))
        .collect();
    assert_eq!(tags, [(1, u64::MAX, 123_456_789), (2, 2, u64::MAX), (3, 0, 0), (4, 4, 0)]);
    let mut before = mono;
    for frame in &frames {
        assert!((before..=mono_after).contains(&frame.info.written_mono_ns));
        before = frame.info.written_mono_ns;
        // Wall time is derived from monotonic time and may differ from a second reading a little.
        let slack = 50_000_000;
        assert!((wall - slack..=wall_after + slack).contains(&frame.info.written_wall_ns));
    }
}

fn missed_frames_are_counted_per_reader(on: &impl Backing) {
    let subject = on.create(&config(3));
    let mut writer = subject.stream.writer(NOW).unwrap();
    let (mut early, mut late) = (subject.reader(), subject.reader());
    let data = pattern::<u32>(100, 1);
    let mut publish = |times: usize| {
        (0..times).for_each(|_| {
            writer.publish(&data).unwrap();
        })
    };
    publish(5);
    assert_eq!(
        early.read::<u32>().unwrap().info.missed,
        0,
        "nothing before the first read is missed"
    );
    publish(1);
    assert_eq!(early.read::<u32>().unwrap().info.missed, 0);
    assert_eq!(early.read::<u32>().unwrap().info.missed, 0, "the same frame again");
    publish(7);
    assert_eq!(early.view().unwrap().info().missed, 6);
    publish(2);
    assert_eq!(early.read_after::<u32>(0, NOW).unwrap().info.missed, 1);
    assert_eq!((early.seen(), early.missed_total(), early.count()), (15, 7, 15));
    assert_eq!(late.read::<u32>().unwrap().info.missed, 0);
    assert_eq!((late.seen(), late.missed_total()), (15, 0));
}

fn a_loan_is_seen_after_its_commit_only(on: &impl Backing) {
    let subject = on.create(&config(3));
    let mut writer = subject.stream.writer(NOW).unwrap();
    let mut reader = subject.reader();
    let (first, second) = (pattern::<u32>(100, 1), pattern::<u32>(100, 2));
    writer.publish(&first).unwrap();
    let mut loan = writer.loan().unwrap();
    assert_eq!(loan.bytes_mut().len(), 400);
    assert_eq!(loan.bytes_mut().as_ptr().addr() % 64, 0);
    loan.as_mut_slice::<u32>().unwrap().copy_from_slice(&second);
    assert_eq!(reader.count(), 1);
    assert_same(&reader.read::<u32>().unwrap().data, &first);
    assert_eq!(loan.commit_tagged(FrameTag::id(9).acquired_ns(8)), 2);
    let frame = reader.read::<u32>().unwrap();
    assert_same(&frame.data, &second);
    assert_eq!((frame.info.frame_id, frame.info.acquired_wall_ns), (9, 8));
    let mut loan = writer.loan().unwrap();
    let wrong = loan.as_mut_slice::<f32>().map(|slice| slice.len());
    assert!(matches!(wrong, Err(PublishError::Dtype { .. })));
    assert_eq!(loan.commit(), 3);
    assert_eq!(reader.read::<u32>().unwrap().info.frame_id, 3);
}

fn an_abandoned_loan_costs_nothing_but_its_cell(on: &impl Backing) {
    let subject = on.create(&config(3));
    let mut writer = subject.stream.writer(NOW).unwrap();
    let mut reader = subject.reader();
    for seed in 1..=3 {
        writer.publish(&pattern::<u32>(100, seed)).unwrap();
    }
    for _ in 0..3 {
        let mut loan = writer.loan().unwrap();
        loan.bytes_mut().fill(0xee);
        drop(loan);
        let kept: Vec<u64> =
            reader.history::<u32>(9).unwrap().iter().map(|f| f.info.count).collect();
        assert_eq!(kept, [2, 3], "frame 1 gave its cell to the loan");
        assert_same(&reader.read::<u32>().unwrap().data, &pattern::<u32>(100, 3));
    }
    drop(writer);
    let mut writer = subject.stream.writer(NOW).unwrap();
    assert_eq!(writer.publish(&pattern::<u32>(100, 4)), Ok(4), "counts have no gaps");
}

fn a_single_cell_is_lost_with_its_loan(on: &impl Backing) {
    let subject = on.create(&StreamConfig::of::<u32>(&[100]).unwrap().single_cell().unwrap());
    let mut writer = subject.stream.writer(NOW).unwrap();
    let mut reader = subject.reader();
    writer.publish(&pattern::<u32>(100, 1)).unwrap();
    assert_same(&reader.read::<u32>().unwrap().data, &pattern::<u32>(100, 1));
    drop(writer.loan().unwrap());
    assert!(matches!(reader.read::<u32>(), Err(ReadError::Overrun { .. })));
    assert_eq!(writer.publish(&pattern::<u32>(100, 2)), Ok(2));
    assert_same(&reader.read::<u32>().unwrap().data, &pattern::<u32>(100, 2));
}

fn clear_is_a_frame_of_zeroes(on: &impl Backing) {
    for elements in [1, 100, 2000] {
        let config = StreamConfig::of::<u32>(&[elements]).unwrap().cells(2).unwrap();
        let subject = on.create(&config);
        let mut writer = subject.stream.writer(NOW).unwrap();
        let mut reader = subject.reader();
        for seed in 1..=2 {
            writer.publish(&pattern::<u32>(elements, seed)).unwrap();
        }
        assert_eq!(writer.clear(), Ok(3));
        let frame = reader.read::<u32>().unwrap();
        assert_same(&frame.data, &vec![0; elements]);
        assert_eq!((frame.info.count, frame.info.frame_id), (3, 3));
        assert_same(&reader.read_frame::<u32>(2).unwrap().data, &pattern::<u32>(elements, 2));
    }
}

fn history_is_the_newest_frames_in_order(on: &impl Backing) {
    for cells in [2, 3, 4, 9] {
        let subject = on.create(&config(cells));
        let mut writer = subject.stream.writer(NOW).unwrap();
        let mut reader = subject.reader();
        for newest in 1..=2 * cells as u64 + 1 {
            writer.publish(&pattern::<u32>(100, newest)).unwrap();
            for wanted in [0, 1, 2, cells - 1, cells, cells + 5, usize::MAX] {
                let frames = reader.history::<u32>(wanted).unwrap();
                let expected = wanted.min(cells).min(newest as usize);
                assert_eq!(frames.len(), expected);
                for (frame, count) in frames.iter().zip(newest + 1 - expected as u64..) {
                    assert_eq!(frame.info.count, count);
                    assert_same(&frame.data, &pattern::<u32>(100, count));
                }
            }
        }
        assert_eq!((reader.seen(), reader.missed_total()), (0, 0), "looking back is not reading");
    }
}

fn a_frame_is_found_by_its_count(on: &impl Backing) {
    let subject = on.create(&config(3));
    let mut writer = subject.stream.writer(NOW).unwrap();
    let mut reader = subject.reader();
    for seed in 1..=7 {
        writer.publish(&pattern::<u32>(100, seed)).unwrap();
    }
    for count in 0..=10 {
        let found = reader.read_frame::<u32>(count);
        if (5..=7).contains(&count) {
            let frame = found.unwrap();
            assert_eq!(frame.info.count, count);
            assert_same(&frame.data, &pattern::<u32>(100, count));
        } else {
            let name = reader.name().to_owned();
            assert_eq!(found, Err(ReadError::Overwritten { name, count }));
        }
    }
}

fn wrong_dtype_and_length_change_nothing(on: &impl Backing) {
    let subject = on.create(&config(2));
    let mut writer = subject.stream.writer(NOW).unwrap();
    let mut reader = subject.reader();
    writer.publish(&pattern::<u32>(100, 1)).unwrap();
    writer.publish(&pattern::<u32>(100, 2)).unwrap();
    assert!(matches!(writer.publish(&[0_f32; 100]), Err(PublishError::Dtype { .. })));
    assert!(matches!(writer.publish(&[0_u32; 99]), Err(PublishError::Length { .. })));
    assert!(matches!(reader.read::<i32>(), Err(ReadError::Dtype { .. })));
    assert!(matches!(reader.history::<i32>(1), Err(ReadError::Dtype { .. })));
    assert!(matches!(reader.read_frame::<u64>(1), Err(ReadError::Dtype { .. })));
    assert!(matches!(reader.read_new::<i32>(NOW), Err(ReadError::Dtype { .. })));
    assert!(matches!(reader.read_into(&mut [0_u32; 101]), Err(ReadError::Length { .. })));
    assert!(matches!(
        reader.read_after_into(0, &mut [0_u32; 99], NOW),
        Err(ReadError::Length { .. })
    ));
    assert_eq!((reader.seen(), reader.count()), (0, 2));
    for (frame, seed) in reader.history::<u32>(2).unwrap().iter().zip(1..) {
        assert_same(&frame.data, &pattern::<u32>(100, seed));
    }
}

fn age_and_liveness(on: &impl Backing) {
    let subject = on.create(&config(3));
    let reader = subject.reader();
    assert_eq!(reader.writer_alive(), Some(false));
    let mut writer = subject.stream.writer(NOW).unwrap();
    assert_eq!(reader.writer_alive(), Some(true));
    let before = clock::monotonic_ns();
    writer.publish(&pattern::<u32>(100, 1)).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    let age = reader.age().unwrap();
    let bound = Duration::from_nanos(clock::monotonic_ns() - before);
    assert!(age >= Duration::from_millis(20) && age <= bound);
    assert!(
        reader.is_stale(Duration::from_millis(19)) && !reader.is_stale(Duration::from_secs(60))
    );
    drop(writer);
    assert_eq!(reader.writer_alive(), Some(false));
}

//! The writer's side.

use super::*;
use crate::PublishError;
use std::time::Duration;

#[test]
fn a_frame_is_the_newest_once_its_last_word_is_stored() {
    let stream = stream(false);
    let mut writer = writer(&stream);
    for count in 1..=7 {
        let announced = writer.announce(FrameTag::id(count + 50).acquired_ns(count)).unwrap();
        assert_eq!((announced.count(), announced.cell()), (count, (count % 3) as usize));
        assert_eq!((stream.announced(), stream.count()), (count, count - 1));
        assert_eq!(writer.in_flight(), 1);
        carry_out(&stream, &announced);
        assert_eq!((stream.announced(), stream.count(), writer.in_flight()), (count, count, 0));
        let info = *stream.reader().look().unwrap().info();
        assert_eq!((info.frame_id, info.acquired_wall_ns), (count + 50, count));
        assert_eq!(info.byte_len, 8 * WORDS);
        assert!(stream.reader().age().unwrap() < Duration::from_secs(60));
    }
}

#[test]
fn the_lists_are_what_the_host_stores() {
    let stream = stream(true);
    let mut writer = writer(&stream);
    let word = |address: *mut u64| {
        let shared = stream.shared();
        let base = shared.segment.region().bytes(0, 0).addr();
        shared.segment.region().word64(address.addr() - base).load(crate::sync::Ordering::Relaxed)
    };
    let announced = writer.announce(FrameTag::id(9)).unwrap();
    let ([begin], finish) = (announced.begin(), announced.finish());
    announced.begin_on_host();
    assert_eq!((word(begin.address), begin.value), (begin.value, 3), "frame 1 is being written");
    assert_eq!(finish[5].address, begin.address, "the even mark comes last but one");
    announced.finish_on_host();
    for (index, store) in finish.iter().enumerate() {
        assert_eq!(word(store.address), store.value, "word {index}");
    }
    assert_eq!((finish[5].value, finish[6].value), (4, 1));
    assert_eq!(stream.count(), 1);
}

#[test]
fn what_is_withdrawn_is_announced_again() {
    let stream = stream(false);
    let mut writer = writer(&stream);
    assert_eq!(frame(&stream, &mut writer, 1), 1);
    let lost: Vec<_> = (0..3).map(|_| writer.announce(FrameTag::default()).unwrap()).collect();
    lost[0].begin_on_host();
    assert_eq!((writer.in_flight(), stream.announced()), (3, 4));
    writer.withdraw();
    assert_eq!((writer.in_flight(), stream.announced(), stream.count()), (0, 1, 1));
    assert_eq!(stream.reader().look().unwrap().info().count, 1);
    assert_eq!(frame(&stream, &mut writer, 2), 2);
    writer.withdraw();
    assert_eq!(stream.count(), 2, "nothing to withdraw");
}

#[test]
fn a_frame_that_only_lacks_its_hand_over_is_kept() {
    let stream = stream(false);
    let mut writer = writer(&stream);
    let announced = writer.announce(FrameTag::default()).unwrap();
    stream.shared().ring().seal(&announced.writing, announced.header);
    writer.withdraw();
    assert_eq!((stream.count(), stream.announced()), (1, 1));
    assert_eq!(frame(&stream, &mut writer, 2), 2);
}

#[test]
fn frames_that_live_elsewhere_are_not_published_here() {
    for mirrored in [false, true] {
        let stream = stream(mirrored);
        let mut writer = writer(&stream);
        let data = [0_u64; WORDS];
        let ordinary = Stream::process_local("o", &StreamConfig::of::<u64>(&[WORDS]).unwrap());
        let ordinary = ordinary.unwrap();
        let mut other = ordinary.writer(Deadline::NOW).unwrap();
        let loan = other.lend().unwrap();
        for refused in [
            writer.publish(&data),
            writer.publish_tagged(&data, FrameTag::id(1)),
            writer.publish_bytes(&[0; 8 * WORDS], FrameTag::default()),
            writer.publish_with(FrameTag::default(), |_| unreachable!()),
            writer.clear(),
            writer.clear_tagged(FrameTag::id(1)),
            writer.loan().map(|_| 0),
            writer.lend().map(|_| 0),
            writer.commit_loan(loan, FrameTag::default()),
        ] {
            let error = refused.unwrap_err();
            assert_eq!(error, PublishError::External { name: "external".into() });
            assert!(error.to_string().contains("shm_cuda::DeviceWriter"), "{error}");
        }
        assert_eq!(stream.count(), 0);
        let error = other.announce(FrameTag::default()).unwrap_err();
        assert_eq!(error, PublishError::NotExternal { name: "o".into() });
        assert_eq!((other.in_flight(), ordinary.announced()), (0, 0));
        other.withdraw();
        assert_eq!(other.publish(&data).unwrap(), 1);
        assert_eq!(ordinary.announced(), 1);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn the_next_writer_waits_for_what_a_living_one_left_in_flight() {
    let stream = stream(false);
    let mut left = writer(&stream);
    let announced = left.announce(FrameTag::default()).unwrap();
    drop(left);
    for deadline in [Deadline::NOW, Deadline::after(Duration::from_millis(5))] {
        let Err(crate::LockError::Timeout { holder: Some(holder), .. }) = stream.writer(deadline)
        else {
            panic!("frame 1 is in flight");
        };
        assert_eq!(holder.pid, std::process::id());
    }
    let other = stream.clone();
    let next = std::thread::spawn(move || {
        let mut next = other.writer(Duration::from_secs(60)).unwrap();
        assert_eq!(frame(&other, &mut next, 7), 2);
    });
    std::thread::sleep(Duration::from_millis(20));
    carry_out(&stream, &announced);
    next.join().unwrap();
    assert_eq!((stream.count(), stream.announced()), (2, 2));
    drop(writer(&stream));
}

#[cfg(target_os = "linux")]
#[test]
fn what_a_process_that_is_gone_left_in_flight_is_taken_back() {
    use crate::stream::layout::HOT;
    use crate::sync::Ordering;
    let stream = stream(false);
    let mut left = writer(&stream);
    let _lost = left.announce(FrameTag::default()).unwrap();
    drop(left);
    // This pid, but started at another time: its process is gone and the number was given away.
    stream.shared().segment.hot(HOT.writer_start).fetch_add(1, Ordering::Relaxed);
    let mut next = writer(&stream);
    assert_eq!((stream.announced(), next.in_flight()), (0, 0));
    assert_eq!(frame(&stream, &mut next, 1), 1);
}

#[test]
fn announced_frames_may_be_finished_by_another_thread() {
    fn assert_send<T: Send>(_: &T) {}
    let stream = stream(false);
    let mut writer = writer(&stream);
    let announced = writer.announce(FrameTag::default()).unwrap();
    assert_send(&announced);
    std::thread::spawn(move || {
        announced.begin_on_host();
        announced.finish_on_host();
    })
    .join()
    .unwrap();
    assert_eq!(stream.count(), 1);
    drop(writer.announce(FrameTag::default()).unwrap());
    assert_eq!((stream.count(), writer.in_flight()), (1, 1), "dropping does nothing");
    writer.withdraw();
}

//! Every trace and every damage is told, and nothing else is.

use super::*;
use crate::{FrameTag, StreamConfig};
use proptest::prelude::*;

fn stream(cells: usize) -> Stream {
    let config = StreamConfig::of::<u8>(&[100]).unwrap().cells(cells).unwrap();
    Stream::process_local("check", &config).unwrap()
}

fn external() -> Stream {
    let config = StreamConfig::of::<u8>(&[100]).unwrap().external(b"elsewhere", false).unwrap();
    Stream::process_local("check", &config).unwrap()
}

/// A stream of three cells with that many frames.
fn with_frames(frames: u64) -> Stream {
    let stream = stream(3);
    let mut writer = stream.writer(Deadline::NOW).unwrap();
    for _ in 0..frames {
        writer.publish(&[7_u8; 100]).unwrap();
    }
    drop(writer);
    stream
}

fn checked(stream: &Stream) -> StreamCheck {
    look(stream.shared())
}

/// As if the cell held another frame, published together with those in the other cells.
fn set_sequence(stream: &Stream, cell: usize, sequence: u64) {
    let cells = stream.shared().ring().cells;
    cells.cell(cell).sequence.store(sequence, Ordering::Relaxed);
    (0..cells.len()).for_each(|cell| cells.cell(cell).written_mono_ns.store(7, Ordering::Relaxed));
}

fn set_newest(stream: &Stream, count: u64) {
    stream.shared().ring().latest.store(count, Ordering::Relaxed);
}

/// The one problem, of a check without notes.
fn problem(stream: &Stream) -> String {
    let check = checked(stream);
    assert_eq!((check.problems.len(), &check.notes), (1, &Vec::new()), "{:?}", check.problems);
    check.problems[0].clone()
}

/// The one note, of a check without problems.
fn note(stream: &Stream) -> String {
    let check = checked(stream);
    assert_eq!((check.notes.len(), &check.problems), (1, &Vec::new()), "{:?}", check.notes);
    check.notes[0].clone()
}

#[test]
fn a_stream_at_any_count_is_clean() {
    for cells in [2, 3, 7] {
        let stream = stream(cells);
        for count in 0..20 {
            let check = checked(&stream);
            assert!(check.is_clean() && check.notes.is_empty(), "{cells} cells: {check:?}");
            assert_eq!(check.newest, count);
            assert_eq!(check.lock, LockCheck::Free);
            let complete = check.cells.iter().filter(|cell| cell.frame.is_some()).count();
            assert_eq!(complete, cells.min(count as usize));
            let mut writer = stream.writer(Deadline::NOW).unwrap();
            writer.publish(&[7_u8; 100]).unwrap();
            assert_eq!(checked(&stream).lock, LockCheck::Held);
        }
    }
}

#[test]
fn cells_say_which_frames_they_hold() {
    let stream = stream(3);
    let mut writer = stream.writer(Deadline::NOW).unwrap();
    writer.publish_tagged(&[1_u8; 100], FrameTag::id(42)).unwrap();
    let loan = writer.loan().unwrap();
    drop(loan);
    let check = checked(&stream);
    let states: Vec<_> = check.cells.iter().map(|cell| (cell.state, cell.count)).collect();
    let expected = [(CellState::Empty, 0), (CellState::Complete, 1), (CellState::Unfinished, 2)];
    assert_eq!(states, expected);
    assert_eq!(check.cells[1].frame.unwrap().frame_id, 42);
    // While somebody has the lock, an unfinished frame is nothing to speak of.
    assert!(check.is_clean() && check.notes.is_empty());
    drop(writer);
    assert!(note(&stream).contains("frame 2 is unfinished, because its writer gave it up"));
}

#[test]
fn what_a_killed_writer_leaves_is_a_note() {
    let stream = with_frames(4);
    set_sequence(&stream, 2, 2 * 5 + 1);
    assert!(note(&stream).contains("frame 5 is unfinished"));
    set_sequence(&stream, 2, 2 * 5 + 2);
    assert!(note(&stream).contains("frame 5 is complete and was not handed over"));
    // The next writer does what the note says.
    drop(stream.writer(Deadline::NOW).unwrap());
    let check = checked(&stream);
    assert_eq!((check.newest, check.notes.len()), (5, 0));
}

#[test]
fn a_lock_whose_holder_is_gone_is_a_note() {
    let stream = with_frames(1);
    let word = stream.shared().segment.writer_lock().word;
    // An identity that was never handed out, so nobody proves that it lives.
    word.store(1 << 40, Ordering::Relaxed);
    assert_eq!(checked(&stream).lock, LockCheck::Abandoned);
    assert!(note(&stream).contains("was killed holding the lock"));
}

#[test]
fn every_damage_is_told() {
    let damaged = |cell: usize, sequence: u64| {
        let stream = with_frames(7);
        set_sequence(&stream, cell, sequence);
        problem(&stream)
    };
    // Cell 1 holds frame 7, cell 0 frame 6, cell 2 frame 5.
    assert_eq!(damaged(0, 0), "cell 0: it is empty, expected frame 6");
    assert_eq!(damaged(0, 2 * 3 + 2), "cell 0: it holds frame 3, expected frame 6");
    assert_eq!(damaged(0, 2 * 9 + 2), "cell 0: it holds frame 9, but the newest frame is 7");
    assert!(damaged(0, 2 * 7 + 2).contains("its sequence is that of frame 7, which has no place"));
    assert!(damaged(0, 2).contains("its sequence is that of frame 0"));
    assert!(damaged(1, 2 * 7 + 1).contains("frame 7 is unfinished, but the newest frame is 7"));
    assert!(damaged(0, 2 * 12 + 1).contains("frame 12 was begun, but the newest frame is 7"));
}

#[test]
fn a_newest_count_that_leads_nowhere_is_damage() {
    let stream = with_frames(7);
    set_newest(&stream, 8);
    assert_eq!(problem(&stream), "cell 2: it holds frame 5, expected frame 8");
    for count in [u64::MAX, u64::MAX - 1, 1 << 63] {
        set_newest(&stream, count);
        assert!(!checked(&stream).is_clean());
    }
}

#[test]
fn numbers_and_times_of_frames_are_checked() {
    let stream = with_frames(3);
    let cells = stream.shared().ring().cells;
    cells.cell(1).byte_len.store(99, Ordering::Relaxed);
    assert_eq!(problem(&stream), "frame 1: byte_len is 99, expected 100");
    cells.cell(1).byte_len.store(100, Ordering::Relaxed);

    let times = cells.cell(2).written_mono_ns.swap(1, Ordering::Relaxed);
    assert_eq!(problem(&stream), "frame 2 was published before frame 1");
    cells.cell(2).written_mono_ns.store(times, Ordering::Relaxed);

    let future = clock::monotonic_ns() + 3_600_000_000_000;
    cells.cell(0).written_mono_ns.store(future, Ordering::Relaxed);
    assert!(problem(&stream).contains("frame 3: its time of publication lies in the future"));
}

#[test]
fn frames_in_flight_without_a_writer_are_a_note() {
    let stream = external();
    let mut writer = stream.writer(Deadline::NOW).unwrap();
    let announced = writer.announce(FrameTag::default()).unwrap();
    let check = checked(&stream);
    assert_eq!((check.announced, check.newest), (Some(1), 0));
    assert!(check.is_clean() && check.notes.is_empty(), "{check:?}");
    drop(writer);
    assert!(note(&stream).contains("1 announced frames are in flight without a writer"));
    drop(announced);

    stream.shared().flight().announce(u64::MAX);
    assert!(problem(&stream).contains("is announced, but the newest frame is 0"));
}

#[test]
fn a_writer_at_work_gives_no_problems() {
    let name = format!("test-check-live-{}", std::process::id());
    let stream = Stream::create(&name, &StreamConfig::of::<u8>(&[100]).unwrap()).unwrap();
    let ended = std::sync::atomic::AtomicBool::new(false);
    let mut checks = Vec::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut writer = stream.writer(Deadline::NOW).unwrap();
            while !ended.load(std::sync::atomic::Ordering::Relaxed) {
                writer.publish(&[7_u8; 100]).unwrap();
            }
        });
        for _ in 0..2000 {
            checks.push(check_stream(&name));
        }
        ended.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    stream.unlink().unwrap();
    for check in checks {
        let check = check.unwrap();
        assert!(check.is_clean(), "{check:?}");
    }
}

#[test]
fn checking_takes_no_part() {
    let name = format!("test-check-outside-{}", std::process::id());
    assert!(matches!(check_stream(&name), Err(OpenError::NotFound { .. })));
    let stream = Stream::create(&name, &StreamConfig::of::<u8>(&[100]).unwrap()).unwrap();
    drop(stream);
    assert!(check_stream(&name).unwrap().is_clean());
    // A process that another test is just starting may have inherited a handle for a moment.
    let begun = std::time::Instant::now();
    while crate::stat(&name).unwrap().attached {
        assert!(begun.elapsed() < Duration::from_secs(60), "whoever checked is still attached");
        thread::sleep(Duration::from_millis(1));
    }
    assert!(crate::stat(&name).unwrap().holders.is_empty());
    crate::unlink(&name).unwrap();
}

proptest! {
    #[test]
    fn any_words_are_told_without_a_panic(
        newest: u64,
        announced: u64,
        sequences in proptest::collection::vec(any::<u64>(), 3),
        small in proptest::collection::vec(0_u64..20, 4),
        is_small: bool,
    ) {
        let stream = external();
        let small_or = |index: usize, large: u64| if is_small { small[index] } else { large };
        for (cell, &sequence) in sequences.iter().enumerate() {
            set_sequence(&stream, cell, small_or(cell, sequence));
        }
        let newest = small_or(3, newest);
        set_newest(&stream, newest);
        stream.shared().flight().announce(announced);
        let check = checked(&stream);
        let is_newest = |cell: &CellCheck| {
            cell.count == newest && cell.state == CellState::Complete && newest > 0
        };
        // Whatever else there is: clean means that the newest frame can be had.
        prop_assert!(!check.is_clean() || newest == 0 || check.cells.iter().any(is_newest));
    }
}

//! Every mutable word set to every awkward value, under the eyes of an attached reader and writer.

use super::subject::{ELEMENTS, Subject};
use crate::support::layout::{cell, control, hot};
use crate::support::limit::within;
use crate::support::pattern::{assert_same, pattern};
use crate::support::raw_file::RawFile;
use shm_core::{Deadline, LockError, PublishError, ReadError, Reader, Stream, Writer};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(100);
const VALUES: [u64; 7] = [0, 1, 2, 1 << 32, u64::MAX - 1, u64::MAX, 0x9e37_79b9_7f4a_7c15];

/// A stream with a writer and two readers that are attached while words change.
struct Scene {
    subject: Subject,
    writer: Option<Writer>,
    readers: Vec<Reader>,
}

impl Scene {
    /// The reader that reads first may be the only one to be tried, so `turn` decides who.
    fn new(label: &str, turn: usize) -> Scene {
        let subject = Subject::new(label);
        let writer = Some(subject.stream.writer(Deadline::NOW).unwrap());
        let mut readers = vec![
            Reader::open(&subject.name).unwrap(),
            Reader::open_read_only(&subject.name).unwrap(),
        ];
        readers.rotate_left(turn % 2);
        Scene { subject, writer, readers }
    }

    /// Every reading call once. What it returns is an error of the listed kinds or a whole frame.
    fn read_everything(&mut self) {
        for reader in &mut self.readers {
            let outcome = reader.read::<u32>();
            let lapped = matches!(outcome, Err(ReadError::Overrun { .. }));
            match outcome {
                Ok(frame) => assert_eq!(frame.data.len(), ELEMENTS),
                Err(error) => assert_plausible(&error),
            }
            let waited = reader.wait_after(u64::MAX - 2, Duration::from_millis(1));
            waited.map(drop).unwrap_or_else(|error| assert_plausible(&error));
            for count in [0, 1, 3, u64::MAX] {
                let found = reader.read_frame::<u32>(count);
                found.map(drop).unwrap_or_else(|error| assert_plausible(&error));
            }
            let _ = (reader.age(), reader.is_stale(Duration::ZERO), reader.writer_alive());
            if lapped {
                // The rest would only spend another second each on the same discovery.
                break;
            }
            let history = reader.history::<u32>(5);
            history.map(drop).unwrap_or_else(|error| assert_plausible(&error));
            match reader.view() {
                Ok(view) => {
                    let _ = view.iter::<u32>().unwrap().last();
                    let _ = view.validate();
                }
                Err(error) => assert_plausible(&error),
            }
        }
    }

    /// The writer goes on; if it may, its frame is read in full by readers that open now.
    fn write_everything(&mut self) {
        let other = Stream::open(&self.subject.name);
        let Some(writer) = &mut self.writer else { return };
        let data = pattern::<u32>(ELEMENTS, 7);
        drop(writer.loan());
        match writer.publish(&data) {
            Ok(0) => {}
            Ok(count) => {
                let frame = self.subject.stream.reader().read::<u32>().unwrap();
                assert_eq!(frame.info.count, count);
                assert_same(&frame.data, &data);
            }
            Err(PublishError::Stale { .. }) => {}
            Err(error) => panic!("{error:?}"),
        }
        if let Ok(other) = other {
            match other.writer(Duration::from_millis(2)) {
                Err(LockError::Timeout { .. } | LockError::Stale { .. }) => {}
                outcome => panic!("{outcome:?}"),
            }
        }
        let info = shm_core::stat(&self.subject.name).unwrap();
        assert!(info.attached && info.writer_locked);
    }

    /// The writer lets go and comes back, as another process's would.
    fn succeed(&mut self) {
        self.writer = None;
        match self.subject.stream.writer(Deadline::NOW) {
            Ok(mut writer) => {
                let count = writer.publish(&pattern::<u32>(ELEMENTS, 8)).unwrap();
                assert_eq!(self.subject.stream.count(), count);
                self.writer = Some(writer);
            }
            Err(LockError::Stale { .. }) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
}

fn assert_plausible(error: &ReadError) {
    use ReadError as E;
    let plausible = matches!(
        error,
        E::Empty { .. }
            | E::Timeout { .. }
            | E::Stale { .. }
            | E::Overwritten { .. }
            | E::Overrun { .. }
            | E::Corrupt { .. }
    );
    assert!(plausible, "{error:?}");
}

/// Sets the word to every value, each on a fresh stream.
fn attack(label: &'static str, word: fn(&RawFile) -> u64) {
    within(LIMIT, move || {
        for (turn, value) in VALUES.into_iter().enumerate() {
            let mut scene = Scene::new(label, turn);
            let at = word(&scene.subject.file);
            scene.subject.file.set_word(at, value);
            scene.read_everything();
            scene.write_everything();
            scene.subject.file.set_word(at, value);
            scene.succeed();
            scene.read_everything();
            scene.write_everything();
        }
    });
}

#[test]
fn the_newest_count() {
    attack("latest", |file| file.hot(hot::LATEST));
}

#[test]
fn the_sequence_of_the_newest_cell() {
    attack("sequence", |file| file.cell(0, cell::SEQUENCE));
}

#[test]
fn the_sequence_of_the_next_cell() {
    attack("next-sequence", |file| file.cell(1, cell::SEQUENCE));
}

#[test]
fn the_length_of_the_newest_frame() {
    attack("byte-len", |file| file.cell(0, cell::BYTE_LEN));
}

#[test]
fn id_and_times_of_the_newest_frame() {
    attack("frame-id", |file| file.cell(0, cell::FRAME_ID));
    attack("written", |file| file.cell(0, cell::WRITTEN_MONO));
}

#[test]
fn the_retired_flag() {
    attack("retired", |file| file.hot(hot::RETIRED));
}

#[test]
fn who_writes_and_since_when() {
    attack("writer-pid", |file| file.hot(hot::WRITER_PID));
    attack("writer-since", |file| file.hot(hot::WRITER_SINCE));
    attack("writers", |file| file.hot(hot::WRITERS));
    attack("aborted", |file| file.hot(hot::ABORTED));
}

#[test]
fn the_wake_up_words() {
    attack("wake", |file| file.control(control::WAKE));
    attack("wake-chain", |file| file.control(control::WAKE_CHAIN));
}

#[test]
fn the_words_of_the_writer_lock() {
    attack("lock", |file| file.control(control::LOCK));
    attack("lock-chain", |file| file.control(control::LOCK_CHAIN));
}

/// Whoever the word names, a lock that no living handle holds can be taken.
#[test]
fn the_word_of_the_writer_lock() {
    let subject = Subject::new("lock-word");
    let (file, stream) = (&subject.file, &subject.stream);
    drop(stream.writer(Deadline::NOW).unwrap());
    let data = pattern::<u32>(ELEMENTS, 3);
    for holder in [2, 3, 1 << 20, (1 << 47) - 1, 1 << 47, 1 << 63, u64::MAX] {
        file.set_word(file.hot(hot::LOCK), holder);
        assert!(!shm_core::stat(&subject.name).unwrap().writer_locked, "{holder:#x}");
        let mut writer = stream.writer(Duration::from_secs(5)).unwrap();
        let count = writer.publish(&data).unwrap();
        assert_eq!(stream.reader().read::<u32>().unwrap().info.count, count);
    }
    assert!(stream.writer(Deadline::NOW).is_ok());
}

/// Identities that were handed out before are not handed out to a second living handle.
#[test]
fn the_counter_of_identities() {
    let subject = Subject::new("identities");
    let (file, stream) = (&subject.file, &subject.stream);
    let held = stream.writer(Deadline::NOW).unwrap();
    for next in [0, u64::MAX, (1 << 47) - 1, 1 << 47, 0] {
        file.set_word(file.hot(hot::IDENTITIES), next);
        let other = Stream::open(&subject.name).unwrap();
        let outcome = other.writer(Duration::from_millis(5));
        assert!(matches!(outcome, Err(LockError::Timeout { .. })), "{next:#x}: {outcome:?}");
    }
    drop(held);
    assert!(Stream::open(&subject.name).unwrap().writer(Deadline::NOW).is_ok());
}

#[test]
fn the_participants() {
    attack("participant-pid", |file| file.participant(0, 0));
    attack("participant-start", |file| file.participant(0, 8));
    attack("participant-role", |file| file.participant(1, 16));
    attack("participant-since", |file| file.participant(95, 24));
}

#[test]
fn a_damaged_length_is_named() {
    let scene = Scene::new("named", 0);
    scene.subject.file.set_word(scene.subject.file.cell(0, cell::BYTE_LEN), 12);
    let error = Reader::open(&scene.subject.name).unwrap().read::<u32>().unwrap_err();
    let (name, expected) = (scene.subject.name.to_string(), ELEMENTS as u64 * 4);
    assert_eq!(
        error,
        ReadError::Corrupt { name, count: 3, field: "byte_len", expected, found: 12 }
    );
}

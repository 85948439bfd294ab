//! Headers that lie consistently: the checksum fits, the contents do not. Whoever can write the
//! file can do this, so it is an error with a type like any other, or a stream that works. Each
//! test has a process of its own, so that a signal is one failed test.

use super::subject::{ELEMENTS, Subject, open_every_way};
use crate::support::child::alone;
use crate::support::layout::header::{self, FIELDS};
use crate::support::pattern::pattern;
use crate::support::raw_file::RawFile;
use shm_core::{Deadline, Reader, Stream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// Does to the stream whatever can be done; errors are welcome, panics are caught and told.
pub(super) fn exercise(name: &str) -> Result<(), String> {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let _ = shm_core::stat(name);
        let _ = shm_core::list(name);
        if let Ok(stream) = Stream::open(name) {
            let (mut data, mut reader) = (vec![0; stream.desc().byte_len()], stream.reader());
            if let Ok(mut writer) = stream.writer(Deadline::NOW) {
                let _ = writer.publish_bytes(&data, Default::default());
                let _ = writer.clear();
            }
            let _ = reader.read_bytes_into(&mut data);
            let _ = reader.history::<u32>(9);
        }
        for reader in [Reader::open(name), Reader::open_read_only(name)].iter_mut().flatten() {
            let mut data = vec![0; reader.desc().byte_len()];
            let _ = reader.read_bytes_into(&mut data);
            let _ = reader.wait_after(u64::MAX - 1, Duration::from_millis(1));
            let view = reader.view().map(|view| view.iter::<u32>().map(|all| all.last()));
            drop(view);
        }
    }));
    outcome.map_err(|panic| match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(_) => "a panic without text".to_owned(),
    })
}

/// Restores the immutable part, damages it, seals it, tries everything.
fn attack(file: &RawFile, name: &str, good: &[u8], changes: &[(u64, &[u8])]) -> Result<(), String> {
    file.write(0, good);
    for (at, bytes) in changes {
        file.write(*at, bytes);
    }
    let sealed = catch_unwind(AssertUnwindSafe(|| file.reseal(name)));
    let outcome = match sealed {
        Ok(()) => exercise(name),
        Err(_) => Err("looking at the checksum panicked".to_owned()),
    };
    file.write(0, good);
    outcome
}

#[test]
fn any_field_of_a_sealed_header_may_lie() {
    alone!(any_field_of_a_sealed_header_may_lie, || {
        let subject = Subject::new("sealed");
        let fixed = subject.file.word(header::FIXED_LEN) as usize;
        let good = &subject.file.bytes()[..fixed];
        let total = subject.file.len();
        let mut failures = Vec::new();
        for &(field, at, width) in FIELDS.iter().filter(|(field, ..)| *field != "checksum") {
            let mut word = [0; 8];
            word[..width].copy_from_slice(&good[at as usize..at as usize + width]);
            let value = u64::from_ne_bytes(word);
            let max = u64::MAX >> (64 - 8 * width);
            let near =
                [value.wrapping_sub(1), value.wrapping_add(1), value.wrapping_sub(64), value + 64];
            let round = [4096, 8192, 65_536, 1 << 31, max ^ 4095, max ^ 63];
            let others = [0, 1, 8, 255, 256, max, max / 2, total, total - 1, total + 1];
            for hostile in near.into_iter().chain(round).chain(others).map(|hostile| hostile & max)
            {
                let bytes = &hostile.to_ne_bytes()[..width];
                if let Err(panic) = attack(&subject.file, &subject.name, good, &[(at, bytes)]) {
                    failures.push(format!("{field} = {hostile}: {panic}"));
                }
            }
        }
        Reader::open(&subject.name).unwrap();
        assert!(failures.is_empty(), "{failures:#?}");
    });
}

#[test]
fn any_word_of_a_sealed_geometry_may_lie() {
    alone!(any_word_of_a_sealed_geometry_may_lie, || {
        let subject = Subject::new("geometry");
        let fixed = subject.file.word(header::FIXED_LEN) as usize;
        let good = &subject.file.bytes()[..fixed];
        let mut failures = Vec::new();
        for at in (256..fixed as u64 - 8).step_by(4) {
            for hostile in [0, 1, 2, 255, 1 << 20, 1 << 31, u32::MAX, u32::MAX - 1] {
                let bytes = hostile.to_ne_bytes();
                if let Err(panic) = attack(&subject.file, &subject.name, good, &[(at, &bytes)]) {
                    failures.push(format!("word at {at} = {hostile}: {panic}"));
                }
            }
        }
        Reader::open(&subject.name).unwrap();
        assert!(failures.is_empty(), "{failures:#?}");
    });
}

/// Parts that are too short for what lies in them, everything else consistent.
#[test]
fn parts_that_are_too_short_are_named() {
    alone!(parts_that_are_too_short_are_named, || {
        let subject = Subject::new("short-parts");
        let (file, name) = (&subject.file, &*subject.name);
        let fixed = file.word(header::FIXED_LEN) as usize;
        let good = &file.bytes()[..fixed];
        let mut failures = Vec::new();
        for (at, field) in [
            (header::HOT_LEN, "hot_len"),
            (header::CONTROL_LEN, "control_len"),
            (header::PAYLOAD_LEN, "payload_len"),
        ] {
            for len in [0_u64, 8, 64] {
                file.set_word(at, len);
                file.reseal(name);
                for outcome in open_every_way_caught(name) {
                    match outcome {
                        Ok(Err(shm_core::OpenError::Corrupt { field: named, .. }))
                            if named == field => {}
                        other => failures.push(format!("{field} = {len}: {other:?}")),
                    }
                }
                file.write(0, good);
            }
        }
        assert!(failures.is_empty(), "{failures:#?}");
    });
}

fn open_every_way_caught(name: &str) -> [Result<Result<(), shm_core::OpenError>, &'static str>; 3] {
    let ways: [&dyn Fn() -> Result<(), shm_core::OpenError>; 3] =
        [&|| Reader::open(name).map(drop), &|| Stream::open(name).map(drop), &|| {
            Reader::open_read_only(name).map(drop)
        }];
    ways.map(|open| catch_unwind(AssertUnwindSafe(open)).map_err(|_| "a panic"))
}

/// The control page is the last thing in the file, and the file ends inside it.
#[test]
fn a_control_page_cut_off_by_the_end_of_the_segment() {
    alone!(a_control_page_cut_off_by_the_end_of_the_segment, || {
        let subject = Subject::new("cut-control");
        let (file, name) = (&subject.file, &*subject.name);
        let control = file.word(header::CONTROL_OFFSET);
        let mut failures = Vec::new();
        for len in [0, 8, 64, 1024, 4088] {
            file.set_word(header::CONTROL_LEN, len);
            file.set_word(header::TOTAL_LEN, control + len);
            file.set_word(header::PAYLOAD_OFFSET, control + 4096);
            if len == 0 {
                file.set_word(header::PAYLOAD_OFFSET, control);
            }
            file.set_word(header::PAYLOAD_LEN, 0);
            file.reseal(name);
            for outcome in open_every_way_caught(name) {
                if !matches!(outcome, Ok(Err(shm_core::OpenError::Corrupt { .. }))) {
                    failures.push(format!("control of {len} bytes: {outcome:?}"));
                }
            }
        }
        assert!(failures.is_empty(), "{failures:#?}");
    });
}

#[test]
fn a_name_in_the_file_that_is_not_its_own() {
    let subject = Subject::new("renamed");
    let (offset, len) = {
        let word = subject.file.word(header::NAME);
        (word as u32, (word >> 32) as usize)
    };
    subject.file.write(offset.into(), &vec![b'x'; len]);
    subject.file.reseal(&subject.name);
    for outcome in open_every_way(&subject.name, "another name") {
        let Err(shm_core::OpenError::Corrupt { field: "name", expected, found, .. }) = outcome
        else {
            panic!("{outcome:?}");
        };
        assert_eq!(expected, format!("'{}'", &*subject.name));
        assert_eq!(found, format!("'{}'", "x".repeat(len)));
    }
    // Attached before, so its own copy of the header is what it was.
    let data = subject.stream.reader().read::<u32>().unwrap().data;
    assert_eq!(data, pattern::<u32>(ELEMENTS, 3));
}

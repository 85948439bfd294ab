//! `ReadError`.

use crate::support::layout::{cell, hot};
use crate::support::name::Name;
use crate::support::raw_file::RawFile;
use shm_core::{Deadline, ReadError, Reader, Stream, StreamConfig, Writer};
use std::time::Duration;

fn create(name: &Name) -> (Stream, Writer, Reader) {
    let stream = Stream::create(name, &StreamConfig::of::<u16>(&[10, 20]).unwrap()).unwrap();
    let writer = stream.writer(Deadline::NOW).unwrap();
    let reader = Reader::open(name).unwrap();
    (stream, writer, reader)
}

#[track_caller]
fn assert_says<T: std::fmt::Debug>(found: Result<T, ReadError>, text: String) {
    assert_eq!(found.unwrap_err().to_string(), text);
}

#[test]
fn empty() {
    let name = Name::new("empty");
    let (_stream, _writer, mut reader) = create(&name);
    let text =
        format!("stream '{}' has no frame yet; wait for one with read_new or read_after", &*name);
    assert_says(reader.read::<u16>(), text);
}

#[test]
fn timeout() {
    let name = Name::new("timeout");
    let (_stream, writer, reader) = create(&name);
    let mut writer = Some(writer);
    for writer_says in ["a writer is attached and silent", "no writer is attached"] {
        let error = reader.wait_after(5, Duration::from_millis(3)).unwrap_err();
        let ReadError::Timeout { waited, .. } = &error else { panic!("{error:?}") };
        let text =
            format!("no frame after 5 of stream '{}' within {waited:?}; {writer_says}", &*name);
        assert_eq!(error.to_string(), text);
        writer = None;
    }
    assert!(writer.is_none());
}

#[test]
fn dtype() {
    let name = Name::new("dtype");
    let (_stream, mut writer, mut reader) = create(&name);
    writer.publish(&[0_u16; 200]).unwrap();
    let text = format!(
        "stream '{}' has dtype uint16, the reader asked for float64; read it as uint16",
        &*name
    );
    assert_says(reader.read::<f64>(), text.clone());
    assert_says(reader.view().unwrap().get::<f64>(0), text);
}

#[test]
fn length() {
    let name = Name::new("length");
    let (_stream, _writer, mut reader) = create(&name);
    let text = |found, unit, expected| {
        format!(
            "buffer has {found} {unit}, a frame of stream '{}' has {expected} (shape [10, 20]); pass a buffer of that size",
            &*name
        )
    };
    assert_says(reader.read_into(&mut [0_u16; 3]), text(3, "elements", 200));
    assert_says(reader.read_bytes_into(&mut [0; 401]), text(401, "bytes", 400));
}

#[test]
fn index() {
    let name = Name::new("index");
    let (_stream, mut writer, mut reader) = create(&name);
    writer.publish(&[0_u16; 200]).unwrap();
    let view = reader.view().unwrap();
    let text = |index| {
        format!("element {index} does not exist: a frame of stream '{}' has 200 elements", &*name)
    };
    assert_says(view.get::<u16>(200), text(200));
    assert_says(view.copy_range(100, &mut [0_u16; 101]), text(200));
}

#[test]
fn stale() {
    let name = Name::new("stale");
    let (stream, _writer, mut reader) = create(&name);
    stream.unlink().unwrap();
    let text = format!("stream '{}' was unlinked or replaced; open the name again", &*name);
    assert_says(reader.read::<u16>(), text);
}

#[test]
fn overwritten() {
    let name = Name::new("overwritten");
    let (_stream, mut writer, mut reader) = create(&name);
    writer.publish(&[0_u16; 200]).unwrap();
    let view = reader.view().unwrap();
    for _ in 0..3 {
        writer.clear().unwrap();
    }
    let text = format!(
        "frame 1 of stream '{}' was overwritten; read again, or create the stream with more history",
        &*name
    );
    assert_says(view.validate(), text.clone());
    assert_says(reader.read_frame::<u16>(1), text);
}

#[test]
fn overrun() {
    let name = Name::new("overrun");
    let (_stream, _writer, mut reader) = create(&name);
    let file = RawFile::of(&name);
    file.set_word(file.hot(hot::LATEST), 1 << 40);
    let error = reader.read::<u16>().unwrap_err();
    let ReadError::Overrun { attempts, .. } = &error else { panic!("{error:?}") };
    let text = format!(
        "stream '{}': {attempts} frames in a row were overwritten while they were read; create the stream with more cells",
        &*name
    );
    assert_eq!(error.to_string(), text);
}

#[test]
fn corrupt() {
    let name = Name::new("corrupt");
    let (_stream, mut writer, mut reader) = create(&name);
    writer.publish(&[0_u16; 200]).unwrap();
    let file = RawFile::of(&name);
    file.set_word(file.cell(1, cell::BYTE_LEN), 4);
    let text = format!(
        "stream '{}': byte_len of frame 1 is 4, expected 400; the segment is damaged, create it anew",
        &*name
    );
    assert_says(reader.read::<u16>(), text.clone());
    assert_says(reader.read_frame::<u16>(1), text.clone());
    assert_says(reader.view(), text);
}

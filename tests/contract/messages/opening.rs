//! `OpenError`.

use super::chain;
use crate::support::child::alone;
use crate::support::layout::{header, lock};
use crate::support::name::Name;
use crate::support::private_shm;
use crate::support::raw_file::RawFile;
use shm_core::{Reader, Stream, StreamConfig};

fn stream(name: &Name) -> (Stream, RawFile) {
    let stream = Stream::create(name, &StreamConfig::of::<u8>(&[1000]).unwrap()).unwrap();
    let file = RawFile::of(name);
    (stream, file)
}

#[track_caller]
fn assert_says(name: &Name, rest: &str) {
    let expected = format!("segment '{}' {rest}", &**name);
    assert_eq!(Reader::open(name).unwrap_err().to_string(), expected);
    assert_eq!(Stream::open(name).unwrap_err().to_string(), expected);
    assert_eq!(shm_core::stat(name).unwrap_err().to_string(), expected);
}

#[test]
fn not_found() {
    assert_says(
        &Name::new("absent"),
        "does not exist; create it first, or wait for it with a deadline",
    );
}

#[test]
fn not_ready() {
    let name = Name::new("not-ready");
    RawFile::create(&name.path(), &[0; 512]);
    assert_says(
        &name,
        "is not complete: its creator is still at work or died; wait with a deadline, or create it anew",
    );
}

#[test]
fn busy() {
    let name = Name::new("busy");
    let (stream, file) = stream(&name);
    drop(stream);
    assert!(file.lock(lock::PRESENCE, true));
    assert_eq!(
        Reader::open(&name).unwrap_err().to_string(),
        format!("segment '{}' is being removed by another process; try again", &*name)
    );
}

#[test]
fn foreign() {
    let name = Name::new("foreign");
    RawFile::create(&name.path(), &[0xab; 300]);
    let text = format!(
        "file of segment '{}' begins with 0xabababababababab, which no segment does; move that file away",
        &*name
    );
    assert_eq!(Reader::open(&name).unwrap_err().to_string(), text);
}

#[test]
fn not_regular() {
    let name = Name::new("not-regular");
    std::fs::create_dir(name.path()).unwrap();
    let text = format!("file of segment '{}' is not a regular file; move it away", &*name);
    assert_eq!(Reader::open(&name).unwrap_err().to_string(), text);
    assert_eq!(shm_core::stat(&name).unwrap_err().to_string(), text);
}

#[test]
fn owner() {
    let name = Name::new("owner");
    let (_stream, file) = stream(&name);
    if let Err(error) = std::os::unix::fs::chown(file.path(), Some(4_242), None) {
        println!("SKIPPED: cannot give a file to another user: {error}");
        return;
    }
    assert_says(
        &name,
        "belongs to uid 4242, not to uid 0; remove it as its owner or use another name",
    );
}

#[test]
fn abi() {
    let name = Name::new("abi");
    let (_stream, file) = stream(&name);
    file.write(header::ABI, &7_u32.to_ne_bytes());
    assert_says(
        &name,
        "has ABI version 7, this library speaks 2; run both sides from the same release",
    );
}

#[test]
fn truncated() {
    let name = Name::new("truncated");
    let (_stream, file) = stream(&name);
    let len = file.len();
    file.set_len(len - 1);
    let found = len - 1;
    assert_says(
        &name,
        &format!("is truncated: its header says {len} bytes, the file has {found}; create it anew"),
    );
}

#[test]
fn kind() {
    let name = Name::new("kind");
    let (_stream, file) = stream(&name);
    file.write(header::KIND, b"pool\0\0\0\0");
    file.reseal(&name);
    let text = format!("segment '{}' is a pool, not a stream; open it as what it is", &*name);
    assert_eq!(Reader::open(&name).unwrap_err().to_string(), text);
}

#[test]
fn corrupt() {
    let name = Name::new("corrupt");
    let (_stream, file) = stream(&name);
    let good = file.word(header::CHECKSUM);
    file.set_word(header::CHECKSUM, 5);
    let text = format!(
        "segment '{}': header field checksum is 5, expected {good:#x}; the header is damaged, create the segment anew",
        &*name
    );
    assert_eq!(Reader::open(&name).unwrap_err().to_string(), text);
}

#[test]
fn refused_by_the_system() {
    alone!(refused_by_the_system, || {
        if !private_shm::mount(1 << 20) {
            return;
        }
        drop(Stream::create("locked", &StreamConfig::of::<u8>(&[9]).unwrap()).unwrap());
        private_shm::remount_read_only();
        assert_eq!(
            chain(&Reader::open("locked").unwrap_err()),
            "cannot open segment 'locked': Read-only file system (os error 30)"
        );
    });
}

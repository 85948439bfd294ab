//! What readers may write: the control page and nothing else, by the page table.

use crate::support::child;
use crate::support::layout::header;
use crate::support::limit::within;
use crate::support::name::Name;
use crate::support::pattern::{assert_same, pattern};
use crate::support::raw_file::RawFile;
use shm_core::{Deadline, Reader, Stream, StreamConfig};
use std::os::unix::process::ExitStatusExt;
use std::thread;
use std::time::Duration;

/// A run of pages of one file, as the kernel tells it.
#[derive(Debug, PartialEq, Eq)]
struct Pages {
    protection: String,
    offset: u64,
    len: u64,
}

/// How this process has mapped the file of `name`, in the order of addresses.
fn pages(name: &Name) -> Vec<Pages> {
    let path = name.path();
    let inode =
        std::fs::metadata(&path).map(|file| std::os::unix::fs::MetadataExt::ino(&file)).unwrap();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let line = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let number = |text: &str| u64::from_str_radix(text, 16).unwrap();
        if fields[4] != inode.to_string() || fields.get(5) != Some(&&*path.to_string_lossy()) {
            return None;
        }
        let (start, end) = fields[0].split_once('-').unwrap();
        let len = number(end) - number(start);
        Some(Pages { protection: fields[1].to_owned(), offset: number(fields[2]), len })
    };
    maps.lines().filter_map(line).collect()
}

fn orphan(name: &Name, elements: usize) {
    let config = StreamConfig::of::<u32>(&[elements]).unwrap();
    let stream = Stream::create(name, &config).unwrap();
    stream.writer(Deadline::NOW).unwrap().publish(&pattern::<u32>(elements, 1)).unwrap();
}

#[test]
fn a_reader_may_write_the_control_page_only() {
    for elements in [16, 1000, 100_000, 2_000_000] {
        let name = Name::new("protection");
        orphan(&name, elements);
        let file = RawFile::of(&name);
        let reader = Reader::open(&name).unwrap();
        let (control, end) = (file.word(header::CONTROL_OFFSET), file.len().next_multiple_of(4096));
        assert!(file.word(header::HOT_OFFSET) < control);
        let run = |protection: &str, from: u64, to: u64| {
            (from < to).then(|| Pages {
                protection: protection.to_owned(),
                offset: from,
                len: to - from,
            })
        };
        let expected: Vec<Pages> = [
            run("r--s", 0, control),
            run("rw-s", control, control + 4096),
            run("r--s", control + 4096, end),
        ]
        .into_iter()
        .flatten()
        .collect();
        assert_eq!(pages(&name), expected);
        drop(reader);
        assert_eq!(pages(&name), []);
    }
}

#[test]
fn a_read_only_reader_may_write_nothing() {
    let name = Name::new("observer");
    orphan(&name, 100_000);
    let len = RawFile::of(&name).len().next_multiple_of(4096);
    let mut reader = Reader::open_read_only(&name).unwrap();
    assert_eq!(pages(&name), [Pages { protection: "r--s".to_owned(), offset: 0, len }]);
    for entry in std::fs::read_dir("/proc/self/fd").unwrap().flatten() {
        if std::fs::read_link(entry.path()).is_ok_and(|to| to == name.path()) {
            let info = std::fs::read_to_string(
                std::path::Path::new("/proc/self/fdinfo").join(entry.file_name()),
            );
            let info = info.unwrap();
            let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
            let flags = i32::from_str_radix(flags.trim(), 8).unwrap();
            assert_eq!(flags & libc::O_ACCMODE, libc::O_RDONLY, "the descriptor itself");
        }
    }
    assert_same(&reader.read::<u32>().unwrap().data, &pattern::<u32>(100_000, 1));
    assert!(shm_core::stat(&name).unwrap().holders.is_empty(), "it cannot sign in");
}

#[test]
fn a_writer_may_write_everything() {
    let name = Name::new("writer");
    orphan(&name, 5000);
    let stream = Stream::open(&name).unwrap();
    let len = RawFile::of(&name).len().next_multiple_of(4096);
    assert_eq!(pages(&name), [Pages { protection: "rw-s".to_owned(), offset: 0, len }]);
    drop(stream);
}

#[test]
fn a_read_only_reader_gets_new_frames() {
    let name = Name::new("recheck");
    orphan(&name, 100);
    let stream = Stream::open(&name).unwrap();
    let mut writer = stream.writer(Deadline::NOW).unwrap();
    let mut reader = Reader::open_read_only(&name).unwrap();
    within(Duration::from_secs(30), move || {
        let publishing = thread::spawn(move || {
            for seed in 2..=6 {
                thread::sleep(Duration::from_millis(12));
                writer.publish(&pattern::<u32>(100, seed)).unwrap();
            }
        });
        let mut seen = 1;
        while seen < 6 {
            let frame = reader.read_after::<u32>(seen, Duration::from_secs(10)).unwrap();
            seen = frame.info.count;
            assert_same(&frame.data, &pattern::<u32>(100, seen));
        }
        publishing.join().unwrap();
        let mut reader = reader.into_async();
        let late = crate::conformance::block_on(reader.read_new::<u32>(Duration::from_millis(20)));
        assert!(matches!(late, Err(shm_core::ReadError::Timeout { .. })));
    });
}

/// Writes one byte through a view of `elements` elements, which must kill the process.
fn trespass(elements: usize, open: fn(&str) -> Reader) {
    let name = Name::new("trespass");
    orphan(&name, elements);
    let view = open(&name).view().unwrap();
    println!("about to write");
    // SAFETY: not sound on purpose: the page is mapped read-only and the write is the last thing
    // that this process does.
    unsafe { view.as_ptr().cast_mut().write_volatile(1) };
    println!("written");
}

fn assert_killed(ended: Option<child::Ended>) {
    let Some(ended) = ended else { return };
    assert!(ended.output.contains("about to write"), "{}", ended.output);
    assert!(!ended.output.contains("written"), "{}", ended.output);
    assert_eq!(ended.status.signal(), Some(libc::SIGSEGV), "{}", ended.output);
}

#[test]
fn writing_to_a_payload_page_kills() {
    let test = "writing_to_a_payload_page_kills";
    assert_killed(child::run(module_path!(), test, || {
        trespass(10_000, |name| Reader::open(name).unwrap());
    }));
}

#[test]
fn writing_to_the_page_of_the_frame_headers_kills() {
    let test = "writing_to_the_page_of_the_frame_headers_kills";
    // So small a payload lies beside its header.
    assert_killed(child::run(module_path!(), test, || {
        trespass(1, |name| Reader::open(name).unwrap());
    }));
}

#[test]
fn writing_through_a_read_only_reader_kills() {
    let test = "writing_through_a_read_only_reader_kills";
    assert_killed(child::run(module_path!(), test, || {
        trespass(10_000, |name| Reader::open_read_only(name).unwrap());
    }));
}

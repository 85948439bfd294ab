//! `LockError`.

use super::chain;
use crate::support::child::alone;
use crate::support::layout::hot;
use crate::support::name::Name;
use crate::support::raw_file::RawFile;
use shm_core::{Deadline, LockError, ReadError, Reader, Stream, StreamConfig};
use std::os::fd::AsRawFd;
use std::time::Duration;

fn create(name: &Name) -> Stream {
    Stream::create(name, &StreamConfig::of::<u8>(&[1000]).unwrap()).unwrap()
}

#[test]
fn timeout() {
    let name = Name::new("overdue");
    let stream = create(&name);
    let _writer = stream.writer(Deadline::NOW).unwrap();
    let error = stream.writer(Duration::from_millis(10)).unwrap_err();
    let LockError::Timeout { holder: Some(holder), waited, .. } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(holder.pid, std::process::id());
    assert_eq!(
        error.to_string(),
        format!(
            "writer lock of stream '{}' is overdue after {waited:?}: held by process {} for {:.3} s; \
             wait longer, or end that process",
            &*name,
            std::process::id(),
            holder.held_for.as_secs_f64()
        )
    );
    let file = RawFile::of(&name);
    file.set_word(file.hot(hot::WRITER_PID), 0);
    let error = stream.writer(Deadline::NOW).unwrap_err();
    let LockError::Timeout { holder: None, waited, .. } = &error else { panic!("{error:?}") };
    assert_eq!(
        error.to_string(),
        format!(
            "writer lock of stream '{}' is overdue after {waited:?}: held by a process that has just taken it; \
             wait longer, or end that process",
            &*name
        )
    );
}

#[test]
fn stale() {
    let name = Name::new("stale");
    let stream = create(&name);
    stream.unlink().unwrap();
    assert_eq!(
        stream.writer(Deadline::NOW).unwrap_err().to_string(),
        format!("stream '{}' was unlinked or replaced; open the name again", &*name)
    );
}

#[test]
fn read_only() {
    let name = Name::new("reader");
    let _stream = create(&name);
    let text =
        format!("stream '{}' was opened for reading; open it with Stream::open to write", &*name);
    for reader in [Reader::open(&name).unwrap(), Reader::open_read_only(&name).unwrap()] {
        assert_eq!(reader.stream().writer(Deadline::NEVER).unwrap_err().to_string(), text);
    }
}

#[test]
fn refused_by_the_system() {
    alone!(refused_by_the_system, || {
        let name = Name::new("no-locks");
        let stream = create(&name);
        let path = name.path();
        let reader = stream.reader();
        let descriptor = std::fs::read_dir("/proc/self/fd")
            .unwrap()
            .flatten()
            .find(|entry| std::fs::read_link(entry.path()).is_ok_and(|to| to == path))
            .and_then(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
            .expect("the handle has a descriptor");
        let null = std::fs::File::open("/dev/null").unwrap();
        // SAFETY: two open descriptors; the handle keeps one that can take no exclusive lock.
        assert_ne!(unsafe { libc::dup2(null.as_raw_fd(), descriptor) }, -1);
        let error = stream.writer(Deadline::NOW).unwrap_err();
        let text = format!("cannot lock stream '{}': Bad file descriptor (os error 9)", &*name);
        assert_eq!(chain(&error), text);
        let _writer = Stream::open(&name).unwrap().writer(Deadline::NOW).unwrap();
        // SAFETY: a descriptor of this process; everything that still uses it is about to fail.
        unsafe { libc::close(descriptor) };
        let error = reader.wait_after(0, Duration::from_millis(1)).unwrap_err();
        let ReadError::Timeout { waited, writer_alive: None, .. } = &error else {
            panic!("{error:?}")
        };
        assert_eq!(
            error.to_string(),
            format!(
                "no frame after 0 of stream '{}' within {waited:?}; whether a writer is attached is unknown",
                &*name
            )
        );
        // SAFETY: as above; dropping the handle closes this number once more.
        unsafe { libc::dup2(null.as_raw_fd(), descriptor) };
    });
}

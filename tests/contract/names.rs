//! Any text is a name, and is what listings show.

use crate::support::name::Name;
use shm_core::{
    CreateError, Deadline, MAX_NAME_BYTES, NameError, OpenError, Reader, Stream, StreamConfig,
};
use std::os::unix::fs::PermissionsExt;

fn config() -> StreamConfig {
    StreamConfig::of::<u8>(&[10]).unwrap()
}

/// A name that begins uniquely and goes on with `rest`.
fn unique(rest: &str) -> Name {
    let stem = Name::new("n");
    Name::exactly(format!("{}{rest}", &*stem))
}

fn round_trip(name: &Name) {
    let name: &str = name;
    let stream = Stream::create(name, &config()).unwrap();
    assert_eq!(stream.name(), name);
    stream.writer(Deadline::NOW).unwrap().publish(&[9_u8; 10]).unwrap();
    let mut reader = Reader::open(name).unwrap();
    assert_eq!(reader.read::<u8>().unwrap().data, [9; 10]);
    assert_eq!(reader.name(), name);
    let info = shm_core::stat(name).unwrap();
    assert_eq!((&*info.name, &*info.kind, info.creator_pid), (name, "stream", std::process::id()));
    assert_eq!(info.instance, stream.instance());
    assert_eq!(info.counter("frames"), Some(1));
    assert_eq!(info.counter("no such counter"), None);
    assert!(info.attached && !info.writer_locked);
    let listed = shm_core::list(name).unwrap();
    assert_eq!(listed.iter().map(|info| &*info.name).collect::<Vec<_>>(), [name]);
    let file = std::fs::symlink_metadata(&info.path).unwrap();
    assert_eq!(file.permissions().mode() & 0o7777, 0o600, "of nobody else's business");
    assert_eq!(file.len(), info.len);
    assert_eq!(info.path.parent().unwrap(), std::path::Path::new("/dev/shm"));
    shm_core::unlink(name).unwrap();
    assert!(!info.path.exists());
    assert!(matches!(shm_core::stat(name), Err(OpenError::NotFound { .. })));
    assert!(shm_core::list(name).unwrap().is_empty());
}

#[test]
fn any_text_is_a_name() {
    for rest in [
        "",
        "/",
        "/a/b",
        "/../../etc/passwd",
        " ",
        "\n",
        "\t\r\n",
        "\0",
        "a\0b",
        "%",
        "%2F",
        "~",
        "~0123",
        ".",
        "..",
        "\\",
        "'\"",
        "é",
        "日本語",
        "🎥📷",
        "\u{202e}",
        "e\u{301}",
        "\u{10ffff}",
        "*?[x]",
        "-rf",
    ] {
        round_trip(&unique(rest));
    }
}

#[test]
fn names_may_be_long() {
    let stem = Name::new("long");
    for len in [200, 255, 256, 5_000, MAX_NAME_BYTES] {
        round_trip(&Name::exactly(format!("{}{}", &*stem, "x".repeat(len - stem.len()))));
    }
    round_trip(&Name::exactly(format!("{}{}", &*stem, "🎥".repeat(2_000))));
    let beyond = "x".repeat(MAX_NAME_BYTES + 1);
    let expected = NameError::TooLong { found: MAX_NAME_BYTES + 1 };
    assert!(
        matches!(Stream::create(&beyond, &config()), Err(CreateError::Name(e)) if e == expected)
    );
    assert!(matches!(Reader::open(&beyond), Err(OpenError::Name(e)) if e == expected));
    assert!(matches!(shm_core::stat(""), Err(OpenError::Name(NameError::Empty))));
    assert!(matches!(
        Stream::process_local("", &config()),
        Err(CreateError::Name(NameError::Empty))
    ));
}

#[test]
fn names_that_look_alike_are_different_streams() {
    let stem = unique("");
    let long = "l".repeat(4_000);
    let texts: Vec<String> = ["", "/", "%2F", "%2f", "a", "A", "é", "e\u{301}", "a ", "~"]
        .iter()
        .map(|rest| format!("{}{rest}", &*stem))
        .chain(["1", "2", "1 "].iter().map(|end| format!("{}{long}{end}", &*stem)))
        .collect();
    let names: Vec<Name> = texts.iter().map(|text| Name::exactly(text.clone())).collect();
    let streams: Vec<Stream> =
        names.iter().map(|name| Stream::create(name, &config()).unwrap()).collect();
    for (seed, stream) in (0_u8..).zip(&streams) {
        stream.writer(Deadline::NOW).unwrap().publish(&[seed; 10]).unwrap();
    }
    for (seed, name) in (0_u8..).zip(&names) {
        assert_eq!(Reader::open(name).unwrap().read::<u8>().unwrap().data, [seed; 10]);
    }
    let mut sorted = texts.clone();
    sorted.sort();
    let listed = shm_core::list(&stem).unwrap();
    assert_eq!(listed.iter().map(|info| info.name.clone()).collect::<Vec<_>>(), sorted);
    let some = shm_core::list(&format!("{}{long}", &*stem)).unwrap();
    assert_eq!(some.len(), 3);
    let paths: std::collections::HashSet<_> = listed.iter().map(|info| &info.path).collect();
    assert_eq!(paths.len(), texts.len());
}

#[test]
fn the_path_of_a_plain_name_is_what_the_suite_assumes() {
    let name = Name::new("a-Z_0.9");
    let _stream = Stream::create(&name, &config()).unwrap();
    assert_eq!(shm_core::stat(&name).unwrap().path, name.path());
}

#[test]
fn holders_are_listed_while_they_hold() {
    use shm_core::Role;
    let name = Name::new("holders");
    let stream = Stream::create(&name, &config()).unwrap();
    let roles = || {
        let mut roles: Vec<Role> =
            shm_core::stat(&name).unwrap().holders.iter().map(|h| h.role).collect();
        roles.sort_by_key(|role| *role as u32);
        roles
    };
    assert_eq!(roles(), [Role::Attached]);
    let reader = Reader::open(&name).unwrap();
    let silent = Reader::open_read_only(&name).unwrap();
    assert_eq!(roles(), [Role::Attached, Role::Reader]);
    let writer = stream.writer(Deadline::NOW).unwrap();
    assert_eq!(roles(), [Role::Reader, Role::Writer]);
    let info = shm_core::stat(&name).unwrap();
    assert!(info.writer_locked);
    assert_eq!(info.counter("writer_pid"), Some(std::process::id().into()));
    for holder in &info.holders {
        assert_eq!(
            (holder.pid, holder.uid),
            (std::process::id(), rustix::process::geteuid().as_raw())
        );
        assert!((1..=shm_core::clock::monotonic_ns()).contains(&holder.since_mono_ns));
    }
    drop((reader, writer, stream));
    assert_eq!(roles(), []);
    assert!(shm_core::stat(&name).unwrap().attached, "the read-only reader is attached");
    drop(silent);
    assert!(!shm_core::stat(&name).unwrap().attached);
}

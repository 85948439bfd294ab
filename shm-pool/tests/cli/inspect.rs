//! `shm ls` and `shm stat`: by value, against what the library says.

use crate::child::Holder;
use crate::{Scene, shm, shm_into};
use serde_json::{Value, json};
use shm_core::{Deadline, FrameTag, Stream, StreamConfig, clock};
use shm_pool::{Policy, Pool, PoolConfig, Store, StoreConfig, Wait};
use std::fs;

/// One segment of a listing.
fn listed<'a>(listing: &'a Value, name: &str) -> &'a Value {
    let segments = listing["segments"].as_array().unwrap();
    let found = segments.iter().find(|one| one["name"] == name);
    found.unwrap_or_else(|| panic!("{name} is not in {listing}"))
}

/// What a listing says of a segment is what the library says.
#[track_caller]
fn assert_as_in_library(listing: &Value, name: &str) {
    let (shown, info) = (listed(listing, name), shm_core::stat(name).unwrap());
    assert_eq!(shown["bytes"], info.len);
    assert_eq!(shown["allocated_bytes"], info.allocated);
    assert_eq!(shown["created_ns"], info.created_wall_ns);
    assert_eq!(shown["creator_pid"], info.creator_pid);
    assert_eq!(shown["path"], info.path.display().to_string());
    assert_eq!(shown["attached"], info.attached);
    assert_eq!(shown["writer_locked"], info.writer_locked);
    assert_eq!(shown["holders"].as_array().unwrap().len(), info.holders.len());
    for (shown, holder) in shown["holders"].as_array().unwrap().iter().zip(&info.holders) {
        assert_eq!((&shown["pid"], &shown["uid"]), (&json!(holder.pid), &json!(holder.uid)));
        assert_eq!(shown["since_mono_ns"], holder.since_mono_ns);
    }
    assert_eq!(shown["counters"].as_object().unwrap().len(), info.counters.len());
    for counter in &info.counters {
        assert_eq!(shown["counters"][&counter.name], counter.value, "{}", counter.name);
    }
}

#[test]
fn everything_is_listed_as_the_library_sees_it() {
    let scene = Scene::new("ls");
    let camera = scene.name("camera");
    let stream = Stream::create(&camera, &StreamConfig::of::<u8>(&[4, 6, 3]).unwrap()).unwrap();
    let mut writer = stream.writer(Deadline::NOW).unwrap();
    (0..7).for_each(|_| assert!(writer.publish(&[1_u8; 72]).unwrap() > 0));
    let (slots, chunks, store) = (scene.name("slots"), scene.name("chunks"), scene.name("store"));
    let pool = Pool::create(&slots, &PoolConfig::slots(4, 4096).unwrap()).unwrap();
    let slot = pool.lend(100, Wait::Try, Policy::Fail).unwrap();
    let _chunks = Pool::create(&chunks, &PoolConfig::chunks(1 << 20).unwrap()).unwrap();
    let _store = Store::create(&store, &StoreConfig::new(1 << 20).unwrap()).unwrap();
    let holder = Holder::of("seat", &slots);

    let listing = shm(["ls", &scene.prefix, "--json"]).done().json();
    assert_eq!(listing["segments"].as_array().unwrap().len(), 4);
    assert_eq!(listing["damaged"], json!([]));
    for name in [&camera, &slots, &chunks, &store] {
        assert_as_in_library(&listing, name);
    }
    let kinds = [(&camera, "stream"), (&slots, "pool"), (&chunks, "chunk-pool"), (&store, "store")];
    for (name, kind) in kinds {
        assert_eq!(listed(&listing, name)["kind"], kind);
    }
    let frame = &listed(&listing, &camera)["frame"];
    assert_eq!((&frame["dtype"], &frame["shape"]), (&json!("uint8"), &json!([4, 6, 3])));
    assert_eq!(listed(&listing, &slots)["counters"]["lent"], 1);
    let pids: Vec<&Value> = listed(&listing, &slots)["holders"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["pid"])
        .collect();
    assert!(pids.contains(&&json!(holder.pid())), "{pids:?}");
    let sum = |field: &str| -> u64 {
        let segments = listing["segments"].as_array().unwrap().iter();
        segments.map(|one| one[field].as_u64().unwrap()).sum()
    };
    assert_eq!(listing["totals"]["segments"], 4);
    assert_eq!(listing["totals"]["bytes"], sum("bytes"));
    assert_eq!(listing["totals"]["allocated_bytes"], sum("allocated_bytes"));
    let (free, all) = (&listing["totals"]["free_bytes"], &listing["totals"]["capacity_bytes"]);
    assert!(free.as_u64().unwrap() <= all.as_u64().unwrap());

    assert_eq!(listed(&listing, &camera)["writer_locked"], true);

    let text = shm(["ls", &scene.prefix]).done().out;
    let line = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    assert!(line(&camera).contains("uint8 4x6x3, 3 cells"), "{text}");
    assert!(line(&camera).contains(&format!(" {} (", std::process::id())), "{text}");
    assert!(line(&slots).contains("4 slots of 4.0 KiB"), "{text}");
    assert!(text.lines().last().unwrap().starts_with("4 segments, "), "{text}");
    drop(slot);
}

#[test]
fn nothing_to_list_is_said_and_no_failure() {
    let scene = Scene::new("none");
    let ended = shm(["ls", &scene.prefix]).done();
    assert!(ended.out.contains("no segments whose names begin with"), "{ended:?}");
    let listing = shm(["ls", &scene.prefix, "--json"]).done().json();
    assert_eq!((&listing["segments"], &listing["totals"]["segments"]), (&json!([]), &json!(0)));
}

#[test]
fn damaged_and_half_born_files_are_listed_and_marked() {
    let scene = Scene::new("damaged");
    let (good, bad) = (scene.name("good"), scene.name("bad"));
    let config = StreamConfig::of::<u8>(&[8]).unwrap();
    let _good = Stream::create(&good, &config).unwrap();
    drop(Stream::create(&bad, &config).unwrap());
    let mut bytes = fs::read(scene.file("bad")).unwrap();
    bytes[130] ^= 1;
    fs::write(scene.file("bad"), &bytes).unwrap();
    fs::write(scene.file("half"), [0; 8192]).unwrap();
    fs::write(scene.file("other"), [7; 8192]).unwrap();

    let listing = shm(["ls", &scene.prefix, "--json"]).done().json();
    assert_eq!(listing["segments"].as_array().unwrap().len(), 1);
    let mut damaged: Vec<(&str, &str, u64)> = listing["damaged"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            let state = one["state"].as_str().unwrap();
            (one["name"].as_str().unwrap(), state, one["bytes"].as_u64().unwrap())
        })
        .collect();
    damaged.sort_unstable();
    let (half, other) = (scene.name("half"), scene.name("other"));
    let len = bytes.len() as u64;
    let expected =
        [(&*bad, "damaged", len), (&*half, "half-born", 8192), (&*other, "foreign", 8192)];
    assert_eq!(damaged, expected);

    let text = shm(["ls", &scene.prefix]).done().out;
    for (name, mark) in [(&bad, "DAMAGED"), (&half, "HALF-BORN"), (&other, "FOREIGN")] {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        assert!(line.contains(mark), "{text}");
    }
    assert!(text.contains("checksum"), "{text}");
    assert!(text.contains("1 segment, 3 damaged files"), "{text}");
}

#[test]
fn a_reader_that_went_away_ends_it_quietly() {
    let scene = Scene::new("pipe");
    let _stream = Stream::create(&scene.name("a"), &StreamConfig::of::<u8>(&[8]).unwrap()).unwrap();
    for arguments in [["ls", &scene.prefix], ["completions", "bash"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let ended = shm_into(arguments, writer);
        assert_eq!((ended.code, ended.err.as_str()), (0, ""), "{arguments:?}");
    }
}

#[test]
fn a_name_cannot_command_the_terminal() {
    let scene = Scene::new("escape");
    let name = scene.name("\u{1b}[2J");
    let _stream = Stream::create(&name, &StreamConfig::of::<u8>(&[8]).unwrap()).unwrap();
    for ended in [shm(["ls", &scene.prefix]), shm(["stat", &name]), shm(["fsck", &name])] {
        let out = ended.done().out;
        assert!(out.contains("\\u{1b}[2J") && !out.contains('\u{1b}'), "{out:?}");
    }
    let listing = shm(["ls", &scene.prefix, "--json"]).done().json();
    assert_eq!(listing["segments"][0]["name"], name);
}

#[test]
fn a_stream_tells_its_newest_frame() {
    let scene = Scene::new("stat");
    let name = scene.name("camera");
    let stream = Stream::create(&name, &StreamConfig::of::<f32>(&[2, 2]).unwrap()).unwrap();
    let empty = shm(["stat", &name, "--json"]).done().json();
    assert_eq!((empty.get("newest"), empty.get("no_newest")), (None, None));
    assert!(shm(["stat", &name]).done().out.contains("no frame yet"));

    let mut writer = stream.writer(Deadline::NOW).unwrap();
    let acquired = clock::wall_ns() - 5_000_000_000;
    let tag = FrameTag::id(42).acquired_ns(acquired);
    (0..3).for_each(|_| assert!(writer.publish_tagged(&[1_f32; 4], tag).unwrap() > 0));
    let info = stream.reader().peek().unwrap();
    let before = clock::monotonic_ns() - info.written_mono_ns;
    let stat = shm(["stat", &name, "--json"]).done().json();
    let newest = &stat["newest"];
    assert_eq!((&newest["count"], &newest["frame_id"]), (&json!(3), &json!(42)));
    assert_eq!(newest["written_wall_ns"], info.written_wall_ns);
    assert_eq!(newest["write_latency_ns"], info.written_wall_ns - acquired);
    assert!(newest["age_ns"].as_u64().unwrap() >= before);
    assert_eq!(stat["units"]["frames"], "frame");
    let own = stat["holders"].as_array().unwrap().iter().find(|one| one["role"] == "writer");
    let comm = fs::read_to_string("/proc/self/comm").unwrap();
    assert_eq!(own.unwrap()["pid"], std::process::id());
    assert_eq!(own.unwrap()["process"], comm.trim_end());

    let text = shm(["stat", &name]).done().out;
    for part in [
        "count 3, id 42",
        "published 5.",
        "float32 2x2, 16 B each, 3 cells",
        "holders",
        comm.trim_end(),
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    // Whoever looked has left nothing behind.
    assert_eq!(shm_core::stat(&name).unwrap().holders.len(), 1);
}

#[test]
fn a_stream_of_a_device_tells_that_its_frames_are_elsewhere() {
    let scene = Scene::new("external");
    let name = scene.name("device");
    let config = StreamConfig::of::<u8>(&[8]).unwrap().external(&[9; 21], false).unwrap();
    let stream = Stream::create(&name, &config).unwrap();
    let mut writer = stream.writer(Deadline::NOW).unwrap();
    writer.announce(FrameTag::default()).unwrap().finish_on_host();
    let announced = writer.announce(FrameTag::default()).unwrap();
    let stat = shm(["stat", &name, "--json"]).done().json();
    assert_eq!(
        (&stat["kind"], &stat["frame"]["readable"]),
        (&json!("external-stream"), &json!(false))
    );
    assert_eq!(stat["frame"]["descriptor_bytes"], 21);
    assert_eq!((&stat["newest"]["count"], &stat["newest"]["announced"]), (&json!(1), &json!(2)));
    let text = shm(["stat", &name]).done().out;
    assert!(text.contains("21 opaque bytes") && text.contains("1 more in flight"), "{text}");
    drop(announced);
}

#[test]
fn a_pool_tells_its_use_and_nobody_joins_for_it() {
    let scene = Scene::new("stat-pool");
    let name = scene.name("pool");
    let config = PoolConfig::slots(8, 1000).unwrap().consumers(2).unwrap();
    let pool = Pool::create(&name, &config).unwrap();
    let slots: Vec<_> = (0..3).map(|_| pool.lend(10, Wait::Try, Policy::Fail).unwrap()).collect();
    let stat = shm(["stat", &name, "--json"]).done().json();
    assert_eq!(stat["memory"]["slots"], 8);
    assert_eq!(stat["memory"]["seats"], 2);
    assert_eq!(stat["memory"]["capacity_bytes"], pool.capacity());
    assert_eq!(stat["counters"]["lent"], 3);
    let text = shm(["stat", &name]).done().out;
    assert!(text.contains("3 of 8 slots: 3 lent so far, 0 came back"), "{text}");
    assert!(text.contains("2 expected"), "{text}");
    assert_eq!(pool.others_attached(), 0);
    drop(slots);
}

#[test]
fn failures_have_codes_and_say_what_to_do() {
    let scene = Scene::new("failures");
    let name = scene.name("nobody");
    let ended = shm(["stat", &name]);
    assert_eq!((ended.code, ended.out.as_str()), (3, ""));
    assert!(ended.err.contains("does not exist") && ended.err.contains("`shm ls`"), "{ended:?}");
    let failure = shm(["stat", &name, "--json"]).failure();
    assert_eq!(failure["exit"], "not_found");
    assert!(failure["message"].as_str().unwrap().contains(&name));
    assert!(failure["hint"].as_str().unwrap().contains("shm ls"));

    for arguments in [["stat", ""], ["fsck", ""]] {
        assert_eq!(shm(arguments).code, 2, "{arguments:?}");
    }
    assert_eq!(shm(["fsck", &name]).code, 3);
    assert_eq!(shm(["stat"]).code, 2);
    assert_eq!(shm(["completions", "cobol"]).code, 2);
    let ended = shm(["--json", "ls", "--colour"]);
    assert_eq!((ended.code, &ended.failure()["exit"]), (2, &json!("usage")));
    assert!(ended.failure()["message"].as_str().unwrap().contains("--colour"), "{ended:?}");

    fs::write(scene.file("bad"), [7; 8192]).unwrap();
    let ended = shm(["stat", &scene.name("bad"), "--json"]);
    assert_eq!((ended.code, &ended.failure()["exit"]), (4, &json!("refused")));
}

//! `shm fsck` says what the killed left and what is damaged, and `--repair` gives it back.

use crate::child::{Elsewhere, Holder};
use crate::{Scene, shm};
use serde_json::{Value, json};
use shm_core::{Deadline, Stream, StreamConfig};
use shm_pool::{Audience, Policy, Pool, PoolConfig, Store, StoreConfig, Wait};
use std::fs;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// The sentences of one kind that a report has of its only segment.
fn sentences(report: &Value, kind: &str) -> Vec<String> {
    let [segment] = report["segments"].as_array().unwrap().as_slice() else {
        panic!("one segment in {report}")
    };
    let sentences = segment[kind].as_array().unwrap().iter();
    sentences.map(|one| one.as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_slot_of_the_dead_is_a_problem_until_it_is_repaired() {
    let scene = Scene::new("fsck-slot");
    let name = scene.name("pool");
    let pool = Pool::create(&name, &PoolConfig::slots(4, 256).unwrap()).unwrap();
    let mine = pool.lend(10, Wait::Try, Policy::Fail).unwrap();
    let mut holder = Holder::of("slot", &name);
    let clean = shm(["fsck", &name, "--json"]).done().json();
    assert_eq!((&clean["clean"], &clean["segments"][0]["kind"]), (&json!(true), &json!("pool")));
    assert_eq!(clean["segments"][0]["pool"]["slots"], json!({ "filling": 2, "free": 2 }));

    holder.kill();
    for _ in 0..2 {
        // Whoever only looks repairs nothing.
        let ended = shm(["fsck", &name, "--json"]);
        assert_eq!((ended.code, ended.err.as_str()), (1, ""));
        let report = ended.json();
        assert_eq!((&report["clean"], &report["problems"]), (&json!(false), &json!(1)));
        let [problem] = sentences(&report, "problems").try_into().unwrap();
        assert!(problem.contains(&format!("its producer (pid {}) is dead", holder.pid())));
    }
    assert_eq!(pool.stats().free, 2);
    let text = shm(["fsck", &name]).out;
    assert!(text.contains(&format!("shm fsck --repair {name}")), "{text}");

    let report = shm(["fsck", &name, "--repair", "--json"]).done().json();
    let repaired = &report["segments"][0]["pool"]["repaired"];
    assert_eq!(repaired, &json!({ "members": 1, "consumers": 0, "slots": 1 }));
    assert_eq!(pool.stats().free, 3);
    let again = shm(["fsck", &name, "--repair"]).done().out;
    assert!(!again.contains("repaired") && again.contains("0 problems"), "{again}");
    // The living keep what they have.
    assert_eq!(pool.stats().filling, 1);
    drop(mine);
}

#[test]
fn work_in_progress_is_no_problem() {
    let scene = Scene::new("fsck-live");
    let (pool_name, stream_name) = (scene.name("pool"), scene.name("stream"));
    let config = PoolConfig::chunks(1 << 20).unwrap().consumers(1).unwrap();
    let pool = Pool::create(&pool_name, &config).unwrap();
    let stream = Stream::create(&stream_name, &StreamConfig::of::<u8>(&[8]).unwrap()).unwrap();
    let ended = AtomicBool::new(false);
    let runs: Vec<_> = thread::scope(|scope| {
        scope.spawn(|| {
            let (consumer, mut writer) =
                (pool.consumer().unwrap(), stream.writer(Deadline::NOW).unwrap());
            while !ended.load(Ordering::Relaxed) {
                let slot = pool.lend(10_000, Wait::Try, Policy::Fail).unwrap();
                let ticket = slot.publish(Audience::Everyone).unwrap();
                consumer.redeem(&ticket).unwrap().release();
                writer.publish(&[1_u8; 8]).unwrap();
            }
        });
        let runs = (0..5).map(|_| shm(["fsck", &pool_name, &stream_name])).collect();
        ended.store(true, Ordering::Relaxed);
        runs
    });
    for ended in runs {
        assert!(ended.done().out.contains("2 segments checked: 0 problems"));
    }
}

#[test]
fn a_pool_whose_memory_is_elsewhere_is_checked_without_it() {
    let scene = Scene::new("fsck-elsewhere");
    let name = scene.name("pool");
    let config = PoolConfig::slots(4, 512).unwrap();
    let pool = Pool::create_over(&name, &config, Elsewhere(2048)).unwrap();
    let stat = shm(["stat", &name]).done().out;
    assert!(stat.contains("9 opaque bytes say where the memory is"), "{stat}");
    let mut holder = Holder::of("slot elsewhere", &name);
    shm(["fsck", &name]).done();
    holder.kill();
    let ended = shm(["fsck", &name]);
    assert!(ended.code == 1 && ended.out.contains("problem: slot"), "{ended:?}");
    let repaired = shm(["fsck", &name, "--repair"]).done().out;
    assert!(repaired.contains("given back: 1 dead handle, 1 slot"), "{repaired}");
    assert_eq!(pool.stats().free, 4);
}

#[test]
fn a_seat_of_the_dead_is_given_up() {
    let scene = Scene::new("fsck-seat");
    let name = scene.name("pool");
    let pool = Pool::create(&name, &PoolConfig::slots(4, 256).unwrap()).unwrap();
    let mut holder = Holder::of("seat", &name);
    holder.kill();
    let ended = shm(["fsck", &name]);
    assert_eq!(ended.code, 1);
    assert!(ended.out.contains("problem: seat 0: its consumer"), "{ended:?}");
    let repaired = shm(["fsck", &name, "--repair"]).done().out;
    assert!(repaired.contains("given back: 1 dead handle, 1 seat"), "{repaired}");
    assert_eq!(pool.stats().consumers, 0);
}

#[test]
fn a_reservation_of_the_dead_is_given_back() {
    let scene = Scene::new("fsck-store");
    let name = scene.name("store");
    let store = Store::create(&name, &StoreConfig::new(1 << 20).unwrap()).unwrap();
    let mut holder = Holder::of("entry", &name);
    shm(["fsck", &name]).done();
    holder.kill();
    for _ in 0..2 {
        let ended = shm(["fsck", &name, "--json"]);
        assert_eq!(ended.code, 1, "{ended:?}");
        assert_eq!(ended.json()["segments"][0]["kind"], "store");
        let problems = sentences(&ended.json(), "problems").join("\n");
        assert!(problems.contains(&format!("its producer (pid {}) is dead", holder.pid())));
    }
    shm(["fsck", &name, "--repair"]).done();
    assert_eq!(store.stats().filling, 0);
    assert!(store.fsck().is_clean());
}

#[test]
fn an_unfinished_frame_of_the_dead_is_a_note() {
    let scene = Scene::new("fsck-frame");
    let name = scene.name("stream");
    let stream = Stream::create(&name, &StreamConfig::of::<u8>(&[8]).unwrap()).unwrap();
    stream.write(&[1_u8; 8], Deadline::NOW).unwrap();
    let mut holder = Holder::of("frame", &name);
    let alive = shm(["fsck", &name, "--json"]).done().json();
    assert_eq!(sentences(&alive, "notes"), Vec::<String>::new());
    assert_eq!(alive["segments"][0]["stream"]["lock"], "held");

    holder.kill();
    let report = shm(["fsck", &name, "--json"]).done().json();
    let seen = &report["segments"][0]["stream"];
    assert_eq!((&seen["lock"], &seen["newest"]), (&json!("abandoned"), &json!(1)));
    assert_eq!(
        (&seen["cells"][2]["state"], &seen["cells"][2]["count"]),
        (&json!("unfinished"), &json!(2))
    );
    let notes = sentences(&report, "notes").join("\n");
    assert!(notes.contains("frame 2 is unfinished, because its writer was killed"), "{notes}");
    assert!(notes.contains(&format!("(pid {}) was killed holding the lock", holder.pid())));

    stream.write(&[2_u8; 8], Deadline::NOW).unwrap();
    let report = shm(["fsck", &name, "--json"]).done().json();
    assert_eq!(sentences(&report, "notes"), Vec::<String>::new());
}

#[test]
fn a_damaged_cell_is_a_problem() {
    let scene = Scene::new("fsck-cell");
    let name = scene.name("stream");
    let stream = Stream::create(&name, &StreamConfig::of::<u64>(&[1]).unwrap()).unwrap();
    let mut writer = stream.writer(Deadline::NOW).unwrap();
    writer.publish(&[u64::from_ne_bytes(*b"landmark")]).unwrap();
    let file = fs::OpenOptions::new().read(true).write(true).open(scene.file("stream")).unwrap();
    let bytes = fs::read(scene.file("stream")).unwrap();
    // A payload this small follows the 64 bytes of its cell, which begin with the sequence.
    let payload = bytes.windows(8).position(|window| window == b"landmark").unwrap();
    let sequence = u64::from_ne_bytes(bytes[payload - 64..payload - 56].try_into().unwrap());
    assert_eq!(sequence, 4, "frame 1 is complete");
    file.write_all_at(&1003_u64.to_ne_bytes(), payload as u64 - 64).unwrap();
    let ended = shm(["fsck", &name, "--json"]);
    assert_eq!(ended.code, 1);
    let problems = sentences(&ended.json(), "problems").join("\n");
    assert!(problems.contains("cell 1"), "{problems}");
    let direct = shm_core::check_stream(&name).unwrap();
    assert_eq!(sentences(&ended.json(), "problems"), direct.problems);
}

#[test]
fn what_cannot_be_opened_is_a_problem() {
    let scene = Scene::new("fsck-header");
    let name = scene.name("stream");
    drop(Stream::create(&name, &StreamConfig::of::<u8>(&[8]).unwrap()).unwrap());
    let good = fs::read(scene.file("stream")).unwrap();
    for (at, field) in [(8, "ABI version"), (40, "checksum"), (200, "checksum")] {
        let mut bad = good.clone();
        bad[at] ^= 0x40;
        fs::write(scene.file("stream"), &bad).unwrap();
        let ended = shm(["fsck", &name, "--json"]);
        assert_eq!((ended.code, ended.err.as_str()), (1, ""), "byte {at}");
        let problems = sentences(&ended.json(), "problems").join("\n");
        let says = shm_core::stat(&name).unwrap_err().to_string();
        assert!(problems.contains(field) && problems == says, "byte {at}: {problems}");
    }
    fs::write(scene.file("stream"), &good[..good.len() - 4096]).unwrap();
    let ended = shm(["fsck", &name]);
    assert!(ended.code == 1 && ended.out.contains("truncated"), "{ended:?}");
}

#[test]
fn several_are_checked_at_once() {
    let scene = Scene::new("fsck-several");
    let (stream, pool) = (scene.name("stream"), scene.name("pool"));
    let _stream = Stream::create(&stream, &StreamConfig::of::<u8>(&[8]).unwrap()).unwrap();
    let mut owner = Holder::of("pool", &pool);
    owner.kill();
    let report = shm(["fsck", &stream, &pool, "--json"]).done().json();
    assert_eq!(report["segments"].as_array().unwrap().len(), 2);
    let notes = report["segments"][1]["notes"].to_string();
    assert!(notes.contains(&format!("its owner (pid {}) has left it", owner.pid())), "{notes}");
    // Nothing was joined, and a name that is nobody's ends it all.
    assert!(shm_core::stat(&pool).unwrap().holders.is_empty());
    assert_eq!(shm(["fsck", &stream, &scene.name("nobody")]).code, 3);
}

//! Replaying: what was recorded comes again, in its time, and nothing is left behind.

use crate::files::{Contents, header};
use crate::programs::{Folder, PATIENCE, Published, Running, frame, run, shm, unique, until};
use rustix::process::Signal;
use shm_core::{Dtype, OpenError, ReadError, Reader};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A recording of `frames` frames, some milliseconds apart.
fn recorded(folder: &Folder, file: &str, dtype: Dtype, shape: &[usize], frames: u64) -> PathBuf {
    let mut published = Published::new("original", dtype, shape, 32);
    let file = folder.file(file);
    let frames_wanted = frames.to_string();
    let recorder =
        Running::start(shm().args(["--json", "record", &published.name]).arg(&file).args([
            "--frames",
            &frames_wanted,
            "--timeout",
            "60s",
        ]));
    recorder.until_attached(&published.name, &file);
    for number in 1..=frames {
        published.publish(number);
        std::thread::sleep(Duration::from_millis(10));
    }
    recorder.end().expect(0);
    file
}

/// An array as NumPy would save it.
pub fn saved(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let text = format!("{:<117}\n", header(descr, shape));
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend_from_slice(&(text.len() as u16).to_le_bytes());
    bytes.extend_from_slice(text.as_bytes());
    bytes.extend_from_slice(data);
    bytes
}

fn assert_gone(name: &str) {
    assert!(matches!(shm_core::stat(name), Err(OpenError::NotFound { .. })), "{name} is there");
}

#[test]
fn a_recording_of_a_replay_is_the_recording() {
    let folder = Folder::new();
    let kinds: [(&str, Dtype, &[usize]); 7] = [
        ("a.npy", Dtype::F32, &[2, 3]),
        ("b.npz", Dtype::I16, &[5]),
        ("c.safetensors", Dtype::U8, &[2, 2, 2]),
        ("bf16.npy", Dtype::Bf16, &[3]),
        ("bf16.npz", Dtype::Bf16, &[3]),
        ("c128.safetensors", Dtype::C128, &[2]),
        ("scalar.npz", Dtype::F64, &[]),
    ];
    for (kind, dtype, shape) in kinds {
        let original = recorded(&folder, kind, dtype, shape, 8);
        let published = Published::new("again", dtype, shape, 32);
        let again = folder.file(&format!("again-{kind}"));
        let recorder =
            Running::start(shm().args(["--json", "record", &published.name]).arg(&again).args([
                "--frames",
                "8",
                "--timeout",
                "60s",
            ]));
        // The test's own handle is the writer until here.
        let name = published.name.clone();
        let mut published = published;
        published.writer = None;
        let said = run(shm().args(["--json", "replay"]).arg(&original).args([
            &name,
            "--existing",
            "--readers",
            "1",
        ]))
        .expect(0);
        assert_eq!((&said["frames"], &said["ended"]), (&8.into(), &"file".into()), "{said}");
        recorder.end().expect(0);
        let (first, second) = (Contents::of(&original), Contents::of(&again));
        for array in ["frames", "counts", "ids", "acquired_ns"] {
            assert_eq!(first.arrays[array], second.arrays[array], "{array} of {kind}");
        }
        let times = first.words("published_ns");
        let span = Duration::from_nanos(times[7] - times[0]);
        assert!(said["seconds"].as_f64().unwrap() >= span.as_secs_f64(), "{said}: {span:?}");
        shm_core::stat(&name).expect("the stream was there before and stays");
    }
}

#[test]
fn the_stream_is_made_for_the_replay_and_taken_away() {
    let folder = Folder::new();
    let file = recorded(&folder, "made.npz", Dtype::F32, &[2, 2], 5);
    let name = unique("made");
    let replay =
        Running::start(shm().args(["--json", "replay"]).arg(&file).args([&name, "--readers", "1"]));
    let mut reader = Reader::open_within(&name, PATIENCE).unwrap();
    assert_eq!((reader.desc().dtype(), reader.desc().shape()), (Dtype::F32, &[2, 2][..]));
    assert_eq!(reader.stream().metadata(), b"exposure 7");
    let mut bytes = vec![0; 16];
    let mut last = 0;
    let error = loop {
        match reader.wait_after(last, PATIENCE) {
            Ok(_) => {}
            Err(error) => break error,
        }
        let info = reader.read_bytes_into(&mut bytes).unwrap();
        assert_eq!(bytes, frame(info.count, 16));
        assert_eq!(info.frame_id, 100 + 3 * info.count);
        assert_eq!(info.acquired_wall_ns, 1_700_000_000_000_000_000 + info.count);
        last = info.count;
    };
    assert!(matches!(error, ReadError::Stale { .. }), "{error}");
    assert_eq!(last, 5);
    assert_eq!(replay.end().expect(0)["frames"], 5);
    assert_gone(&name);
}

#[test]
fn a_rate_holds_frames_back() {
    let folder = Folder::new();
    let file = folder.file("scalars.npy");
    std::fs::write(&file, saved("'<u2'", "(6,)", &[7; 12])).unwrap();
    for (rate, least) in [(vec!["--rate", "25"], 5.0 / 25.0), (vec![], 5.0 / 30.0)] {
        let name = unique("rate");
        let begun = Instant::now();
        let said = run(shm().args(["--json", "replay"]).arg(&file).arg(&name).args(rate)).expect(0);
        assert_eq!((&said["frames"], &said["dtype"]), (&6.into(), &"uint16".into()));
        assert_eq!(said["shape"], serde_json::json!([]));
        let seconds = said["seconds"].as_f64().unwrap();
        assert!(seconds >= least && begun.elapsed().as_secs_f64() >= seconds, "{said}");
        assert_gone(&name);
    }
}

#[test]
fn a_loop_goes_on_until_it_is_ended() {
    let folder = Folder::new();
    let file = folder.file("loop.npy");
    std::fs::write(&file, saved("'|i1'", "(3, 2)", &[1, 2, 3, 4, 5, 6])).unwrap();
    for signal in [Signal::INT, Signal::TERM] {
        let name = unique("loop");
        let looped = ["--loop", "--rate", "500"];
        let replay =
            Running::start(shm().args(["--json", "replay"]).arg(&file).arg(&name).args(looped));
        let mut reader = Reader::open_within(&name, PATIENCE).unwrap();
        reader.wait_after(10, PATIENCE).unwrap();
        let newest = reader.read::<i8>().unwrap();
        let at = ((newest.info.count - 1) % 3) as i8 * 2;
        assert_eq!(newest.data, [at + 1, at + 2]);
        replay.signal(signal);
        let said = replay.end().expect(0);
        assert_eq!(said["ended"], "interrupted");
        assert!(said["laps"].as_u64().unwrap() >= 3, "{said}");
        assert_gone(&name);
    }
}

#[test]
fn a_killed_replay_leaves_nothing_that_gc_does_not_take() {
    let folder = Folder::new();
    let file = folder.file("killed.npy");
    std::fs::write(&file, saved("'|u1'", "(2,)", &[1, 2])).unwrap();
    let name = unique("killed");
    let replay = Running::start(shm().arg("replay").arg(&file).args([&name, "--loop"]));
    Reader::open_within(&name, PATIENCE).unwrap().wait_after(0, PATIENCE).unwrap();
    replay.signal(Signal::KILL);
    replay.end();
    shm_core::gc(&name, false).unwrap();
    assert_gone(&name);
}

#[test]
fn a_writer_that_dies_ends_the_recording_with_what_there_is() {
    let folder = Folder::new();
    let source = folder.file("source.npy");
    std::fs::write(&source, saved("'|u1'", "(2, 16384)", &[5; 32768])).unwrap();
    let mut published = Published::new("dies", Dtype::U8, &[16384], 8);
    published.writer = None;
    let file = folder.file("dies.npz");
    let recorder = Running::start(
        shm().args(["--json", "record", &published.name]).arg(&file).args(["--timeout", "4s"]),
    );
    recorder.until_attached(&published.name, &file);
    let looped = ["--existing", "--loop", "--rate", "200"];
    let replay = Running::start(shm().arg("replay").arg(&source).arg(&published.name).args(looped));
    recorder.until_written(&file, 5 * 16384);
    replay.signal(Signal::KILL);
    replay.end();
    let said = recorder.end().expect(5);
    assert!(said["reason"].as_str().unwrap().ends_with("there is no writer"), "{said}");
    let contents = Contents::of(&file);
    assert_eq!(contents.frames().len() as u64, said["frames"].as_u64().unwrap() * 16384);
    assert!(contents.frames().iter().all(|&byte| byte == 5));
}

#[test]
fn arrays_are_chosen_by_name_or_by_being_the_only_one() {
    let folder = Folder::new();
    let (one, two) = (folder.file("one.npz"), folder.file("two.npz"));
    let array = saved("'<f4'", "(2, 1)", &[0; 8]);
    crate::hostile::zip(&one, &[("arr_0", &array)]);
    crate::hostile::zip(&two, &[("left", &array), ("right", &array)]);
    let name = unique("chosen");
    let replay = |file: &Path, more: &[&str]| {
        run(shm().args(["--json", "replay"]).arg(file).args([&name, "--rate", "1000"]).args(more))
    };
    assert_eq!(replay(&one, &[]).expect(0)["frames"], 2);
    assert_eq!(replay(&two, &["--array", "right"]).expect(0)["frames"], 2);
    for (more, words) in [
        (&[][..], "no array `frames`; there are left, right"),
        (&["--array", "up"], "no array `up`"),
    ] {
        let ended = replay(&two, more);
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(ended.errors.contains(words), "{ended:?}");
    }
}

#[test]
fn streams_that_do_not_fit_are_refused_and_left_alone() {
    let folder = Folder::new();
    let file = folder.file("other.npy");
    std::fs::write(&file, saved("'<f4'", "(1, 2)", &[0; 8])).unwrap();
    let mut published = Published::new("other", Dtype::F32, &[3], 4);
    let absent = unique("absent");
    let cases = [
        (&published.name, &["--existing"][..], 4, "has float32 [3], the frames of"),
        (&published.name, &[], 2, "--existing publishes into it"),
        (&absent, &["--existing"], 3, "does not exist"),
    ];
    for (name, more, code, words) in cases {
        let ended = run(shm().arg("replay").arg(&file).arg(name).args(more));
        assert_eq!(ended.code, Some(code), "{ended:?}");
        assert!(ended.errors.contains(words), "{ended:?}");
    }
    published.publish(1);
    assert_eq!(published.stream.count(), 1);

    let busy = Published::new("busy", Dtype::F32, &[2], 4);
    let ended = run(shm().arg("replay").arg(&file).args([&busy.name, "--existing"]));
    assert_eq!(ended.code, Some(5), "{ended:?}");
    assert!(ended.errors.contains("held by process"), "{ended:?}");
}

#[test]
fn a_stream_that_is_taken_away_ends_the_replay() {
    let folder = Folder::new();
    let file = folder.file("gone.npy");
    std::fs::write(&file, saved("'|u1'", "(2,)", &[1, 2])).unwrap();
    let name = unique("gone");
    let looped = ["--loop", "--rate", "100"];
    let replay =
        Running::start(shm().args(["--json", "replay"]).arg(&file).arg(&name).args(looped));
    Reader::open_within(&name, PATIENCE).unwrap().wait_after(0, PATIENCE).unwrap();
    until("the name to go", || shm_core::unlink(&name).is_ok());
    assert_eq!(replay.end().expect(1)["ended"], "gone");
}

//! Recording, and every way in which it ends.

use crate::files::{Contents, header};
use crate::programs::{Folder, Published, Running, frame, run, shm, unique, until};
use rustix::process::Signal;
use shm_core::{Dtype, StreamConfig};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const FORMATS: [&str; 3] = ["npy", "npz", "safetensors"];

fn record(name: &str, file: &Path) -> Command {
    let mut command = shm();
    command.args(["--json", "record", name]).arg(file).args(["--timeout", "60s"]);
    command
}

/// The file has the first frames that were published from number 1 on, and what belongs to them.
fn assert_holds(file: &Path, frames: u64, len: usize) -> Contents {
    let contents = Contents::of(file);
    let expected: Vec<u8> = (1..=frames).flat_map(|number| frame(number, len)).collect();
    assert_eq!(contents.frames(), expected);
    assert_eq!(contents.words("counts"), (1..=frames).collect::<Vec<_>>());
    let ids: Vec<u64> = (1..=frames).map(|number| 100 + 3 * number).collect();
    assert_eq!(contents.words("ids"), ids);
    let acquired: Vec<u64> =
        (1..=frames).map(|number| 1_700_000_000_000_000_000 + number).collect();
    assert_eq!(contents.words("acquired_ns"), acquired);
    let published = contents.words("published_ns");
    assert!(published.len() as u64 == frames && published.is_sorted(), "{published:?}");
    contents
}

#[test]
fn every_frame_is_kept_in_each_format() {
    let kinds: [(Dtype, &[usize], &str, &str); 9] = [
        (Dtype::U8, &[4, 3], "'|u1'", "U8"),
        (Dtype::Bool, &[5], "'|b1'", "BOOL"),
        (Dtype::I16, &[2, 1, 2], "'<i2'", "I16"),
        (Dtype::F16, &[7], "'<f2'", "F16"),
        (Dtype::Bf16, &[3], "'<u2'", "BF16"),
        (Dtype::F32, &[2, 3], "'<f4'", "F32"),
        (Dtype::U64, &[], "'<u8'", "U64"),
        (Dtype::C64, &[2], "'<c8'", "C64"),
        (Dtype::C128, &[2], "'<c16'", "F64"),
    ];
    let folder = Folder::new();
    for (dtype, shape, descr, stored) in kinds {
        let mut published = Published::new("formats", dtype, shape, 16);
        let files = FORMATS.map(|format| folder.file(&format!("{dtype}.{format}")));
        let recorders = files
            .each_ref()
            .map(|file| Running::start(record(&published.name, file).args(["--frames", "10"])));
        for (recorder, file) in recorders.iter().zip(&files) {
            recorder.until_attached(&published.name, file);
        }
        for number in 1..=10 {
            published.publish(number);
            std::thread::sleep(Duration::from_millis(2));
        }
        let len = published.stream.desc().byte_len();
        for (recorder, file) in recorders.into_iter().zip(&files) {
            let said = recorder.end().expect(0);
            assert_eq!((&said["frames"], &said["missed"]), (&10.into(), &0.into()), "{said}");
            assert_eq!((&said["ended"], &said["dtype"]), (&"frames".into(), &dtype.name().into()));
            let contents = assert_holds(file, 10, len);
            let dims: Vec<String> =
                [10].iter().chain(shape).map(|dim: &usize| dim.to_string()).collect();
            let frames = &contents.arrays["frames"].header;
            if file.extension().unwrap() == "safetensors" {
                let pair = if dtype == Dtype::C128 { ", 2" } else { "" };
                assert_eq!(*frames, format!("{stored} [{}{pair}]", dims.join(", ")));
                assert_eq!(contents.facts["dtype"], dtype.name());
                assert_eq!(contents.facts["stream"], published.name);
            } else {
                let comma = if shape.is_empty() { "," } else { "" };
                assert_eq!(*frames, header(descr, &format!("({}{comma})", dims.join(", "))));
            }
            if file.extension().unwrap() == "npz" {
                assert_eq!(contents.arrays["dtype"].data, dtype.name().as_bytes());
            }
            if file.extension().unwrap() != "npy" {
                assert_eq!(contents.arrays["metadata"].data, b"exposure 7");
            }
        }
    }
    assert!(folder.names().iter().all(|name| !name.contains("part")), "{:?}", folder.names());
}

#[test]
fn ctrl_c_and_sigterm_leave_a_valid_file() {
    let folder = Folder::new();
    for (format, signal) in
        [("npy", Signal::INT), ("npz", Signal::TERM), ("safetensors", Signal::INT)]
    {
        let mut published = Published::new("ended", Dtype::U8, &[16384], 16);
        let file = folder.file(&format!("ended.{format}"));
        let recorder = Running::start(&mut record(&published.name, &file));
        recorder.until_attached(&published.name, &file);
        for number in 1..=6 {
            published.publish(number);
        }
        recorder.until_written(&file, 6 * 16384);
        assert!(!file.exists(), "it takes its name at the end");
        recorder.signal(signal);
        let said = recorder.end().expect(0);
        assert_eq!((&said["frames"], &said["ended"]), (&6.into(), &"interrupted".into()));
        assert_holds(&file, 6, 16384);
    }
}

#[test]
fn a_killed_recorder_leaves_the_old_file_or_none() {
    let folder = Folder::new();
    let mut published = Published::new("killed", Dtype::U8, &[16384], 16);
    let (absent, old) = (folder.file("absent.npz"), folder.file("old.npz"));
    std::fs::write(&old, "what was there").unwrap();
    for file in [&absent, &old] {
        let recorder = Running::start(record(&published.name, file).arg("--force"));
        recorder.until_attached(&published.name, file);
        for number in 1..=4 {
            published.publish(number);
        }
        recorder.until_written(file, 4 * 16384);
        recorder.signal(Signal::KILL);
        assert_eq!(recorder.end().code, None);
    }
    assert!(!absent.exists());
    assert_eq!(std::fs::read(&old).unwrap(), b"what was there");

    let recorder = Running::start(record(&published.name, &old).args(["--force", "--frames", "1"]));
    assert_eq!(recorder.end().expect(0)["frames"], 1, "the newest frame is there already");
    assert_eq!(Contents::of(&old).frames(), frame(4, 16384));
}

#[test]
fn a_stream_that_is_replaced_or_unlinked_ends_the_recording() {
    let folder = Folder::new();
    for (format, replaced) in [("npy", true), ("npz", false), ("safetensors", true)] {
        let mut published = Published::new("gone", Dtype::U8, &[16], 16);
        let file = folder.file(&format!("gone.{format}"));
        let recorder = Running::start(&mut record(&published.name, &file));
        recorder.until_attached(&published.name, &file);
        for number in 1..=5 {
            published.publish(number);
        }
        if replaced {
            let config = StreamConfig::new(Dtype::F64, &[2, 2]).unwrap().replace_existing(true);
            config.create(&published.name).unwrap();
        } else {
            published.stream.unlink().unwrap();
        }
        let said = recorder.end().expect(1);
        assert_eq!((&said["frames"], &said["ended"]), (&5.into(), &"gone".into()));
        assert_holds(&file, 5, 16);
    }
}

#[test]
fn silence_ends_it_with_what_there_is() {
    let folder = Folder::new();
    for format in FORMATS {
        let mut published = Published::new("silent", Dtype::F32, &[2], 4);
        let file = folder.file(&format!("empty.{format}"));
        let silent = ["--timeout", "50ms"];
        let said = run(shm().args(["--json", "record", &published.name]).arg(&file).args(silent));
        let said = said.expect(5);
        assert_eq!((&said["frames"], &said["ended"]), (&0.into(), &"timeout".into()));
        assert!(said["reason"].as_str().unwrap().contains("a writer is there"), "{said}");
        assert_holds(&file, 0, 8);

        published.publish(1);
        published.writer = None;
        let again =
            run(shm().args(["record", &published.name]).arg(&file).args(silent).arg("--force"));
        assert_eq!(again.code, Some(5), "{again:?}");
        assert!(again.out.contains("1 frames of float32 2, 8 B"), "{}", again.out);
        assert!(
            again.out.trim_end().ends_with("no frame within 50ms, there is no writer"),
            "{again:?}"
        );
        assert_holds(&file, 1, 8);
    }
}

#[test]
fn time_can_be_bounded() {
    let folder = Folder::new();
    let mut published = Published::new("bounded", Dtype::U8, &[1], 4);
    published.publish(1);
    let file = folder.file("bounded.npz");
    let said = run(record(&published.name, &file).args(["--seconds", "100ms"])).expect(0);
    assert_eq!((&said["frames"], &said["ended"]), (&1.into(), &"seconds".into()));
    assert!(said["seconds"].as_f64().unwrap() >= 0.1, "{said}");
    assert_holds(&file, 1, 1);
}

#[test]
fn frames_that_the_writer_lapped_are_counted_as_missed() {
    let folder = Folder::new();
    let mut published = Published::new("lapped", Dtype::U8, &[16384], 4);
    let file = folder.file("lapped.npz");
    let recorder = Running::start(&mut record(&published.name, &file));
    recorder.until_attached(&published.name, &file);
    published.publish(1);
    recorder.until_written(&file, 16384);
    recorder.signal(Signal::STOP);
    let status = format!("/proc/{}/stat", recorder.pid());
    until("the recorder to stop", || std::fs::read_to_string(&status).unwrap().contains(") T "));
    for number in 2..=60 {
        published.publish(number);
    }
    recorder.signal(Signal::CONT);
    recorder.until_written(&file, 3 * 16384);
    published.publish(61);
    recorder.until_written(&file, 4 * 16384);
    recorder.signal(Signal::INT);
    let said = recorder.end().expect(0);
    let contents = Contents::of(&file);
    let counts = contents.words("counts");
    assert!(counts.is_sorted() && counts[0] == 1, "{counts:?}");
    let missed = counts[counts.len() - 1] - counts.len() as u64;
    assert!(missed >= 50, "{counts:?}");
    assert_eq!(said["missed"], missed);
    let expected: Vec<u8> = counts.iter().flat_map(|&count| frame(count, 16384)).collect();
    assert!(contents.frames() == expected);
}

#[test]
fn a_full_disk_keeps_what_came_before() {
    let folder = Folder::new();
    for format in FORMATS {
        let mut published = Published::new("full", Dtype::U8, &[4096], 64);
        let file = folder.file(&format!("full.{format}"));
        // A limit on the length of a file, in blocks of 512 bytes or of 1024, is refused like a full disk.
        let script = r#"ulimit -f 256; trap "" XFSZ; exec "$0" "$@""#;
        let mut limited = Command::new("sh");
        limited.args(["-c", script, env!("CARGO_BIN_EXE_shm"), "--json", "record"]);
        limited.arg(&published.name).arg(&file).args(["--timeout", "60s"]);
        let recorder = Running::start(&mut limited);
        recorder.until_attached(&published.name, &file);
        for number in 1..=80 {
            published.publish(number);
            std::thread::sleep(Duration::from_millis(1));
        }
        let ended = recorder.end();
        let said = ended.expect(6);
        let frames = said["frames"].as_u64().unwrap();
        assert!((10..80).contains(&frames), "{said}");
        assert_eq!(said["ended"], "not_written");
        assert!(said["reason"].as_str().unwrap().contains("could not be written"), "{said}");
        assert_holds(&file, frames, 4096);
    }
    assert!(folder.names().iter().all(|name| !name.contains("part")), "{:?}", folder.names());
}

#[test]
fn what_cannot_begin_says_why() {
    let folder = Folder::new();
    let published = Published::new("usage", Dtype::U8, &[1], 4);
    let there = folder.file("there.npy");
    std::fs::write(&there, "there").unwrap();
    let times = folder.file("other.times.npy");
    std::fs::write(&times, "times").unwrap();
    let absent = unique("absent");
    let cases = [
        (&published.name, there.clone(), 2, "--force"),
        (&published.name, folder.file("other.npy"), 2, "other.times.npy: there is such a file"),
        (&published.name, folder.file("file.txt"), 2, "expected .npy, .npz or .safetensors"),
        (&published.name, folder.file("no/folder.npz"), 3, "no such folder"),
        (&absent, folder.file("absent.npz"), 3, "shm ls"),
    ];
    for (name, file, code, words) in cases {
        let ended = run(shm().args(["record", name]).arg(&file).args(["--timeout", "1s"]));
        assert_eq!(ended.code, Some(code), "{ended:?}");
        assert!(ended.errors.contains(words) && ended.out.is_empty(), "{ended:?}");
    }
    assert_eq!(std::fs::read(&there).unwrap(), b"there");
    assert_eq!(folder.names(), ["other.times.npy", "there.npy"]);
}

#[test]
fn frames_on_a_device_are_refused() {
    let folder = Folder::new();
    let name = unique("device");
    let config = StreamConfig::of::<f32>(&[4]).unwrap().external(b"device 0", false).unwrap();
    let stream = config.create(&name).unwrap();
    let ended = run(shm().args(["record", &name]).arg(folder.file("device.npz")));
    stream.unlink().unwrap();
    assert_eq!(ended.code, Some(4), "{ended:?}");
    assert!(ended.errors.contains("live on a device"), "{ended:?}");
    assert!(folder.names().is_empty());
}

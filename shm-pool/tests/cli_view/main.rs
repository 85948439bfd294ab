//! `shm view` as a process: what it writes into files, into terminals and to browsers is what was published.

mod page;

use serde_json::Value;
use shm_core::{Bool, Deadline, Element, FrameTag, Stream, StreamConfig, Writer};
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// Things that must happen have this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// A stream that goes away with the test.
struct Published {
    stream: Stream,
    writer: Writer,
}

impl Published {
    fn new(what: &str, config: StreamConfig) -> Published {
        let stream = Stream::create(&name(what), &config).unwrap();
        let writer = stream.writer(Deadline::NOW).unwrap();
        Published { stream, writer }
    }

    fn of<T: Element>(what: &str, shape: &[usize], elements: &[T]) -> Published {
        let mut made = Published::new(what, StreamConfig::of::<T>(shape).unwrap());
        made.writer.publish(elements).unwrap();
        made
    }

    fn name(&self) -> &str {
        self.stream.name()
    }
}

impl Drop for Published {
    fn drop(&mut self) {
        let _ = self.stream.unlink();
    }
}

fn name(what: &str) -> String {
    format!("test-view-{what}-{}", std::process::id())
}

fn shm(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_shm")).args(arguments).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A PNG file that is removed with the test.
struct File(PathBuf);

impl File {
    fn new(what: &str) -> File {
        File(std::env::temp_dir().join(format!("{}.png", name(what))))
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Width, height, channels and pixels.
type Pixels = (u32, u32, usize, Vec<u8>);

fn decoded(png: impl BufRead + std::io::Seek) -> Pixels {
    let mut reader = png::Decoder::new(png).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    assert_eq!(info.bit_depth, png::BitDepth::Eight);
    (info.width, info.height, info.color_type.samples(), pixels)
}

/// What `shm view --png` makes of the newest frame, and what it tells of it.
fn png_of(stream: &Published, more: &[&str]) -> (Pixels, Value) {
    let file = File::new(stream.name());
    let arguments = ["view", stream.name(), "--png", file.path(), "--json"];
    let output = shm(&[&arguments[..], more].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["file"], file.path());
    let bytes = BufReader::new(std::fs::File::open(&file.0).unwrap());
    (decoded(bytes), told)
}

#[test]
fn bytes_are_written_as_they_are() {
    let grey: Vec<u8> = (0..35).map(|value| value * 7).collect();
    let stream = Published::of("grey", &[5, 7], &grey);
    let (pixels, told) = png_of(&stream, &[]);
    assert_eq!(pixels, (7, 5, 1, grey));
    assert_eq!((&told["count"], &told["dtype"]), (&1.into(), &"uint8".into()));
    assert_eq!(told["shape"], serde_json::json!([5, 7]));
    assert_eq!(told["range"], serde_json::json!([0.0, 255.0]));

    let colours: Vec<u8> = (0..4 * 6 * 3).map(|value| value * 3).collect();
    let stream = Published::of("rgb", &[4, 6, 3], &colours);
    assert_eq!(png_of(&stream, &[]).0, (6, 4, 3, colours));

    let clear: Vec<u8> = (0..2 * 3 * 4).map(|value| 255 - value * 5).collect();
    let stream = Published::of("rgba", &[1, 2, 3, 4], &clear);
    assert_eq!(png_of(&stream, &[]).0, (3, 2, 4, clear));
}

#[test]
fn planes_are_put_together() {
    let planes: Vec<u8> = (0..3 * 5 * 6).map(|value| value * 2).collect();
    let together: Vec<u8> =
        (0..30).flat_map(|pixel| [0, 30, 60].map(|plane| planes[plane + pixel])).collect();
    let stream = Published::of("planes", &[3, 5, 6], &planes);
    assert_eq!(png_of(&stream, &[]).0, (6, 5, 3, together));
}

#[test]
fn other_dtypes_are_scaled() {
    let floats = [0.0, 0.25, f32::NAN, 1.0, f32::INFINITY, 2.0];
    let stream = Published::of("float", &[2, 3], &floats);
    let (pixels, told) = png_of(&stream, &["--range", "0,1"]);
    let hole = [255, 0, 255];
    let expected = [[0; 3], [64; 3], hole, [255; 3], hole, [255; 3]].concat();
    assert_eq!(pixels, (3, 2, 3, expected));
    assert_eq!((&told["not_finite"], &told["range"]), (&2.into(), &serde_json::json!([0.0, 1.0])));
    let (pixels, told) = png_of(&stream, &[]);
    assert_eq!(pixels.3, [[0; 3], [32; 3], hole, [128; 3], hole, [255; 3]].concat());
    assert_eq!(told["range"], serde_json::json!([0.0, 2.0]));

    let truths = [true, false, false, true].map(Bool::from);
    let stream = Published::of("bool", &[2, 2], &truths);
    assert_eq!(png_of(&stream, &[]).0, (2, 2, 1, vec![255, 0, 0, 255]));

    let stream = Published::of("int16", &[1, 3], &[-1000_i16, 0, 1000]);
    assert_eq!(png_of(&stream, &[]).0, (3, 1, 1, vec![0, 128, 255]));
    assert_eq!(png_of(&stream, &["--range", "-500,500"]).0.3, [0, 128, 255]);

    let halves = [0.0, 0.5, 1.0, 4.0].map(half::f16::from_f32);
    let stream = Published::of("half", &[2, 2], &halves);
    assert_eq!(png_of(&stream, &[]).0, (2, 2, 1, vec![0, 32, 64, 255]));

    let stream = Published::of("flat", &[2, 2], &[7.5_f64; 4]);
    assert_eq!(png_of(&stream, &[]).0.3, [128; 4]);
}

#[test]
fn what_is_no_picture_is_refused_with_what_would_be() {
    let stream = Published::of("shape", &[2, 5, 7], &[0_u8; 70]);
    let output = shm(&["view", stream.name(), "--timeout", "1ms"]);
    assert_eq!(output.status.code(), Some(4));
    let told = stderr(&output);
    assert!(told.contains("2x5x7") && told.contains("HxWx3"), "{told}");

    let config = StreamConfig::of::<u8>(&[4, 4]).unwrap().external(b"elsewhere", false).unwrap();
    let stream = Published::new("device", config);
    let output = shm(&["view", stream.name(), "--json"]);
    assert_eq!(output.status.code(), Some(4));
    let told = stderr(&output);
    assert!(told.contains("on a device without a mirror"), "{told}");
    assert_eq!(serde_json::from_str::<Value>(&told).unwrap()["error"]["exit"], "refused");

    let pool =
        shm_pool::Pool::create(&name("pool"), &shm_pool::PoolConfig::slots(2, 4096).unwrap())
            .unwrap();
    let output = shm(&["view", &name("pool")]);
    assert_eq!(output.status.code(), Some(4));
    assert!(stderr(&output).contains("not a stream"), "{}", stderr(&output));
    drop(pool);

    assert_eq!(shm(&["view", &name("nobody")]).status.code(), Some(3));
}

#[test]
fn a_first_frame_is_waited_for_and_no_longer() {
    let stream = Published::new("empty", StreamConfig::of::<u8>(&[4, 4]).unwrap());
    let output = shm(&["view", stream.name(), "--timeout", "50ms"]);
    assert_eq!(output.status.code(), Some(5));
    let told = stderr(&output);
    assert!(told.contains("50ms") && told.contains("a writer is attached and silent"), "{told}");

    let file = File::new("late");
    let child = Command::new(env!("CARGO_BIN_EXE_shm"))
        .args(["view", stream.name(), "--timeout", "60s", "--png", file.path()])
        .stdout(Stdio::null())
        .spawn();
    let mut stream = stream;
    std::thread::sleep(Duration::from_millis(100));
    stream.writer.publish(&[9_u8; 16]).unwrap();
    assert_eq!(child.unwrap().wait().unwrap().code(), Some(0));
    assert_eq!(decoded(BufReader::new(std::fs::File::open(&file.0).unwrap())).3, [9; 16]);
}

#[test]
fn a_file_that_cannot_be_written_is_told() {
    let stream = Published::of("nowhere", &[2, 2], &[0_u8; 4]);
    let output = shm(&["view", stream.name(), "--png", "/nowhere/at/all.png"]);
    assert_eq!(output.status.code(), Some(6), "{}", stderr(&output));
    let output = shm(&["view", stream.name(), "--png", "/dev/null"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
}

#[test]
fn without_a_terminal_it_is_ascii() {
    let rows = [[0_u8, 0, 255, 255]; 4].concat();
    let stream = Published::of("ascii", &[4, 4], &rows);
    let output = shm(&["view", stream.name()]);
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 41, "{text}");
    assert_eq!(lines[7], " ".repeat(40) + &"@".repeat(40));
    assert!(lines[40].contains("frame 1") && lines[40].contains("uint8 4x4"), "{text}");
    assert!(!text.contains('\x1b'));
}

#[test]
fn frames_follow_each_other_until_the_stream_is_gone() {
    let mut stream = Published::of("follow", &[1, 1], &[0_u8]);
    let mut child = Command::new(env!("CARGO_BIN_EXE_shm"))
        .args(["view", stream.name(), "--follow", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for count in 1..=3 {
        let told: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!((&told["count"], &told["id"]), (&count.into(), &told["count"]));
        stream.writer.publish_tagged(&[1_u8], FrameTag::id(count + 1)).unwrap();
    }
    let last: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(last["count"], 4);
    drop(stream);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("unlinked or replaced"), "{}", stderr(&output));
}

#[cfg(target_os = "linux")]
#[test]
fn a_terminal_is_drawn_in_and_restored() {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let stream = Published::of("terminal", &[2, 2], &[255_u8, 255, 0, 0]);
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let path = ptsname(&terminal, Vec::new()).unwrap();
    let size = rustix::termios::Winsize { ws_row: 6, ws_col: 20, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(&terminal, size).unwrap();
    let open = || {
        let path = path.to_str().unwrap();
        std::fs::File::options().read(true).write(true).open(path).unwrap()
    };
    let mut child = Command::new(env!("CARGO_BIN_EXE_shm"))
        .args(["view", stream.name(), "--follow"])
        .env_remove("NO_COLOR")
        .stdout(open())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Ends with the last handle on the other side.
    let mut seen = Vec::new();
    let mut terminal = std::fs::File::from(terminal);
    let mut chunk = [0; 4096];
    let mut told = false;
    while let Ok(length @ 1..) = terminal.read(&mut chunk) {
        seen.extend_from_slice(&chunk[..length]);
        if !told && String::from_utf8_lossy(&seen).contains("frame 1") {
            told = true;
            kill(&child, rustix::process::Signal::INT);
        }
    }
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let seen = String::from_utf8(seen).unwrap();
    let (drawn, restored) = seen.split_at(seen.find("frame 1").unwrap());
    assert!(drawn.starts_with("\x1b[?1049h\x1b[?25l"), "{drawn:?}");
    // Two characters of eight rows of pixels, the upper half white.
    let white = format!("\x1b[38;2;255;255;255m\x1b[48;2;255;255;255m{}", "▀".repeat(8));
    assert_eq!(drawn.matches(&white).count(), 2, "{drawn:?}");
    assert!(restored.ends_with("\x1b[?25h\x1b[?1049l"), "{restored:?}");
}

#[cfg(target_os = "linux")]
fn kill(child: &Child, signal: rustix::process::Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_child(child), signal).unwrap();
}

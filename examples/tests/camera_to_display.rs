//! The camera is killed and started again, and the display goes on with whole frames.

#[allow(dead_code, reason = "each test uses a part")]
mod program;

use program::{Name, Program, number};

const CAMERA: &str = env!("CARGO_BIN_EXE_camera");
const DISPLAY: &str = env!("CARGO_BIN_EXE_display");
const SMALL: [&str; 6] = ["--width", "64", "--height", "48", "--rate", "200"];

#[test]
fn the_display_goes_on_when_the_camera_is_killed() {
    let name = Name::new("camera");
    let mut display = Program::start(DISPLAY, &[name.as_str(), "--seconds", "100"]);
    let camera = Program::start(CAMERA, &[&[name.as_str()], &SMALL[..]].concat());
    display.hear("at frame");
    camera.kill();
    let gone = display.hear("the camera is gone");
    let last = number(&gone, "stays");
    assert!(last > 1, "{gone}");

    let camera = Program::start(CAMERA, &[&[name.as_str()], &SMALL[..]].concat());
    let back = display.hear("the camera is back with frame");
    let first: u64 = back.rsplit(' ').next().and_then(|word| word.parse().ok()).expect(&back);
    assert!(first > last, "frames go on where they stopped: {gone}, {back}");
    display.hear("at frame");
    camera.interrupt();
    let said = camera.finish();
    let frames = number(said.last().expect("it says how many"), "frames");
    assert!(frames >= first, "{said:?}");
    assert_eq!(name.segments(), [""; 0], "a camera that ends well removes its stream");

    display.interrupt();
    let said = display.finish();
    let summary = said.iter().find(|line| line.contains("in the end")).expect("a summary");
    let (shown, missed) = (number(summary, "shown"), number(summary, "missed"));
    assert_eq!(number(summary, "torn"), 0, "{summary}");
    assert!(shown > 1 && shown + missed <= frames, "{summary}, of {frames}");
}

#[test]
fn frames_of_another_size_are_shown_too() {
    let name = Name::new("resized");
    let mut display = Program::start(DISPLAY, &[name.as_str(), "--seconds", "100"]);
    let camera = Program::start(CAMERA, &[&[name.as_str()], &SMALL[..]].concat());
    display.hear("at frame");
    camera.kill();
    display.hear("the camera is gone");
    let wider = ["--width", "80", "--height", "50", "--rate", "100"];
    let camera = Program::start(CAMERA, &[&[name.as_str()], &wider[..]].concat());
    display.hear("at frame");
    camera.interrupt();
    camera.finish();
    display.interrupt();
    assert!(display.finish().concat().contains(" 0 torn"));
    assert_eq!(name.segments(), [""; 0]);
}

#[test]
fn the_stream_of_a_camera_that_was_killed_for_good_is_removed_by_the_display() {
    let name = Name::new("forgotten");
    let mut display = Program::start(DISPLAY, &[name.as_str(), "--seconds", "100"]);
    let camera = Program::start(CAMERA, &[&[name.as_str()], &SMALL[..]].concat());
    display.hear("at frame");
    camera.kill();
    display.hear("the camera is gone");
    assert_eq!(name.segments().len(), 1);
    display.interrupt();
    assert!(display.finish().concat().contains("the stream of a dead camera was removed"));
    assert_eq!(name.segments(), [""; 0]);
}

#[test]
fn a_second_camera_is_refused_and_told_who_is_there() {
    let name = Name::new("second");
    let mut first = Program::start(CAMERA, &[&[name.as_str()], &SMALL[..]].concat());
    first.hear("is next");
    let second = std::process::Command::new(CAMERA).arg(name.as_str()).args(SMALL).output();
    let second = second.expect("it starts");
    let why = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(!second.status.success() && why.contains("held by process"), "{why}");
    first.interrupt();
    first.finish();
    let after = Program::start(CAMERA, &[&[name.as_str(), "--frames", "20"], &SMALL[..]].concat());
    assert!(after.finish().concat().contains("20 frames"), "it begins anew");
    assert_eq!(name.segments(), [""; 0]);
}

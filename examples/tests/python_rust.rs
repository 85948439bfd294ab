//! Edges of pictures that were drawn by hand are those that one computes by hand.

#[allow(dead_code, reason = "each test uses a part")]
mod program;

use program::{Name, PATIENCE, Program};
use shm_core::{FrameTag, Reader, Stream, StreamConfig};

const SOBEL: &str = env!("CARGO_BIN_EXE_sobel");

#[test]
fn edges_answer_pictures_under_the_same_number() {
    let name = Name::new("sobel");
    let [picture, edges] = ["picture", "edges"].map(|part| format!("{}-{part}", name.as_str()));
    let program = Program::start(SOBEL, &[&picture, &edges, "--seconds", "100"]);
    let config = StreamConfig::of::<u8>(&[4, 5]).expect("it is a picture");
    let pictures = Stream::create(&picture, &config).expect("the name is ours");
    let mut writer = pictures.writer(PATIENCE).expect("nobody else writes");

    // Dark on the left, bright from the third column on: 4 times the step on both sides of it.
    writer
        .publish_tagged(&[0_u8, 0, 100, 100, 100].repeat(4), FrameTag::id(41))
        .expect("it is whole");
    let mut answers = Reader::open_within(&edges, PATIENCE).expect("it answers");
    let answer = answers.read_after::<u16>(0, PATIENCE).expect("it answers");
    assert_eq!(answer.info.frame_id, 41);
    let line = [0, 400, 400, 0, 0];
    assert_eq!(answer.data, [[0; 5], line, line, [0; 5]].concat());

    // One bright pixel: all eight neighbours see it, the corners from both sides.
    let mut pixel = [0_u8; 20];
    pixel[7] = 10;
    writer.publish_tagged(&pixel, FrameTag::id(42)).expect("it is whole");
    let answer = answers.read_after::<u16>(answer.info.count, PATIENCE).expect("it answers");
    assert_eq!(answer.info.frame_id, 42);
    assert_eq!(answer.data, [[0; 5], [0, 20, 0, 20, 0], [0, 20, 20, 20, 0], [0; 5]].concat());

    drop(writer);
    pictures.unlink().expect("it is ours");
    program.interrupt();
    assert!(program.finish().concat().contains("2 pictures"));
    assert_eq!(name.segments(), [""; 0]);
}

#[test]
fn a_stream_that_is_no_picture_is_refused_by_name() {
    let name = Name::new("wrong-sobel");
    let config = StreamConfig::of::<f32>(&[4, 5]).expect("it is a tensor");
    let _floats = Stream::create(name.as_str(), &config).expect("the name is ours");
    let refused = std::process::Command::new(SOBEL).arg(name.as_str()).output().expect("it starts");
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && why.contains(name.as_str()) && why.contains("u8"),
        "{why}"
    );
}

//! A reader beside a writer that never pauses: reads go on, and every one is whole.

use crate::rig::Rig;
use shm_tests::Scene;
use std::thread::sleep;
use std::time::Duration;

const WORDS: usize = 500_000;
const SPAN: Duration = Duration::from_secs(2);

fn reads_beside(command: &str, how: &str) {
    let scene = Scene::new(command);
    let rig = Rig::new(&scene, "stream", WORDS);
    let mut writer = rig.locking_peer();
    let mut reader = rig.reading_peer();
    writer.start(command).unwrap();
    reader.start(&format!("follow {how}")).unwrap();
    sleep(SPAN);
    let report = reader.finish().unwrap();
    let published: u64 = writer.finish().unwrap().parse().unwrap();
    let field = |name: &str| -> u64 {
        let found = report.split_ascii_whitespace().find_map(|word| word.strip_prefix(name));
        found.expect("a field of the report").parse().unwrap()
    };
    let (reads, us) = (field("reads="), field("us="));
    println!(
        "{command}, follow {how}, 4 MB: {:.0} reads/s beside {:.0} frames/s, slowest read {} us",
        reads as f64 * 1e6 / us as f64,
        published as f64 * 1e6 / us as f64,
        field("slowest_us="),
    );
    assert!(reads > 0 && published > 0, "{report}, {published} published");
    assert_eq!(rig.stream.count(), published);
}

#[test]
fn reads_go_on_beside_a_copying_writer() {
    reads_beside("loop-publish", "read");
}

#[test]
fn reads_go_on_beside_a_writer_in_place() {
    reads_beside("loop-loan", "read");
}

#[test]
fn histories_beside_a_writer_in_place_are_whole() {
    reads_beside("loop-loan", "history");
}

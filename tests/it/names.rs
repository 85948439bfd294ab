//! Death while a name is given or taken away: it leads to nothing or to a finished stream.

use crate::rig::{Rig, SIGKILL};
use shm_core::{
    CreateError, Deadline, LockError, OpenError, PublishError, ReadError, Reader, Stream,
    StreamConfig,
};
use shm_tests::{Scene, leftovers};

fn config() -> StreamConfig {
    StreamConfig::of::<u64>(&[8]).unwrap()
}

pub(crate) fn creator_dies(scene: &Scene, point: &str) {
    let name = scene.name(point);
    let mut creator = scene.peer();
    creator.ask(&format!("arm {point} kill 1")).unwrap();
    creator.send(&format!("create {name} 8"));
    assert_eq!(creator.ended_by(), SIGKILL);
    if point == "create.published" {
        assert!(matches!(Stream::create(&name, &config()), Err(CreateError::Exists { .. })));
        let stream = Stream::open(&name).unwrap();
        assert_eq!((stream.count(), stream.desc().shape()), (0, &[8][..]));
        stream.writer(Deadline::NOW).unwrap().publish(&[1_u64; 8]).unwrap();
        assert_eq!(Reader::open(&name).unwrap().read::<u64>().unwrap().data, [1; 8]);
        return stream.unlink().unwrap();
    }
    assert!(matches!(Stream::open(&name), Err(OpenError::NotFound { .. })), "{point}");
    // Others in shared memory may sweep it at any moment, so it need not be there any more.
    let drafts = || leftovers(scene.prefix(), &[creator.pid()]);
    let left = drafts().len();
    assert!(left <= 1, "{point}: {:?}", drafts());
    let stream = Stream::create(&name, &config()).unwrap();
    stream.unlink().unwrap();
    scene.sweep_drafts();
    assert_eq!(drafts(), [] as [std::path::PathBuf; 0], "{point}: the draft is swept");
}

pub(crate) fn unlinker_dies(scene: &Scene, point: &str) {
    let rig = Rig::new(scene, point, 8);
    let mut reader = rig.blocked_peer(0);
    let mut waiter = rig.writing_peer();
    let holder = rig.lock();
    waiter.send("writer 60000");
    waiter.await_parked();
    let mut unlinker = scene.peer();
    unlinker.ask(&format!("arm {point} kill 1")).unwrap();
    unlinker.send(&format!("unlink {}", rig.name));
    assert_eq!(unlinker.ended_by(), SIGKILL);
    for blocked in [&mut reader, &mut waiter] {
        let answer = blocked.receive().unwrap_err().to_string();
        assert!(answer.contains("answered 'Stale"), "{answer}");
    }
    drop(holder);
    let new = Stream::create(&rig.name, &config()).unwrap();
    let mut writer = new.writer(Deadline::NOW).unwrap();
    writer.publish(&[7_u64; 8]).unwrap();
    assert_eq!(Reader::open(&rig.name).unwrap().read::<u64>().unwrap().data, [7; 8]);
    new.unlink().unwrap();
}

#[test]
fn a_creator_that_replaces_may_die() {
    let scene = Scene::new("replacing creator");
    for point in ["create.drafted", "create.written", "unlink.removed", "create.published"] {
        let mut rig = Rig::new(&scene, point, 5_000);
        rig.goes_on();
        let mut reader = rig.blocked_peer(1);
        let mut creator = scene.peer();
        creator.ask(&format!("arm {point} kill 1")).unwrap();
        creator.send(&format!("replace {} 8", rig.name));
        assert_eq!(creator.ended_by(), SIGKILL);
        let old = rig.stream.instance();
        let replaced = ["unlink.removed", "create.published"].contains(&point);
        let found = Stream::open(&rig.name).unwrap();
        assert_eq!(found.instance() != old, replaced, "{point}");
        if replaced {
            let answer = reader.receive().unwrap_err().to_string();
            assert!(answer.contains("answered 'Stale"), "{point}: {answer}");
            found.writer(Deadline::NOW).unwrap().publish(&[1_u64; 8]).unwrap();
            found.unlink().unwrap();
        } else {
            assert_eq!(rig.goes_on(), 2);
            assert_eq!(reader.receive().unwrap(), "2", "{point}");
        }
        scene.sweep_drafts();
    }
}

#[test]
fn a_busy_writer_sees_an_interrupted_unlink() {
    let scene = Scene::new("interrupted unlink");
    let name = scene.name("busy");
    let stream = Stream::create(&name, &config()).unwrap();
    let mut writer = stream.writer(Deadline::NOW).unwrap();
    let mut reader = Reader::open(&name).unwrap();
    writer.publish(&[1_u64; 8]).unwrap();
    let mut unlinker = scene.peer();
    unlinker.ask("arm unlink.removed kill 1").unwrap();
    unlinker.send(&format!("unlink {name}"));
    assert_eq!(unlinker.ended_by(), SIGKILL);
    let refused = writer.publish(&[2_u64; 8]);
    assert!(matches!(refused, Err(PublishError::Stale { .. })), "{refused:?}");
    drop(writer);
    let refused = stream.writer(Deadline::NOW).map(drop);
    assert!(matches!(refused, Err(LockError::Stale { .. })), "{refused:?}");
    assert_eq!(reader.read::<u64>().unwrap().data, [1; 8], "the last frame is not lost");
    let refused = reader.read::<u64>();
    assert!(matches!(refused, Err(ReadError::Stale { .. })), "{refused:?}");
}

#[test]
fn a_stream_survives_all_its_processes() {
    let scene = Scene::new("survives");
    let name = scene.name("stream");
    let mut creator = scene.peer();
    creator.ask(&format!("create {name} 5000")).unwrap();
    creator.ask("writer 0").unwrap();
    creator.ask("publish 4").unwrap();
    creator.kill();
    let mut reader = scene.peer();
    reader.ask(&format!("reader {name}")).unwrap();
    assert_eq!(reader.ask("read").unwrap(), "4");
    // Nobody but readers, and still not garbage.
    let report = shm_core::gc(scene.prefix(), false).unwrap();
    assert_eq!((report.removed, report.in_use), (vec![], vec![name.clone()]));
    reader.kill();
    let report = shm_core::gc(scene.prefix(), false).unwrap();
    assert_eq!((report.removed, report.in_use), (vec![name], vec![]));
}

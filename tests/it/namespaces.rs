//! Exclusion and liveness do not depend on where a process looks from.

use crate::rig::{Rig, skipped};
use shm_core::{Reader, Stream};
use shm_tests::{Failure, Peer, Scene, leftovers};

/// Moves a peer into new namespaces, with its user's own rights where it is not the superuser;
/// `None` where the system does not permit it. It speaks through a child then, because a process
/// does not enter a pid namespace itself.
fn moved(scene: &Scene, test: &str, what: &str) -> Option<Peer> {
    let mut reasons = Vec::new();
    for what in [what.to_owned(), format!("user {what}")] {
        let mut peer = scene.peer();
        let entered = peer.ask(&format!("unshare {what}")).and_then(|_| {
            peer.ask("fork")?;
            match what.contains("pid") {
                true => peer.ask("mount-proc"),
                false => Ok(String::new()),
            }
        });
        match entered {
            Ok(_) => return Some(peer),
            Err(Failure::Refused { answer, .. }) => reasons.push(format!("{what}: {answer}")),
            Err(other) => panic!("{other}"),
        }
    }
    skipped(test, reasons.join("; "));
    None
}

/// Two processes take the lock for each frame: nothing torn, nothing uncounted.
fn exclude_each_other(rig: &mut Rig<'_>, writers: &mut [Peer]) {
    const FRAMES: u64 = 150;
    let before = rig.stream.count();
    let mut reader = rig.reading_peer();
    reader.start("follow read").unwrap();
    for writer in writers.iter_mut() {
        writer.send(&format!("locked {FRAMES} 60000"));
    }
    for writer in writers.iter_mut() {
        assert_eq!(writer.receive().unwrap(), FRAMES.to_string());
    }
    reader.finish().unwrap();
    assert_eq!(rig.stream.count() - before, FRAMES * writers.len() as u64);
    assert_eq!(rig.read(), rig.stream.count());
}

#[test]
fn other_directories() {
    let scene = Scene::new("directories");
    let mut rig = Rig::new(&scene, "stream", 5_000);
    let mut writers = [("/", "/nowhere"), ("/var/tmp", "/")].map(|(temporary, home)| {
        let mut peer = scene.peer_with(|command| {
            command.env("TMPDIR", temporary).env("HOME", home).current_dir("/");
        });
        peer.ask(&format!("open {}", rig.name)).unwrap();
        peer
    });
    exclude_each_other(&mut rig, &mut writers);
}

#[test]
fn another_mount_namespace() {
    let test = "another_mount_namespace";
    let scene = Scene::new(test);
    let Some(mut inside) = moved(&scene, test, "mount") else { return };
    let mut rig = Rig::new(&scene, "stream", 5_000);
    inside.ask(&format!("open {}", rig.name)).unwrap();
    let outside = rig.writing_peer();
    exclude_each_other(&mut rig, &mut [inside, outside]);
}

#[test]
fn another_pid_namespace() {
    let test = "another_pid_namespace";
    let scene = Scene::new(test);
    let Some(mut inside) = moved(&scene, test, "mount pid") else { return };
    let mut rig = Rig::new(&scene, "stream", 5_000);
    inside.ask(&format!("open {}", rig.name)).unwrap();
    inside.ask(&format!("reader {}", rig.name)).unwrap();
    let mut outside = rig.writing_peer();

    // Neither side can see the other's process, and neither judges it dead.
    outside.ask("writer 0").unwrap();
    outside.ask("publish 2").unwrap();
    assert!(inside.refusal("writer 50").starts_with("Timeout "));
    assert_eq!(inside.ask("read").unwrap(), "2");
    outside.ask("unlock").unwrap();
    assert_eq!(inside.ask("writer 0").unwrap(), "2");
    inside.ask("publish 2").unwrap();
    assert!(outside.refusal("writer 50").starts_with("Timeout "));
    assert!(Reader::open(&rig.name).unwrap().writer_alive() == Some(true));
    inside.ask("unlock").unwrap();
    exclude_each_other(&mut rig, &mut [inside, outside]);
}

#[test]
fn death_is_seen_across_pid_namespaces() {
    let test = "death_is_seen_across_pid_namespaces";
    let scene = Scene::new(test);
    let Some(mut inside) = moved(&scene, test, "mount pid") else { return };
    let mut rig = Rig::new(&scene, "stream", 5_000);
    let mut outside = rig.locking_peer();
    outside.ask("publish 3").unwrap();
    outside.ask("loan-half").unwrap();
    inside.ask(&format!("open {}", rig.name)).unwrap();
    inside.send("writer 60000");
    outside.kill();
    assert_eq!(inside.receive().unwrap(), "3");
    assert_eq!(inside.ask("publish 1").unwrap(), "4");
    assert_eq!(rig.read(), 4);
}

#[test]
fn a_sweep_from_another_pid_namespace_spares_the_living() {
    let test = "a_sweep_from_another_pid_namespace_spares_the_living";
    let scene = Scene::new(test);
    let Some(mut inside) = moved(&scene, test, "mount pid") else { return };
    // Only the peer is attached to this one, and it is stopped.
    let name = scene.name("live");
    let mut owner = scene.peer();
    owner.ask(&format!("create {name} 8")).unwrap();
    owner.signal(rustix::process::Signal::STOP);
    owner.await_stop();
    // This one is half born, its creator stopped with the draft in its hands.
    let draft = scene.name("draft");
    let mut creator = scene.peer();
    creator.ask("arm create.drafted stop 1").unwrap();
    creator.send(&format!("create {draft} 8"));
    creator.await_stop();
    let drafts = || leftovers("no-such-prefix", &[creator.pid()]).len();
    assert_eq!(drafts(), 1);

    let swept = inside.ask(&format!("gc {}", scene.prefix())).unwrap();
    assert_eq!(swept, format!("removed=[] in_use={:?}", [&name]));
    assert_eq!(drafts(), 1, "a draft of an invisible, living creator was swept");

    creator.resume();
    creator.receive().unwrap();
    let swept = inside.ask(&format!("gc {}", scene.prefix())).unwrap();
    assert_eq!(swept, format!("removed=[] in_use={:?}", [&draft, &name]));
    owner.resume();
    for (peer, name) in [(&mut owner, &name), (&mut creator, &draft)] {
        peer.ask("writer 0").unwrap();
        peer.ask("publish 1").unwrap();
        assert_eq!(Reader::open(name).unwrap().read::<u64>().unwrap().info.count, 1);
        peer.kill();
    }
    let swept = inside.ask(&format!("gc {}", scene.prefix())).unwrap();
    assert_eq!(swept, format!("removed={:?} in_use=[]", [&draft, &name]), "now they are garbage");
    assert!(Stream::open(&name).is_err() && Stream::open(&draft).is_err());
}

#[test]
fn a_draft_of_a_dead_creator_is_swept_from_another_pid_namespace() {
    let test = "a_draft_of_a_dead_creator_is_swept_from_another_pid_namespace";
    let scene = Scene::new(test);
    let Some(mut inside) = moved(&scene, test, "mount pid") else { return };
    let mut creator = scene.peer();
    creator.ask("arm create.written kill 1").unwrap();
    creator.send(&format!("create {} 8", scene.name("draft")));
    creator.ended_by();
    inside.ask(&format!("gc {}", scene.prefix())).unwrap();
    assert_eq!(leftovers("no-such-prefix", &[creator.pid()]).len(), 0);
}

//! `shm gc` removes what nobody is attached to, and nothing else.

use crate::child::Holder;
use crate::{Scene, shm};
use serde_json::{Value, json};
use shm_core::{Stream, StreamConfig};
use shm_pool::{Pool, PoolConfig};
use std::fs;

/// Names in one list of a report, sorted.
fn names(report: &Value, list: &str) -> Vec<String> {
    let mut names: Vec<String> = report[list]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["name"].as_str().unwrap().to_owned())
        .filter(|name| !name.contains('~'))
        .collect();
    names.sort_unstable();
    names
}

#[test]
fn what_the_dead_left_goes_and_what_is_used_stays() {
    let (scene, others) = (Scene::new("gc"), Scene::new("gc-others"));
    let config = StreamConfig::of::<u8>(&[8]).unwrap();
    drop(Stream::create(&others.name("orphan"), &config).unwrap());
    let (stream, pool, own, used) =
        (scene.name("stream"), scene.name("pool"), scene.name("own"), scene.name("used"));
    let mut dead = [Holder::of("stream", &stream), Holder::of("pool", &pool)];
    let living = Holder::of("stream", &used);
    let _own = Pool::create(&own, &PoolConfig::slots(1, 64).unwrap()).unwrap();
    fs::write(scene.file("bad"), [7; 8192]).unwrap();

    // Nothing goes while they live, nor in a dry run.
    let report = shm(["gc", &scene.prefix, "--json"]).done().json();
    assert!(names(&report, "removed").is_empty());
    assert_eq!(names(&report, "kept").len(), 4);
    dead.iter_mut().for_each(Holder::kill);
    let plan = shm(["gc", &scene.prefix, "--dry-run", "--json"]).done().json();
    assert_eq!(plan["dry_run"], true);
    assert_eq!(names(&plan, "removed"), [&*pool, &*stream]);
    let sizes: u64 =
        [&pool, &stream].iter().map(|name| shm_core::stat(name).unwrap().allocated).sum();
    assert!(plan["freed_bytes"].as_u64().unwrap() >= sizes);
    let text = shm(["gc", &scene.prefix, "--dry-run"]).done().out;
    assert!(text.contains(&format!("would remove stream {stream}")), "{text}");

    let report = shm(["gc", &scene.prefix, "--json"]).done().json();
    assert_eq!(names(&report, "removed"), [&*pool, &*stream]);
    let removed = report["removed"].as_array().unwrap();
    assert!(removed.iter().any(|one| one["name"] == pool && one["kind"] == "pool"));
    assert_eq!(names(&report, "kept"), [&*own, &*used]);
    let kept = report["kept"].as_array().unwrap().iter().find(|one| one["name"] == used).unwrap();
    assert_eq!(kept["pids"], json!([living.pid()]));
    assert_eq!(names(&report, "skipped"), [scene.name("bad")]);
    assert_eq!(report["failed"], json!([]));

    for name in [&pool, &stream] {
        assert!(
            matches!(shm_core::stat(name), Err(shm_core::OpenError::NotFound { .. })),
            "{name}"
        );
    }
    for name in [&own, &used, &others.name("orphan")] {
        assert!(shm_core::stat(name).is_ok(), "{name}");
    }
    assert!(scene.file("bad").exists());
    let text = shm(["gc", &scene.prefix]).done().out;
    for part in [
        format!("kept {used}: process {}", living.pid()),
        "left alone /dev/shm/".to_owned(),
        "nothing to remove".to_owned(),
    ] {
        assert!(text.contains(&part), "{part} in {text}");
    }
}

#[test]
fn help_says_what_it_removes() {
    let help = shm(["gc", "--help"]).done().out;
    for part in ["no process is attached", "drafts", "left alone", "Example: shm gc"] {
        assert!(help.replace("\n", " ").contains(part), "{part} in {help}");
    }
}

//! `shm watch`.

use crate::scene::{Name, Publisher, Running, SOON, objects, publishing_process, ran, shm};
use rustix::process::Signal;
use serde_json::Value;
use shm_core::{Dtype, FrameTag, Stream, StreamConfig, TensorDesc};
use shm_pool::{Mode, Policy, Pool, PoolConfig, Queue, Store, StoreConfig, Wait};
use std::time::Instant;

fn watch(name: &str, more: &[&str]) -> Running {
    let arguments = [&["watch", name, "--interval", "100ms", "--json"], more].concat();
    Running::start(&mut shm(&arguments))
}

fn number(object: &Value, key: &str) -> u64 {
    object[key].as_u64().unwrap_or_else(|| panic!("{key} of {object}"))
}

#[test]
fn frames_are_counted_and_latencies_are_finite() {
    let name = Name::new("frames");
    let publisher = Publisher::begin(&name);
    let output = ran(&["watch", &name, "--interval", "200ms", "--count", "5", "--json"]);
    let published = publisher.published();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let objects = objects(&output);
    assert_eq!(objects.len(), 6, "{objects:?}");
    let (lines, summary) = (&objects[..5], &objects[5]);
    let mut frames = 0;
    for line in lines {
        assert_eq!(line["line"], "stream");
        assert_eq!(line["writer_locked"], true);
        assert_eq!(number(line, "writer_pid"), u64::from(std::process::id()));
        assert_eq!((number(line, "readers"), number(line, "writers")), (0, 1), "{line}");
        assert!(line["frames_per_s"].as_f64().unwrap().is_finite());
        frames += number(line, "frames");
    }
    assert!(frames > 0 && frames <= published, "{frames} of {published}");
    let (seen, missed) = (number(summary, "seen"), number(summary, "missed"));
    assert!(seen > 0 && seen + missed <= published, "{summary} of {published}");
    let latency = &summary["latency"];
    let [p50, p99, max] = ["p50_us", "p99_us", "max_us"].map(|key| latency[key].as_f64().unwrap());
    assert!(0.0 < p50 && p50 <= p99 && p99 <= max && max < 60e6, "{latency}");
}

#[test]
fn text_has_a_heading_and_a_summary() {
    let name = Name::new("text");
    let _publisher = Publisher::begin(&name);
    let output = ran(&["watch", &name, "--interval", "100ms", "--count", "2"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 4, "{text}");
    for column in ["UTC", "frames/s", "MB/s", "p99 us", "missed", "writer"] {
        assert!(lines[0].contains(column), "{text}");
    }
    assert!(lines[1].contains(&format!("{} locked", std::process::id())), "{text}");
    assert!(lines[3].contains(" frames, ") && lines[3].contains("latency p50"), "{text}");
}

#[test]
fn a_writer_that_is_killed_is_said_to_have_died() {
    let name = Name::new("killed");
    let mut writer = publishing_process(&name);
    let mut watch = watch(&name, &[]);
    let live = watch.until(|line| line["state"] == "live");
    assert_eq!(number(&live, "writer_pid"), u64::from(writer.child.id()));
    writer.child.kill().unwrap();
    writer.child.wait().unwrap();
    let died = watch.until(|line| line["state"] == "writer-died");
    assert_eq!(number(&died, "writer_pid"), u64::from(writer.child.id()));
    assert_eq!(died["writer_locked"], false);
}

#[test]
fn a_writer_that_does_nothing_is_silent_and_one_that_left_is_no_writer() {
    let name = Name::new("silent");
    let stream = Stream::create(&name, &StreamConfig::of::<u8>(&[4]).unwrap()).unwrap();
    let mut writer = stream.writer(SOON).unwrap();
    let mut watch = watch(&name, &[]);
    let empty = watch.until(|line| line["state"] == "empty");
    assert_eq!(empty["age_ms"], Value::Null);
    writer.publish(&[1_u8; 4]).unwrap();
    let silent = watch.until(|line| line["state"] == "silent");
    assert!(silent["age_ms"].as_f64().unwrap() >= 2000.0, "{silent}");
    assert_eq!(number(&silent, "count"), 1);
    drop(writer);
    drop(stream);
    watch.until(|line| line["state"] == "no-writer");
}

#[test]
fn a_segment_that_goes_is_missed_and_the_next_one_of_its_name_is_watched() {
    let name = Name::new("gone");
    let publisher = Publisher::begin(&name);
    let mut going_on = watch(&name, &[]);
    let mut counting = watch(&name, &["--count", "20"]);
    for watch in [&mut going_on, &mut counting] {
        watch.until(|line| line["state"] == "live");
    }
    drop(publisher);
    shm_core::unlink(&name).unwrap();
    let gone = going_on.until(|line| line["line"] == "gone");
    assert!(gone["what"].as_str().unwrap().contains("unlinked"), "{gone}");
    let (code, rest) = counting.end();
    let summary: Value = serde_json::from_str(rest.lines().last().unwrap()).unwrap();
    assert_eq!((code, &summary["gone"]), (Some(1), &Value::Bool(true)), "{rest}");
    let publisher = Publisher::begin(&name);
    going_on.until(|line| line["line"] == "replaced");
    let live = going_on.until(|line| line["state"] == "live");
    assert!(number(&live, "count") <= publisher.published(), "{live}");
    going_on.signal(Signal::INT);
    let (code, rest) = going_on.end();
    assert_eq!(code, Some(0), "{rest}");
    assert!(rest.lines().last().unwrap().contains(r#""line":"summary""#), "{rest}");
}

#[test]
fn a_segment_that_is_replaced_at_once_is_noticed() {
    let name = Name::new("replaced");
    let publisher = Publisher::begin(&name);
    let mut watch = watch(&name, &[]);
    watch.until(|line| line["state"] == "live");
    let config = StreamConfig::of::<f32>(&[3]).unwrap().replace_existing(true);
    let next = Stream::create(&name, &config).unwrap();
    let replaced = watch.until(|line| line["line"] == "replaced");
    assert!(replaced["what"].as_str().unwrap().contains("float32 3"), "{replaced}");
    watch.until(|line| line["line"] == "stream" && line["count"] == 0);
    drop((publisher, next));
}

/// Waits for a line of a pool as wanted, and adds up a key over all lines until then.
fn sum_until(watch: &mut Running, key: &[&str], wanted: impl Fn(&Value) -> bool) -> u64 {
    let mut sum = 0;
    loop {
        let line = watch.until(|line| line["line"] == "pool");
        let (last, path) = key.split_last().unwrap();
        sum += number(path.iter().fold(&line, |value, key| &value[key]), last);
        if wanted(&line) {
            return sum;
        }
    }
}

#[test]
fn what_a_pool_has_lent_is_counted() {
    let name = Name::new("pool");
    let pool = Pool::create(&name, &PoolConfig::slots(4, 4096).unwrap()).unwrap();
    let queue = Queue::create("work", &pool, 8, Mode::Work).unwrap();
    let lend = || pool.lend(100, Wait::Try, Policy::Fail).unwrap();
    let mut slots = vec![lend(), lend(), lend()];
    let ticket = slots.pop().unwrap().publish(shm_pool::Audience::Any).unwrap();
    queue.put(&ticket, Wait::Try).unwrap();
    let mut watch = watch(&name, &[]);
    let line = watch.until(|line| line["line"] == "pool");
    assert_eq!((number(&line, "in_use"), number(&line, "slots")), (3, 4), "{line}");
    assert_eq!((number(&line, "in_use_bytes"), number(&line, "lends")), (3 * 4096, 0));
    assert_eq!((number(&line, "queued"), number(&line["queues"][0], "maxsize")), (1, 8), "{line}");
    assert_eq!((&line["queues"][0]["name"], &line["store"]), (&"work".into(), &Value::Null));
    slots.push(lend());
    assert_eq!(sum_until(&mut watch, &["lends"], |line| line["state"] == "full"), 1);
    for _ in 0..3 {
        assert!(pool.lend(100, Wait::Try, Policy::Fail).is_err());
    }
    drop(slots);
    assert_eq!(sum_until(&mut watch, &["refused"], |line| line["in_use"] == 1), 3);
    drop((queue, pool));
    watch.until(|line| line["line"] == "gone");
    watch.signal(Signal::TERM);
    let (code, rest) = watch.end();
    let summary: Value = serde_json::from_str(rest.lines().last().unwrap()).unwrap();
    assert_eq!((code, number(&summary, "lends")), (Some(0), 1), "{rest}");
}

#[test]
fn a_watcher_is_in_no_owners_way() {
    let name = Name::new("owner");
    let config = PoolConfig::slots(4, 4096).unwrap();
    let mut watch = {
        let _pool = Pool::create(&name, &config).unwrap();
        let mut watch = watch(&name, &[]);
        watch.until(|line| line["line"] == "pool");
        watch
    };
    let pool = Pool::create(&name, &config).unwrap();
    let line = watch.until(|line| line["line"] == "replaced");
    assert!(line["what"].as_str().unwrap().contains("4 slots of 4.0 KiB"), "{line}");
    // But for the moment of a look, nobody else is attached.
    let begun = Instant::now();
    while shm_core::stat(&name).unwrap().holders.len() > 1 {
        assert!(begun.elapsed() < SOON, "the watcher stays attached");
    }
    drop(pool);
}

#[test]
fn hits_and_misses_of_a_store_are_counted() {
    let name = Name::new("store");
    let store = Store::create(&name, &StoreConfig::new(1 << 20).unwrap()).unwrap();
    let mut watch = watch(&name, &[]);
    let line = watch.until(|line| line["line"] == "pool");
    assert_eq!((&line["kind"], number(&line["store"], "entries")), (&"store".into(), 0), "{line}");
    for _ in 0..3 {
        assert!(store.prepare_retrieve(&[b"absent"], Wait::Try).is_err());
    }
    let desc = TensorDesc::new(Dtype::U8, &[100]).unwrap();
    let reservation = store.prepare_store(b"present", &[desc], Wait::Try).unwrap();
    reservation.commit().unwrap();
    let misses = sum_until(&mut watch, &["store", "misses"], |line| line["store"]["entries"] == 1);
    assert_eq!(misses, 3);
    drop(store);
    watch.until(|line| line["line"] == "gone");
}

#[test]
fn frames_on_a_device_are_numbers_too() {
    let name = Name::new("device");
    let config = StreamConfig::of::<f32>(&[100]).unwrap().external(b"somewhere", false).unwrap();
    let stream = Stream::create(&name, &config).unwrap();
    let mut writer = stream.writer(SOON).unwrap();
    let mut watch = watch(&name, &[]);
    watch.until(|line| line["state"] == "empty" && line["in_flight"] == 0);
    for _ in 0..4 {
        let announced = writer.announce(FrameTag::default()).unwrap();
        announced.begin_on_host();
        announced.finish_on_host();
    }
    let carried_out = watch.until(|line| line["count"] == 4);
    assert_eq!((&carried_out["state"], &carried_out["trouble"]), (&"live".into(), &Value::Null));
    let late = writer.announce(FrameTag::default()).unwrap();
    late.begin_on_host();
    watch.until(|line| line["in_flight"] == 1);
    late.finish_on_host();
    watch.until(|line| line["in_flight"] == 0 && line["count"] == 5);
    watch.signal(Signal::INT);
    let (code, rest) = watch.end();
    let summary: Value = serde_json::from_str(rest.lines().last().unwrap()).unwrap();
    assert_eq!((code, number(&summary, "frames")), (Some(0), 5), "{rest}");
    let arrived = number(&summary, "seen") + number(&summary, "missed");
    assert!((1..=5).contains(&arrived), "{rest}");
}

#[test]
fn a_name_that_is_not_there_is_not_found() {
    let output = ran(&["watch", "test-cli-live-nobody", "--json"]);
    assert_eq!(output.status.code(), Some(3));
    let told: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(told["error"]["exit"], "not_found");
}

//! `shm top`: as tables, as JSON lines, and in a terminal.

use crate::scene::{Name, Publisher, objects, prefixed, publishing_process, ran};
use crate::terminal::Terminal;
use rustix::process::Signal;
use serde_json::Value;
use shm_pool::{Policy, Pool, PoolConfig, Wait};

fn segment<'a>(look: &'a Value, name: &str) -> &'a Value {
    let segments = look["segments"].as_array().unwrap();
    segments.iter().find(|one| one["name"] == name).unwrap_or_else(|| panic!("{name} of {look}"))
}

#[test]
fn json_has_a_line_per_look_with_rates_and_use() {
    let (stream, slots) = (Name::new("top-json-stream"), Name::new("top-json-pool"));
    let publisher = Publisher::begin(&stream);
    let pool = Pool::create(&slots, &PoolConfig::slots(4, 4096).unwrap()).unwrap();
    let held: Vec<_> =
        (0..3).map(|_| pool.lend(9, Wait::Try, Policy::Fail).unwrap()).skip(1).collect();
    let prefix = prefixed("top-json");
    let output = ran(&["top", &prefix, "--interval", "300ms", "--count", "2", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let looks = objects(&output);
    assert_eq!(looks.len(), 2);
    for look in &looks {
        let found = segment(look, &stream);
        assert_eq!((&found["kind"], &found["holders"]), (&"stream".into(), &1.into()), "{found}");
        let rate = found["rate_per_s"].as_f64().unwrap();
        // A sleep of 5 ms between two frames takes no less.
        assert!(rate.is_finite() && (0.0..=250.0).contains(&rate), "{found}");
        let found = segment(look, &slots);
        assert_eq!((&found["kind"], &found["state"]), (&"pool".into(), &"idle".into()), "{found}");
        assert_eq!((&found["in_use"], &found["slots"]), (&2.into(), &4.into()), "{found}");
        assert!(look["memory_bytes"].as_u64() >= found["memory_bytes"].as_u64());
    }
    let rates = looks.iter().map(|look| segment(look, &stream)["rate_per_s"].as_f64().unwrap());
    assert!(rates.sum::<f64>() > 0.0 && publisher.published() > 0, "{looks:?}");
    assert_eq!(held.len(), 2);
}

#[test]
fn without_a_terminal_there_are_plain_tables() {
    let name = Name::new("top-plain");
    let mut writer = publishing_process(&name);
    let top = || {
        let output = ran(&["top", &name, "--interval", "100ms", "--count", "2"]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let text = top();
    assert_eq!(text.lines().filter(|line| line.starts_with(&*name)).count(), 2, "{text}");
    assert!(text.contains("1 segments") && text.contains("live"), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
    writer.child.kill().unwrap();
    writer.child.wait().unwrap();
    assert!(top().contains("writer died"), "{}", top());
    let nothing = ran(&["top", "test-cli-live-nobody", "--interval", "10ms", "--count", "1"]);
    assert!(String::from_utf8(nothing.stdout).unwrap().contains("0 segments"));
}

#[test]
fn the_screen_shows_segments_and_is_left_with_q() {
    let (first, second) = (Name::new("screen-a"), Name::new("screen-b"));
    let _publishers = [Publisher::begin(&first), Publisher::begin(&second)];
    let mut terminal = Terminal::open();
    let mut top = terminal.run(&["top", &prefixed("screen"), "--interval", "200ms"]);
    terminal.shows(&["shm top", "2 segments", "● test-cli-live-", "uint8 10x100", "frames/s"]);
    terminal.until(vt100::Screen::alternate_screen);
    assert!(terminal.is_raw());
    // The detail of the second one, and back.
    terminal.press("\u{1b}[B\r");
    terminal.shows(&[&*second, "writer lock held by", "counters", "holders (1)"]);
    terminal.press("\r?");
    terminal.shows(&["sort by name, rate, memory, holders"]);
    terminal.press("? ");
    terminal.shows(&["PAUSED"]);
    terminal.press(" q");
    assert_eq!(top.child.wait().unwrap().code(), Some(0));
    terminal.is_restored();
    terminal.until(|screen| !screen.contents().contains("segments"));
}

#[test]
fn ctrl_c_and_the_signal_that_ends_programs_restore_the_terminal_too() {
    let name = Name::new("ended");
    let _publisher = Publisher::begin(&name);
    for ends_by_key in [true, false] {
        let mut terminal = Terminal::open();
        let mut top = terminal.run(&["top", &name, "--interval", "200ms"]);
        terminal.shows(&["1 segments", "uint8"]);
        match ends_by_key {
            true => terminal.press("\u{3}"),
            false => top.signal(Signal::TERM),
        }
        assert_eq!(top.child.wait().unwrap().code(), Some(0));
        terminal.is_restored();
    }
}

#[test]
fn a_terminal_that_is_hung_up_ends_it() {
    let name = Name::new("hung-up");
    let _publisher = Publisher::begin(&name);
    let mut terminal = Terminal::open();
    let mut top = terminal.run(&["top", &name, "--interval", "200ms"]);
    terminal.shows(&["1 segments", "uint8"]);
    terminal.hang_up();
    // With any code: there is nowhere left to draw.
    top.ends();
}

//! Screens made up from looks that never were.

use super::super::rates::tests::stream;
use super::super::subject::{MemoryShape, Subject, SubjectKind};
use super::super::watch::state::State;
use super::draw::{draw, sign};
use super::model::{Model, Order, Pane, Press};
use super::snapshot::{Snapshot, Space};
use super::tables::Table;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::{Color, Modifier};
use std::time::{Duration, Instant};

/// A clock that goes on by a second with every look.
struct Scene {
    model: Model,
    at: Instant,
    time_ns: u64,
}

impl Scene {
    fn new() -> Scene {
        let time_ns = 1_700_000_000_000_000_000;
        Scene { model: Model::new(""), at: Instant::now(), time_ns }
    }

    fn look(&mut self, subjects: Vec<Subject>) {
        self.at += Duration::from_secs(1);
        self.time_ns += 1_000_000_000;
        let space = Some(Space { free: 3 << 30, total: 8 << 30 });
        let (at, time_ns) = (self.at, self.time_ns);
        self.model.take(Snapshot { at, time_ns, subjects, space });
    }

    fn press(&mut self, press: Press) {
        assert!(!self.model.press(press), "{press:?} ends it");
    }

    fn terminal(&self, width: u16, height: u16) -> Terminal<TestBackend> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, &self.model)).unwrap();
        terminal
    }

    /// The lines of the screen.
    fn screen(&self, width: u16, height: u16) -> Vec<String> {
        let terminal = self.terminal(width, height);
        let buffer = terminal.backend().buffer();
        let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
        (0..height).map(line).collect()
    }

    fn names(&self) -> Vec<&str> {
        self.model.rows().iter().map(|row| row.name.as_str()).collect()
    }

    fn selected(&self) -> &str {
        &self.model.selected().unwrap().name
    }
}

fn pool(name: &str, lent: u64, freed: u64) -> Subject {
    let mut subject = stream(name, 0);
    subject.kind = SubjectKind::Pool;
    subject.writer_locked = false;
    subject.frame = None;
    subject.allocated_bytes = 5 << 20;
    let (capacity_bytes, slots, unit_bytes) = (8 << 12, 8, 4096);
    subject.memory =
        Some(MemoryShape { capacity_bytes, slots, unit_bytes, seats: 8, descriptor_bytes: None });
    subject.counters =
        [("lent", lent), ("freed", freed)].map(|(name, value)| (name.to_owned(), value)).into();
    subject
}

/// Three streams and a pool, looked at twice: `camera` at 30 frames a second, `depth` at 5.
fn busy() -> Scene {
    let mut scene = Scene::new();
    let at = |camera, depth, lent| {
        let mut held = stream("depth", depth);
        held.holders.push(held.holders[0].clone());
        vec![stream("camera", camera), held, pool("tensors", lent, 97), stream("lidar", 9)]
    };
    scene.look(at(100, 10, 100));
    scene.look(at(130, 15, 101));
    scene
}

fn line<'a>(screen: &'a [String], what: &str) -> &'a str {
    screen.iter().find(|line| line.contains(what)).unwrap_or_else(|| panic!("{what}: {screen:#?}"))
}

#[test]
fn a_small_screen_shows_names_rates_use_and_memory() {
    let screen = busy().screen(80, 24);
    assert_eq!(screen.len(), 24);
    let header = &screen[0];
    for part in ["shm top", "4 segments", "5.0 MiB", "/dev/shm 3.0 GiB free", "22:13:22 UTC"] {
        assert!(header.contains(part), "{part}: {header}");
    }
    for heading in ["name", "kind", "carries", "rate/s", "MB/s", "used", "in use", "held", "mem"] {
        assert!(screen[1].contains(heading), "{heading}: {}", screen[1]);
    }
    let camera = line(&screen, "● camera");
    for part in ["stream", "uint8 10x100", "30.0", "0.03", "0s", "8.0K"] {
        assert!(camera.contains(part), "{part}: {camera}");
    }
    let tensors = line(&screen, "● tensors");
    for part in ["pool", "8 x 4.0K", "1.00", "4/8", "5.0M"] {
        assert!(tensors.contains(part), "{part}: {tensors}");
    }
    assert!(line(&screen, "camera frames/s").contains("30.0 now"), "{screen:#?}");
    assert!(screen[23].contains("q quit") && screen[23].contains("p held"), "{}", screen[23]);
}

#[test]
fn a_large_screen_shows_states_in_words_and_all_that_is_carried() {
    let screen = busy().screen(160, 50);
    assert!(screen[1].contains("state") && screen[1].contains("holders"), "{}", screen[1]);
    assert!(line(&screen, "● camera").contains("live"));
    assert!(line(&screen, "● camera").contains("uint8 10x100, 3 cells"));
    assert!(line(&screen, "● tensors").contains("8 slots of 4.0 KiB"));
    assert!(screen[0].contains("of 8.0 GiB"), "{}", screen[0]);
}

#[test]
fn no_size_is_too_small() {
    let mut scene = busy();
    for pane in [Pane::Table, Pane::Detail, Pane::Help] {
        scene.model.pane = pane;
        for (width, height) in [(20, 5), (1, 1), (80, 2), (3, 40), (300, 3), (28, 14), (65, 15)] {
            scene.screen(width, height);
        }
    }
    scene.model.pane = Pane::Table;
    let screen = scene.screen(20, 5);
    assert!(line(&screen, "camera").contains("30.0"), "{screen:#?}");
    let nothing = Scene::new();
    nothing.screen(20, 5);
    assert!(line(&nothing.screen(80, 24), "no segments").contains("appear here"));
}

#[test]
fn rows_are_sorted_as_asked_and_the_other_way_round_when_asked_again() {
    let mut scene = busy();
    assert_eq!(scene.names(), ["camera", "depth", "lidar", "tensors"]);
    for (order, names) in [
        (Order::Rate, ["camera", "depth", "tensors", "lidar"]),
        (Order::Memory, ["tensors", "camera", "depth", "lidar"]),
        (Order::Holders, ["depth", "camera", "lidar", "tensors"]),
        (Order::Name, ["camera", "depth", "lidar", "tensors"]),
    ] {
        scene.press(Press::Sort(order));
        assert_eq!(scene.names(), names, "{order:?}");
        let screen = scene.screen(80, 24);
        assert!(screen[2].contains(names[0]) && screen[5].contains(names[3]), "{screen:#?}");
    }
    scene.press(Press::Sort(Order::Name));
    assert_eq!(scene.names(), ["tensors", "lidar", "depth", "camera"]);
}

#[test]
fn the_selection_stays_with_its_segment() {
    let mut scene = busy();
    assert_eq!(scene.selected(), "camera");
    scene.press(Press::Move(1));
    assert_eq!(scene.selected(), "depth");
    scene.press(Press::Sort(Order::Rate));
    scene.press(Press::Sort(Order::Rate));
    assert_eq!((scene.selected(), scene.model.place()), ("depth", Some(2)));
    scene.press(Press::Move(isize::MAX));
    assert_eq!(scene.selected(), "camera");
    scene.press(Press::Move(isize::MIN));
    assert_eq!(scene.selected(), "lidar");
    // It goes away: its neighbour is selected, until there is nobody.
    scene.look(vec![stream("camera", 131), stream("depth", 16)]);
    assert_eq!(scene.model.place(), Some(0));
    scene.look(vec![]);
    assert!(scene.model.selected().is_none());
    scene.press(Press::Move(1));
    scene.press(Press::Enter);
    scene.screen(80, 24);
}

#[test]
fn the_selected_row_is_highlighted() {
    let mut scene = busy();
    scene.press(Press::Move(2));
    let terminal = scene.terminal(80, 24);
    let buffer = terminal.backend().buffer();
    let is_reversed = |y| buffer[(4, y)].modifier.contains(Modifier::REVERSED);
    assert_eq!([2, 3, 4, 5].map(is_reversed), [false, false, true, false]);
}

#[test]
fn names_that_are_too_long_end_in_an_ellipsis() {
    let mut scene = Scene::new();
    let name = "camera-on-the-left-arm-of-the-second-robot-in-the-hall";
    scene.look(vec![stream(name, 1)]);
    let narrow = scene.screen(80, 24);
    let row = line(&narrow, "● camera-on-the");
    assert!(row.contains('…') && !row.contains("hall") && row.contains("stream"), "{row}");
    assert!(line(&scene.screen(160, 50), name).contains("stream"));
}

#[test]
fn the_detail_pane_shows_holders_and_counters() {
    let mut scene = busy();
    scene.press(Press::Enter);
    let screen = scene.screen(80, 24);
    assert!(line(&screen, "carries").contains("stream: uint8 10x100, 3 cells"));
    assert!(line(&screen, "created").contains("writer lock held by 7"));
    assert!(line(&screen, "/dev/shm/camera").contains("file"));
    assert!(line(&screen, " 7  writer").contains("│"));
    assert!(line(&screen, " frames ").contains("130"));
    // The selection moves on under it.
    scene.press(Press::Move(1));
    assert!(line(&scene.screen(80, 24), " frames ").contains("15"));
    scene.press(Press::Back);
    assert_eq!(scene.model.pane, Pane::Table);
    assert!(scene.model.press(Press::Back) && scene.model.press(Press::Quit));
}

#[test]
fn help_names_every_key_and_state() {
    let mut scene = busy();
    scene.press(Press::Help);
    let screen = scene.screen(80, 24);
    for what in ["space", "enter", "esc", "ctrl-c", "n r m p", "silent", "writer died", "orphaned"]
    {
        line(&screen, what);
    }
    scene.press(Press::Help);
    assert_eq!(scene.model.pane, Pane::Table);
}

#[test]
fn a_paused_screen_stays_as_it_is() {
    let mut scene = busy();
    scene.press(Press::Pause);
    assert!(scene.screen(80, 24)[0].contains("PAUSED"));
    scene.look(vec![]);
    assert_eq!(scene.names().len(), 4);
    scene.press(Press::Pause);
    scene.look(vec![stream("camera", 140)]);
    assert_eq!(scene.names(), ["camera"]);
    // Two seconds passed while nobody looked, so ten frames are five a second.
    assert_eq!(scene.model.selected().unwrap().rate_per_s, Some(5.0));
}

#[test]
fn the_silent_are_yellow_and_the_dead_and_orphaned_red() {
    let mut scene = Scene::new();
    let dead = || {
        let mut dead = stream("dead", 5);
        dead.writer_locked = false;
        dead
    };
    let orphan = || {
        let mut orphan = pool("orphan", 5, 5);
        (orphan.attached, orphan.holders) = (false, Vec::new());
        orphan
    };
    let at = |frames| vec![dead(), stream("live", frames), orphan(), stream("silent", 5)];
    for frames in 0..4 {
        scene.look(at(frames));
    }
    let states: Vec<State> = scene.model.rows().iter().map(|row| row.state).collect();
    assert_eq!(states, [State::WriterDied, State::Live, State::Orphaned, State::Silent]);
    let terminal = scene.terminal(80, 24);
    let colours = [2, 3, 4, 5].map(|y| terminal.backend().buffer()[(0, y)].fg);
    assert_eq!(colours, [Color::Red, Color::Green, Color::Red, Color::Yellow]);
    assert_eq!(sign(State::Full).1.fg, Some(Color::Yellow));
}

#[test]
fn pools_are_live_idle_full_or_without_their_owner() {
    let mut scene = Scene::new();
    let state = |scene: &Scene| scene.model.rows()[0].state;
    scene.look(vec![pool("p", 10, 8)]);
    assert_eq!(state(&scene), State::Idle);
    scene.look(vec![pool("p", 12, 8)]);
    assert_eq!((state(&scene), scene.model.rows()[0].in_use), (State::Live, Some(4)));
    scene.look(vec![pool("p", 16, 8)]);
    assert_eq!(state(&scene), State::Full);
    // Words of a header may be anything.
    scene.look(vec![pool("p", u64::MAX, 0)]);
    assert_eq!(scene.model.rows()[0].in_use, Some(8));
    let mut left = pool("p", 16, 20);
    left.creator_pid = 8;
    scene.look(vec![left]);
    assert_eq!((state(&scene), scene.model.rows()[0].in_use), (State::OwnerGone, Some(0)));
}

#[test]
fn another_segment_of_the_same_name_begins_anew() {
    let mut scene = busy();
    let mut next = stream("camera", 1000);
    next.instance = "another".to_owned();
    scene.look(vec![next]);
    let row = scene.model.selected().unwrap();
    assert_eq!((row.rate_per_s, row.last_use_s, row.history.len()), (None, None, 0));
}

#[test]
fn the_plain_table_has_a_line_for_each_and_json_has_documented_keys() {
    let scene = busy();
    let table = Table::of(&scene.model);
    let text = table.text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 6, "{text}");
    assert!(lines[0].starts_with("22:13:22 UTC: 4 segments"), "{text}");
    assert!(lines[2].starts_with("camera ") && lines[2].contains("30.0"), "{text}");
    let json = serde_json::to_value(&table).unwrap();
    let keys =
        |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let mut outer = keys(&json);
    outer.sort();
    assert_eq!(outer, ["free_bytes", "memory_bytes", "segments", "time_ns", "total_bytes"]);
    let mut inner = keys(&json["segments"][0]);
    inner.sort();
    assert_eq!(
        inner,
        [
            "carries",
            "holders",
            "in_use",
            "kind",
            "last_use_s",
            "mb_per_s",
            "memory_bytes",
            "name",
            "rate_per_s",
            "slots",
            "state"
        ]
    );
    assert_eq!(json["segments"][3]["in_use"], 4);
}

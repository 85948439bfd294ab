//! The live table, or one line a second where nobody watches.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::frame::BYTES;
use super::record::{PublisherRecord, Record, ViewerRecord};
use super::thumbnail::{self, Colours};

/// Three pictures are about as wide as the table.
const PICTURES: usize = 3;
/// As often as the children report.
const REDRAW: Duration = Duration::from_millis(250);

/// Where the state of the children is shown.
pub enum Scoreboard {
    Live(Table),
    Plain { next: Instant },
}

impl Scoreboard {
    pub fn new(plain: bool) -> Self {
        if plain {
            Self::Plain { next: Instant::now() + Duration::from_secs(1) }
        } else {
            Self::Live(Table::new())
        }
    }

    /// Tells of an event, above the table.
    pub fn tell(&self, elapsed: Duration, text: &str) {
        let line = format!("{:6.2} s  {text}", elapsed.as_secs_f64());
        match self {
            Self::Live(table) => table.say(&line),
            Self::Plain { .. } => println!("{line}"),
        }
    }

    /// Shows how the children do now.
    pub fn show(&mut self, elapsed: Duration, record: &Record) {
        match self {
            Self::Live(table) => table.show(elapsed, record),
            Self::Plain { next } => {
                if Instant::now() >= *next {
                    *next += Duration::from_secs(1);
                    println!("{:6.2} s  {}", elapsed.as_secs_f64(), in_one_line(record));
                }
            }
        }
    }

    /// Takes the table away.
    pub fn close(&self) {
        if let Self::Live(table) = self {
            table.close();
        }
    }
}

/// Redraws in place.
pub struct Table {
    /// One bar whose message is the whole table, so that it is drawn in one go.
    bar: ProgressBar,
    next: Instant,
    /// None where the pictures themselves cannot be shown.
    colours: Option<Colours>,
}

impl Table {
    fn new() -> Self {
        let bar = ProgressBar::new_spinner();
        bar.set_style(ProgressStyle::with_template("{msg}").expect("the template is well formed"));
        Self { bar, next: Instant::now(), colours: Colours::of_terminal() }
    }

    fn say(&self, line: &str) {
        self.bar.println(line);
    }

    fn show(&mut self, elapsed: Duration, record: &Record) {
        if Instant::now() < self.next {
            return;
        }
        self.next = Instant::now() + REDRAW;
        let mut lines = vec![String::new()];
        lines.extend(self.pictures(record));
        lines.push(format!(
            "{:>5.1} s  {:<12} {:>8} {:>9} {:>6} {:>9} {:>9} {:>9} {:>9} {:>5} {:>6}",
            elapsed.as_secs_f64(),
            "process",
            "pid",
            "frames/s",
            "GB/s",
            "p50 us",
            "p99 us",
            "gap ms",
            "missed",
            "torn",
            "CPU %"
        ));
        lines.extend(
            (1..).zip(&record.publishers).map(|(index, publisher)| publisher_row(index, publisher)),
        );
        lines.extend((1..).zip(&record.viewers).map(|(index, viewer)| viewer_row(index, viewer)));
        self.bar.set_message(lines.join("\n"));
    }

    /// What the viewers see, as many as fit beside each other.
    fn pictures(&self, record: &Record) -> Vec<String> {
        let Some(colours) = self.colours else {
            return Vec::new();
        };
        let pictures: Vec<&[u8]> = record
            .viewers
            .iter()
            .take(PICTURES)
            .map(|viewer| viewer.tick.thumbnail.as_slice())
            .collect();
        thumbnail::side_by_side(&pictures, colours)
    }

    fn close(&self) {
        self.bar.finish_and_clear();
    }
}

fn publisher_row(index: usize, publisher: &PublisherRecord) -> String {
    let name = format!("publisher {index}");
    let pid = publisher.pid;
    if publisher.dying.is_some() {
        return format!("         {name:<12} {pid:>8}    killed in the middle of a frame");
    }
    let tick = &publisher.tick;
    format!(
        "         {name:<12} {pid:>8} {:>9.0} {:>6.2} {:>9} {:>9} {:>9} {:>9} {:>5} {:>6.0}",
        tick.frames_per_second,
        gigabytes(tick.frames_per_second),
        "",
        "",
        "",
        "",
        "",
        tick.cpu_percent
    )
}

fn viewer_row(index: usize, viewer: &ViewerRecord) -> String {
    let name = viewer_name(index, viewer);
    let tick = &viewer.tick;
    format!(
        "         {name:<12} {:>8} {:>9.0} {:>6.2} {:>9.1} {:>9.1} {:>9.1} {:>9} {:>5} {:>6.0}",
        viewer.pid,
        tick.frames_per_second,
        gigabytes(tick.frames_per_second),
        tick.p50_ns as f64 / 1e3,
        tick.p99_ns as f64 / 1e3,
        tick.longest_gap_ns as f64 / 1e6,
        tick.missed,
        tick.torn,
        tick.cpu_percent
    )
}

fn in_one_line(record: &Record) -> String {
    let mut parts = Vec::new();
    if let Some(publisher) = record.publishers.last() {
        parts.push(if publisher.dying.is_some() {
            format!("publisher {} killed", publisher.pid)
        } else {
            format!(
                "publisher {} {:.0}/s {:.2} GB/s cpu {:.0}%",
                publisher.pid,
                publisher.tick.frames_per_second,
                gigabytes(publisher.tick.frames_per_second),
                publisher.tick.cpu_percent
            )
        });
    }
    for (index, viewer) in (1..).zip(&record.viewers) {
        let tick = &viewer.tick;
        parts.push(format!(
            "{} {:.0}/s p50 {:.0} p99 {:.0} us missed {} torn {} cpu {:.0}%",
            viewer_name(index, viewer),
            tick.frames_per_second,
            tick.p50_ns as f64 / 1e3,
            tick.p99_ns as f64 / 1e3,
            tick.missed,
            tick.torn,
            tick.cpu_percent
        ));
    }
    parts.join(" | ")
}

/// What a viewer is called in every output.
pub fn viewer_name(index: usize, viewer: &ViewerRecord) -> String {
    if viewer.slow { "slow viewer".to_owned() } else { format!("viewer {index}") }
}

/// Gigabytes of picture a second.
pub fn gigabytes(frames_per_second: f64) -> f64 {
    frames_per_second * BYTES as f64 / 1e9
}

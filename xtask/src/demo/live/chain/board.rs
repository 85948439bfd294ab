//! How the second act goes: a live table, or one line a second where nobody watches.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::answers::Answers;
use super::verdict;

/// As often as a person can read it.
const REDRAW: Duration = Duration::from_millis(250);
const LINE_EVERY: Duration = Duration::from_secs(1);

/// Where the state of the answers is shown.
pub enum Board {
    Live { bar: ProgressBar, next: Instant },
    Plain { next: Instant },
}

impl Board {
    pub fn new(plain: bool) -> Self {
        if plain {
            return Self::Plain { next: Instant::now() + LINE_EVERY };
        }
        let bar = ProgressBar::new_spinner();
        bar.set_style(ProgressStyle::with_template("{msg}").expect("the template is well formed"));
        Self::Live { bar, next: Instant::now() }
    }

    /// Tells of an event, above the table.
    pub fn tell(&self, elapsed: Duration, text: &str) {
        let line = format!("{:6.2} s  {text}", elapsed.as_secs_f64());
        match self {
            Self::Live { bar, .. } => bar.println(line),
            Self::Plain { .. } => println!("{line}"),
        }
    }

    /// Shows the state when it is time to.
    pub fn show(&mut self, elapsed: Duration, answers: &Answers) {
        let now = Instant::now();
        match self {
            Self::Live { bar, next } if now >= *next => {
                *next = now + REDRAW;
                bar.set_message(table(elapsed, answers));
            }
            Self::Plain { next } if now >= *next => {
                *next += LINE_EVERY;
                println!("{:6.2} s  {}", elapsed.as_secs_f64(), in_one_line(answers));
            }
            Self::Live { .. } | Self::Plain { .. } => {}
        }
    }

    /// Takes the table away.
    pub fn close(&self) {
        if let Self::Live { bar, .. } = self {
            bar.finish_and_clear();
        }
    }
}

fn table(elapsed: Duration, answers: &Answers) -> String {
    let mut lines =
        vec![String::new(), format!("{:>5.1} s  {}", elapsed.as_secs_f64(), in_one_line(answers))];
    for picture in &answers.pictures {
        let checked = match (picture.answered, picture.wrong) {
            (0, _) => "   ",
            (_, 0) => "yes",
            _ => "NO ",
        };
        lines.push(format!(
            "         {checked}  {:<24} {:>4} times  {}",
            picture.name,
            picture.answered,
            verdict::found(picture)
        ));
    }
    lines.join("\n")
}

fn in_one_line(answers: &Answers) -> String {
    let milliseconds = |ns: u64| ns as f64 / 1e6;
    let newest = answers
        .pictures
        .iter()
        .filter(|picture| picture.answered > 0)
        .max_by_key(|picture| picture.newest.as_ref().map(|answer| answer.text_pixels));
    let text = newest.map_or(String::new(), |picture| {
        format!(" | most text: {}, {}", picture.name, verdict::found(picture))
    });
    format!(
        "{:.1} pictures/s p50 {:.0} p99 {:.0} ms, server p50 {:.0} ms | {} looked at, {} right{text}",
        answers.rate(),
        milliseconds(answers.age.value_at_quantile(0.5)),
        milliseconds(answers.age.value_at_quantile(0.99)),
        milliseconds(answers.run.value_at_quantile(0.5)),
        answers.total,
        answers.right
    )
}

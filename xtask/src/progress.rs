//! Progress of long work: a spinner for a person at a terminal, plain lines for everybody else.

use std::io::{IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// Whether a person is watching: standard output is a terminal and this is no CI run.
pub fn interactive() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("CI").is_none_or(|value| value.is_empty())
}

/// Where the lines of all work go instead of standard output.
pub type Log = Box<dyn Write + Send>;

/// From now on the lines of all work go into `log`; without one, to standard output. Returns where they
/// went until now.
pub fn write_to(log: Option<Log>) -> Option<Log> {
    std::mem::replace(&mut *current_log(), log)
}

/// One piece of work in progress.
pub struct Progress {
    /// None where nobody watches.
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Begins work whose length is unknown.
    pub fn spinner(label: &str) -> Self {
        Self::begin(label, || {
            let bar = ProgressBar::new_spinner();
            bar.set_style(style("{spinner} {prefix} [{elapsed}] {wide_msg}"));
            bar
        })
    }

    /// Begins work whose every line a person wants to read.
    pub fn lines(label: &str) -> Self {
        print(&format!("$ {label}"));
        Self { bar: None }
    }

    /// Begins work of `total` like parts.
    pub fn counted(label: &str, total: u64) -> Self {
        Self::begin(label, || {
            let bar = ProgressBar::new(total);
            bar.set_style(style(
                "{spinner} {prefix} [{bar:30}] {pos}/{len} [{elapsed}] {wide_msg}",
            ));
            bar
        })
    }

    /// A line that the work printed. It is shown as the newest state on a terminal and passed
    /// on everywhere else.
    pub fn line(&self, line: &str) {
        let Some(bar) = &self.bar else { return print(line) };
        bar.set_message(line.trim().to_owned());
        if let Some(log) = current_log().as_mut() {
            write_line(log, line);
        }
    }

    /// How many of the parts are done.
    pub fn position(&self, done: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(done);
        }
    }

    /// Ends the work and takes the spinner off the terminal. Returns whether the lines of the
    /// work can still be read.
    pub fn finish(self) -> bool {
        match self.bar {
            Some(bar) => {
                bar.finish_and_clear();
                current_log().is_some()
            }
            None => true,
        }
    }

    fn begin(label: &str, bar: impl FnOnce() -> ProgressBar) -> Self {
        if !interactive() {
            print(&format!("$ {label}"));
            return Self { bar: None };
        }
        let bar = bar();
        bar.set_prefix(shortened(label));
        bar.enable_steady_tick(Duration::from_millis(120));
        Self { bar: Some(bar) }
    }
}

static LOG: Mutex<Option<Log>> = Mutex::new(None);

fn current_log() -> MutexGuard<'static, Option<Log>> {
    LOG.lock().unwrap_or_else(PoisonError::into_inner)
}

fn print(line: &str) {
    match current_log().as_mut() {
        Some(log) => write_line(log, line),
        None => println!("{line}"),
    }
}

/// A disk that is full is no reason to end the work: whoever opened the log hears of it at its end.
fn write_line(log: &mut Log, line: &str) {
    let _ = writeln!(log, "{line}");
}

/// A command may be longer than a terminal is wide.
fn shortened(label: &str) -> String {
    if label.chars().count() <= LABEL {
        return label.to_owned();
    }
    label.chars().take(LABEL - 1).chain(['\u{2026}']).collect()
}

const LABEL: usize = 60;

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates of this file are well formed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_long_labels_are_shortened() {
        assert_eq!(shortened("cargo fetch --locked"), "cargo fetch --locked");
        let long = shortened(&"\u{e4}".repeat(LABEL + 1));
        assert_eq!(long.chars().count(), LABEL);
        assert!(long.ends_with('\u{2026}'));
    }
}

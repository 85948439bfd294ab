//! What the demo's processes say to the conductor, and the commands it gives them.

use std::io::{BufRead, Write};
use std::sync::mpsc::{self, Receiver};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// What a publisher says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum PublisherSays {
    /// Its first frame is readable.
    First { number: u64, at_mono_ns: u64 },
    /// How it does.
    Tick(PublisherTick),
    /// It is about to kill itself in the middle of a frame.
    Dying {
        /// The number that the half-written frame would have got.
        half_written: u64,
        bytes_written: u64,
        published: u64,
    },
    /// It stopped in good order.
    Done { published: u64, newest: u64 },
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PublisherTick {
    pub published: u64,
    pub newest: u64,
    pub frames_per_second: f64,
    pub cpu_percent: f64,
}

/// What a viewer says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ViewerSays {
    /// It has opened the stream.
    Ready,
    /// How it does.
    Tick(ViewerTick),
    /// What it found when asked to read the last frame of a dead publisher.
    Probe(Probe),
    /// It stopped in good order.
    Done(ViewerTotals),
}

/// Rates are of the time since the last tick, counts of the whole run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ViewerTick {
    pub verified: u64,
    pub torn: u64,
    pub missed: u64,
    pub frames_per_second: f64,
    pub p50_ns: u64,
    pub p99_ns: u64,
    pub max_ns: u64,
    pub longest_gap_ns: u64,
    pub cpu_percent: f64,
    /// The newest frame, small enough for a terminal; empty where none was read.
    pub thumbnail: Vec<u8>,
}

/// The attempt to read while nobody publishes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// The frame that was read; none when it was torn or could not be read.
    pub number: Option<u64>,
    pub age_ns: u64,
    /// Why it could not be read.
    pub problem: Option<String>,
}

/// A viewer's whole run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ViewerTotals {
    pub seconds: f64,
    pub verified: u64,
    pub torn: u64,
    /// Frames whose number was not above the one before.
    pub backwards: u64,
    pub missed: u64,
    /// Reads that the writer overtook again and again; each was tried again.
    pub overrun: u64,
    pub p50_ns: u64,
    pub p99_ns: u64,
    pub max_ns: u64,
    pub longest_gap_ns: u64,
    pub cpu_percent: f64,
    /// Verified frames by the process id of their publisher.
    pub by_publisher: Vec<(u32, u64)>,
}

/// What the conductor tells a child to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Publisher: kill yourself in the middle of the next frame.
    Die,
    /// Viewer: read the newest frame now, although nobody publishes.
    Probe,
    /// End in good order.
    Stop,
}

/// Sends one message to the conductor.
pub fn say(message: &impl Serialize) -> Result<()> {
    let mut line = serde_json::to_string(message)?;
    line.push('\n');
    let mut stdout = std::io::stdout().lock();
    stdout
        .write_all(line.as_bytes())
        .and_then(|()| stdout.flush())
        .context("the conductor of the demo is gone")
}

/// The commands that arrive on standard input. The channel closes when the conductor is gone.
pub fn commands() -> Receiver<Command> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            // The conductor is this same program, so a line that is no command is a bug in it;
            // closing the channel ends the child and shows it.
            let Ok(command) = serde_json::from_str(&line) else {
                return;
            };
            if sender.send(command).is_err() {
                return;
            }
        }
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_the_pipe() {
        let said = ViewerSays::Probe(Probe { number: Some(7), age_ns: 5, problem: None });
        let line = serde_json::to_string(&said).unwrap();
        assert!(!line.contains('\n'));
        assert_eq!(serde_json::from_str::<ViewerSays>(&line).unwrap(), said);

        let line = serde_json::to_string(&Command::Die).unwrap();
        assert_eq!(serde_json::from_str::<Command>(&line).unwrap(), Command::Die);
    }
}

//! A bound against hangs: a test that blocks for ever ends the run with a message instead.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

/// Ends the process unless it is dropped in time. Not a statement about speed: choose the bound
/// far above what the slowest machine needs.
#[derive(Debug)]
pub struct Watchdog {
    _alive: Sender<()>,
}

impl Watchdog {
    /// Watches from now on.
    pub fn new(label: &str, bound: Duration) -> Watchdog {
        let (alive, dropped) = channel();
        let label = label.to_owned();
        thread::spawn(move || {
            if dropped.recv_timeout(bound) == Err(RecvTimeoutError::Timeout) {
                eprintln!("watchdog: '{label}' hangs, nothing for {bound:?}; aborting");
                std::process::abort();
            }
        });
        Watchdog { _alive: alive }
    }
}

//! The end that somebody asks for: Ctrl-C, or the signal that ends programs.
//!
//! Upholds invariant 5: who waits for it sleeps, and wakes at once. It is a signal handler of the
//! process, as a program may have, for as long as the value lives. A terminal that is hung up ends the
//! program as ever: there is nobody left to print to.

use super::super::exit::Failure;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Hears that the program is to end.
pub(crate) struct Ending {
    asked: Receiver<()>,
    signals: Handle,
    thread: Option<JoinHandle<()>>,
}

impl Ending {
    /// Listens from now on.
    pub(crate) fn listen() -> Result<Ending, Failure> {
        let mut signals = Signals::new([SIGINT, SIGTERM])
            .map_err(|error| Failure::system("listen for signals", &error))?;
        let handle = signals.handle();
        let (tell, asked) = channel();
        let listener = move || {
            for _ in signals.forever() {
                if tell.send(()).is_err() {
                    break;
                }
            }
        };
        let thread = thread::Builder::new()
            .name("signals".to_owned())
            .spawn(listener)
            .map_err(|error| Failure::system("start a thread", &error))?;
        Ok(Ending { asked, signals: handle, thread: Some(thread) })
    }

    /// Sleeps for so long; true as soon as the end is asked for.
    pub(crate) fn within(&self, time: Duration) -> bool {
        // A listener that is gone could never tell again: that ends the program too.
        !matches!(self.asked.recv_timeout(time), Err(RecvTimeoutError::Timeout))
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.signals.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

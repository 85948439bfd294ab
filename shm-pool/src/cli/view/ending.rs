//! When a command that goes on ends: Ctrl-C, SIGTERM, or the time that was given.
//!
//! Upholds invariant 5: nothing here waits without an end.

use crate::cli::exit::Failure;
use shm_core::Deadline;
use signal_hook::consts::{SIGINT, SIGTERM};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Nobody waits longer than this without looking whether it is over.
const LOOK: Duration = Duration::from_millis(100);

/// The end, which may have come.
#[derive(Clone)]
pub(crate) struct Ending {
    told: Arc<AtomicBool>,
    deadline: Deadline,
}

impl Ending {
    /// Hears signals from now on. The second one ends the process as if nobody heard.
    pub(crate) fn new(after: Option<Duration>) -> Result<Ending, Failure> {
        let told = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register_conditional_default(signal, told.clone())
                .and_then(|_| signal_hook::flag::register(signal, told.clone()))
                .map_err(|error| Failure::system("listen for signals", &error))?;
        }
        Ok(Ending { told, deadline: after.map_or(Deadline::NEVER, Deadline::after) })
    }

    /// True once it is over.
    pub(crate) fn has_come(&self) -> bool {
        self.told.load(Ordering::Relaxed) || self.deadline.has_passed()
    }

    /// How long to wait before looking again; never longer than `most`.
    pub(crate) fn slice(&self, most: Duration) -> Duration {
        most.min(LOOK).min(self.deadline.remaining().unwrap_or(LOOK))
    }
}

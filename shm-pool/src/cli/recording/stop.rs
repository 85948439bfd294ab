//! Ctrl-C and SIGTERM as a question that a loop asks between two frames.

use crate::cli::exit::Failure;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether this program was asked to end. Asked twice, it ends at once.
pub(crate) struct Stop {
    asked: Arc<AtomicBool>,
}

impl Stop {
    /// Hears SIGINT and SIGTERM from now on.
    pub(crate) fn on_signals() -> Result<Stop, Failure> {
        let asked = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // In this order the first signal sets the flag and the second finds it set.
            flag::register_conditional_shutdown(signal, 128 + signal, asked.clone())
                .and_then(|_| flag::register(signal, asked.clone()))
                .map_err(|error| Failure::system("listen for Ctrl-C", &error))?;
        }
        Ok(Stop { asked })
    }

    /// True once it was.
    pub(crate) fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }
}

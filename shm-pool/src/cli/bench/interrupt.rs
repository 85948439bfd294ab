//! Ctrl-C and other requests to end, put off until everything is cleaned up.

use crate::cli::exit::{Exit, Failure};
use signal_hook::SigId;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::low_level::{emulate_default_handler, unregister};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const SIGNALS: [i32; 3] = [SIGINT, SIGTERM, SIGHUP];

/// Notes a request to end that comes while it lives.
#[derive(Default)]
pub(super) struct Interrupt {
    signal: Arc<AtomicUsize>,
    registered: Vec<SigId>,
}

impl Interrupt {
    pub(super) fn listen() -> Result<Interrupt, Failure> {
        let mut interrupt = Interrupt::default();
        for signal in SIGNALS {
            let noted = Arc::clone(&interrupt.signal);
            let id = signal_hook::flag::register_usize(signal, noted, signal as usize)
                .map_err(|error| Failure::system("listen for Ctrl-C", &error))?;
            interrupt.registered.push(id);
        }
        Ok(interrupt)
    }

    #[inline]
    pub(super) fn came(&self) -> bool {
        // SYNC: none; nothing else is read because of it.
        self.signal.load(Ordering::Relaxed) != 0
    }

    /// An error if one came: unwinds to where things are cleaned up.
    #[inline]
    pub(super) fn check(&self) -> Result<(), Failure> {
        match self.came() {
            true => Err(Failure::new(Exit::System, "the bench was interrupted", "")),
            false => Ok(()),
        }
    }

    /// Ends this process by the signal that came, as it would have ended at once; a shell then sees why.
    pub(super) fn obey(&self) -> Result<(), Failure> {
        match self.signal.load(Ordering::Relaxed) {
            0 => Ok(()),
            signal => emulate_default_handler(signal as i32)
                .map_err(|error| Failure::system("end by the signal that came", &error)),
        }
    }
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        for id in self.registered.drain(..) {
            unregister(id);
        }
    }
}

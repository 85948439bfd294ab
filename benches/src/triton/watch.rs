//! An end to a run that hangs: programs of others take part, and a gate must not wait for ever.

use std::process;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Longer than any turn takes, on a busy machine too.
const LIMIT: Duration = Duration::from_secs(150);

static TURN: Mutex<Option<(String, Instant)>> = Mutex::new(None);

/// Watches from now on; the thread ends with the process.
pub(super) fn start() {
    begin("the start");
    thread::spawn(|| {
        loop {
            thread::sleep(Duration::from_secs(1));
            let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((who, _)) = turn.as_ref().filter(|(_, since)| since.elapsed() > LIMIT) {
                eprintln!("error: {who} takes longer than {} s; the run ends", LIMIT.as_secs());
                process::exit(3);
            }
        }
    });
}

/// Says whose turn it is.
pub(super) fn begin(who: &str) {
    *TURN.lock().unwrap_or_else(PoisonError::into_inner) = Some((who.to_owned(), Instant::now()));
}

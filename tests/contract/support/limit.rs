//! Time limits: a hang is a failed test, not a hanging suite.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// Runs `body` on a thread of its own; panics if it takes longer than `limit`.
#[track_caller]
pub(crate) fn within<R: Send + 'static>(
    limit: Duration,
    body: impl FnOnce() -> R + Send + 'static,
) -> R {
    let (done, finished) = channel();
    let thread = std::thread::spawn(move || {
        let outcome = body();
        // Nobody listens any more once the limit has passed.
        let _ = done.send(outcome);
    });
    match finished.recv_timeout(limit) {
        Ok(outcome) => outcome,
        Err(RecvTimeoutError::Timeout) => panic!("still not finished after {limit:?}"),
        Err(RecvTimeoutError::Disconnected) => match thread.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(()) => unreachable!("a body that returns sends its outcome"),
        },
    }
}

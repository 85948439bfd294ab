//! Named points at which a test can kill, stop or delay the calling process.
//!
//! Without the feature `testing` there is nothing here: `hit` is an empty function. With it, a
//! test's child process arms one point and then runs the ordinary code, so every crash guarantee
//! (invariant 1) is proven on the code that ships.

#[cfg(feature = "testing")]
pub use armed::{Action, POINTS, arm, arm_in, disarm, hit};

#[cfg(feature = "testing")]
pub(crate) use armed::is_armed;

#[cfg(not(feature = "testing"))]
#[inline(always)]
pub(crate) fn hit(_point: &str) {}

#[cfg(not(feature = "testing"))]
#[inline(always)]
pub(crate) fn is_armed(_point: &str) -> bool {
    false
}

#[cfg(feature = "testing")]
mod armed {
    use parking_lot::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    /// Every point, in the order in which one frame meets them.
    pub const POINTS: &[&str] = &[
        "create.drafted",
        "create.written",
        "create.published",
        "lock.taken",
        "lock.recovered",
        "publish.begin",
        "publish.odd",
        "publish.mid_copy",
        "publish.copied",
        "publish.even",
        "publish.latest",
        "publish.woken",
        "announce.stored",
        "announce.rung",
        "announce.begun",
        "announce.finished",
        "lock.released",
        "unlink.removed",
    ];

    /// What happens at an armed point.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Action {
        /// SIGKILL to the own process.
        Kill,
        /// SIGSTOP to the own process.
        Stop,
        /// Sleep that long.
        Sleep(Duration),
    }

    struct Armed {
        point: &'static str,
        action: Action,
        left: u64,
    }

    static ANY: AtomicBool = AtomicBool::new(false);
    static ARMED: Mutex<Option<Armed>> = Mutex::new(None);

    /// Arms `point` for its `nth` passing from now (1 is the next). One point at a time.
    ///
    /// # Panics
    /// If there is no such point, or `nth` is 0: a test that can never fire proves nothing.
    pub fn arm(point: &str, action: Action, nth: u64) {
        arm_in(POINTS, point, action, nth);
    }

    /// As [`arm`], for the points of a crate that stands on this one.
    ///
    /// # Panics
    /// As for [`arm`].
    pub fn arm_in(points: &[&'static str], point: &str, action: Action, nth: u64) {
        let known = points.iter().find(|known| **known == point);
        let point = known.unwrap_or_else(|| panic!("no fault point '{point}'; see POINTS"));
        assert!(nth > 0, "the first passing is number 1");
        *ARMED.lock() = Some(Armed { point, action, left: nth });
        ANY.store(true, Ordering::SeqCst);
    }

    /// Disarms whatever is armed.
    pub fn disarm() {
        ANY.store(false, Ordering::SeqCst);
        *ARMED.lock() = None;
    }

    pub(crate) fn is_armed(point: &str) -> bool {
        ANY.load(Ordering::Relaxed)
            && ARMED.lock().as_ref().is_some_and(|armed| armed.point == point)
    }

    /// Passes the point: kills, stops or delays this process if a test has armed it.
    pub fn hit(point: &'static str) {
        if !ANY.load(Ordering::Relaxed) {
            return;
        }
        let action = {
            let mut armed = ARMED.lock();
            let Some(found) = armed.as_mut().filter(|armed| armed.point == point) else { return };
            found.left -= 1;
            if found.left > 0 {
                return;
            }
            ANY.store(false, Ordering::SeqCst);
            armed.take().map(|armed| armed.action)
        };
        match action {
            Some(Action::Kill) => signal(KILL),
            Some(Action::Stop) => signal(STOP),
            Some(Action::Sleep(duration)) => std::thread::sleep(duration),
            None => {}
        }
    }

    #[cfg(unix)]
    use rustix::process::Signal;
    #[cfg(unix)]
    const KILL: Signal = Signal::KILL;
    #[cfg(unix)]
    const STOP: Signal = Signal::STOP;

    #[cfg(unix)]
    fn signal(signal: Signal) {
        let _ = rustix::process::kill_process(rustix::process::getpid(), signal);
    }

    #[cfg(not(unix))]
    const KILL: () = ();
    #[cfg(not(unix))]
    const STOP: () = ();

    #[cfg(not(unix))]
    fn signal(_: ()) {
        std::process::abort();
    }
}

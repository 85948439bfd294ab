//! One test's surroundings: its names, its processes, its bound, and the check at its end.

use crate::leftovers::leftovers;
use crate::peer::Peer;
use crate::watchdog::Watchdog;
use std::cell::RefCell;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// A test that takes longer than this hangs.
const BOUND: Duration = Duration::from_secs(150);

/// Lends names and peers to one test, and fails it if it leaves something in shared memory.
///
/// Declare it before the peers and streams, so that it is dropped after them.
#[derive(Debug)]
pub struct Scene {
    prefix: String,
    pids: RefCell<Vec<u32>>,
    _watchdog: Watchdog,
}

impl Scene {
    /// A scene for the test called `label`.
    pub fn new(label: &str) -> Scene {
        Scene::within(label, BOUND)
    }

    /// As [`Scene::new`], with another bound against hangs.
    pub fn within(label: &str, bound: Duration) -> Scene {
        // Unique among the tests of this process; the process id makes it unique among suites.
        static SCENES: AtomicU64 = AtomicU64::new(0);
        let number = SCENES.fetch_add(1, Ordering::Relaxed);
        let own = std::process::id();
        let _watchdog = Watchdog::new(label, bound);
        Scene { prefix: format!("test-{own}-{number}-"), pids: RefCell::new(vec![own]), _watchdog }
    }

    /// What all names of this scene, and no others, begin with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// A name of this scene.
    pub fn name(&self, suffix: &str) -> String {
        format!("{}{suffix}", self.prefix)
    }

    /// Starts a process that serves commands.
    pub fn peer(&self) -> Peer {
        self.peer_with(|_| {})
    }

    /// As [`Scene::peer`], after a change to how it is started.
    pub fn peer_with(&self, change: impl FnOnce(&mut Command)) -> Peer {
        let peer = Peer::spawn(change).expect("the program of the peers starts");
        self.pids.borrow_mut().push(peer.pid());
        peer
    }

    /// Removes what dead processes of this scene left as drafts, and only looks at its segments.
    pub fn sweep_drafts(&self) {
        // A prefix that nothing has: drafts have no name yet and are swept whatever it is.
        shm_core::gc(&self.name("no-such-segment"), false).expect("shared memory can be listed");
    }

    /// What this scene has in shared memory now. The drafts of the own process are not looked at,
    /// they may be those of another test.
    pub fn leftovers(&self) -> Vec<std::path::PathBuf> {
        leftovers(&self.prefix, &self.pids.borrow()[1..])
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let left = self.leftovers();
        for path in &left {
            // A failed test's own files: whatever stops this, the report below names them.
            let _ = std::fs::remove_file(path);
        }
        if !thread::panicking() {
            assert!(left.is_empty(), "left in shared memory: {left:?}");
        }
    }
}

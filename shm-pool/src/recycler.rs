//! A thread that reaps for those who never call.
//!
//! Upholds invariants 5 (it sleeps in the kernel until somebody closes the pool's file, and wakes for
//! nothing else) and 10 (it belongs to the value that the caller holds, and ends with it).
//!
//! A process that dies closes its descriptors, and the kernel tells whoever watches the file. The news
//! comes a moment before the dead one's locks are gone, so the thread looks a few times, in growing
//! steps, and goes back to sleep.

use crate::pool::{Core, Pool};
use crate::storage::{Host, Storage};
use std::io;
use std::marker::PhantomData;
use std::sync::Arc;
use std::thread::JoinHandle;

/// A running recycler; dropping it ends its thread. Made by [`Pool::recycler`].
#[derive(Debug)]
pub struct Recycler<S: Storage = Host> {
    stop: platform::Stop,
    thread: Option<JoinHandle<()>>,
    storage: PhantomData<fn() -> S>,
}

impl<S: Storage> Pool<S> {
    /// Starts a thread that gives back what dead processes held, within milliseconds of their death,
    /// also while nobody lends. Producers that wait, and those that are refused, do so by themselves.
    ///
    /// # Errors
    /// The system's refusal to watch the file or to start a thread; a pool inside one process has no
    /// file to watch ([`io::ErrorKind::Unsupported`]).
    pub fn recycler(&self) -> io::Result<Recycler<S>> {
        let (watch, stop) = platform::watch(&self.core().ledger)?;
        let core: Arc<Core<S>> = self.core().clone();
        let thread =
            std::thread::Builder::new().name("shm-pool-recycler".to_owned()).spawn(move || {
                platform::run(&watch, || {
                    core.ledger.reap();
                })
            })?;
        Ok(Recycler { stop, thread: Some(thread), storage: PhantomData })
    }
}

impl<S: Storage> Drop for Recycler<S> {
    fn drop(&mut self) {
        self.stop.now();
        if let Some(thread) = self.thread.take() {
            // A panic in there has been reported already.
            let _ = thread.join();
        }
    }
}

#[cfg(target_os = "linux")]
mod platform {
    use crate::ledger::Ledger;
    use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
    use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
    use rustix::io::Errno;
    use std::io;
    use std::os::fd::OwnedFd;
    use std::sync::Arc;
    use std::time::Duration;

    /// After a file was closed, the locks of the process that closed it are looked at after so long.
    const LOOKS: [Duration; 5] = [
        Duration::ZERO,
        Duration::from_millis(1),
        Duration::from_millis(4),
        Duration::from_millis(15),
        Duration::from_millis(40),
    ];

    #[derive(Debug)]
    pub(super) struct Watch {
        closed: OwnedFd,
        stop: Arc<OwnedFd>,
    }

    #[derive(Debug)]
    pub(super) struct Stop(Arc<OwnedFd>);

    impl Stop {
        pub(super) fn now(&self) {
            // The counter cannot be full: it is written once.
            let _ = rustix::io::write(&*self.0, &1_u64.to_ne_bytes());
        }
    }

    pub(super) fn watch(ledger: &Ledger) -> io::Result<(Watch, Stop)> {
        let path = ledger.segment.path().ok_or(io::ErrorKind::Unsupported)?;
        let closed = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let events = WatchFlags::CLOSE_WRITE | WatchFlags::CLOSE_NOWRITE;
        inotify::add_watch(&closed, path, events)?;
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
        Ok((Watch { closed, stop: stop.clone() }, Stop(stop)))
    }

    /// Sleeps, and calls `reap` after somebody closed the file, until told to stop.
    pub(super) fn run(watch: &Watch, reap: impl Fn()) {
        // Who died before the watch began is not announced.
        reap();
        let mut looks = LOOKS.len();
        loop {
            let nap = LOOKS.get(looks).copied();
            match wait(watch, nap) {
                News::Stop => return,
                News::Closed => looks = 0,
                News::Nothing => looks = (looks + 1).min(LOOKS.len()),
            }
            if nap.is_some() || looks == 0 {
                reap();
            }
        }
    }

    enum News {
        Stop,
        Closed,
        Nothing,
    }

    fn wait(watch: &Watch, nap: Option<Duration>) -> News {
        let mut fds =
            [PollFd::new(&watch.closed, PollFlags::IN), PollFd::new(&*watch.stop, PollFlags::IN)];
        let nap = nap.and_then(|nap| Timespec::try_from(nap).ok());
        match poll(&mut fds, nap.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            // Without a way to sleep there is no way to go on.
            Err(_) => return News::Stop,
        }
        if fds[1].revents().contains(PollFlags::IN) {
            return News::Stop;
        }
        if !fds[0].revents().contains(PollFlags::IN) {
            return News::Nothing;
        }
        let mut events = [0; 4096];
        // Which descriptor it was does not matter, nor whether some news were lost.
        while matches!(rustix::io::read(&watch.closed, &mut events[..]), Ok(read) if read > 0) {}
        News::Closed
    }
}

#[cfg(not(target_os = "linux"))]
mod platform {
    use crate::ledger::Ledger;
    use std::io;
    use std::sync::Arc;
    use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
    use std::time::Duration;

    /// Where deaths cannot be waited for, they are looked for.
    const LOOK: Duration = Duration::from_millis(50);

    #[derive(Debug)]
    pub(super) struct Watch(parking_lot::Mutex<Receiver<()>>);

    #[derive(Debug)]
    pub(super) struct Stop(Arc<parking_lot::Mutex<Sender<()>>>);

    impl Stop {
        pub(super) fn now(&self) {
            let _ = self.0.lock().send(());
        }
    }

    pub(super) fn watch(_ledger: &Ledger) -> io::Result<(Watch, Stop)> {
        let (send, receive) = channel();
        let receive = parking_lot::Mutex::new(receive);
        Ok((Watch(receive), Stop(Arc::new(parking_lot::Mutex::new(send)))))
    }

    pub(super) fn run(watch: &Watch, reap: impl Fn()) {
        while let Err(RecvTimeoutError::Timeout) = watch.0.lock().recv_timeout(LOOK) {
            reap();
        }
    }
}

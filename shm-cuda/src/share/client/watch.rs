//! The thread that sleeps until the server is gone.
//!
//! Upholds invariants 3 (gone is what the kernel calls a hang-up), 5 (it costs nothing while it sleeps)
//! and 10 (it belongs to its connection and ends with it).
//!
//! It also does what would otherwise be nobody's: it takes in answers that nobody waits for any more while
//! there are any to come, so that their leases do not stay, and it writes what did not fit into the socket.
//!
//! It holds an epoll descriptor of its own and no reference to the connection while it sleeps: in a forked
//! child, where it does not exist, it keeps nothing alive.

use super::connection::{Connection, Driven, End};
use super::line::Line;
use parking_lot::Mutex;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long it stays out of the way of another thread that reads.
const ASIDE: Duration = Duration::from_millis(1);

/// What the thread is woken for.
pub(super) struct Watch {
    epoll: Arc<OwnedFd>,
    wanted: Mutex<EventFlags>,
}

impl Watch {
    pub(super) fn new(socket: &UnixStream) -> io::Result<Watch> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, socket, EventData::new_u64(0), EventFlags::RDHUP)?;
        Ok(Watch { epoll: Arc::new(epoll), wanted: Mutex::new(EventFlags::RDHUP) })
    }

    /// Begins to watch.
    pub(super) fn start(&self, connection: Weak<Connection>) -> io::Result<JoinHandle<()>> {
        let epoll = self.epoll.clone();
        let thread = std::thread::Builder::new().name("shm-share-watch".to_owned());
        thread.spawn(move || run(&epoll, &connection))
    }

    /// There are answers to come that nobody waits for.
    pub(super) fn want_answers(&self, line: &Line) {
        self.want(line, EventFlags::IN);
    }

    /// There is something to write that did not fit.
    pub(super) fn want_room(&self, line: &Line) {
        self.want(line, EventFlags::OUT);
    }

    fn want(&self, line: &Line, event: EventFlags) {
        let mut wanted = self.wanted.lock();
        if !wanted.contains(event) {
            *wanted |= event;
            self.tell(line, *wanted);
        }
    }

    /// Wants no more than there is to do. The conditions are looked at under the lock, so one that begins
    /// to hold meanwhile is wanted afterwards.
    fn settle(&self, connection: &Connection, line: &Line) {
        let mut wanted = self.wanted.lock();
        let mut needed = EventFlags::RDHUP;
        needed.set(EventFlags::IN, connection.has_given_up());
        needed.set(EventFlags::OUT, line.writer.lock().queued() > 0);
        if *wanted != needed {
            *wanted = needed;
            self.tell(line, needed);
        }
    }

    fn tell(&self, line: &Line, wanted: EventFlags) {
        // Fails only without memory; then the next thread that reads or writes does it.
        let _ = epoll::modify(&self.epoll, &line.socket, EventData::new_u64(0), wanted);
    }
}

fn run(epoll: &OwnedFd, weak: &Weak<Connection>) {
    let mut events = Vec::with_capacity(1);
    loop {
        events.clear();
        // Interrupted by a signal at worst.
        let _ = epoll::wait(epoll, spare_capacity(&mut events), None);
        // Without it, its drop has hung up and waits for this thread.
        let Some(connection) = weak.upgrade() else { return };
        let Some(line) = connection.line() else { return };
        let Some(event) = events.first().map(|event| event.flags) else { continue };
        if event.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR) {
            last_of(&connection, &line);
            return;
        }
        if event.contains(EventFlags::OUT) {
            connection.flush(&line);
        }
        if event.contains(EventFlags::IN) && connection.drive(&line) == Driven::Elsewhere {
            std::thread::sleep(ASIDE);
        }
        if connection.has_ended() {
            // By a callback on this thread, or by one that waits for it.
            last_of(&connection, &line);
            return;
        }
        line.watch.settle(&connection, &line);
        drop((line, connection));
        // Everybody else may have let go meanwhile. Then it was dropped just now, here, and an epoll
        // without a socket would wake nobody.
        if weak.strong_count() == 0 {
            return;
        }
    }
}

/// The server is gone, or the connection was ended here: takes in what had arrived, and tells everybody.
fn last_of(connection: &Connection, line: &Line) {
    while !connection.has_ended() {
        match connection.drive(line) {
            // All that had arrived was taken in; more cannot come.
            Driven::Wholly => connection.end_with(End::Gone),
            Driven::Partly => {}
            // Whoever reads finds the end, too.
            Driven::Elsewhere => std::thread::sleep(ASIDE),
        }
    }
    connection.farewell();
}

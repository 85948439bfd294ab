//! Letting clients in.
//!
//! Upholds invariants 5 and 9: nobody's bytes are read before the kernel has said who it is, and a server
//! without free descriptors waits for one instead of trying again and again.

use super::super::limits::Limits;
use super::super::service::ConnectionId;
use super::connection::{Connection, no_room, not_admitted};
use super::event_loop::EventLoop;
use super::peer::Peer;
use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with};
use shm_core::NotInherited;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// Clients that are let in before the others have their turn again.
const PER_TURN: usize = 64;
/// How long a client may be silent when somebody else could use its place.
const SILENCE: Duration = Duration::from_secs(5);
/// How long to wait when the system has no descriptor or memory for one more.
const REST: Duration = Duration::from_millis(20);

/// The listening socket, and who may come in.
#[derive(Debug)]
pub(super) struct Reception {
    // Declared first: ends before the number can mean something else.
    _here_only: NotInherited,
    listener: OwnedFd,
    limits: Limits,
    most: usize,
    allow_users: Vec<u32>,
    /// Those that have not said who they are, oldest first: ids only grow.
    silent: BTreeMap<ConnectionId, Instant>,
    resumes: Option<Instant>,
}

impl Reception {
    pub(super) fn new(
        listener: OwnedFd,
        limits: Limits,
        most: usize,
        allow_users: Vec<u32>,
    ) -> Reception {
        let (silent, resumes) = (BTreeMap::new(), None);
        Reception {
            _here_only: NotInherited::new(listener.as_fd()),
            listener,
            limits,
            most: most.max(1),
            allow_users,
            silent,
            resumes,
        }
    }

    pub(super) fn listener(&self) -> &OwnedFd {
        &self.listener
    }

    /// When to look at the listener again; nobody waits for it until then.
    pub(super) fn resumes(&self) -> Option<Instant> {
        self.resumes
    }

    /// It said who it is, or went.
    pub(super) fn is_heard(&mut self, id: ConnectionId) {
        self.silent.remove(&id);
    }

    /// The one that has been silent for longest, if that is too long.
    fn most_silent(&self, now: Instant) -> Option<ConnectionId> {
        let (id, since) = self.silent.first_key_value()?;
        (now.saturating_duration_since(*since) >= SILENCE).then_some(*id)
    }
}

impl EventLoop {
    /// Lets in those who wait, as many as fit in a turn.
    pub(super) fn welcome_clients(&mut self) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        for _ in 0..PER_TURN {
            let Some(reception) = &mut self.reception else { return };
            match accept_with(&reception.listener, flags) {
                Ok(socket) => self.let_in(socket),
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(_) => {
                    // No descriptors, no memory: they wait, and so does this.
                    reception.resumes = Some(Instant::now() + REST);
                    self.watch_listener(false);
                    return;
                }
            }
        }
    }

    /// Looks at the listener again after a rest.
    pub(super) fn resume_accepting(&mut self) {
        let Some(reception) = &mut self.reception else { return };
        if reception.resumes.is_some_and(|at| Instant::now() >= at) {
            reception.resumes = None;
            self.watch_listener(true);
        }
    }

    fn let_in(&mut self, socket: OwnedFd) {
        let now = Instant::now();
        let Some(reception) = &self.reception else { return };
        // Whoever cannot be named, or watched, is gone or not to be served.
        let Ok(peer) = Peer::of(&socket) else { return };
        let mut connection = Connection::new(socket, reception.limits);
        if !peer.is_admitted(&reception.allow_users) {
            return connection.refuse(0, not_admitted(peer));
        }
        let most = reception.most;
        if self.connections.len() >= most {
            match reception.most_silent(now) {
                Some(id) => self.close(id),
                None => return connection.refuse(0, no_room(most)),
            }
        }
        let id = self.identity.next_connection();
        if self.watch(id, &connection).is_err() {
            return;
        }
        self.connections.insert(id, connection);
        self.service.connected(id);
        if let Some(reception) = &mut self.reception {
            reception.silent.insert(id, now);
        }
    }
}

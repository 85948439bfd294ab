//! The thread that owns the service and every connection.
//!
//! Upholds invariants 3 and 5: it waits for all of them at once and for nobody in particular; a client is
//! gone when the kernel says that its socket is closed. It runs no endpoint's code and reads no tensor.
//!
//! ```text
//!            ┌──────────────── one turn ────────────────┐
//!  epoll ──▶ │ listener, bell, readable, writable       │ frames of a connection per turn are bounded;
//!            │   ▼ requests, commands, progress         │ one with more has its turn again after the
//!            │ Service ──▶ effects ──▶ jobs, replies    │ others
//!            │   ▼                                      │
//!            │ one flush per connection with replies    │
//!            └──────────────────────────────────────────┘
//! ```

use super::super::limits::Limits;
use super::super::service::{ConnectionId, Effect, Now, Service};
use super::super::wire::Reply;
use super::bell::Bell;
use super::claim::Claim;
use super::command::{Command, Report};
use super::connection::Connection;
use super::ending::Ending;
use super::identity::ServerIdentity;
use super::reception::Reception;
use super::workers::{Progress, Workers};
use crossbeam_channel::{Receiver, Sender};
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// What epoll says of the listener and of the bell; connections have their ids.
const LISTENER: u64 = 0;
const BELL: u64 = 1;
/// The first id of a connection or local caller.
pub(super) const FIRST_CONNECTION: ConnectionId = 2;
/// Events of one turn, and things that other threads want in one turn.
const EVENTS: usize = 256;
const ERRANDS: usize = 1024;
/// Old things are looked for at most this often while there is traffic.
const SWEEP: Duration = Duration::from_millis(50);

/// Everything that the thread owns.
pub(super) struct EventLoop {
    pub(super) epoll: OwnedFd,
    pub(super) bell: Arc<Bell>,
    pub(super) reception: Option<Reception>,
    pub(super) service: Service,
    pub(super) workers: Workers,
    pub(super) commands: Receiver<Command>,
    pub(super) connections: HashMap<ConnectionId, Connection>,
    /// Callers in this process who wait for an answer.
    pub(super) local: HashMap<ConnectionId, Sender<Reply>>,
    pub(super) effects: Vec<Effect>,
    /// Connections that have something to be written.
    pub(super) unflushed: Vec<ConnectionId>,
    /// Connections whose channels may hold frames that were not looked at.
    unfinished: VecDeque<ConnectionId>,
    pub(super) identity: ServerIdentity,
    pub(super) is_introduced: bool,
    pub(super) limits: Limits,
    pub(super) ending: Option<Ending>,
    /// Dropped last of all, when nobody is served any more.
    pub(super) claim: Claim,
    swept: Instant,
    next_sweep: Option<Instant>,
}

/// What a loop begins with.
pub(super) struct Parts {
    pub(super) bell: Arc<Bell>,
    pub(super) reception: Reception,
    pub(super) service: Service,
    pub(super) workers: Workers,
    pub(super) commands: Receiver<Command>,
    pub(super) identity: ServerIdentity,
    pub(super) limits: Limits,
    pub(super) claim: Claim,
}

impl EventLoop {
    pub(super) fn new(parts: Parts) -> io::Result<EventLoop> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &parts.bell, EventData::new_u64(BELL), EventFlags::IN)?;
        let listener = parts.reception.listener();
        epoll::add(&epoll, listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
        Ok(EventLoop {
            epoll,
            bell: parts.bell,
            reception: Some(parts.reception),
            service: parts.service,
            workers: parts.workers,
            commands: parts.commands,
            connections: HashMap::new(),
            local: HashMap::new(),
            effects: Vec::new(),
            unflushed: Vec::new(),
            unfinished: VecDeque::new(),
            identity: parts.identity,
            is_introduced: false,
            limits: parts.limits,
            ending: None,
            claim: parts.claim,
            swept: Instant::now(),
            next_sweep: None,
        })
    }

    /// Serves until a stop has come to its end; true if every worker has ended.
    pub(super) fn run(mut self) -> (bool, Report) {
        let mut events = Vec::with_capacity(EVENTS);
        loop {
            events.clear();
            self.wait(&mut events);
            for event in &events {
                match event.data.u64() {
                    LISTENER => self.welcome_clients(),
                    BELL => self.bell.hear(),
                    id => self.on_connection(id, event.flags),
                }
            }
            self.resume_accepting();
            self.run_errands();
            self.finish_frames();
            self.sweep();
            self.flush();
            if self.has_ended() {
                return self.end();
            }
        }
    }

    fn wait(&mut self, events: &mut Vec<Event>) {
        let now = Instant::now();
        let timeout = self.wakes_at().map(|at| at.saturating_duration_since(now));
        let timeout = timeout.map(|left| Timespec {
            tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        });
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(events), timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            // Nothing else can be wrong with a descriptor and a buffer of this loop's own.
            Err(error) => panic!("epoll_wait: {error}"),
        }
    }

    /// When to look around even if nobody does anything.
    fn wakes_at(&self) -> Option<Instant> {
        let has_more = !self.unfinished.is_empty()
            || !self.commands.is_empty()
            || !self.workers.progress().is_empty();
        if has_more {
            return Some(self.swept);
        }
        let resumes = self.reception.as_ref().and_then(Reception::resumes);
        let ends = self.ending.as_ref().map(|ending| ending.until);
        [self.next_sweep, resumes, ends].into_iter().flatten().min()
    }

    fn on_connection(&mut self, id: ConnectionId, flags: EventFlags) {
        let is_gone = flags.intersects(EventFlags::HUP | EventFlags::ERR);
        let is_full = self.connections.get(&id).is_some_and(Connection::is_full);
        if is_gone && (is_full || !flags.contains(EventFlags::IN)) {
            // Nobody is there to be answered.
            self.close(id);
            return;
        }
        if flags.contains(EventFlags::OUT) {
            self.flush_one(id);
        }
        if flags.intersects(EventFlags::IN | EventFlags::RDHUP) {
            // What it said before it went counts; then reading says that it has gone.
            self.read(id, true);
        }
    }

    /// Gives each connection that had more than fits in a turn another turn.
    fn finish_frames(&mut self) {
        for _ in 0..self.unfinished.len() {
            let Some(id) = self.unfinished.pop_front() else { break };
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.is_unfinished = false;
                self.read(id, false);
            }
        }
    }

    /// Remembers that a connection may have more.
    pub(super) fn is_unfinished(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(&id)
            && !connection.is_unfinished
        {
            connection.is_unfinished = true;
            self.unfinished.push_back(id);
        }
    }

    fn run_errands(&mut self) {
        for _ in 0..ERRANDS {
            let Ok(progress) = self.workers.progress().try_recv() else { break };
            let now = now();
            match progress {
                Progress::Began(job) => self.service.began(job, now),
                Progress::Keyed(job, key) => {
                    self.service.keyed(job, key, now, &mut self.effects);
                }
                Progress::Built(job, outcome) => {
                    self.service.built(job, outcome, now, &mut self.effects);
                }
            }
            self.apply();
        }
        for _ in 0..ERRANDS {
            let Ok(command) = self.commands.try_recv() else { break };
            self.obey(command);
            self.apply();
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Register(endpoint, answer) => {
                let _ = answer.send(self.service.register(*endpoint));
            }
            Command::Call { caller, endpoint, arguments, answer } => {
                self.call_locally(caller, &endpoint, arguments, answer);
            }
            Command::InvalidateCall { caller, endpoint, arguments, answer } => {
                self.invalidate_locally(caller, &endpoint, Some(arguments), answer);
            }
            Command::InvalidateEndpoint { caller, endpoint, answer } => {
                self.invalidate_locally(caller, &endpoint, None, answer);
            }
            Command::GiveUp(caller) => {
                self.local.remove(&caller);
                self.service.hung_up(caller, now(), &mut self.effects);
            }
            Command::Counters(answer) => {
                let _ = answer.send(self.service.counters());
            }
            Command::Info(answer) => {
                self.introduce();
                let _ = answer.send(self.service.info(now()));
            }
            Command::Stop { how, until } => self.begin_to_stop(how, until),
        }
    }

    /// Lets what is too old go, when it is, and a little later than it could be after each change.
    fn sweep(&mut self) {
        let now = now();
        let due = match self.next_sweep {
            Some(at) => now.instant >= at,
            None => now.instant >= self.swept + SWEEP,
        };
        if due {
            self.swept = now.instant;
            let next = self.service.expire(now, &mut self.effects);
            // What is to be old in this very moment has its turn in the next one.
            self.next_sweep = next.map(|at| at.max(now.instant + Duration::from_millis(1)));
            self.apply();
        } else {
            let soon = self.swept + SWEEP;
            self.next_sweep = Some(self.next_sweep.map_or(soon, |at| at.min(soon)));
        }
    }

    /// Ends a connection, and everything that is its client's.
    pub(super) fn close(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.remove(&id) else { return };
        // Closing would not do it if a forked child had the socket too.
        if let Some(socket) = connection.socket() {
            let _ = epoll::delete(&self.epoll, socket);
        }
        drop(connection);
        if let Some(reception) = &mut self.reception {
            reception.is_heard(id);
        }
        self.service.hung_up(id, now(), &mut self.effects);
        self.apply();
    }

    pub(super) fn watch(&self, id: ConnectionId, connection: &Connection) -> io::Result<()> {
        let socket = connection.socket().ok_or(io::ErrorKind::NotConnected)?;
        epoll::add(&self.epoll, socket, EventData::new_u64(id), connection.interest())?;
        Ok(())
    }

    pub(super) fn watch_listener(&mut self, is_watched: bool) {
        let Some(reception) = &self.reception else { return };
        let (listener, data) = (reception.listener(), EventData::new_u64(LISTENER));
        let flags = if is_watched { EventFlags::IN } else { EventFlags::empty() };
        let _ = epoll::modify(&self.epoll, listener, data, flags);
    }

    pub(super) fn flush(&mut self) {
        for id in std::mem::take(&mut self.unflushed) {
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.is_unflushed = false;
                self.flush_one(id);
            }
        }
    }

    fn flush_one(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let was_paused = !connection.interest().contains(EventFlags::IN);
        if connection.flush().is_err() || connection.is_beyond_bound() {
            self.close(id);
            return;
        }
        if let Some(interest) = connection.new_interest()
            && let Some(socket) = connection.socket()
        {
            let _ = epoll::modify(&self.epoll, socket, EventData::new_u64(id), interest);
        }
        if was_paused && !connection.is_full() {
            // What was read before it was paused is looked at now.
            self.is_unfinished(id);
        }
    }
}

/// The time.
pub(super) fn now() -> Now {
    Now { instant: Instant::now(), time: SystemTime::now() }
}

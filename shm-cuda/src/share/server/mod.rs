//! A server: a thread that waits for everybody, and workers that build.
//!
//! ```text
//!  Server ──commands, bell──▶ event loop (owns Service and all connections) ──jobs──▶ workers
//!     ▲                          │      ▲                                                │
//!     └────────── answers ───────┘      └──────────────── progress, bell ────────────────┘
//! ```
//!
//! | module | concept |
//! |---|---|
//! | `claim`, `runtime_folder`, `peer` | whose the path is, which folders are safe, who is at the other end |
//! | `event_loop`, `reception`, `requests`, `connection` | the loop: letting in, reading, answering |
//! | `workers`, `bell` | the threads that build, and how they wake the loop |
//! | `command`, `local` | calls from the same process |
//! | `ending` | stopping |
//!
//! # fork
//! Every descriptor is close-on-exec. A child that is forked from a server's process and does not `exec` is
//! no server: it has neither the thread nor the lock of the path (see `claim`), its [`Server`] refuses
//! calls, and dropping it does nothing. But it has the sockets. A server that stops says so to its clients
//! all the same; the clients of one that is killed see its end when such a child ends too.
//!
//! Upholds invariants 1, 3, 5, 9 and 10.

mod bell;
mod bind_error;
mod claim;
mod command;
mod config;
mod connection;
mod counters;
mod ending;
mod event_loop;
mod identity;
mod local;
mod peer;
mod reception;
mod report;
mod requests;
mod runtime_folder;
mod signals;
mod workers;

pub use bind_error::BindError;
pub use config::ServerConfig;
pub use counters::Counters;
pub use runtime_folder::socket_path;

use super::endpoint::Endpoint;
use super::failure::{Failure, FailureKind};
use super::limits::Limits;
use super::service::{ConnectionId, Service, Stop};
use super::value::{Arguments, Value};
use super::wire::Reply;
use bell::Bell;
use claim::Claim;
use command::{Command, Report};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use event_loop::{EventLoop, Parts};
use identity::ServerIdentity;
use parking_lot::{Condvar, Mutex};
use reception::Reception;
use shm_core::Deadline;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle, ThreadId};
use std::time::{Duration, Instant};
use workers::Workers;

/// How long dropping a server waits for endpoints that are being carried out.
const LEAVE_WITHIN: Duration = Duration::from_millis(500);
/// What the loop may need beyond a deadline to put everything away.
const PUT_AWAY: Duration = Duration::from_secs(1);

/// A running server. Dropping it stops it: callers that wait get a failure, endpoints that are being
/// carried out are asked to stop and get half a second to do so.
pub struct Server {
    commands: Sender<Command>,
    bell: Arc<Bell>,
    identity: ServerIdentity,
    limits: Limits,
    ended: Arc<Ended>,
    loop_thread: ThreadId,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// How it came to an end, once it has.
#[derive(Debug, Default)]
struct Ended {
    outcome: Mutex<Option<Outcome>>,
    happened: Condvar,
}

#[derive(Debug)]
struct Outcome {
    have_workers_ended: bool,
    report: Option<Report>,
}

impl Server {
    /// Takes the path and begins to serve. [`ServerConfig::limits`] are also those of the service.
    pub fn start(config: ServerConfig, endpoints: Vec<Endpoint>) -> Result<Server, BindError> {
        let system = |call| {
            let path = config.path.clone();
            move |error: io::Error| BindError::system(call, &path, error)
        };
        let workers = config.workers.max(1);
        let identity =
            ServerIdentity::new(config.path.clone(), workers).map_err(system("getrandom"))?;
        let limits = config.limits;
        let service = super::service::ServiceConfig { limits, ..config.service };
        let mut service = Service::new(service, identity.id);
        service.introduce(report::about(&identity, Vec::new()));
        for endpoint in endpoints {
            service.register(endpoint)?;
        }
        let bell = Arc::new(Bell::new().map_err(system("eventfd"))?);
        let (commands, queue) = unbounded();
        let mut claim = Claim::take(&config.path)?;
        let listener = claim.listen(!config.allow_users.is_empty())?;
        let workers = Workers::start(workers, limits, &bell).map_err(system("clone"))?;
        let reception = Reception::new(listener, limits, config.connections, config.allow_users);
        let parts = Parts {
            bell: bell.clone(),
            reception,
            service,
            workers,
            commands: queue,
            identity: identity.clone(),
            limits,
            claim,
        };
        let event_loop = EventLoop::new(parts).map_err(system("epoll_create"))?;
        let ended = Arc::new(Ended::default());
        let announcement = Announcement(ended.clone());
        let thread = thread::Builder::new()
            .name("share-server".into())
            .spawn(move || {
                signals::block();
                announcement.make(event_loop.run());
            })
            .map_err(system("clone"))?;
        Ok(Server {
            commands,
            bell,
            identity,
            limits,
            ended,
            loop_thread: thread.thread().id(),
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Offers one more endpoint.
    pub fn register(&self, endpoint: Endpoint) -> Result<(), Failure> {
        let (answer, answered) = bounded(1);
        self.command(Command::Register(Box::new(endpoint), answer))?;
        answered.recv().map_err(|_| self.is_stopping())?
    }

    /// Where clients find it.
    pub fn path(&self) -> &Path {
        &self.identity.path
    }

    /// Which server it is.
    pub fn id(&self) -> [u8; 16] {
        self.identity.id
    }

    /// Calls an endpoint from this process: same cache, same builds, no socket, no lease. The calling
    /// thread waits; an endpoint that calls another one this way keeps its own worker meanwhile.
    pub fn invoke(
        &self,
        endpoint: &str,
        arguments: Arguments,
        deadline: Deadline,
    ) -> Result<Value, Failure> {
        let (answer, answered) = bounded(1);
        let (caller, endpoint) = (self.identity.next_connection(), endpoint.to_owned());
        self.command(Command::Call { caller, endpoint, arguments, answer })?;
        local::value_of(self.wait_for(caller, &answered, deadline)?, &self.limits)
    }

    /// Forgets what is cached for these arguments.
    pub fn invalidate_call(&self, endpoint: &str, arguments: Arguments) -> Result<u64, Failure> {
        let (answer, answered) = bounded(1);
        let (caller, endpoint) = (self.identity.next_connection(), endpoint.to_owned());
        self.command(Command::InvalidateCall { caller, endpoint, arguments, answer })?;
        local::forgotten(self.wait_for(caller, &answered, Deadline::NEVER)?)
    }

    /// Forgets what is cached of an endpoint.
    pub fn invalidate_endpoint(&self, endpoint: &str) -> Result<u64, Failure> {
        let (answer, answered) = bounded(1);
        let (caller, endpoint) = (self.identity.next_connection(), endpoint.to_owned());
        self.command(Command::InvalidateEndpoint { caller, endpoint, answer })?;
        local::forgotten(self.wait_for(caller, &answered, Deadline::NEVER)?)
    }

    /// The same as clients are told.
    pub fn info(&self) -> Value {
        let now = self.query(Command::Info);
        now.or_else(|| self.last().map(|report| report.info)).unwrap_or(Value::Null)
    }

    /// What has happened so far; of a server that was stopped, until then.
    pub fn counters(&self) -> Counters {
        let now = self.query(Command::Counters);
        now.or_else(|| self.last().map(|report| report.counters)).unwrap_or_default()
    }

    /// Takes no more calls, finishes or gives up what there is, and ends; false if that took too long for
    /// some build, whose thread is left to end by itself.
    ///
    /// With [`Stop::Drain`], who has no answer `within` the time gets a failure. From the first moment on
    /// nobody is let in, and the path leads nowhere; it can be taken by another server when this one has
    /// ended.
    pub fn stop(&self, how: Stop, within: Duration) -> bool {
        if !self.identity.is_here() {
            return false;
        }
        let until = Instant::now().checked_add(within);
        // A time that the clock cannot represent is a very long one.
        let until = until.unwrap_or_else(|| Instant::now() + Duration::from_secs(1 << 30));
        let _ = self.command(Command::Stop { how, until });
        let until = until.checked_add(PUT_AWAY).map_or(Deadline::NEVER, Deadline::at);
        self.wait(until) && self.have_workers_ended()
    }

    /// Waits until it has been stopped.
    pub fn wait(&self, deadline: Deadline) -> bool {
        if !self.identity.is_here() || thread::current().id() == self.loop_thread {
            return false;
        }
        let mut outcome = self.ended.outcome.lock();
        while outcome.is_none() {
            match deadline.remaining() {
                None => self.ended.happened.wait(&mut outcome),
                Some(left) if left.is_zero() => return false,
                Some(left) => drop(self.ended.happened.wait_for(&mut outcome, left)),
            }
        }
        drop(outcome);
        if let Some(thread) = self.thread.lock().take() {
            // It has nothing left to do.
            let _ = thread.join();
        }
        true
    }

    fn have_workers_ended(&self) -> bool {
        self.ended.outcome.lock().as_ref().is_some_and(|outcome| outcome.have_workers_ended)
    }

    /// What the loop says at once; `None` when there is no loop any more.
    fn query<T>(&self, command: impl FnOnce(Sender<T>) -> Command) -> Option<T> {
        let (answer, answered) = bounded(1);
        self.command(command(answer)).ok()?;
        answered.recv().ok()
    }

    /// What it said last.
    fn last(&self) -> Option<Report> {
        self.wait(Deadline::after(PUT_AWAY));
        self.ended.outcome.lock().as_ref().and_then(|outcome| outcome.report.clone())
    }

    fn wait_for(
        &self,
        caller: ConnectionId,
        answered: &Receiver<Reply>,
        deadline: Deadline,
    ) -> Result<Reply, Failure> {
        let received = match deadline.remaining() {
            None => answered.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(left) => answered.recv_timeout(left),
        };
        received.map_err(|error| match error {
            RecvTimeoutError::Disconnected => self.is_stopping(),
            RecvTimeoutError::Timeout => {
                let _ = self.command(Command::GiveUp(caller));
                let text = "no answer within the deadline; the request was cancelled";
                Failure::new(FailureKind::Cancelled, text)
            }
        })
    }

    fn command(&self, command: Command) -> Result<(), Failure> {
        if !self.identity.is_here() {
            let text = format!(
                "this server belongs to process {}; a forked child has to connect to it",
                self.identity.pid
            );
            return Err(Failure::new(FailureKind::Stale, text));
        }
        self.commands.send(command).map_err(|_| self.is_stopping())?;
        self.bell.ring();
        Ok(())
    }

    fn is_stopping(&self) -> Failure {
        let text = format!("the server at {} has stopped", self.identity.path.display());
        Failure::new(FailureKind::Stopping, text)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.identity.is_here() {
            self.stop(Stop::Abort, LEAVE_WITHIN);
        } else {
            // A thread of the parent's, which this process does not have.
            std::mem::forget(self.thread.get_mut().take());
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("path", &self.identity.path)
            .field("pid", &self.identity.pid)
            .finish_non_exhaustive()
    }
}

/// Says that the loop has ended, even if it ended in a panic.
struct Announcement(Arc<Ended>);

impl Announcement {
    fn make(&self, (have_workers_ended, report): (bool, Report)) {
        let outcome = Outcome { have_workers_ended, report: Some(report) };
        *self.0.outcome.lock() = Some(outcome);
    }
}

impl Drop for Announcement {
    fn drop(&mut self) {
        let failed = Outcome { have_workers_ended: false, report: None };
        self.0.outcome.lock().get_or_insert(failed);
        self.0.happened.notify_all();
    }
}

//! What a server decides: who holds what, what is cached, what is built, who waits.
//!
//! No sockets, no threads, no clock: requests and results go in, effects come out.
//!
//! ```text
//!                 no key, or one at once ┌────────┐ of a serialized endpoint   ┌──────┐
//!   call ─▶ plan ───────────────────────▶│  find  │───────────────────────────▶│ Held │
//!             │                          └────────┘        nothing is there    └──┬───┘
//!             │ tensors, or a function    ▲ │   │ nothing is there                │ the one before
//!             ▼                           │ │   │                                 ▼ is done: find again
//!        ┌────────┐  keyed                │ │   └─────────────────────────▶┌────────┐ began ┌─────────┐
//!        │ Keying │───────────────────────┘ │                              │ Queued │──────▶│ Running │
//!        └────────┘                         │ cached                       └───┬────┘       └────┬────┘
//!                                           ▼                                  ▼     built       ▼
//!                                answer ◀── item ◀──────────────────────────────────────────────┘
//! ```
//!
//! Whoever waits for a build is a *party* of it: a caller, or a task, which has waiting callers of its own. A
//! build that no party is left of is asked to stop. What was built is an *item*: it lives while a lease is
//! out on it, a task holds it for whoever fetches it, or the cache keeps it; a managed one has the item's
//! number as its object id.
//!
//! Upholds invariants 1 (what a connection holds ends with it, exactly once), 5 (nobody who waits costs
//! anything), 7 (states of builds and tasks, and what leads from one to the next) and 10.

mod builds;
mod cache;
mod calls;
mod effect;
mod holdings;
mod info;
mod offers;
mod tasks;

#[cfg(test)]
mod tests;

pub use effect::{Caller, ConnectionId, Effect, Job, JobId, Now, Stop, Work};
pub use info::About;

use super::endpoint::Endpoint;
use super::failure::{Failure, FailureKind};
use super::limits::Limits;
use super::server::Counters;
use super::value::Arguments;
use super::wire::{EncodedValue, Reply, Request, TaskId};
use builds::Builds;
use cache::Cache;
use holdings::Holdings;
use offers::Offers;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};
use tasks::Tasks;

/// Bounds of what a server keeps.
#[derive(Clone, Debug)]
pub struct ServiceConfig {
    /// Cached results, at most. Where all of them are leased, further results are not cached.
    pub cache_entries: usize,
    /// Bytes of the storages of cached results that nobody has a lease on, at most.
    pub cache_bytes: usize,
    /// How long a cached result may be served.
    pub cache_age: Option<Duration>,
    /// Tasks that are known, at most.
    pub tasks: usize,
    /// How long the result of a task is kept.
    pub result_age: Duration,
    /// Builds that may wait for a worker, 1 at least; further calls fail with `Busy`.
    pub queue: usize,
    /// What a value may be.
    pub limits: Limits,
}

/// The state of a server.
///
/// Each caller with a request number other than 0 gets one reply to each request, unless its connection
/// hangs up first; only [`Request::Cancel`] has none. Each job that is handed out is to be answered once, by
/// [`Service::keyed`] or [`Service::built`].
#[derive(Debug)]
pub struct Service {
    config: ServiceConfig,
    server: [u8; 16],
    about: Option<About>,
    offers: Offers,
    connections: HashMap<ConnectionId, Connection>,
    holdings: Holdings,
    cache: Cache,
    builds: Builds,
    tasks: Tasks,
    stopping: Option<Stop>,
    /// Those that only grow, and connections; the others are counted where they are.
    counters: Counters,
    /// Leases that somebody wanted to give back who did not have them.
    stale_releases: u64,
    /// Whether no lease is needed to keep a value readable.
    survives: fn(&EncodedValue) -> bool,
}

/// What one client, or one caller of this process, has and waits for.
#[derive(Debug, Default)]
struct Connection {
    /// True for a client: a caller of this process is no connection to count.
    client: bool,
    leases: BTreeSet<u64>,
    waiting: BTreeMap<u64, Place>,
    tasks: BTreeSet<TaskId>,
}

/// Where a caller waits. The second number is its turn there.
#[derive(Clone, Copy, Debug)]
enum Place {
    Job(JobId, u64),
    Task(TaskId, u64),
}

impl Service {
    /// Nothing is there yet. `server` names this start of the server.
    pub fn new(config: ServiceConfig, server: [u8; 16]) -> Service {
        Service {
            config,
            server,
            about: None,
            offers: Offers::default(),
            connections: HashMap::new(),
            holdings: Holdings::default(),
            cache: Cache::default(),
            builds: Builds::default(),
            tasks: Tasks::default(),
            stopping: None,
            counters: Counters::default(),
            stale_releases: 0,
            survives: EncodedValue::survives_owner,
        }
    }

    /// What only the server knows of itself, for its info.
    pub fn introduce(&mut self, about: About) {
        self.about = Some(about);
    }

    /// Offers an endpoint.
    pub fn register(&mut self, endpoint: Endpoint) -> Result<(), Failure> {
        if self.stopping.is_some() {
            return Err(stopping());
        }
        self.offers.add(endpoint)
    }

    /// A client was let in.
    pub fn connected(&mut self, connection: ConnectionId) {
        let entry = self.connections.entry(connection).or_default();
        if !std::mem::replace(&mut entry.client, true) {
            self.counters.connections += 1;
            self.counters.connections_total += 1;
        }
    }

    /// A client, or whoever it was, is gone: its leases end, its tasks and waits too.
    ///
    /// Whoever called through [`Service::request`] or [`Service::call`] has to hang up in the end, also if
    /// it was never announced by [`Service::connected`].
    pub fn hung_up(&mut self, connection: ConnectionId, _now: Now, effects: &mut Vec<Effect>) {
        let Some(gone) = self.connections.remove(&connection) else { return };
        self.counters.connections -= u64::from(gone.client);
        for place in gone.waiting.into_values() {
            self.leave(place);
        }
        for task in gone.tasks {
            self.abandon(task, "its submitter is gone", effects);
        }
        self.counters.leases_hung_up += gone.leases.len() as u64;
        for lease in gone.leases {
            self.end_lease(lease);
        }
        self.trim(None);
    }

    /// Carries out a request as far as that goes.
    ///
    /// A number of 0 wants no answer: what would only make an answer is not done then.
    pub fn request(
        &mut self,
        caller: Caller,
        request: Request,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let done = match request {
            Request::Release(leases) => Ok(Reply::Released(self.release(caller, &leases))),
            Request::Cancel(request) => return self.cancel(caller.connection, request, effects),
            Request::CancelTask(task) => self.cancel_task(task, now, effects).map(Reply::Cancelled),
            Request::InvalidateEndpoint(name) => {
                self.forget_endpoint(&name).map(Reply::Invalidated)
            }
            Request::InvalidateCall { endpoint, arguments } => {
                return self.received(caller, effects, arguments, |service, arguments, effects| {
                    service.invalidate_call(caller, &endpoint, arguments, now, effects);
                });
            }
            _ if caller.request == 0 => return,
            Request::Hello(_) => Err(Failure::new(
                FailureKind::Protocol,
                "hello was said before; it is the first frame of a connection and no other",
            )),
            Request::Ping => Ok(Reply::Pong),
            Request::ServerInfo => Ok(Reply::Info(self.info(now))),
            Request::Endpoints => Ok(Reply::Info(self.offers.list())),
            Request::Call { endpoint, arguments } => match self.accept(caller, &endpoint) {
                Ok(_) => {
                    return self.received(caller, effects, arguments, |service, arguments, out| {
                        service.call(caller, &endpoint, arguments, now, out);
                    });
                }
                Err(failure) => Err(failure),
            },
            Request::Submit { endpoint, arguments } => match self.accept(caller, &endpoint) {
                Ok(_) => {
                    return self.received(caller, effects, arguments, |service, arguments, out| {
                        service.submit(caller, &endpoint, arguments, now, out);
                    });
                }
                Err(failure) => Err(failure),
            },
            Request::Task(task) => self.task_info(task).map(Reply::Task),
            Request::Tasks(state) => Ok(Reply::Tasks(self.task_list(state))),
            Request::TaskResult(task) => self.fetch(caller, task, now),
            Request::WaitTask(task) => match self.wait(caller, task, now) {
                Some(done) => done,
                None => return,
            },
            Request::Acquire(object) => self.acquire(caller, object, now),
            Request::Object(object) => Ok(Reply::Object(self.object_info(object))),
        };
        self.reply(caller, done.unwrap_or_else(Reply::Failed), effects);
    }

    /// Lets what is too old go; when to be called again, if anything will be too old then.
    pub fn expire(&mut self, now: Now, effects: &mut Vec<Effect>) -> Option<Instant> {
        // Nobody waits for what is over, so that nobody has to be told.
        let _ = effects;
        let task = self.expire_tasks(now.instant);
        let entry = self.expire_cache(now.instant);
        task.into_iter().chain(entry).min()
    }

    /// Takes no more calls. An abort may follow a drain.
    ///
    /// Each client is told once, by [`Reply::Stopping`].
    pub fn stop(&mut self, how: Stop, now: Now, effects: &mut Vec<Effect>) {
        if self.stopping.is_none() {
            let mut clients: Vec<ConnectionId> =
                self.connections.iter().filter(|(_, one)| one.client).map(|(id, _)| *id).collect();
            clients.sort_unstable();
            effects.extend(clients.into_iter().map(|connection| {
                Effect::Reply(Caller { connection, request: 0 }, Reply::Stopping)
            }));
        }
        if self.stopping == Some(Stop::Abort) {
            return;
        }
        self.stopping = Some(how);
        if how == Stop::Abort {
            self.abort_builds(now, effects);
        }
    }

    /// True if nothing is being built and nobody waits.
    pub fn is_idle(&self) -> bool {
        self.builds.is_empty() && self.connections.values().all(|one| one.waiting.is_empty())
    }

    /// Removes a waiting caller, who is told that.
    fn cancel(&mut self, connection: ConnectionId, request: u64, effects: &mut Vec<Effect>) {
        let waiting = self.connections.get_mut(&connection).map(|one| &mut one.waiting);
        let Some(place) = waiting.and_then(|waiting| waiting.remove(&request)) else { return };
        self.leave(place);
        let failure = Failure::new(FailureKind::Cancelled, "the request was cancelled");
        self.fail(Caller { connection, request }, failure, effects);
    }

    /// Takes a caller, who is not in its connection's list any more, off where it waits.
    fn leave(&mut self, place: Place) {
        match place {
            Place::Job(job, turn) => self.leave_job(job, turn),
            Place::Task(task, turn) => self.tasks.leave(task, turn),
        }
    }

    fn waits(&mut self, caller: Caller, place: Place) {
        let connection = self.connections.entry(caller.connection).or_default();
        connection.waiting.insert(caller.request, place);
    }

    fn waits_no_more(&mut self, caller: Caller) {
        if let Some(connection) = self.connections.get_mut(&caller.connection) {
            connection.waiting.remove(&caller.request);
        }
    }

    /// Decodes what came with a request, then goes on with it.
    fn received(
        &mut self,
        caller: Caller,
        effects: &mut Vec<Effect>,
        payload: super::wire::Payload,
        go_on: impl FnOnce(&mut Service, Arguments, &mut Vec<Effect>),
    ) {
        let access = super::memory::Access::Read;
        let limits = &self.config.limits;
        match super::wire::decode_arguments(&payload.body, payload.descriptors, limits, access) {
            Ok(arguments) => go_on(self, arguments, effects),
            Err(error) => {
                let failure = Failure::new(FailureKind::Protocol, format!("arguments: {error}"))
                    .with("field", error.field)
                    .with("expected", &error.expected)
                    .with("found", &error.found);
                self.fail(caller, failure, effects);
            }
        }
    }

    fn reply(&mut self, caller: Caller, reply: Reply, effects: &mut Vec<Effect>) {
        if caller.request == 0 {
            return;
        }
        self.counters.requests += 1;
        self.counters.errors += u64::from(matches!(reply, Reply::Failed(_)));
        effects.push(Effect::Reply(caller, reply));
    }

    fn fail(&mut self, caller: Caller, failure: Failure, effects: &mut Vec<Effect>) {
        self.reply(caller, Reply::Failed(failure), effects);
    }

    /// A refusal because of a limit.
    fn busy(&mut self, what: &str, limit: usize) -> Failure {
        self.counters.refused += 1;
        let message = format!("{what} (at most {limit}); try again later");
        Failure::new(FailureKind::Busy, message).with("limit", limit)
    }
}

fn stopping() -> Failure {
    Failure::new(
        FailureKind::Stopping,
        "the server is stopping and takes no more calls; connect to its successor",
    )
}

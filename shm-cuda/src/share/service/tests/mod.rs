//! The rules of the service one by one, and all of them at once beside a plain model.

mod bounds;
mod leases;
mod model;
mod random;
mod sharing;
mod steps;
mod tasks;

use super::super::endpoint::{Concurrency, Endpoint, EndpointOptions, Execution, KeyRule};
use super::super::failure::{Failure, FailureKind};
use super::super::limits::Limits;
use super::super::value::{Arguments, Value};
use super::super::wire::{Answer, EncodedValue, Reply, Request};
use super::{Caller, ConnectionId, Effect, Job, JobId, Now, Service, ServiceConfig, Stop, Work};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// A service with a clock of its own, and what it wanted done so far.
struct Rig {
    service: Service,
    now: Now,
    replies: Vec<(Caller, Reply)>,
    jobs: Vec<Job>,
    last_request: u64,
}

impl Rig {
    fn new(config: ServiceConfig, endpoints: Vec<Endpoint>) -> Rig {
        let mut service = Service::new(config, [7; 16]);
        service.survives = |value| value.body.len() <= 8;
        for endpoint in endpoints {
            service.register(endpoint).unwrap();
        }
        let now = Now { instant: Instant::now(), time: SystemTime::now() };
        Rig { service, now, replies: Vec::new(), jobs: Vec::new(), last_request: 0 }
    }

    fn take(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Reply(caller, reply) => self.replies.push((caller, reply)),
                Effect::Run(job) => self.jobs.push(job),
            }
        }
    }

    fn caller(&mut self, connection: ConnectionId) -> Caller {
        self.last_request += 1;
        Caller { connection, request: self.last_request }
    }

    /// Begins a call; the request is to be answered later.
    fn call(&mut self, connection: ConnectionId, endpoint: &str, key: i128) -> Caller {
        let caller = self.caller(connection);
        let mut effects = Vec::new();
        let arguments = Arguments::positional([Value::Int(key)]);
        self.service.call(caller, endpoint, arguments, self.now, &mut effects);
        self.take(effects);
        caller
    }

    fn submit(&mut self, connection: ConnectionId, endpoint: &str, key: i128) -> Reply {
        let caller = self.caller(connection);
        let mut effects = Vec::new();
        let arguments = Arguments::positional([Value::Int(key)]);
        self.service.submit(caller, endpoint, arguments, self.now, &mut effects);
        self.take(effects);
        self.reply(caller).expect("a submission is answered at once")
    }

    fn task(&mut self, connection: ConnectionId, endpoint: &str, key: i128) -> u64 {
        match self.submit(connection, endpoint, key) {
            Reply::Submitted(task) => task,
            other => panic!("{other:?}"),
        }
    }

    fn send(&mut self, connection: ConnectionId, request: Request) -> Caller {
        let caller = self.caller(connection);
        let mut effects = Vec::new();
        self.service.request(caller, request, self.now, &mut effects);
        self.take(effects);
        caller
    }

    fn ask(&mut self, connection: ConnectionId, request: Request) -> Reply {
        let caller = self.send(connection, request);
        self.reply(caller).expect("it is answered at once")
    }

    fn invalidate(&mut self, connection: ConnectionId, endpoint: &str, key: i128) -> Caller {
        let caller = self.caller(connection);
        let mut effects = Vec::new();
        let arguments = Arguments::positional([Value::Int(key)]);
        self.service.invalidate_call(caller, endpoint, arguments, self.now, &mut effects);
        self.take(effects);
        caller
    }

    /// The one reply to a request, if it is there.
    fn reply(&mut self, caller: Caller) -> Option<Reply> {
        let at = self.replies.iter().position(|(whom, _)| *whom == caller)?;
        let reply = self.replies.remove(at).1;
        assert!(self.replies.iter().all(|(whom, _)| *whom != caller), "answered twice");
        Some(reply)
    }

    fn answer(&mut self, caller: Caller) -> Answer {
        match self.reply(caller) {
            Some(Reply::Answer(answer)) => answer,
            other => panic!("{other:?}"),
        }
    }

    fn failure(&mut self, caller: Caller) -> Failure {
        match self.reply(caller) {
            Some(Reply::Failed(failure)) => failure,
            other => panic!("{other:?}"),
        }
    }

    /// The only job that is to be done.
    fn job(&mut self) -> Job {
        assert_eq!(self.jobs.len(), 1, "{:?}", self.jobs);
        self.jobs.remove(0)
    }

    fn began(&mut self, job: JobId) {
        self.service.began(job, self.now);
    }

    fn built(&mut self, job: JobId, outcome: Result<EncodedValue, Failure>) {
        let mut effects = Vec::new();
        self.service.built(job, outcome, self.now, &mut effects);
        self.take(effects);
    }

    /// Does the only job.
    fn build(&mut self, token: u64) -> JobId {
        let job = self.job().id;
        self.began(job);
        self.built(job, Ok(value(token, 10)));
        job
    }

    fn keyed(&mut self, job: Job) {
        let Work::Key { arguments, function } = &job.work else { panic!("{job:?}") };
        let key = super::super::key::of_work(arguments, function.as_ref());
        let mut effects = Vec::new();
        self.service.keyed(job.id, key, self.now, &mut effects);
        self.take(effects);
    }

    fn hang_up(&mut self, connection: ConnectionId) {
        let mut effects = Vec::new();
        self.service.hung_up(connection, self.now, &mut effects);
        self.take(effects);
    }

    fn pass(&mut self, time: Duration) -> Option<Duration> {
        self.now.instant += time;
        self.now.time += time;
        let mut effects = Vec::new();
        let next = self.service.expire(self.now, &mut effects);
        self.take(effects);
        next.map(|next| next - self.now.instant)
    }

    fn stop(&mut self, how: Stop) {
        let mut effects = Vec::new();
        self.service.stop(how, self.now, &mut effects);
        self.take(effects);
    }

    /// True if nothing at all is left of what was.
    fn is_clean(&self) -> bool {
        let service = &self.service;
        service.connections.is_empty()
            && service.holdings.is_empty()
            && service.cache.is_empty()
            && service.builds.is_clean()
            && service.tasks.is_empty()
            && service.offers.is_at_rest()
    }
}

fn config() -> ServiceConfig {
    ServiceConfig {
        cache_entries: 100,
        cache_bytes: 1000,
        cache_age: None,
        tasks: 10,
        result_age: Duration::from_secs(60),
        queue: 100,
        limits: Limits::default(),
    }
}

fn options() -> EndpointOptions {
    EndpointOptions::default()
}

fn managed() -> EndpointOptions {
    EndpointOptions { managed: true, ..options() }
}

fn endpoint(name: &str, options: EndpointOptions) -> Endpoint {
    Endpoint::new(name, |_, _| Ok(Value::Null)).with(options)
}

/// A value that can be told from others.
fn value(token: u64, bytes: usize) -> EncodedValue {
    let body = Arc::from(token.to_le_bytes());
    EncodedValue { body, storages: Arc::from([]), storage_len: bytes }
}

/// The same, such that a lease is needed to keep it readable.
fn mortal(token: u64, bytes: usize) -> EncodedValue {
    let mut body = token.to_le_bytes().to_vec();
    body.push(0);
    EncodedValue { body: Arc::from(body), ..value(token, bytes) }
}

fn token(value: &EncodedValue) -> u64 {
    u64::from_le_bytes(value.body[..8].try_into().unwrap())
}

fn broken() -> Failure {
    Failure::new(FailureKind::Build, "no such model").of_type("LookupError")
}

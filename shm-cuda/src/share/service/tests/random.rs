//! Anything in any order: the service and the model agree on every reply, and on all that is left.

use super::super::super::wire::TaskState;
use super::model::{Expect, Keyed, Model, Stage, Traits, Who};
use super::*;
use std::collections::HashMap;

/// Values that need a lease, to be told by their token.
pub fn is_mortal(token: u64) -> bool {
    token.is_multiple_of(5)
}

#[test]
fn a_hundred_thousand_operations_agree_with_a_plain_model() {
    let seed = std::env::var("SHM_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("SHM_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut seen: HashMap<&'static str, u64> = HashMap::new();
    for _ in 0..EPISODES {
        let mut pair = Pair::new(random.fork());
        for step in 0..STEPS {
            pair.step = step;
            pair.random_step();
        }
        pair.end();
        pair.seen.into_iter().for_each(|(what, times)| *seen.entry(what).or_default() += times);
    }
    println!("{seen:?}");
    // A model that agrees on nothing having happened would prove nothing.
    for what in ["answer", "busy", "build", "stale", "task", "stopping", "cancelled"] {
        assert!(
            seen.get(what).is_some_and(|times| *times > 100),
            "{what} hardly happened: {seen:?}"
        );
    }
}

const EPISODES: usize = 50;
const STEPS: usize = 2000;
const CONNECTIONS: usize = 16;

struct Pair {
    random: fastrand::Rng,
    rig: Rig,
    model: Model,
    connections: Vec<u64>,
    last_connection: u64,
    last_token: u64,
    /// Objects by their values, and all leases that ever were.
    objects: Vec<(u64, u64)>,
    leases: Vec<u64>,
    cancellations: HashMap<u64, super::super::super::endpoint::Cancellation>,
    seen: HashMap<&'static str, u64>,
    step: usize,
}

impl Pair {
    fn new(mut random: fastrand::Rng) -> Pair {
        let limits = Limits { in_flight: 6, ..Limits::default() };
        let config = ServiceConfig {
            cache_entries: random.usize(3..12),
            cache_bytes: random.usize(20..90),
            cache_age: random.bool().then(|| Duration::from_secs(random.u64(20..60))),
            tasks: random.usize(4..16),
            result_age: Duration::from_secs(random.u64(10..60)),
            queue: random.usize(3..12),
            limits,
        };
        let traits: Vec<Traits> = (0..10).map(|at| any_traits(&mut random, at)).collect();
        let endpoints = traits.iter().enumerate().map(|(at, traits)| offered(at, traits)).collect();
        let mut pair = Pair {
            random,
            rig: Rig::new(config.clone(), endpoints),
            model: Model::new(config, traits),
            connections: vec![],
            last_connection: 0,
            last_token: 0,
            objects: vec![],
            leases: vec![],
            cancellations: HashMap::new(),
            seen: HashMap::new(),
            step: 0,
        };
        (0..CONNECTIONS).for_each(|_| pair.connect());
        pair
    }

    fn connect(&mut self) {
        self.last_connection += 1;
        self.connections.push(self.last_connection);
        self.rig.service.connected(self.last_connection);
        self.model.count.connections += 1;
        self.model.count.connections_total += 1;
    }

    fn random_step(&mut self) {
        let connection = self.connections[self.random.usize(..CONNECTIONS)];
        let endpoint = self.random.usize(..self.model.traits.len());
        let name = endpoint.to_string();
        let argument = if self.random.u8(..40) == 0 { -1 } else { self.random.i128(0..5) };
        let task = 1 + self.random.u64(..self.model.tasks.last().map_or(3, |task| task.id + 1));
        match self.random.u32(..1000) {
            0..220 => {
                let who = who(self.rig.call(connection, &name, argument));
                self.model.call(who, endpoint, argument, false);
            }
            220..280 => {
                let caller = self.rig.caller(connection);
                let mut effects = vec![];
                let arguments = Arguments::positional([Value::Int(argument)]);
                let now = self.rig.now;
                self.rig.service.submit(caller, &name, arguments, now, &mut effects);
                self.rig.take(effects);
                self.model.call(who(caller), endpoint, argument, true);
            }
            280..640 => self.work(),
            640..760 => {
                let mut ids: Vec<u64> =
                    (0..self.random.usize(1..4)).map(|_| self.any_lease()).collect();
                let own = self.model.leases.iter().filter(|lease| lease.who.0 == connection);
                ids.extend(own.take(self.random.usize(..6)).filter_map(|lease| lease.id));
                let who = who(self.rig.send(connection, Request::Release(ids.clone())));
                self.model.release(who, &ids);
            }
            760..790 => {
                let Some((token, object)) = self.random.choice(&self.objects).copied() else {
                    return;
                };
                let who = who(self.rig.send(connection, Request::Acquire(object)));
                self.model.acquire(who, Some(token));
            }
            790..810 => {
                let Some((token, object)) = self.random.choice(&self.objects).copied() else {
                    return;
                };
                let who = who(self.rig.send(connection, Request::Object(object)));
                self.model.object(who, token);
            }
            810..830 => {
                let who = who(self.rig.invalidate(connection, &name, argument));
                self.model.invalidate(who, endpoint, argument);
            }
            830..840 => {
                let request = Request::InvalidateEndpoint(name);
                let who = who(self.rig.send(connection, request));
                self.model.invalidate_endpoint(who, endpoint);
            }
            840..860 => {
                let waiting = self.model.waiting(connection);
                let request = self.random.choice(waiting).unwrap_or(77);
                self.rig.send(connection, Request::Cancel(request));
                self.model.cancel(connection, request);
            }
            860..880 => {
                let who = who(self.rig.send(connection, Request::CancelTask(task)));
                self.model.cancel_task(who, task);
            }
            880..900 => {
                let who = who(self.rig.send(connection, Request::Task(task)));
                self.model.ask_task(who, task);
            }
            900..910 => {
                let states = [
                    None,
                    Some(TaskState::Pending),
                    Some(TaskState::Running),
                    Some(TaskState::Failed),
                ];
                let state = self.random.choice(states).flatten();
                let who = who(self.rig.send(connection, Request::Tasks(state)));
                self.model.list(who, state);
            }
            wait @ 910..955 => {
                let wait = wait < 930;
                let request =
                    if wait { Request::WaitTask(task) } else { Request::TaskResult(task) };
                let who = who(self.rig.send(connection, request));
                self.model.fetch(who, task, wait);
            }
            955..970 => {
                self.connections.retain(|one| *one != connection);
                self.rig.hang_up(connection);
                self.model.hang_up(connection);
                self.agree();
                self.connect();
            }
            970..985 => {
                let seconds = self.random.u64(..10);
                self.model.now += seconds;
                let next = self.rig.pass(Duration::from_secs(seconds));
                assert!(next.is_none_or(|next| next > Duration::ZERO));
                self.model.expire();
            }
            985..995 => {
                self.rig.now.instant += Duration::from_secs(1);
                self.model.now += 1;
            }
            _ if self.step > STEPS * 9 / 10 && self.random.bool() => {
                let how = if self.random.u8(..5) == 0 { Stop::Abort } else { Stop::Drain };
                self.stop(how);
            }
            _ => {
                let who = who(self.rig.send(connection, Request::Ping));
                self.model.ping(who);
            }
        }
        self.agree();
    }

    /// A worker does something.
    fn work(&mut self) {
        let all: Vec<(u64, Stage)> =
            self.model.jobs.iter().filter_map(|job| Some((job.id?, job.stage))).collect();
        let Some((id, stage)) = self.random.choice(all) else { return };
        match stage {
            Stage::Keying => {
                let at = self.rig.jobs.iter().position(|job| job.id == id).unwrap();
                let job = self.rig.jobs.remove(at);
                self.rig.keyed(job);
                self.model.keyed(id);
            }
            Stage::Queued if self.random.u8(..4) > 0 => {
                self.rig.began(id);
                self.model.began(id);
            }
            _ => {
                self.rig.jobs.retain(|job| job.id != id);
                self.cancellations.remove(&id);
                if self.random.u8(..5) == 0 {
                    self.rig.built(id, Err(broken()));
                    return self.model.built(id, None);
                }
                self.last_token += 1;
                let (token, bytes) = (self.last_token, self.random.usize(5..25));
                let made = if is_mortal(token) { mortal } else { value };
                self.rig.built(id, Ok(made(token, bytes)));
                self.model.built(id, Some((token, bytes)));
            }
        }
    }

    fn stop(&mut self, how: Stop) {
        self.rig.stop(how);
        let notices = self.rig.replies.iter().filter(|(caller, _)| caller.request == 0).count();
        let first = self.model.stopping.is_none();
        assert_eq!(notices, if first { CONNECTIONS } else { 0 });
        self.rig.replies.retain(|(caller, _)| caller.request != 0);
        self.model.stop(how);
    }

    fn any_lease(&mut self) -> u64 {
        match self.random.u8(..4) {
            0 => self.random.choice(&self.leases).copied().unwrap_or(99),
            _ => {
                let live: Vec<u64> =
                    self.model.leases.iter().filter_map(|lease| lease.id).collect();
                self.random.choice(live).unwrap_or(98)
            }
        }
    }

    /// Compares what was said, and what is left.
    fn agree(&mut self) {
        let step = self.step;
        let mut said = std::mem::take(&mut self.rig.replies);
        let mut expected = std::mem::take(&mut self.model.expected);
        said.sort_by_key(|(caller, _)| *caller);
        expected.sort_by_key(|(who, _)| *who);
        assert_eq!(said.len(), expected.len(), "step {step}: {said:?}\nexpected {expected:?}");
        for ((caller, reply), (who, expect)) in said.into_iter().zip(expected) {
            assert_eq!((caller.connection, caller.request), who, "step {step}: {reply:?}");
            self.check(who, &reply, &expect);
        }
        let handed = std::mem::take(&mut self.model.handed);
        let new = self.rig.jobs.len() - handed.len();
        for (job, serial) in self.rig.jobs[new..].iter().zip(handed) {
            let named = self.model.name(serial, job.id);
            let arguments = match &job.work {
                Work::Key { arguments, .. } => {
                    assert_eq!(named.stage, Stage::Keying, "step {step}");
                    arguments
                }
                Work::Build { endpoint, arguments, cancellation } => {
                    assert_eq!(endpoint.name, named.endpoint.to_string(), "step {step}");
                    self.cancellations.insert(job.id, cancellation.clone());
                    arguments
                }
            };
            assert!(matches!(arguments.positional[0], Value::Int(n) if n == named.argument));
        }
        for job in self.model.jobs.iter().filter(|job| job.stage != Stage::Keying) {
            let Some(cancellation) = job.id.map(|id| &self.cancellations[&id]) else { continue };
            assert_eq!(cancellation.is_requested(), job.cancelled, "step {step}");
        }
        self.invariants();
    }

    fn invariants(&mut self) {
        let (step, service) = (self.step, &mut self.rig.service);
        assert_eq!(service.counters(), self.model.counters(), "step {step}");
        assert_eq!(service.stale_releases(), self.model.stale_releases, "step {step}");
        let (items, leases) = service.holdings.census();
        let mut listed: HashMap<u64, u64> = HashMap::new();
        leases.iter().for_each(|[_, _, item]| *listed.entry(*item).or_default() += 1);
        let mut found: Vec<(u64, u64, u64)> = vec![];
        for [item, of_item, holds] in items {
            let listed = listed.get(&item).copied().unwrap_or(0);
            assert_eq!(listed, of_item, "step {step}: leases of item {item}");
            found.push((token(&service.holdings.get_mut(item).unwrap().value), of_item, holds));
        }
        found.sort_unstable();
        assert_eq!(found, self.model.items(), "step {step}");
        let mut held: Vec<(u64, u64)> =
            self.model.leases.iter().map(|lease| (lease.id.unwrap(), lease.who.0)).collect();
        held.sort_unstable();
        let leases: Vec<(u64, u64)> = leases.iter().map(|[id, who, _]| (*id, *who)).collect();
        assert_eq!(leases, held, "step {step}");
        let mut entries: Vec<(u64, bool)> = vec![];
        let mut idle = 0;
        for (_, item, is_idle) in service.cache.census() {
            let item = service.holdings.get_mut(item).expect("a cached item is there");
            idle += if is_idle { item.bytes() } else { 0 };
            entries.push((token(&item.value), is_idle));
        }
        entries.sort_unstable();
        assert_eq!(entries, self.model.entries(), "step {step}");
        assert_eq!(idle, service.cache.idle_bytes(), "step {step}");
        assert!(idle <= self.model.config.cache_bytes as u64, "step {step}");
        assert!(entries.len() <= self.model.config.cache_entries, "step {step}");
        assert_eq!(service.builds.waiting(), self.model.jobs_waiting(), "step {step}");
        assert!(service.builds.waiting() <= self.model.config.queue, "step {step}");
        let waits = self.connections.iter().any(|one| !self.model.waiting(*one).is_empty());
        assert_eq!(service.is_idle(), self.model.jobs.is_empty() && !waits, "step {step}");
    }

    fn check(&mut self, who: Who, reply: &Reply, expect: &Expect) {
        let step = self.step;
        let found = match reply {
            Reply::Pong => Expect::Pong,
            Reply::Answer(answer) => {
                let token = token(&answer.value);
                if let Some(object) = answer.object {
                    match self.objects.iter().find(|(one, other)| *one == token || *other == object)
                    {
                        Some(known) => assert_eq!(*known, (token, object), "step {step}"),
                        None => self.objects.push((token, object)),
                    }
                }
                if let Some(lease) = answer.lease {
                    assert!(!self.leases.contains(&lease), "step {step}: a number was used again");
                    self.leases.push(lease);
                    let of = |one: &&mut super::model::Lease| one.who == who && one.id.is_none();
                    let known = self.model.leases.iter_mut().find(of);
                    known.expect("the model gave a lease as well").id = Some(lease);
                }
                *self.seen.entry("answer").or_default() += 1;
                let (lease, object) = (answer.lease.is_some(), answer.object.is_some());
                Expect::Answer { token, lease, object }
            }
            Reply::Failed(failure) => {
                let name = match failure.kind {
                    FailureKind::Busy => "busy",
                    FailureKind::Build => "build",
                    FailureKind::Stale => "stale",
                    FailureKind::Task => "task",
                    FailureKind::Stopping => "stopping",
                    FailureKind::Cancelled => "cancelled",
                    FailureKind::Value => "value",
                    _ => "other",
                };
                *self.seen.entry(name).or_default() += 1;
                Expect::Failed(failure.kind)
            }
            Reply::Submitted(task) => Expect::Submitted(*task),
            Reply::Released(released) => Expect::Released(released.clone()),
            Reply::Invalidated(forgotten) => Expect::Invalidated(*forgotten),
            Reply::Cancelled(done) => Expect::Cancelled(*done),
            Reply::Task(info) => Expect::Task(info.task, info.state),
            Reply::Tasks(tasks) => {
                Expect::Tasks(tasks.iter().map(|info| (info.task, info.state)).collect())
            }
            Reply::Object(info) => Expect::Object(
                info.as_ref().map(|info| (info.leases, !info.key.is_empty(), info.bytes)),
            ),
            other => panic!("step {step}: {other:?}"),
        };
        assert_eq!(found, *expect, "step {step} for {who:?}");
    }

    /// After everything is done, hung up and too old, nothing is left.
    fn end(&mut self) {
        let how = if self.random.bool() { Stop::Drain } else { Stop::Abort };
        self.stop(how);
        self.agree();
        while !self.model.jobs.is_empty() {
            self.work();
            self.agree();
        }
        assert!(self.rig.service.is_idle());
        for connection in std::mem::take(&mut self.connections) {
            self.rig.hang_up(connection);
            self.model.hang_up(connection);
            self.agree();
        }
        for endpoint in 0..self.model.traits.len() {
            self.rig.service.forget_endpoint(&endpoint.to_string()).unwrap();
        }
        self.rig.pass(Duration::from_secs(1000));
        assert!(self.rig.is_clean());
    }
}

fn any_traits(random: &mut fastrand::Rng, at: usize) -> Traits {
    let keyed = [Keyed::AtOnce, Keyed::AtOnce, Keyed::ByFunction, Keyed::Never];
    Traits {
        managed: random.u8(..3) > 0,
        keyed: keyed[at % 4],
        keeps: random.bool(),
        singleflight: random.u8(..4) > 0,
        serialized: random.u8(..3) == 0,
        task: random.u8(..4) == 0,
    }
}

fn offered(at: usize, traits: &Traits) -> Endpoint {
    let thirds = |arguments: &Arguments| match arguments.positional[0] {
        Value::Int(number) if number >= 0 => Ok((number % 3).to_string()),
        _ => Err(Failure::new(FailureKind::Value, "not a number to be keyed")),
    };
    let options = EndpointOptions {
        execution: if traits.task { Execution::Task } else { Execution::Direct },
        managed: traits.managed,
        cache: traits.keyed != Keyed::Never,
        key: match traits.keyed {
            Keyed::ByFunction => KeyRule::Function(Arc::new(thirds)),
            Keyed::AtOnce | Keyed::Never => KeyRule::AllArguments,
        },
        singleflight: traits.singleflight,
        concurrency: if traits.serialized {
            Concurrency::Serialized
        } else {
            Concurrency::Parallel
        },
        keep_unleased: traits.keeps,
    };
    endpoint(&at.to_string(), options)
}

fn who(caller: Caller) -> Who {
    (caller.connection, caller.request)
}

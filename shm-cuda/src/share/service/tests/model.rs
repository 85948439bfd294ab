//! The rules once more, in lists that are searched from end to end: slow, and plain to see.

use super::super::super::wire::TaskState;
use super::*;

/// Whom a reply is for: connection and request.
pub type Who = (u64, u64);

/// What a reply has to say.
#[derive(Clone, Debug, PartialEq)]
pub enum Expect {
    Pong,
    Answer { token: u64, lease: bool, object: bool },
    Failed(FailureKind),
    Submitted(u64),
    Released(Vec<bool>),
    Invalidated(u64),
    Cancelled(bool),
    Task(u64, TaskState),
    Tasks(Vec<(u64, TaskState)>),
    Object(Option<(u64, bool, u64)>),
}

#[derive(Clone, Debug)]
pub struct Traits {
    pub managed: bool,
    pub keyed: Keyed,
    pub keeps: bool,
    pub singleflight: bool,
    pub serialized: bool,
    pub task: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Keyed {
    Never,
    AtOnce,
    ByFunction,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Party {
    Caller(Who),
    Task(u64),
    Forget(Who),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stage {
    Keying,
    Held,
    Queued,
    Running,
}

#[derive(Debug)]
pub struct ModelJob {
    /// As the service calls it, once it was handed out.
    pub id: Option<u64>,
    pub serial: u64,
    pub endpoint: usize,
    pub argument: i128,
    pub key: Option<i128>,
    pub stage: Stage,
    pub stale: bool,
    pub turn: u64,
    pub cancelled: bool,
    pub parties: Vec<Party>,
}

#[derive(Debug)]
pub struct Lease {
    pub id: Option<u64>,
    pub who: Who,
    pub token: u64,
}

#[derive(Debug)]
pub struct Entry {
    pub endpoint: usize,
    pub key: i128,
    pub token: u64,
    pub used: u64,
    pub born: u64,
    pub turn: u64,
}

#[derive(Debug)]
pub struct ModelTask {
    pub id: u64,
    pub owner: u64,
    pub state: TaskState,
    pub over: Option<(u64, u64)>,
    pub kept: Option<u64>,
    pub fetched: Option<u64>,
    pub why: Option<FailureKind>,
    pub waiting: Vec<Who>,
    pub stopping: bool,
}

pub struct Model {
    pub config: ServiceConfig,
    pub traits: Vec<Traits>,
    pub now: u64,
    pub clock: u64,
    pub jobs: Vec<ModelJob>,
    pub leases: Vec<Lease>,
    pub cache: Vec<Entry>,
    pub tasks: Vec<ModelTask>,
    pub last_task: u64,
    /// Endpoint and bytes of every value that ever was.
    pub values: Vec<(u64, usize, usize)>,
    pub stopping: Option<Stop>,
    pub expected: Vec<(Who, Expect)>,
    /// Serial numbers of jobs that are to be handed out.
    pub handed: Vec<u64>,
    pub count: super::super::super::server::Counters,
    pub stale_releases: u64,
}

impl Model {
    pub fn new(config: ServiceConfig, traits: Vec<Traits>) -> Model {
        Model {
            config,
            traits,
            now: 0,
            clock: 0,
            jobs: vec![],
            leases: vec![],
            cache: vec![],
            tasks: vec![],
            last_task: 0,
            values: vec![],
            stopping: None,
            expected: vec![],
            handed: vec![],
            count: Default::default(),
            stale_releases: 0,
        }
    }

    pub fn call(&mut self, who: Who, endpoint: usize, argument: i128, submit: bool) {
        if self.stopping.is_some() {
            return self.say(who, Expect::Failed(FailureKind::Stopping));
        }
        if self.waits_of(who.0) >= self.config.limits.in_flight {
            return self.refuse(who);
        }
        let traits = self.traits[endpoint].clone();
        let as_task = submit || traits.task;
        while as_task && self.tasks.len() >= self.config.tasks {
            let oldest = self.tasks.iter().filter(|task| task.over.is_some());
            match oldest.min_by_key(|task| task.over).map(|task| task.id) {
                Some(task) => self.abandon(task),
                None => return self.refuse(who),
            }
        }
        let known = traits.keyed == Keyed::AtOnce
            && (self.cached(endpoint, argument).is_some_and(|entry| !self.too_old(entry))
                || (traits.singleflight && self.joinable(endpoint, argument).is_some()));
        if !known && self.jobs_waiting() >= self.config.queue {
            return self.refuse(who);
        }
        let party = if as_task { Party::Task(self.open_task(who.0)) } else { Party::Caller(who) };
        match party {
            Party::Task(task) if submit => self.say(who, Expect::Submitted(task)),
            Party::Task(_) => self.tasks.last_mut().unwrap().waiting.push(who),
            _ => {}
        }
        match traits.keyed {
            Keyed::Never => self.new_job(party, endpoint, argument, None, Stage::Held),
            Keyed::AtOnce => self.find(party, endpoint, argument, argument),
            Keyed::ByFunction => self.new_job(party, endpoint, argument, None, Stage::Keying),
        }
    }

    pub fn invalidate(&mut self, who: Who, endpoint: usize, argument: i128) {
        match self.traits[endpoint].keyed {
            Keyed::Never => self.say(who, Expect::Invalidated(0)),
            Keyed::AtOnce => self.forget(who, endpoint, argument),
            Keyed::ByFunction => {
                let full = self.waits_of(who.0) >= self.config.limits.in_flight;
                if full || self.jobs_waiting() >= self.config.queue {
                    return self.refuse(who);
                }
                self.new_job(Party::Forget(who), endpoint, argument, None, Stage::Keying);
            }
        }
    }

    pub fn invalidate_endpoint(&mut self, who: Who, endpoint: usize) {
        let before = self.cache.len();
        self.cache.retain(|entry| entry.endpoint != endpoint);
        let forgotten = (before - self.cache.len()) as u64;
        for job in self.jobs.iter_mut().filter(|job| job.endpoint == endpoint) {
            job.stale |= job.stage != Stage::Held;
        }
        self.count.invalidated += forgotten;
        self.say(who, Expect::Invalidated(forgotten));
    }

    pub fn keyed(&mut self, id: u64) {
        let job = self.take_job(id);
        let Some(party) = job.parties.first().copied() else { return };
        if job.argument < 0 {
            return match party {
                Party::Forget(who) => self.say(who, Expect::Failed(FailureKind::Value)),
                _ => self.disappoint(party, FailureKind::Value),
            };
        }
        match party {
            Party::Forget(who) => self.forget(who, job.endpoint, job.argument % 3),
            _ => self.find(party, job.endpoint, job.argument, job.argument % 3),
        }
    }

    pub fn began(&mut self, id: u64) {
        let job = self.jobs.iter_mut().find(|job| job.id == Some(id)).unwrap();
        job.stage = Stage::Running;
        let parties = job.parties.clone();
        parties.into_iter().for_each(|party| self.set_running(party));
    }

    /// `None` if it failed.
    pub fn built(&mut self, id: u64, value: Option<(u64, usize)>) {
        let job = self.take_job(id);
        match value {
            None => job.parties.iter().for_each(|one| self.disappoint(*one, FailureKind::Build)),
            Some((token, bytes)) => {
                self.values.push((token, job.endpoint, bytes));
                let fresh = !job.stale && self.stopping != Some(Stop::Abort);
                let key = job.key.filter(|_| fresh);
                let older = key.is_none_or(|key| {
                    self.cached(job.endpoint, key).is_none_or(|e| e.turn < job.turn)
                });
                if let (Some(key), true) = (key, older) {
                    self.cache.retain(|entry| (entry.endpoint, entry.key) != (job.endpoint, key));
                    self.clock += 1;
                    let (used, born) = (self.clock, self.now);
                    let (endpoint, turn) = (job.endpoint, job.turn);
                    self.cache.push(Entry { endpoint, key, token, used, born, turn });
                }
                job.parties.iter().for_each(|party| self.serve(*party, token));
                self.sweep();
                self.trim(Some(token));
            }
        }
        if !self.traits[job.endpoint].serialized {
            return;
        }
        while let Some(at) = self.next_held(job.endpoint) {
            let key = self.jobs[at].key;
            match key.and_then(|key| self.lookup(job.endpoint, key)) {
                None => return self.hand_out(at),
                Some(token) => {
                    let held = self.jobs.remove(at);
                    held.parties.iter().for_each(|party| self.serve(*party, token));
                }
            }
        }
    }

    pub fn release(&mut self, who: Who, ids: &[u64]) {
        let mut released = vec![];
        for id in ids {
            let own = |lease: &Lease| lease.id == Some(*id) && lease.who.0 == who.0;
            let at = self.leases.iter().position(own);
            at.map(|at| self.leases.remove(at));
            self.sweep();
            self.stale_releases += u64::from(at.is_none());
            released.push(at.is_some());
        }
        self.trim(None);
        self.say(who, Expect::Released(released));
    }

    pub fn acquire(&mut self, who: Who, token: Option<u64>) {
        match token.filter(|token| self.is_alive(*token)) {
            Some(token) => self.answer(who, token),
            None => self.say(who, Expect::Failed(FailureKind::Stale)),
        }
    }

    pub fn object(&mut self, who: Who, token: u64) {
        let leases = self.leases_on(token);
        let cached = self.cache.iter().any(|entry| entry.token == token);
        let bytes = self.value(token).2 as u64;
        let alive = self.is_alive(token);
        self.say(who, Expect::Object(alive.then_some((leases, cached, bytes))));
    }

    pub fn cancel(&mut self, connection: u64, request: u64) {
        if self.leave((connection, request)) {
            self.say((connection, request), Expect::Failed(FailureKind::Cancelled));
        }
    }

    pub fn cancel_task(&mut self, who: Who, id: u64) {
        let Some(task) = self.tasks.iter_mut().find(|task| task.id == id) else {
            return self.say(who, Expect::Failed(FailureKind::Task));
        };
        if task.over.is_some() {
            return self.say(who, Expect::Cancelled(false));
        }
        task.stopping = true;
        let running = task.state == TaskState::Running;
        let of = |job: &&mut ModelJob| job.parties.contains(&Party::Task(id));
        let job = self.jobs.iter_mut().find(of).unwrap();
        if running && job.parties.len() == 1 {
            job.cancelled = true;
        } else {
            self.leave_job(Party::Task(id));
            self.complete(id, Err(FailureKind::Cancelled));
        }
        self.say(who, Expect::Cancelled(true));
    }

    pub fn ask_task(&mut self, who: Who, id: u64) {
        let task = self.tasks.iter().find(|task| task.id == id);
        let said = task.map(|task| Expect::Task(id, task.state));
        self.say(who, said.unwrap_or(Expect::Failed(FailureKind::Task)));
    }

    pub fn list(&mut self, who: Who, state: Option<TaskState>) {
        let wanted = self.tasks.iter().filter(|task| state.is_none_or(|state| task.state == state));
        let tasks = wanted.map(|task| (task.id, task.state)).collect();
        self.say(who, Expect::Tasks(tasks));
    }

    pub fn fetch(&mut self, who: Who, id: u64, wait: bool) {
        let Some(task) = self.tasks.iter_mut().find(|task| task.id == id) else {
            return self.say(who, Expect::Failed(FailureKind::Task));
        };
        if task.over.is_none() && wait {
            if self.waits_of(who.0) >= self.config.limits.in_flight {
                return self.refuse(who);
            }
            let task = self.tasks.iter_mut().find(|task| task.id == id).unwrap();
            return task.waiting.push(who);
        }
        match (task.kept, task.fetched, task.why) {
            (Some(token), ..) => {
                self.answer(who, token);
                if self.traits[self.value(token).1].managed {
                    let task = self.tasks.iter_mut().find(|task| task.id == id).unwrap();
                    (task.kept, task.fetched) = (None, Some(token));
                }
            }
            (None, token @ Some(_), _) => self.acquire(who, token),
            (None, None, Some(FailureKind::Stopping)) => {
                self.say(who, Expect::Failed(FailureKind::Stopping));
            }
            _ => self.say(who, Expect::Failed(FailureKind::Task)),
        }
    }

    pub fn hang_up(&mut self, connection: u64) {
        while let Some(request) = self.waiting(connection).first().copied() {
            self.leave((connection, request));
        }
        let own: Vec<u64> =
            self.tasks.iter().filter(|task| task.owner == connection).map(|task| task.id).collect();
        own.into_iter().for_each(|task| self.abandon(task));
        let before = self.leases.len();
        self.leases.retain(|lease| lease.who.0 != connection);
        self.count.leases_hung_up += (before - self.leases.len()) as u64;
        self.count.connections -= 1;
        self.sweep();
        self.trim(None);
    }

    pub fn expire(&mut self) {
        let age = self.config.result_age.as_secs();
        let old: Vec<u64> = (self.tasks.iter())
            .filter(|task| task.over.is_some_and(|(at, _)| self.now >= at + age))
            .map(|task| task.id)
            .collect();
        old.into_iter().for_each(|task| self.abandon(task));
        while let Some(at) = self.cache.iter().position(|entry| self.too_old(entry)) {
            self.cache.remove(at);
            self.count.evicted += 1;
        }
    }

    pub fn stop(&mut self, how: Stop) {
        if self.stopping == Some(Stop::Abort) {
            return;
        }
        self.stopping = Some(how);
        if how == Stop::Drain {
            return;
        }
        let mut parties: Vec<Party> = vec![];
        for job in &mut self.jobs {
            job.cancelled = true;
            parties.append(&mut job.parties);
        }
        self.jobs.retain(|job| job.stage != Stage::Held);
        for party in parties {
            match party {
                Party::Forget(who) => self.say(who, Expect::Failed(FailureKind::Stopping)),
                _ => self.disappoint(party, FailureKind::Stopping),
            }
        }
    }

    pub fn ping(&mut self, who: Who) {
        self.say(who, Expect::Pong);
    }

    /// Requests of a connection that are not answered.
    pub fn waiting(&self, connection: u64) -> Vec<u64> {
        let parties = self.jobs.iter().flat_map(|job| &job.parties).filter_map(|one| match one {
            Party::Caller(who) | Party::Forget(who) => Some(*who),
            Party::Task(_) => None,
        });
        let waits = parties.chain(self.tasks.iter().flat_map(|task| task.waiting.iter().copied()));
        waits.filter(|who| who.0 == connection).map(|who| who.1).collect()
    }

    /// The name that the service gave to a job.
    pub fn name(&mut self, serial: u64, id: u64) -> &ModelJob {
        let job = self.jobs.iter_mut().find(|job| job.serial == serial).unwrap();
        assert_eq!(job.id.replace(id), None);
        job
    }

    /// What is there: tokens, leases on each, tasks that keep each.
    pub fn items(&self) -> Vec<(u64, u64, u64)> {
        let leased = self.leases.iter().map(|lease| (lease.token, 1, 0));
        let kept = self.tasks.iter().filter_map(|task| Some((task.kept?, 0, 1)));
        let cached = self.cache.iter().map(|entry| (entry.token, 0, 0));
        let mut reasons: Vec<(u64, u64, u64)> = leased.chain(kept).chain(cached).collect();
        reasons.sort_unstable();
        let mut items: Vec<(u64, u64, u64)> = vec![];
        for (token, lease, hold) in reasons {
            match items.last_mut().filter(|item| item.0 == token) {
                Some(item) => (item.1, item.2) = (item.1 + lease, item.2 + hold),
                None => items.push((token, lease, hold)),
            }
        }
        items
    }

    /// What is cached, and whether nobody has a lease on it.
    pub fn entries(&self) -> Vec<(u64, bool)> {
        let one = |entry: &Entry| (entry.token, self.leases_on(entry.token) == 0);
        let mut entries: Vec<_> = self.cache.iter().map(one).collect();
        entries.sort_unstable();
        entries
    }

    pub fn counters(&self) -> super::super::super::server::Counters {
        let managed = |(token, ..): &&(u64, u64, u64)| self.traits[self.value(*token).1].managed;
        super::super::super::server::Counters {
            cache_entries: self.cache.len() as u64,
            cache_bytes: self.cache.iter().map(|entry| self.value(entry.token).2 as u64).sum(),
            builds: self.jobs.iter().filter(|job| job.stage != Stage::Keying).count() as u64,
            objects: self.items().iter().filter(managed).count() as u64,
            leases: self.leases.len() as u64,
            tasks: self.tasks.len() as u64,
            ..self.count
        }
    }

    pub fn jobs_waiting(&self) -> usize {
        self.jobs.iter().filter(|job| job.stage != Stage::Running).count()
    }
}

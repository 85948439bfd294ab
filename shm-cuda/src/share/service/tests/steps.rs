//! What the steps of the model have in common.

use super::super::super::wire::TaskState;
use super::model::{Expect, Model, ModelJob, ModelTask, Party, Stage, Who};
use super::*;

impl Model {
    pub(super) fn say(&mut self, who: Who, what: Expect) {
        self.count.requests += 1;
        self.count.errors += u64::from(matches!(what, Expect::Failed(_)));
        self.expected.push((who, what));
    }

    pub(super) fn refuse(&mut self, who: Who) {
        self.count.refused += 1;
        self.say(who, Expect::Failed(FailureKind::Busy));
    }

    pub(super) fn find(&mut self, party: Party, endpoint: usize, argument: i128, key: i128) {
        if let Some(token) = self.lookup(endpoint, key) {
            self.count.cache_hits += 1;
            return self.serve(party, token);
        }
        self.count.cache_misses += 1;
        match self.joinable(endpoint, key).filter(|_| self.traits[endpoint].singleflight) {
            Some(at) => {
                self.count.joined += 1;
                self.jobs[at].parties.push(party);
                if self.jobs[at].stage == Stage::Running {
                    self.set_running(party);
                }
            }
            None => self.new_job(party, endpoint, argument, Some(key), Stage::Held),
        }
    }

    pub(super) fn new_job(
        &mut self,
        party: Party,
        endpoint: usize,
        argument: i128,
        key: Option<i128>,
        stage: Stage,
    ) {
        self.clock += 1;
        let serial = self.clock;
        self.jobs.push(ModelJob {
            id: None,
            serial,
            endpoint,
            argument,
            key,
            stage,
            stale: false,
            turn: 0,
            cancelled: false,
            parties: vec![party],
        });
        let others = self.jobs.iter().any(|job| {
            job.endpoint == endpoint && job.serial != serial && !matches!(job.stage, Stage::Keying)
        });
        if stage == Stage::Keying {
            self.handed.push(serial);
        } else if !(others && self.traits[endpoint].serialized) {
            self.hand_out(self.jobs.len() - 1);
        }
    }

    pub(super) fn hand_out(&mut self, at: usize) {
        self.clock += 1;
        self.count.builds_total += 1;
        let job = &mut self.jobs[at];
        (job.stage, job.turn) = (Stage::Queued, self.clock);
        self.handed.push(job.serial);
    }

    pub(super) fn next_held(&self, endpoint: usize) -> Option<usize> {
        let held = |job: &ModelJob| job.endpoint == endpoint && job.stage == Stage::Held;
        self.jobs.iter().position(held)
    }

    pub(super) fn take_job(&mut self, id: u64) -> ModelJob {
        let at = self.jobs.iter().position(|job| job.id == Some(id)).unwrap();
        self.jobs.remove(at)
    }

    pub(super) fn joinable(&self, endpoint: usize, key: i128) -> Option<usize> {
        self.jobs.iter().position(|job| {
            let same = job.endpoint == endpoint && job.key == Some(key);
            same && job.stage != Stage::Keying && !job.stale && !job.cancelled
        })
    }

    pub(super) fn cached(&self, endpoint: usize, key: i128) -> Option<&super::model::Entry> {
        self.cache.iter().find(|entry| (entry.endpoint, entry.key) == (endpoint, key))
    }

    pub(super) fn too_old(&self, entry: &super::model::Entry) -> bool {
        self.config.cache_age.is_some_and(|age| self.now >= entry.born + age.as_secs())
    }

    pub(super) fn lookup(&mut self, endpoint: usize, key: i128) -> Option<u64> {
        let entry = self.cached(endpoint, key)?;
        let token = entry.token;
        if self.too_old(entry) {
            self.cache.retain(|entry| entry.token != token);
            self.count.evicted += 1;
            return None;
        }
        Some(token)
    }

    pub(super) fn forget(&mut self, who: Who, endpoint: usize, key: i128) {
        let before = self.cache.len();
        self.cache.retain(|entry| (entry.endpoint, entry.key) != (endpoint, key));
        for job in &mut self.jobs {
            if job.endpoint == endpoint && job.key == Some(key) && job.stage != Stage::Held {
                job.stale = true;
            }
        }
        let forgotten = (before - self.cache.len()) as u64;
        self.count.invalidated += forgotten;
        self.say(who, Expect::Invalidated(forgotten));
    }

    pub(super) fn serve(&mut self, party: Party, token: u64) {
        match party {
            Party::Caller(who) | Party::Forget(who) => self.answer(who, token),
            Party::Task(task) => self.complete(task, Ok(token)),
        }
    }

    pub(super) fn disappoint(&mut self, party: Party, why: FailureKind) {
        match party {
            Party::Caller(who) | Party::Forget(who) => self.say(who, Expect::Failed(why)),
            Party::Task(task) => self.complete(task, Err(why)),
        }
    }

    pub(super) fn answer(&mut self, who: Who, token: u64) {
        let object = self.traits[self.value(token).1].managed;
        let lease = object || super::random::is_mortal(token);
        if lease {
            self.leases.push(super::model::Lease { id: None, who, token });
        }
        self.clock += 1;
        for entry in self.cache.iter_mut().filter(|entry| entry.token == token) {
            entry.used = self.clock;
        }
        self.say(who, Expect::Answer { token, lease, object });
    }

    pub(super) fn open_task(&mut self, owner: u64) -> u64 {
        self.count.tasks_total += 1;
        self.last_task += 1;
        self.tasks.push(ModelTask {
            id: self.last_task,
            owner,
            state: TaskState::Pending,
            over: None,
            kept: None,
            fetched: None,
            why: None,
            waiting: vec![],
            stopping: false,
        });
        self.last_task
    }

    pub(super) fn complete(&mut self, id: u64, outcome: Result<u64, FailureKind>) {
        self.clock += 1;
        let over = Some((self.now, self.clock));
        let task = self.tasks.iter_mut().find(|task| task.id == id).unwrap();
        task.over = over;
        let waiting = std::mem::take(&mut task.waiting);
        match outcome {
            Ok(token) => (task.state, task.kept) = (TaskState::Completed, Some(token)),
            Err(why) => {
                let ended = matches!(why, FailureKind::Cancelled | FailureKind::Stopping);
                let ended = ended || task.stopping;
                task.state = if ended { TaskState::Cancelled } else { TaskState::Failed };
                task.why = Some(why);
            }
        }
        waiting.into_iter().for_each(|who| self.fetch(who, id, false));
    }

    pub(super) fn set_running(&mut self, party: Party) {
        if let Party::Task(id) = party {
            let task = self.tasks.iter_mut().find(|task| task.id == id).unwrap();
            task.state = TaskState::Running;
        }
    }

    pub(super) fn abandon(&mut self, id: u64) {
        let at = self.tasks.iter().position(|task| task.id == id).unwrap();
        let task = self.tasks.remove(at);
        self.leave_job(Party::Task(id));
        for who in task.waiting {
            self.say(who, Expect::Failed(FailureKind::Task));
        }
        self.sweep();
    }

    /// True if somebody waited.
    pub(super) fn leave(&mut self, who: Who) -> bool {
        if !self.waiting(who.0).contains(&who.1) {
            return false;
        }
        self.tasks.iter_mut().for_each(|task| task.waiting.retain(|one| *one != who));
        self.leave_job(Party::Caller(who));
        self.leave_job(Party::Forget(who));
        true
    }

    pub(super) fn leave_job(&mut self, party: Party) {
        let of = |job: &ModelJob| job.parties.contains(&party);
        let Some(at) = self.jobs.iter().position(of) else { return };
        let job = &mut self.jobs[at];
        job.parties.retain(|one| *one != party);
        if job.parties.is_empty() && job.stage == Stage::Held {
            self.jobs.remove(at);
        } else if job.parties.is_empty() {
            job.cancelled = true;
        }
    }

    /// What is not kept without leases goes with its entry.
    pub(super) fn sweep(&mut self) {
        let gone = |model: &Model, entry: &super::model::Entry| {
            let traits = &model.traits[entry.endpoint];
            let needed = model.leases_on(entry.token) + model.holds_on(entry.token) > 0;
            traits.managed && !traits.keeps && !needed
        };
        while let Some(at) = self.cache.iter().position(|entry| gone(self, entry)) {
            self.cache.remove(at);
        }
    }

    pub(super) fn trim(&mut self, newest: Option<u64>) {
        loop {
            let idle = self.cache.iter().filter(|entry| self.leases_on(entry.token) == 0);
            let bytes: usize = idle.clone().map(|entry| self.value(entry.token).2).sum();
            let crowded = self.cache.len() > self.config.cache_entries;
            if !crowded && bytes <= self.config.cache_bytes {
                return;
            }
            let oldest = idle.min_by_key(|entry| entry.used).map(|entry| entry.token);
            let goes = oldest.or(newest).unwrap();
            self.cache.retain(|entry| entry.token != goes);
            self.count.evicted += 1;
        }
    }

    pub(super) fn is_alive(&self, token: u64) -> bool {
        let cached = self.cache.iter().any(|entry| entry.token == token);
        cached || self.leases_on(token) + self.holds_on(token) > 0
    }

    pub(super) fn value(&self, token: u64) -> (u64, usize, usize) {
        // Tokens are counted from 1.
        self.values[token as usize - 1]
    }

    pub(super) fn leases_on(&self, token: u64) -> u64 {
        self.leases.iter().filter(|lease| lease.token == token).count() as u64
    }

    pub(super) fn holds_on(&self, token: u64) -> u64 {
        self.tasks.iter().filter(|task| task.kept == Some(token)).count() as u64
    }

    pub(super) fn waits_of(&self, connection: u64) -> usize {
        self.waiting(connection).len()
    }
}

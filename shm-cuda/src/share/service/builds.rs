//! What workers have to do, in which order, and who waits for it.

use super::super::endpoint::{Cancellation, Concurrency};
use super::super::failure::Failure;
use super::super::key::Key;
use super::super::value::Arguments;
use super::super::wire::EncodedValue;
use super::super::wire::TaskId;
use super::calls::Purpose;
use super::{Caller, Effect, Job, JobId, Now, Place, Service, Stop, Work, stopping};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// All jobs that are not done.
#[derive(Debug, Default)]
pub(super) struct Builds {
    jobs: BTreeMap<JobId, Activity>,
    by_key: HashMap<Key, BTreeSet<JobId>>,
    /// Jobs that no worker has begun.
    waiting: usize,
    building: u64,
    last_job: JobId,
    last_turn: u64,
}

#[derive(Debug)]
enum Activity {
    Keying(Keying),
    Build(Build),
}

/// Arguments whose key a worker makes.
#[derive(Debug)]
pub(super) struct Keying {
    pub(super) endpoint: usize,
    pub(super) arguments: Arc<Arguments>,
    /// `None` if nobody wants it any more.
    pub(super) purpose: Option<Purpose>,
}

/// Something that is built, or will be.
#[derive(Debug)]
struct Build {
    endpoint: usize,
    key: Option<Key>,
    arguments: Arc<Arguments>,
    cancellation: Cancellation,
    stage: Stage,
    /// Who waits for it, in the order in which they came.
    parties: BTreeMap<u64, Party>,
}

/// How far a build is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Another build of its endpoint has to be done first.
    Held,
    /// A worker may have it.
    Handed {
        /// True once a worker said that it has begun.
        running: bool,
        /// Its turn among all builds.
        turn: u64,
        /// The epoch of its endpoint when it was handed out.
        epoch: u64,
        /// True if its key was forgotten since.
        forgotten: bool,
    },
}

/// Who waits for a build.
#[derive(Clone, Copy, Debug)]
pub(super) enum Party {
    Caller(Caller),
    Task(TaskId),
}

impl Service {
    /// A worker began to build. For other jobs it changes nothing.
    pub fn began(&mut self, job: JobId, now: Now) {
        let Some(Activity::Build(build)) = self.builds.jobs.get_mut(&job) else { return };
        let Stage::Handed { running: running @ false, .. } = &mut build.stage else { return };
        *running = true;
        self.builds.waiting -= 1;
        for party in build.parties.values() {
            if let Party::Task(task) = party {
                self.tasks.begin(*task, now.time);
            }
        }
    }

    /// A worker built something, or failed to. What is said of a job a second time is ignored.
    pub fn built(
        &mut self,
        job: JobId,
        outcome: Result<EncodedValue, Failure>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let Some((build, stage)) = self.take_build(job) else { return };
        let Stage::Handed { turn, epoch, forgotten, .. } = stage else { return };
        let fresh = !forgotten && epoch == self.offers.get(build.endpoint).epoch;
        match outcome {
            Ok(value) => {
                let item = self.create(build.endpoint, value, now);
                let key = build.key.filter(|_| fresh && self.stopping != Some(Stop::Abort));
                if let Some(key) = key {
                    self.remember(key, item, turn, now.instant);
                }
                for party in build.parties.into_values() {
                    self.serve(party, item, now, effects);
                }
                self.settle(item);
                self.trim(key);
            }
            Err(failure) => {
                for party in build.parties.into_values() {
                    self.disappoint(party, failure.clone(), now, effects);
                }
            }
        }
        self.next_in_line(build.endpoint, now, effects);
    }

    /// True if there is a build of this key that one more may wait for.
    pub(super) fn joinable(&self, key: &Key) -> Option<JobId> {
        // Older ones were not joinable when this one began, and never will be again.
        let job = *self.builds.by_key.get(key)?.last()?;
        let Some(Activity::Build(build)) = self.builds.jobs.get(&job) else { return None };
        let fresh = match build.stage {
            Stage::Held => true,
            Stage::Handed { epoch, forgotten, .. } => {
                !forgotten && epoch == self.offers.get(build.endpoint).epoch
            }
        };
        (fresh && !build.cancellation.is_requested()).then_some(job)
    }

    /// Waits for a build with others.
    pub(super) fn join(&mut self, job: JobId, party: Party, now: Now) {
        let turn = self.builds.next_turn();
        let Some(Activity::Build(build)) = self.builds.jobs.get_mut(&job) else { return };
        build.parties.insert(turn, party);
        let running = matches!(build.stage, Stage::Handed { running: true, .. });
        self.place(party, Place::Job(job, turn));
        if let (true, Party::Task(task)) = (running, party) {
            self.tasks.begin(task, now.time);
        }
    }

    /// Begins a build.
    pub(super) fn build(
        &mut self,
        party: Party,
        endpoint: usize,
        key: Option<Key>,
        arguments: Arc<Arguments>,
        effects: &mut Vec<Effect>,
    ) {
        let (job, turn) = (self.builds.next_job(), self.builds.next_turn());
        let build = Build {
            endpoint,
            key,
            arguments,
            cancellation: Cancellation::default(),
            stage: Stage::Held,
            parties: BTreeMap::from([(turn, party)]),
        };
        self.builds.jobs.insert(job, Activity::Build(build));
        if let Some(key) = key {
            self.builds.by_key.entry(key).or_default().insert(job);
        }
        self.builds.waiting += 1;
        self.builds.building += 1;
        self.place(party, Place::Job(job, turn));
        let offer = self.offers.get_mut(endpoint);
        if offer.endpoint.options.concurrency == Concurrency::Serialized {
            offer.line.insert(job);
            if offer.busy.is_none() {
                offer.line.remove(&job);
                offer.busy = Some(job);
                self.hand_out(job, effects);
            }
        } else {
            self.hand_out(job, effects);
        }
    }

    /// Has a worker make a key.
    pub(super) fn make_key(&mut self, keying: Keying, work: Work, effects: &mut Vec<Effect>) {
        let job = self.builds.next_job();
        match keying.purpose {
            Some(Purpose::Call(party)) => self.place(party, Place::Job(job, 0)),
            Some(Purpose::Forget(caller)) if caller.request != 0 => {
                self.waits(caller, Place::Job(job, 0));
            }
            Some(Purpose::Forget(_)) | None => {}
        }
        self.builds.jobs.insert(job, Activity::Keying(keying));
        self.builds.waiting += 1;
        effects.push(Effect::Run(Job { id: job, work }));
    }

    /// A key was made, or not.
    pub(super) fn take_keying(&mut self, job: JobId) -> Option<Keying> {
        if !matches!(self.builds.jobs.get(&job), Some(Activity::Keying(_))) {
            return None;
        }
        let Some(Activity::Keying(keying)) = self.builds.jobs.remove(&job) else { return None };
        self.builds.waiting -= 1;
        Some(keying)
    }

    /// A party waits no more. A build that none is left of is not begun, or asked to stop.
    pub(super) fn leave_job(&mut self, job: JobId, turn: u64) {
        match self.builds.jobs.get_mut(&job) {
            Some(Activity::Keying(keying)) => keying.purpose = None,
            Some(Activity::Build(build)) => {
                build.parties.remove(&turn);
                if !build.parties.is_empty() {
                    return;
                }
                build.cancellation.request();
                let endpoint = build.endpoint;
                if build.stage == Stage::Held {
                    self.take_build(job);
                    self.offers.get_mut(endpoint).line.remove(&job);
                }
            }
            None => {}
        }
    }

    /// Asks a build to stop if nobody but this party waits for it; false if others do.
    pub(super) fn stop_alone(&mut self, job: JobId) -> bool {
        match self.builds.jobs.get_mut(&job) {
            Some(Activity::Build(build)) if build.parties.len() > 1 => false,
            Some(Activity::Build(build)) => {
                build.cancellation.request();
                true
            }
            _ => true,
        }
    }

    /// Whoever waits for a worker is told that there will be no answer; workers are asked to stop.
    pub(super) fn abort_builds(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let jobs: Vec<JobId> = self.builds.jobs.keys().copied().collect();
        for job in jobs {
            let parties = match self.builds.jobs.get_mut(&job) {
                Some(Activity::Keying(keying)) => match keying.purpose.take() {
                    Some(Purpose::Call(party)) => vec![party],
                    Some(Purpose::Forget(caller)) => vec![Party::Caller(caller)],
                    None => Vec::new(),
                },
                Some(Activity::Build(build)) => {
                    build.cancellation.request();
                    let parties = std::mem::take(&mut build.parties).into_values().collect();
                    let endpoint = build.endpoint;
                    if build.stage == Stage::Held {
                        self.take_build(job);
                        self.offers.get_mut(endpoint).line.remove(&job);
                    }
                    parties
                }
                None => Vec::new(),
            };
            for party in parties {
                self.disappoint(party, stopping(), now, effects);
            }
        }
    }

    /// Begins what waited for a build of a serialized endpoint. Others may have built it meanwhile.
    fn next_in_line(&mut self, endpoint: usize, now: Now, effects: &mut Vec<Effect>) {
        self.offers.get_mut(endpoint).busy = None;
        while let Some(job) = self.offers.get_mut(endpoint).line.pop_first() {
            let Some(Activity::Build(build)) = self.builds.jobs.get(&job) else { continue };
            let item = build.key.and_then(|key| self.lookup(&key, now.instant));
            let Some(item) = item else {
                self.offers.get_mut(endpoint).busy = Some(job);
                return self.hand_out(job, effects);
            };
            let Some((build, _)) = self.take_build(job) else { continue };
            for party in build.parties.into_values() {
                self.serve(party, item, now, effects);
            }
        }
    }

    fn hand_out(&mut self, job: JobId, effects: &mut Vec<Effect>) {
        let turn = self.builds.next_turn();
        let Some(Activity::Build(build)) = self.builds.jobs.get_mut(&job) else { return };
        let offer = self.offers.get(build.endpoint);
        build.stage = Stage::Handed { running: false, turn, epoch: offer.epoch, forgotten: false };
        self.counters.builds_total += 1;
        let work = Work::Build {
            endpoint: offer.endpoint.clone(),
            arguments: build.arguments.clone(),
            cancellation: build.cancellation.clone(),
        };
        effects.push(Effect::Run(Job { id: job, work }));
    }

    fn take_build(&mut self, job: JobId) -> Option<(Build, Stage)> {
        if !matches!(self.builds.jobs.get(&job), Some(Activity::Build(_))) {
            return None;
        }
        let Some(Activity::Build(build)) = self.builds.jobs.remove(&job) else { return None };
        if let Some(jobs) = build.key.and_then(|key| self.builds.by_key.get_mut(&key)) {
            jobs.remove(&job);
        }
        if let Some(key) = build.key.filter(|key| self.builds.by_key[key].is_empty()) {
            self.builds.by_key.remove(&key);
        }
        self.builds.building -= 1;
        if !matches!(build.stage, Stage::Handed { running: true, .. }) {
            self.builds.waiting -= 1;
        }
        let stage = build.stage;
        Some((build, stage))
    }

    fn place(&mut self, party: Party, place: Place) {
        match party {
            Party::Caller(caller) => self.waits(caller, place),
            Party::Task(task) => self.tasks.waits(task, place),
        }
    }
}

impl Builds {
    /// Builds that are not done.
    pub(super) fn building(&self) -> u64 {
        self.building
    }

    /// Jobs that no worker has begun.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    pub(super) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// What workers are at of this key is not to be cached.
    pub(super) fn forget(&mut self, key: &Key) {
        for job in self.by_key.get(key).into_iter().flatten() {
            if let Some(Activity::Build(build)) = self.jobs.get_mut(job)
                && let Stage::Handed { forgotten, .. } = &mut build.stage
            {
                *forgotten = true;
            }
        }
    }

    fn next_job(&mut self) -> JobId {
        self.last_job += 1;
        self.last_job
    }

    fn next_turn(&mut self) -> u64 {
        self.last_turn += 1;
        self.last_turn
    }

    /// True if nothing is left behind.
    #[cfg(test)]
    pub(super) fn is_clean(&self) -> bool {
        self.jobs.is_empty() && self.by_key.is_empty() && self.waiting == 0 && self.building == 0
    }
}

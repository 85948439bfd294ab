//! Calls that are asked for later.

use super::super::failure::{Failure, FailureKind};
use super::super::wire::{ObjectId, Reply, TaskId, TaskInfo, TaskState};
use super::cache::is_over;
use super::info::seconds;
use super::{Caller, ConnectionId, Effect, Now, Place, Service};
use std::collections::BTreeMap;
use std::time::{Instant, SystemTime};

/// All tasks that are known.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    known: BTreeMap<TaskId, Task>,
    /// Those that are over, in the order in which they were.
    over: BTreeMap<(Instant, u64), TaskId>,
    last_task: TaskId,
    last_turn: u64,
}

#[derive(Debug)]
struct Task {
    endpoint: usize,
    owner: ConnectionId,
    state: TaskState,
    created: SystemTime,
    started: Option<SystemTime>,
    completed: Option<SystemTime>,
    /// Where it stands in the order of those that are over.
    over: Option<(Instant, u64)>,
    failure: Option<Failure>,
    object: Option<ObjectId>,
    result: Fetchable,
    place: Option<Place>,
    /// Callers who wait for it, in the order in which they came.
    waiting: BTreeMap<u64, Caller>,
    /// True if it was asked to stop.
    stopping: bool,
}

/// What is kept of a task's result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fetchable {
    /// There is none.
    Nothing,
    /// The item, which stays for this task's sake.
    Kept(u64),
    /// Whoever fetched this object decides how long it stays.
    Fetched(ObjectId),
}

impl Service {
    /// Sees to it that one more task may be known: the one goes that has been over for longest.
    pub(super) fn make_room(&mut self, effects: &mut Vec<Effect>) -> Result<(), Failure> {
        let limit = self.config.tasks;
        while self.tasks.known.len() >= limit {
            let Some((_, task)) = self.tasks.over.first_key_value() else {
                return Err(self.busy("too many tasks are not done", limit));
            };
            self.abandon(*task, "there were too many tasks", effects);
        }
        Ok(())
    }

    /// A new task; there has to be room for it.
    pub(super) fn open_task(&mut self, endpoint: usize, owner: ConnectionId, now: Now) -> TaskId {
        self.counters.tasks_total += 1;
        self.tasks.last_task += 1;
        let task = Task {
            endpoint,
            owner,
            state: TaskState::Pending,
            created: now.time,
            started: None,
            completed: None,
            over: None,
            failure: None,
            object: None,
            result: Fetchable::Nothing,
            place: None,
            waiting: BTreeMap::new(),
            stopping: false,
        };
        self.tasks.known.insert(self.tasks.last_task, task);
        self.connections.entry(owner).or_default().tasks.insert(self.tasks.last_task);
        self.tasks.last_task
    }

    /// It is over.
    pub(super) fn complete(
        &mut self,
        id: TaskId,
        outcome: Result<u64, Failure>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let turn = self.tasks.next_turn();
        let managed = outcome.as_ref().is_ok_and(|item| self.holdings.is_managed(*item));
        let Some(task) = self.tasks.known.get_mut(&id) else { return };
        task.place = None;
        task.completed = Some(now.time);
        task.over = Some((now.instant, turn));
        self.tasks.over.insert((now.instant, turn), id);
        let waiting = std::mem::take(&mut task.waiting);
        match outcome {
            Ok(item) => {
                task.state = TaskState::Completed;
                task.started.get_or_insert(now.time);
                task.object = managed.then_some(item);
                task.result = Fetchable::Kept(item);
                self.hold(item);
                for caller in waiting.into_values() {
                    self.waits_no_more(caller);
                    let reply = self.fetch(caller, id, now).unwrap_or_else(Reply::Failed);
                    self.reply(caller, reply, effects);
                }
            }
            Err(failure) => {
                let ended = task.stopping
                    || matches!(failure.kind, FailureKind::Cancelled | FailureKind::Stopping);
                task.state = if ended { TaskState::Cancelled } else { TaskState::Failed };
                task.failure = Some(failure);
                let told = self.failure_of(id);
                for caller in waiting.into_values() {
                    self.waits_no_more(caller);
                    self.fail(caller, told.clone(), effects);
                }
            }
        }
    }

    /// The result of a task that is over, with a lease of its own for whoever asks.
    pub(super) fn fetch(&mut self, caller: Caller, id: TaskId, now: Now) -> Result<Reply, Failure> {
        let task = self.tasks.get(id)?;
        match task.result {
            Fetchable::Nothing => Err(self.failure_of(id)),
            Fetchable::Fetched(object) => self.answer(caller, object, now),
            Fetchable::Kept(item) => {
                let reply = self.answer(caller, item, now)?;
                if self.holdings.is_managed(item) {
                    self.tasks.set_result(id, Fetchable::Fetched(item));
                    self.unhold(item);
                }
                Ok(reply)
            }
        }
    }

    /// The same when it is over; `None` if it is not, and the caller waits.
    pub(super) fn wait(
        &mut self,
        caller: Caller,
        id: TaskId,
        now: Now,
    ) -> Option<Result<Reply, Failure>> {
        match self.tasks.get(id) {
            Err(failure) => Some(Err(failure)),
            Ok(task) if task.over.is_some() => Some(self.fetch(caller, id, now)),
            Ok(_) => match self.admit_waiting(caller) {
                Err(failure) => Some(Err(failure)),
                Ok(()) => {
                    self.wait_for(caller, id);
                    None
                }
            },
        }
    }

    /// Has a caller wait for a task that is not over.
    pub(super) fn wait_for(&mut self, caller: Caller, id: TaskId) {
        let turn = self.tasks.next_turn();
        let Some(task) = self.tasks.known.get_mut(&id) else { return };
        task.waiting.insert(turn, caller);
        self.waits(caller, Place::Task(id, turn));
    }

    /// True if it will not run, or was asked to stop; false if it is over.
    pub(super) fn cancel_task(
        &mut self,
        id: TaskId,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Result<bool, Failure> {
        let task = self.tasks.get(id)?;
        if task.over.is_some() {
            return Ok(false);
        }
        let (running, place) = (task.state == TaskState::Running, task.place);
        if let Some(task) = self.tasks.known.get_mut(&id) {
            task.stopping = true;
        }
        // A build that others wait for as well goes on without this task.
        if running
            && let Some(Place::Job(job, _)) = place
            && self.stop_alone(job)
        {
            return Ok(true);
        }
        if let Some(place) = place {
            self.leave(place);
        }
        let failure = Failure::new(FailureKind::Cancelled, "it was cancelled");
        self.complete(id, Err(failure), now, effects);
        Ok(true)
    }

    /// Forgets a task. If it is not over, nobody gets its result.
    pub(super) fn abandon(&mut self, id: TaskId, why: &str, effects: &mut Vec<Effect>) {
        let Some(task) = self.tasks.known.remove(&id) else { return };
        if let Some(over) = task.over {
            self.tasks.over.remove(&over);
        }
        if let Some(owner) = self.connections.get_mut(&task.owner) {
            owner.tasks.remove(&id);
        }
        if let Some(place) = task.place {
            self.leave(place);
        }
        if let Fetchable::Kept(item) = task.result {
            self.unhold(item);
        }
        for caller in task.waiting.into_values() {
            self.waits_no_more(caller);
            let name = self.offers.name(task.endpoint);
            let message = format!("task {id} of endpoint `{name}` was cancelled: {why}");
            let failure = Failure::new(FailureKind::Task, message)
                .with("task", id)
                .with("state", name_of(TaskState::Cancelled));
            self.fail(caller, failure, effects);
        }
    }

    /// Forgets those that have been over for too long; when the next will be.
    pub(super) fn expire_tasks(&mut self, now: Instant) -> Option<Instant> {
        let age = self.config.result_age;
        loop {
            let ((since, _), task) = self.tasks.over.first_key_value()?;
            if !is_over(*since, age, now) {
                return since.checked_add(age);
            }
            // Nobody waits for what is over.
            self.abandon(*task, "it is too old", &mut Vec::new());
        }
    }

    pub(super) fn task_info(&self, id: TaskId) -> Result<TaskInfo, Failure> {
        Ok(self.describe(id, self.tasks.get(id)?))
    }

    pub(super) fn task_list(&self, state: Option<TaskState>) -> Vec<TaskInfo> {
        let wanted = |task: &Task| state.is_none_or(|state| task.state == state);
        let tasks = self.tasks.known.iter().filter(|(_, task)| wanted(task));
        tasks.map(|(id, task)| self.describe(*id, task)).collect()
    }

    fn describe(&self, id: TaskId, task: &Task) -> TaskInfo {
        TaskInfo {
            task: id,
            endpoint: self.offers.name(task.endpoint).to_owned(),
            state: task.state,
            created: seconds(task.created),
            started: task.started.map(seconds),
            completed: task.completed.map(seconds),
            failure: task.failure.clone(),
            object: task.object,
        }
    }

    /// Why there is no result to fetch.
    fn failure_of(&self, id: TaskId) -> Failure {
        let task = match self.tasks.get(id) {
            Ok(task) => task,
            Err(failure) => return failure,
        };
        let (name, state) = (self.offers.name(task.endpoint), name_of(task.state));
        let about = |message: String| {
            Failure::new(FailureKind::Task, message).with("task", id).with("state", state)
        };
        let Some(cause) = &task.failure else {
            return about(format!(
                "task {id} of endpoint `{name}` is {state}; wait for it, or ask again later"
            ));
        };
        if cause.kind == FailureKind::Stopping {
            return cause.clone();
        }
        let kind = if cause.error_type.is_empty() { "" } else { ": " };
        let message =
            format!("task {id} of endpoint `{name}` {state}{kind}{}: {cause}", cause.error_type);
        let mut failure = about(message).of_type(cause.error_type.clone());
        failure.details.extend(cause.details.iter().cloned());
        failure
    }
}

impl Tasks {
    /// Tasks that are known.
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// A worker is at it.
    pub(super) fn begin(&mut self, id: TaskId, now: SystemTime) {
        let Some(task) = self.known.get_mut(&id) else { return };
        if task.state == TaskState::Pending {
            task.state = TaskState::Running;
            task.started = Some(now);
        }
    }

    /// It waits for a worker's job.
    pub(super) fn waits(&mut self, id: TaskId, place: Place) {
        if let Some(task) = self.known.get_mut(&id) {
            task.place = Some(place);
        }
    }

    /// A caller waits for it no more.
    pub(super) fn leave(&mut self, id: TaskId, turn: u64) {
        if let Some(task) = self.known.get_mut(&id) {
            task.waiting.remove(&turn);
        }
    }

    fn get(&self, id: TaskId) -> Result<&Task, Failure> {
        self.known.get(&id).ok_or_else(|| {
            let message = format!(
                "there is no task {id}: it never was, or it is forgotten, as tasks are some time after they \
                 are over, when there are too many, and when their submitter's connection ends"
            );
            Failure::new(FailureKind::Task, message).with("task", id)
        })
    }

    fn set_result(&mut self, id: TaskId, result: Fetchable) {
        if let Some(task) = self.known.get_mut(&id) {
            task.result = result;
        }
    }

    fn next_turn(&mut self) -> u64 {
        self.last_turn += 1;
        self.last_turn
    }

    /// True if nothing is left behind.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty() && self.over.is_empty()
    }
}

fn name_of(state: TaskState) -> &'static str {
    match state {
        TaskState::Pending => "pending",
        TaskState::Running => "running",
        TaskState::Completed => "completed",
        TaskState::Failed => "failed",
        TaskState::Cancelled => "cancelled",
    }
}

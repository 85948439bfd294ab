//! How a call becomes an answer: its key, what is cached, what is built.

use super::super::endpoint::{Execution, KeyFunction, KeyRule};
use super::super::failure::{Failure, FailureKind};
use super::super::key::{self, Bound, Content, Key};
use super::super::value::Arguments;
use super::super::wire::Reply;
use super::builds::{Keying, Party};
use super::{Caller, Effect, JobId, Now, Service, Work, stopping};
use std::sync::Arc;

/// What a key is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose {
    Call(Party),
    Forget(Caller),
}

/// What a caller is answered with.
#[derive(Clone, Copy, Debug)]
enum Wanted {
    Value,
    /// The number of a task, at once.
    Task,
}

/// How the key of a call is found.
enum Plan {
    /// It has none.
    Unkeyed {
        /// True if it should have one.
        wanted: bool,
    },
    /// This is it.
    Key(Key),
    /// A worker makes it of these.
    Later(Arc<Arguments>, Option<KeyFunction>),
}

impl Service {
    /// The same as [`Request::Call`](super::Request::Call), for arguments that need no decoding.
    pub fn call(
        &mut self,
        caller: Caller,
        endpoint: &str,
        arguments: Arguments,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        self.begin(caller, endpoint, arguments, Wanted::Value, now, effects);
    }

    /// The same as [`Request::Submit`](super::Request::Submit).
    pub fn submit(
        &mut self,
        caller: Caller,
        endpoint: &str,
        arguments: Arguments,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        self.begin(caller, endpoint, arguments, Wanted::Task, now, effects);
    }

    /// The same as [`Request::InvalidateCall`](super::Request::InvalidateCall).
    pub fn invalidate_call(
        &mut self,
        caller: Caller,
        endpoint: &str,
        arguments: Arguments,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let _ = now;
        if let Err(failure) = self.try_invalidate(caller, endpoint, arguments, effects) {
            self.fail(caller, failure, effects);
        }
    }

    /// A worker made a key. What is said of a job a second time is ignored.
    pub fn keyed(
        &mut self,
        job: JobId,
        key: Result<Key, Failure>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let Some(Keying { endpoint, arguments, purpose }) = self.take_keying(job) else { return };
        let key = key.map(|digest| key::of_endpoint(self.offers.name(endpoint), &digest));
        match (purpose, key) {
            (Some(Purpose::Call(party)), Ok(key)) => {
                self.find(party, endpoint, key, arguments, now, effects);
            }
            (Some(Purpose::Call(party)), Err(failure)) => {
                self.disappoint(party, failure, now, effects);
            }
            (Some(Purpose::Forget(caller)), key) => {
                self.waits_no_more(caller);
                let done = key.map(|key| Reply::Invalidated(self.forget_key(&key)));
                self.reply(caller, done.unwrap_or_else(Reply::Failed), effects);
            }
            (None, _) => {}
        }
    }

    /// Whether a call may come in at all; the endpoint's number.
    pub(super) fn accept(&mut self, caller: Caller, endpoint: &str) -> Result<usize, Failure> {
        if self.stopping.is_some() {
            return Err(stopping());
        }
        let index = self.offers.find(endpoint)?;
        self.admit_waiting(caller)?;
        Ok(index)
    }

    /// Whether a caller may wait for something.
    pub(super) fn admit_waiting(&mut self, caller: Caller) -> Result<(), Failure> {
        let Some(connection) = self.connections.get(&caller.connection) else { return Ok(()) };
        if caller.request == 0 {
            return Ok(());
        }
        if connection.waiting.contains_key(&caller.request) {
            let message = format!(
                "request {} of this connection is not answered yet; choose another number",
                caller.request
            );
            return Err(Failure::new(FailureKind::Protocol, message)
                .with("field", "request")
                .with("found", caller.request));
        }
        let limit = self.config.limits.in_flight;
        if connection.waiting.len() >= limit {
            return Err(self.busy("too many requests of this connection are not answered", limit));
        }
        Ok(())
    }

    /// Gives a party what it waits for, or came for.
    pub(super) fn serve(&mut self, party: Party, item: u64, now: Now, effects: &mut Vec<Effect>) {
        match party {
            Party::Caller(caller) => {
                self.waits_no_more(caller);
                let reply = self.answer(caller, item, now).unwrap_or_else(Reply::Failed);
                self.reply(caller, reply, effects);
            }
            Party::Task(task) => self.complete(task, Ok(item), now, effects),
        }
    }

    /// Tells a party why it does not get what it waits for, or came for.
    pub(super) fn disappoint(
        &mut self,
        party: Party,
        failure: Failure,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        match party {
            Party::Caller(caller) => {
                self.waits_no_more(caller);
                self.fail(caller, failure, effects);
            }
            Party::Task(task) => self.complete(task, Err(failure), now, effects),
        }
    }

    /// Takes a call in, or says why not. Nobody is told of a request without a number.
    fn begin(
        &mut self,
        caller: Caller,
        endpoint: &str,
        arguments: Arguments,
        wanted: Wanted,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        if caller.request == 0 {
            return;
        }
        if let Err(failure) = self.try_begin(caller, endpoint, arguments, wanted, now, effects) {
            self.fail(caller, failure, effects);
        }
    }

    fn try_begin(
        &mut self,
        caller: Caller,
        endpoint: &str,
        arguments: Arguments,
        wanted: Wanted,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Failure> {
        let index = self.accept(caller, endpoint)?;
        let arguments = Arc::new(arguments);
        let plan = self.plan(index, &arguments)?;
        let party = match (wanted, self.offers.get(index).endpoint.options.execution) {
            (Wanted::Value, Execution::Direct) => {
                self.admit(index, &plan, now)?;
                Party::Caller(caller)
            }
            (Wanted::Value, Execution::Task) | (Wanted::Task, _) => {
                self.make_room(effects)?;
                self.admit(index, &plan, now)?;
                let task = self.open_task(index, caller.connection, now);
                match wanted {
                    Wanted::Value => self.wait_for(caller, task),
                    Wanted::Task => self.reply(caller, Reply::Submitted(task), effects),
                }
                Party::Task(task)
            }
        };
        self.pursue(party, index, arguments, plan, now, effects);
        Ok(())
    }

    fn try_invalidate(
        &mut self,
        caller: Caller,
        endpoint: &str,
        arguments: Arguments,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Failure> {
        let index = self.offers.find(endpoint)?;
        let arguments = Arc::new(arguments);
        let forgotten = match self.plan(index, &arguments)? {
            Plan::Unkeyed { .. } => 0,
            Plan::Key(key) => self.forget_key(&key),
            Plan::Later(of, function) => {
                self.admit_waiting(caller)?;
                self.admit_job()?;
                let purpose = Some(Purpose::Forget(caller));
                let keying = Keying { endpoint: index, arguments, purpose };
                self.make_key(keying, Work::Key { arguments: of, function }, effects);
                return Ok(());
            }
        };
        self.reply(caller, Reply::Invalidated(forgotten), effects);
        Ok(())
    }

    /// Binds the arguments, so that a wrong call is refused before anybody works for it, and looks for a key.
    fn plan(&self, index: usize, arguments: &Arc<Arguments>) -> Result<Plan, Failure> {
        let offer = self.offers.get(index);
        let endpoint = &*offer.endpoint;
        let name = endpoint.name.as_str();
        let bound = match &endpoint.parameters {
            Some(parameters) => Bound::of(name, parameters, arguments)?,
            None => Bound::loose(&arguments.positional, &arguments.named),
        };
        if !endpoint.options.cache {
            return Ok(Plan::Unkeyed { wanted: false });
        }
        if let KeyRule::Function(function) = &endpoint.options.key {
            return Ok(Plan::Later(arguments.clone(), Some(function.clone())));
        }
        if let Some(template) = &offer.template {
            let text = template.fill(name, &bound)?;
            return Ok(Plan::Key(key::of_endpoint(name, &key::of_text(&text))));
        }
        Ok(match bound.content() {
            Content::Plain => match bound.digest() {
                Some(digest) => Plan::Key(key::of_endpoint(name, &digest)),
                None => Plan::Unkeyed { wanted: true },
            },
            Content::Bytes => Plan::Later(Arc::new(bound.to_arguments()), None),
            Content::Opaque => Plan::Unkeyed { wanted: true },
        })
    }

    /// Whether there is room for a call: what is cached or being built needs none.
    fn admit(&mut self, index: usize, plan: &Plan, now: Now) -> Result<(), Failure> {
        if let Plan::Key(key) = plan {
            let joins = self.offers.get(index).endpoint.options.singleflight;
            if self.is_cached(key, now.instant) || (joins && self.joinable(key).is_some()) {
                return Ok(());
            }
        }
        self.admit_job()
    }

    fn admit_job(&mut self) -> Result<(), Failure> {
        let limit = self.config.queue.max(1);
        if self.builds.waiting() >= limit {
            return Err(self.busy("too many builds wait for a worker", limit));
        }
        Ok(())
    }

    fn pursue(
        &mut self,
        party: Party,
        endpoint: usize,
        arguments: Arc<Arguments>,
        plan: Plan,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        match plan {
            Plan::Key(key) => self.find(party, endpoint, key, arguments, now, effects),
            Plan::Unkeyed { wanted } => {
                self.counters.uncacheable += u64::from(wanted);
                self.build(party, endpoint, None, arguments, effects);
            }
            Plan::Later(of, function) => {
                let purpose = Some(Purpose::Call(party));
                let keying = Keying { endpoint, arguments, purpose };
                self.make_key(keying, Work::Key { arguments: of, function }, effects);
            }
        }
    }

    /// What is cached, else what is being built, else a new build.
    fn find(
        &mut self,
        party: Party,
        endpoint: usize,
        key: Key,
        arguments: Arc<Arguments>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        if let Some(item) = self.lookup(&key, now.instant) {
            self.counters.cache_hits += 1;
            return self.serve(party, item, now, effects);
        }
        self.counters.cache_misses += 1;
        if self.offers.get(endpoint).endpoint.options.singleflight
            && let Some(job) = self.joinable(&key)
        {
            self.counters.joined += 1;
            return self.join(job, party, now);
        }
        self.build(party, endpoint, Some(key), arguments, effects);
    }
}

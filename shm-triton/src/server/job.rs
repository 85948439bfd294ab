//! One request that was found valid: running its model.

use super::admission::{Admitted, Ticket};
use super::call::{Call, Sequence, Wanted};
use super::input::{Input, Source};
use super::output::{Place, Produced, Room};
use super::statistics::Times;
use super::{Model, Placement, Refusal};
use crate::spec::ModelSpec;
use crate::wire::{OutputMessage, Parameters};
use bytes::Bytes;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;
use tokio::runtime::{Handle, RuntimeFlavor};

/// A request and all that it holds: its regions stay registered until it is dropped.
pub(super) struct Job {
    pub model: Arc<dyn Model>,
    pub spec: Arc<ModelSpec>,
    pub id: String,
    pub parameters: Parameters,
    pub sequence: Option<Sequence>,
    pub batch: usize,
    pub inputs: Vec<Input>,
    pub wanted: Vec<Wanted>,
    /// Counts as in flight as long as it exists.
    pub _admitted: Admitted,
}

/// What a model answered.
pub(super) struct Answer {
    pub outputs: Vec<OutputMessage>,
    pub times: Times,
}

impl Job {
    /// Runs the model where it wants to run, and holds the ticket meanwhile.
    pub async fn run(self, ticket: Ticket) -> Result<Answer, Refusal> {
        if self.model.placement() == Placement::Inline {
            let answer = self.run_here();
            drop(ticket);
            return answer;
        }
        if Handle::current().runtime_flavor() == RuntimeFlavor::MultiThread {
            return tokio::task::block_in_place(|| {
                let answer = self.run_here();
                drop(ticket);
                answer
            });
        }
        let running = tokio::task::spawn_blocking(move || {
            let answer = self.run_here();
            drop(ticket);
            answer
        });
        running.await.unwrap_or_else(|error| Err(Refusal::internal(error)))
    }

    fn run_here(self) -> Result<Answer, Refusal> {
        let mut times = Times::default();
        let started = Instant::now();
        // While the request waited, clients went on.
        self.check_memory()?;
        let strings = self.inputs.iter().try_for_each(Input::check_strings);
        let called = Instant::now();
        times.input = called - started;
        let produced = strings.map_err(Refusal::invalid).and_then(|()| self.call_model());
        let returned = Instant::now();
        times.infer = returned - called;
        // Zeros that took the place of a client's memory explain any other error.
        self.check_memory()?;
        let outputs = self.outputs(produced?);
        times.output = returned.elapsed();
        Ok(Answer { outputs, times })
    }

    fn call_model(&self) -> Result<Vec<Produced>, Refusal> {
        let call = Call {
            id: &self.id,
            parameters: &self.parameters,
            sequence: self.sequence.as_ref(),
            batch: self.batch,
            spec: &self.spec,
            inputs: &self.inputs,
            wanted: &self.wanted,
            produced: Vec::with_capacity(self.spec.outputs.len()),
        };
        // A panic must not take other requests of the connection with it. What the model itself shares
        // between calls is its own affair, as with any lock that a panic poisons.
        match catch_unwind(AssertUnwindSafe(|| call.run(&*self.model))) {
            Ok(produced) => Ok(produced?),
            Err(panic) => Err(Refusal::internal(format!(
                "the model '{}' panicked: {}",
                self.spec.name,
                text(&*panic)
            ))),
        }
    }

    /// Refuses if any memory of the request was cut short by its client.
    fn check_memory(&self) -> Result<(), Refusal> {
        let inputs = self.inputs.iter().filter_map(|input| match &input.source {
            Source::Shared(lent) => Some(lent),
            Source::Message(_) => None,
        });
        let outputs = self.wanted.iter().filter_map(|wanted| match &wanted.room {
            Room::Shared(lent) => Some(lent),
            Room::Message | Room::Nowhere => None,
        });
        inputs.chain(outputs).try_for_each(|lent| lent.check())
    }

    /// In the order in which the client asked for them.
    fn outputs(&self, mut produced: Vec<Produced>) -> Vec<OutputMessage> {
        if !self.wanted.is_empty() {
            produced.sort_by_key(|output| {
                self.wanted.iter().position(|wanted| wanted.name == output.name)
            });
        }
        produced
            .into_iter()
            .filter_map(|output| {
                let data = match output.place {
                    Place::Shared => None,
                    Place::Message(buffer) => Some(Bytes::from_owner(buffer)),
                    Place::Nowhere { .. } => return None,
                };
                let datatype = output.datatype.name().to_owned();
                Some(OutputMessage { name: output.name, datatype, shape: output.shape, data })
            })
            .collect()
    }
}

fn text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}

//! What is known of the pictures and their answers so far.

use std::process::ExitStatus;
use std::time::Instant;

use anyhow::Result;
use hdrhistogram::Histogram;

use super::likeness::Likeness;
use super::message::{Answer, WorkerSays};
use super::reference::Expected;

/// The whole act.
pub struct Answers {
    pub pictures: Vec<Picture>,
    pub ready: bool,
    /// Answers, and how many of them were right and read in place.
    pub total: u64,
    pub right: u64,
    pub in_place: u64,
    pub age: Histogram<u64>,
    pub run: Histogram<u64>,
    /// Since when there are answers, and when the newest came.
    pub first: Option<Instant>,
    pub last: Option<Instant>,
    /// Requests whose tensors went in the message, once the worker stopped in good order.
    pub inline_calls: Option<u64>,
    pub publisher_ended: Option<ExitStatus>,
    pub worker_ended: Option<ExitStatus>,
    /// The server answered to the end, and ended as it was told.
    pub server_well: bool,
    pub likeness: Likeness,
}

/// One picture.
pub struct Picture {
    pub name: String,
    pub expected: Expected,
    pub answered: u64,
    pub wrong: u64,
    /// The newest answer.
    pub newest: Option<Answer>,
}

impl Answers {
    /// Nothing is answered yet.
    pub fn none(names: Vec<String>, expected: &[Expected], likeness: Likeness) -> Result<Self> {
        let pictures = names
            .into_iter()
            .zip(expected)
            .map(|(name, &expected)| Picture {
                name,
                expected,
                answered: 0,
                wrong: 0,
                newest: None,
            })
            .collect();
        // 1 ns to 60 s at three digits.
        let latency = Histogram::new_with_bounds(1, 60_000_000_000, 3)?;
        Ok(Self {
            pictures,
            ready: false,
            total: 0,
            right: 0,
            in_place: 0,
            age: latency.clone(),
            run: latency,
            first: None,
            last: None,
            inline_calls: None,
            publisher_ended: None,
            worker_ended: None,
            server_well: false,
            likeness,
        })
    }

    pub fn hears(&mut self, said: WorkerSays) {
        match said {
            WorkerSays::Ready => self.ready = true,
            WorkerSays::Answer(answer) => self.answered(answer),
            WorkerSays::Done { inline_calls } => self.inline_calls = Some(inline_calls),
        }
    }

    /// True once every picture was answered.
    pub fn complete(&self) -> bool {
        self.pictures.iter().all(|picture| picture.answered > 0)
    }

    /// Answers a second.
    pub fn rate(&self) -> f64 {
        match (self.first, self.last) {
            (Some(first), Some(last)) if self.total > 1 => {
                (self.total - 1) as f64 / last.duration_since(first).as_secs_f64().max(1e-9)
            }
            _ => 0.0,
        }
    }

    fn answered(&mut self, answer: Answer) {
        let now = Instant::now();
        self.first.get_or_insert(now);
        self.last = Some(now);
        self.total += 1;
        self.in_place += u64::from(answer.in_place);
        self.age.saturating_record(answer.age_ns);
        self.run.saturating_record(answer.run_ns);
        let Some(picture) = self.pictures.get_mut(answer.picture) else {
            // Counted, but never right.
            return;
        };
        picture.answered += 1;
        if self.likeness.holds(&answer, &picture.expected) {
            self.right += 1;
        } else {
            picture.wrong += 1;
        }
        picture.newest = Some(answer);
    }
}

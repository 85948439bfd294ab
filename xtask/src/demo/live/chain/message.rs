//! What the worker says to the conductor.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum WorkerSays {
    /// It has the stream open and the model registered.
    Ready,
    /// A picture was looked at.
    Answer(Answer),
    /// It stopped in good order.
    Done {
        /// Requests whose tensors went in the message in place of shared memory.
        inline_calls: u64,
    },
}

/// What became of one frame.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// Which picture the frame showed.
    pub picture: usize,
    /// From the frame's publication until its answer was read.
    pub age_ns: u64,
    /// From the request until the answer was there.
    pub run_ns: u64,
    pub text_pixels: u64,
    pub regions: u64,
    /// Of the answer's bytes.
    pub checksum: u64,
    /// The answer was read where the server had written it.
    pub in_place: bool,
}

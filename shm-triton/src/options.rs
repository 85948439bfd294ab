//! What one inference can be asked for.

use crate::wire::{Parameter, Parameters};
use shm_core::Deadline;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A sequence that a request belongs to, for models that keep state.
///
/// ```
/// use shm_triton::{Options, Sequence};
/// let first = Options::new().sequence(Sequence::new(42).start());
/// let last = Options::new().sequence(Sequence::new(42).end());
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Sequence {
    pub(crate) id: Parameter,
    pub(crate) start: bool,
    pub(crate) end: bool,
}

impl Sequence {
    /// By number, which is not 0.
    pub fn new(id: u64) -> Sequence {
        // The protocol carries numbers of 64 bits with a sign.
        Sequence { id: Parameter::Int(id as i64), start: false, end: false }
    }

    /// By text.
    pub fn named(id: impl Into<String>) -> Sequence {
        Sequence { id: Parameter::Text(id.into()), start: false, end: false }
    }

    /// This request begins the sequence. Of several chunks the first does.
    #[must_use]
    pub fn start(mut self) -> Sequence {
        self.start = true;
        self
    }

    /// This request ends the sequence. Of several chunks the last does.
    #[must_use]
    pub fn end(mut self) -> Sequence {
        self.end = true;
        self
    }
}

/// What ends a wait early, see [`Options::interrupt`].
pub(crate) type Interrupt = Arc<dyn Fn() -> bool + Send + Sync>;

/// What one inference is asked for, beyond its inputs.
///
/// ```
/// use shm_triton::Options;
/// use std::time::Duration;
/// let options = Options::new().within(Duration::from_millis(50)).id("frame-7").parameter("top_k", 5);
/// ```
#[derive(Clone, Default)]
pub struct Options {
    pub(crate) deadline: Option<Deadline>,
    pub(crate) id: String,
    pub(crate) version: Option<String>,
    pub(crate) sequence: Option<Sequence>,
    pub(crate) parameters: Parameters,
    pub(crate) outputs: Option<Vec<String>>,
    pub(crate) interrupt: Option<Interrupt>,
}

impl Options {
    /// Nothing special: all outputs, the client's usual timeout.
    pub fn new() -> Options {
        Options::default()
    }

    /// Waits for at most `timeout` from now on, for a slot and for the answer together.
    #[must_use]
    pub fn within(self, timeout: Duration) -> Options {
        self.until(timeout)
    }

    /// Waits until `deadline`, for a slot and for the answer together.
    #[must_use]
    pub fn until(mut self, deadline: impl Into<Deadline>) -> Options {
        self.deadline = Some(deadline.into());
        self
    }

    /// The caller's own name for the request; chunks get `#0`, `#1`, ... behind it.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Options {
        self.id = id.into();
        self
    }

    /// The version to run, instead of the one that was registered.
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> Options {
        self.version = Some(version.into());
        self
    }

    /// Priority in the server's queue, from 1, the highest; 0 is the model's default.
    #[must_use]
    pub fn priority(self, priority: u32) -> Options {
        self.parameter("priority", i64::from(priority))
    }

    /// How long the request may wait in the server's queue; for models that batch dynamically and
    /// allow it. The caller's own wait is [`Options::within`].
    #[must_use]
    pub fn server_timeout(self, timeout: Duration) -> Options {
        let micros = i64::try_from(timeout.as_micros()).unwrap_or(i64::MAX);
        self.parameter("timeout", micros)
    }

    /// The sequence that the request belongs to. Chunks of it run one after the other.
    #[must_use]
    pub fn sequence(mut self, sequence: Sequence) -> Options {
        self.sequence = Some(sequence);
        self
    }

    /// A parameter for the model.
    #[must_use]
    pub fn parameter(mut self, name: impl Into<String>, value: impl Into<Parameter>) -> Options {
        self.parameters.insert(name.into(), value.into());
        self
    }

    /// The outputs that are wanted; all unless told.
    #[must_use]
    pub fn outputs<S: AsRef<str>>(mut self, names: &[S]) -> Options {
        self.outputs = Some(names.iter().map(|name| name.as_ref().to_owned()).collect());
        self
    }

    /// Asked at least every 50 ms while a call blocks, and after every signal; true ends the wait as
    /// the deadline does.
    #[must_use]
    pub fn interrupt(mut self, asked: impl Fn() -> bool + Send + Sync + 'static) -> Options {
        self.interrupt = Some(Arc::new(asked));
        self
    }

    /// All parameters of the request that is chunk `index` of `of`.
    pub(crate) fn wire_parameters(&self, index: usize, of: usize) -> Parameters {
        let mut parameters = self.parameters.clone();
        if let Some(sequence) = &self.sequence {
            let start = sequence.start && index == 0;
            let end = sequence.end && index + 1 == of;
            parameters.insert("sequence_id".into(), sequence.id.clone());
            parameters.insert("sequence_start".into(), start.into());
            parameters.insert("sequence_end".into(), end.into());
        }
        parameters
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("deadline", &self.deadline)
            .field("id", &self.id)
            .field("version", &self.version)
            .field("sequence", &self.sequence)
            .field("parameters", &self.parameters)
            .field("outputs", &self.outputs)
            .finish_non_exhaustive()
    }
}

macro_rules! parameter_from {
    ($($type:ty => $variant:ident),*) => {
        $(impl From<$type> for Parameter {
            fn from(value: $type) -> Parameter {
                Parameter::$variant(value.into())
            }
        })*
    };
}

parameter_from!(bool => Bool, i32 => Int, i64 => Int, u32 => Int, f32 => Float, f64 => Float, &str => Text, String => Text);

//! One request, as a model sees it.

use super::input::Input;
use super::output::{Output, Produced, Room};
use super::{Model, ModelError};
use crate::datatype::DataType;
use crate::spec::ModelSpec;
use crate::wire::{Code, Parameters};
use std::fmt;

/// A request that a model is to serve.
pub struct Call<'a> {
    pub(super) id: &'a str,
    pub(super) parameters: &'a Parameters,
    pub(super) sequence: Option<&'a Sequence>,
    pub(super) batch: usize,
    pub(super) spec: &'a ModelSpec,
    pub(super) inputs: &'a [Input],
    pub(super) wanted: &'a [Wanted],
    pub(super) produced: Vec<Produced>,
}

/// Which sequence a request belongs to, and where in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// The sequence.
    pub id: SequenceId,
    /// The request is its first.
    pub start: bool,
    /// The request is its last.
    pub end: bool,
}

/// What a client calls a sequence.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SequenceId {
    /// A number, never 0.
    Number(u64),
    /// A text, never empty.
    Text(String),
}

impl fmt::Display for SequenceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SequenceId::Number(number) => number.fmt(f),
            SequenceId::Text(text) => text.fmt(f),
        }
    }
}

/// An output that the client asked for, and where it wants it.
pub(super) struct Wanted {
    pub name: String,
    pub room: Room,
}

impl<'a> Call<'a> {
    /// The client's own name for the request; may be empty.
    pub fn id(&self) -> &'a str {
        self.id
    }

    /// The request's parameters.
    pub fn parameters(&self) -> &'a Parameters {
        self.parameters
    }

    /// The sequence that the request belongs to. Always there for a model whose spec says `sequence`.
    pub fn sequence(&self) -> Option<&'a Sequence> {
        self.sequence
    }

    /// Samples of the request; 1 for a model without a batch dimension.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// The inputs, in the client's order.
    pub fn inputs(&self) -> &'a [Input] {
        self.inputs
    }

    /// An input by its name. Only an optional one can be absent from a request.
    pub fn input(&self, name: &str) -> Result<&'a Input, ModelError> {
        self.inputs.iter().find(|input| input.name() == name).ok_or_else(|| {
            ModelError::new(
                Code::InvalidArgument,
                format!(
                    "the request has no input '{name}', which the model '{}' reads",
                    self.spec.name
                ),
            )
        })
    }

    /// Room for an output of a datatype whose elements have one size.
    ///
    /// It lies in the client's shared memory if the client asked for that. An output that the client
    /// did not ask for gets room too, which is then dropped.
    pub fn output(
        &mut self,
        name: &str,
        datatype: DataType,
        shape: &[i64],
    ) -> Result<Output<'a>, ModelError> {
        let Some(byte_len) = datatype.byte_len(shape) else {
            return Err(match datatype.size() {
                None => format!(
                    "the size of output '{name}' does not follow from its datatype {datatype}: give it by `output_sized`"
                ),
                Some(_) => format!("output '{name}' cannot have the shape {shape:?}"),
            }
            .into());
        };
        self.output_sized(name, datatype, shape, byte_len)
    }

    /// Room for an output of so many bytes: for [`DataType::Bytes`], where the shape does not tell.
    pub fn output_sized(
        &mut self,
        name: &str,
        datatype: DataType,
        shape: &[i64],
        byte_len: usize,
    ) -> Result<Output<'a>, ModelError> {
        if !self.spec.outputs.iter().any(|output| output.name == name) {
            return Err(format!(
                "the model '{}' gave an output '{name}' that its spec does not have",
                self.spec.name
            )
            .into());
        }
        if self.produced.iter().any(|produced| produced.name == name) {
            return Err(
                format!("the model '{}' gave its output '{name}' twice", self.spec.name).into()
            );
        }
        let room = match self.wanted.iter().find(|wanted| wanted.name == name) {
            Some(wanted) => &wanted.room,
            None if self.wanted.is_empty() => &Room::Message,
            None => &Room::Nowhere,
        };
        let (produced, output) = Produced::new(room, name, datatype, shape, byte_len)?;
        self.produced.push(produced);
        Ok(output)
    }

    /// An output of byte strings.
    pub fn output_strings<S: AsRef<[u8]>>(
        &mut self,
        name: &str,
        shape: &[i64],
        strings: &[S],
    ) -> Result<(), ModelError> {
        let byte_len = strings.iter().map(|string| 4 + string.as_ref().len()).sum();
        let mut serialized = Vec::with_capacity(byte_len);
        for string in strings {
            let string = string.as_ref();
            let len = u32::try_from(string.len())
                .map_err(|_| format!("a string of output '{name}' is longer than 4 GiB"))?;
            serialized.extend_from_slice(&len.to_le_bytes());
            serialized.extend_from_slice(string);
        }
        self.output_sized(name, DataType::Bytes, shape, byte_len)?.copy_from(&serialized)
    }

    /// Runs the model.
    pub(super) fn run(mut self, model: &dyn Model) -> Result<Vec<Produced>, ModelError> {
        model.infer(&mut self)?;
        Ok(self.produced)
    }
}

impl fmt::Debug for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("model", &self.spec.name)
            .field("id", &self.id)
            .field("batch", &self.batch)
            .field("sequence", &self.sequence)
            .finish_non_exhaustive()
    }
}

//! What a model takes and gives.

use crate::datatype::DataType;

/// One input or output of a model, as the model declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// Its name.
    pub name: String,
    /// Its element type.
    pub datatype: DataType,
    /// Its shape for one sample: without the batch dimension where the model has one; -1 stands for any
    /// length.
    pub dims: Vec<i64>,
    /// An input that may be left out.
    pub optional: bool,
}

impl TensorSpec {
    /// A tensor that must be there.
    pub fn new(name: impl Into<String>, datatype: DataType, dims: &[i64]) -> TensorSpec {
        TensorSpec { name: name.into(), datatype, dims: dims.to_vec(), optional: false }
    }

    /// True if a dimension is only known from call to call.
    pub fn is_dynamic(&self) -> bool {
        self.dims.iter().any(|&dim| dim < 0) || self.datatype == DataType::Bytes
    }
}

/// A model: its name, and what it takes and gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelSpec {
    /// Its name on the server.
    pub name: String,
    /// Its version; empty for whichever the server prefers.
    pub version: String,
    /// Most samples of one request; 0 for a model whose tensors have no batch dimension.
    pub max_batch_size: usize,
    /// What it takes.
    pub inputs: Vec<TensorSpec>,
    /// What it gives.
    pub outputs: Vec<TensorSpec>,
    /// It answers one request with any number of responses.
    pub decoupled: bool,
    /// Its requests belong to sequences.
    pub sequence: bool,
}

impl ModelSpec {
    /// A model without inputs and outputs, to which they are added.
    pub fn new(name: impl Into<String>, max_batch_size: usize) -> ModelSpec {
        ModelSpec {
            name: name.into(),
            version: String::new(),
            max_batch_size,
            inputs: Vec::new(),
            outputs: Vec::new(),
            decoupled: false,
            sequence: false,
        }
    }

    /// Adds an input.
    #[must_use]
    pub fn input(mut self, name: &str, datatype: DataType, dims: &[i64]) -> ModelSpec {
        self.inputs.push(TensorSpec::new(name, datatype, dims));
        self
    }

    /// Adds an output.
    #[must_use]
    pub fn output(mut self, name: &str, datatype: DataType, dims: &[i64]) -> ModelSpec {
        self.outputs.push(TensorSpec::new(name, datatype, dims));
        self
    }
}

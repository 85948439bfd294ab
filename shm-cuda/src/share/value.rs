//! Nested values with tensors in them: what is passed to endpoints, and what they give back.
//!
//! Upholds invariant 8: a value says of each tensor where it lies; nothing is copied to make it fit.

use super::tensor::Tensor;

/// A tree of plain data and tensors. Two tensors on one [`Storage`](super::Storage) stay on one.
#[derive(Clone, Debug)]
pub enum Value {
    /// Nothing, Python's `None`.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number from -2^64 to 2^64 - 1.
    Int(i128),
    /// A number in double precision.
    Float(f64),
    /// Text.
    Str(String),
    /// Bytes that are data and nothing else.
    Bytes(Vec<u8>),
    /// A sequence that may grow.
    List(Vec<Value>),
    /// A sequence that may not.
    Tuple(Vec<Value>),
    /// Entries by name, in order. A name occurs once.
    Map(Vec<(String, Value)>),
    /// A tensor, on the host or on a device.
    Tensor(Tensor),
    /// Named tensors and how they belong together: a module.
    Bundle(Box<Bundle>),
    /// Bytes that only one language understands. Refused unless both sides were told to accept them.
    Opaque(Opaque),
}

/// Named tensors with a description of what they belong to.
///
/// A `torch.nn.Module` is one of kind `torch.nn.Module`: its parameters and buffers by their dotted names,
/// its classes and plain attributes in `structure`. Nothing in it is code.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// Who can make something of it.
    pub kind: String,
    /// Plain data that describes it.
    pub structure: Value,
    /// Its tensors, each name once.
    pub tensors: Vec<(String, Tensor)>,
}

/// Bytes with the name of their encoding, such as `pickle`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opaque {
    /// What they are encoded with.
    pub encoding: String,
    /// The bytes, never looked at by this crate.
    pub bytes: Vec<u8>,
}

/// What an endpoint is called with.
#[derive(Clone, Debug, Default)]
pub struct Arguments {
    /// By position.
    pub positional: Vec<Value>,
    /// By name; each name once.
    pub named: Vec<(String, Value)>,
}

impl Value {
    /// Calls `visit` with every tensor of the tree, also those of bundles, in order.
    pub fn for_each_tensor<'a>(&'a self, visit: &mut dyn FnMut(&'a Tensor)) {
        match self {
            Value::Tensor(tensor) => visit(tensor),
            Value::List(items) | Value::Tuple(items) => {
                items.iter().for_each(|item| item.for_each_tensor(visit));
            }
            Value::Map(entries) => {
                entries.iter().for_each(|(_, item)| item.for_each_tensor(visit));
            }
            Value::Bundle(bundle) => {
                bundle.structure.for_each_tensor(visit);
                bundle.tensors.iter().for_each(|(_, tensor)| visit(tensor));
            }
            Value::Null
            | Value::Bool(_)
            | Value::Int(_)
            | Value::Float(_)
            | Value::Str(_)
            | Value::Bytes(_)
            | Value::Opaque(_) => {}
        }
    }

    /// What kind of value it is, as the specification names it.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Float(_) => "float",
            Value::Str(_) => "str",
            Value::Bytes(_) => "bytes",
            Value::List(_) => "list",
            Value::Tuple(_) => "tuple",
            Value::Map(_) => "map",
            Value::Tensor(_) => "tensor",
            Value::Bundle(_) => "bundle",
            Value::Opaque(_) => "opaque",
        }
    }
}

impl Arguments {
    /// Arguments by position only.
    pub fn positional(values: impl IntoIterator<Item = Value>) -> Arguments {
        Arguments { positional: values.into_iter().collect(), named: Vec::new() }
    }

    /// Arguments by name only.
    pub fn named<N: Into<String>>(values: impl IntoIterator<Item = (N, Value)>) -> Arguments {
        let named = values.into_iter().map(|(name, value)| (name.into(), value)).collect();
        Arguments { positional: Vec::new(), named }
    }

    /// Calls `visit` with every tensor of them.
    pub fn for_each_tensor<'a>(&'a self, visit: &mut dyn FnMut(&'a Tensor)) {
        self.positional.iter().for_each(|value| value.for_each_tensor(visit));
        self.named.iter().for_each(|(_, value)| value.for_each_tensor(visit));
    }
}

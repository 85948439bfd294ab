//! Values into bytes and descriptors.
//!
//! Upholds invariants 8 (nothing is copied to make it fit) and 10 (what cannot travel is named by its
//! path inside the value).

use super::super::device::{Passage, Route};
use super::super::failure::{Failure, FailureKind};
use super::super::limits::{Limits, MOST_DESCRIPTORS};
use super::super::tensor::{Storage, Tensor};
use super::super::value::{Arguments, Bundle, Value};
use super::cbor::CborWriter;
use super::tree::{DEEPEST, Names, storage_kind, tag};
use minicbor::data::{Int, Tag};
use std::collections::HashMap;
use std::fmt::{Display, Write as _};
use std::sync::Arc;

/// A value as it travels: made once, sent to any number of peers.
#[derive(Clone, Debug)]
pub struct EncodedValue {
    /// CBOR: `[storages, value]`.
    pub body: Arc<[u8]>,
    /// What it lies in, in the order of the table; descriptors are taken from these when it is sent.
    pub storages: Arc<[Storage]>,
    /// Bytes of its storages, all together.
    pub storage_len: usize,
}

impl EncodedValue {
    /// How many descriptors travel with it.
    pub fn descriptors(&self) -> usize {
        self.storages.iter().filter(|storage| has_descriptor(storage)).count()
    }

    /// True if every storage stays readable when the server is gone, and no lease is needed to keep it.
    pub fn survives_owner(&self) -> bool {
        self.storages.iter().all(Storage::survives_owner)
    }
}

/// Encodes a value, or says what of it cannot travel.
///
/// # Errors
/// [`FailureKind::Value`] or [`FailureKind::Capability`], with the path inside the value in `field`.
pub fn encode_value(value: &Value, limits: &Limits) -> Result<EncodedValue, Failure> {
    let mut encoding = Encoding::new(limits);
    let written = encoding.value(value, 1);
    written.map_err(|trouble| trouble.into_failure("value"))?;
    encoding.finish("value")
}

/// Encodes arguments the same way: CBOR `[storages, [positional, named]]`.
///
/// # Errors
/// As [`encode_value`].
pub fn encode_arguments(arguments: &Arguments, limits: &Limits) -> Result<EncodedValue, Failure> {
    let mut encoding = Encoding::new(limits);
    encoding.tree.array(2).array(arguments.positional.len() as u64);
    let written = encoding
        .items(&arguments.positional, 1)
        .and_then(|()| encoding.entries(&arguments.named, 1));
    written.map_err(|trouble| trouble.into_failure("arguments"))?;
    encoding.finish("arguments")
}

/// Encodes a value that lies in no storage, without a table.
pub(super) fn encode_plain(value: &Value, writer: &mut CborWriter) -> Result<(), Failure> {
    let encoded = encode_value(value, &Limits::default())?;
    if !encoded.storages.is_empty() {
        let message = "value: expected plain data, found tensors; answer them as a value instead";
        return Err(Failure::new(FailureKind::Value, message));
    }
    writer.raw(&encoded.body[NO_STORAGES.len()..]);
    Ok(())
}

pub(super) fn has_descriptor(storage: &Storage) -> bool {
    match storage {
        Storage::Host(_) => true,
        Storage::Device(memory) => memory.route() == Route::Vmm,
    }
}

/// An array of two, the first of which is an empty array.
const NO_STORAGES: [u8; 2] = [0x82, 0x80];

struct Encoding<'l> {
    limits: &'l Limits,
    tree: CborWriter,
    table: CborWriter,
    storages: Vec<Storage>,
    places: HashMap<Identity, u64>,
    descriptors: usize,
    storage_len: usize,
    nodes: usize,
}

/// What [`Storage::is_same`] compares.
#[derive(PartialEq, Eq, Hash)]
enum Identity {
    Host((u64, u64), usize),
    Device(usize),
}

type Written = Result<(), Box<Trouble>>;

impl<'l> Encoding<'l> {
    fn new(limits: &'l Limits) -> Encoding<'l> {
        let mut tree = CborWriter::new();
        // Right for most values; those with storages get their table when it is known.
        tree.raw(&NO_STORAGES);
        Encoding {
            limits,
            tree,
            table: CborWriter::new(),
            storages: Vec::new(),
            places: HashMap::new(),
            descriptors: 0,
            storage_len: 0,
            nodes: 0,
        }
    }

    fn finish(self, root: &str) -> Result<EncodedValue, Failure> {
        let tree = self.tree.into_bytes();
        let body: Arc<[u8]> = if self.storages.is_empty() {
            tree.into()
        } else {
            let mut whole = CborWriter::new();
            whole.array(2).array(self.storages.len() as u64);
            whole.raw(&self.table.into_bytes()).raw(&tree[NO_STORAGES.len()..]);
            whole.into_bytes().into()
        };
        if body.len() > self.limits.body {
            let expected = format!("at most {} bytes beside its tensors", self.limits.body);
            let hint = "put large data into tensors, or raise the limit `body`";
            return Err(Trouble::value(expected, body.len(), hint).into_failure(root));
        }
        Ok(EncodedValue { body, storages: self.storages.into(), storage_len: self.storage_len })
    }

    fn value(&mut self, value: &Value, depth: usize) -> Written {
        let most = self.limits.depth.min(DEEPEST);
        if depth > most {
            let hint = "flatten it, or raise the limit `depth`";
            return Err(Trouble::value(format!("at most {most} levels of nesting"), "more", hint));
        }
        self.count(1)?;
        match value {
            Value::Null => {
                self.tree.null();
            }
            Value::Bool(value) => {
                self.tree.bool(*value);
            }
            Value::Int(value) => {
                let int = Int::try_from(*value).map_err(|_| {
                    let hint = "send it as text";
                    Trouble::value("an integer from -2^64 to 2^64 - 1", value, hint)
                })?;
                self.tree.int(int);
            }
            Value::Float(value) => {
                self.tree.f64(*value);
            }
            Value::Str(value) => {
                self.tree.str(value);
            }
            Value::Bytes(value) => {
                self.tree.bytes(value);
            }
            Value::List(items) => {
                self.tree.array(items.len() as u64);
                self.items(items, depth + 1)?;
            }
            Value::Tuple(items) => {
                self.tree.tag(Tag::new(tag::TUPLE)).array(items.len() as u64);
                self.items(items, depth + 1)?;
            }
            Value::Map(entries) => self.entries(entries, depth + 1)?,
            Value::Tensor(tensor) => self.tensor(tensor)?,
            Value::Bundle(bundle) => self.bundle(bundle, depth + 1)?,
            Value::Opaque(opaque) => {
                if !self.limits.opaque {
                    let expected = "a value that every language understands";
                    let found = format!("opaque bytes ({})", opaque.encoding);
                    let hint = "have both sides allow opaque values, or send plain data";
                    return Err(Trouble::capability(expected, found, hint));
                }
                self.tree.tag(Tag::new(tag::OPAQUE)).array(2);
                self.tree.str(&opaque.encoding).bytes(&opaque.bytes);
            }
        }
        Ok(())
    }

    fn items(&mut self, items: &[Value], depth: usize) -> Written {
        for (index, item) in items.iter().enumerate() {
            self.value(item, depth).map_err(|trouble| trouble.inside(Step::Index(index)))?;
        }
        Ok(())
    }

    fn entries(&mut self, entries: &[(String, Value)], depth: usize) -> Written {
        self.tree.map(entries.len() as u64);
        let mut names = Names::default();
        for (name, item) in entries {
            self.name(name, &mut names)?;
            self.value(item, depth).map_err(|trouble| trouble.inside(Step::Name(name.clone())))?;
        }
        Ok(())
    }

    fn name<'n>(&mut self, name: &'n str, names: &mut Names<'n>) -> Written {
        if !names.insert(name) {
            let found = format!("{name:?} twice");
            return Err(Trouble::value("each name once", found, "rename one of them"));
        }
        self.tree.str(name);
        Ok(())
    }

    fn bundle(&mut self, bundle: &Bundle, depth: usize) -> Written {
        self.tree.tag(Tag::new(tag::BUNDLE)).array(3).str(&bundle.kind);
        self.value(&bundle.structure, depth)
            .map_err(|trouble| trouble.inside(Step::Part("structure")))?;
        self.tree.map(bundle.tensors.len() as u64);
        let mut names = Names::default();
        for (name, tensor) in &bundle.tensors {
            let written = self
                .name(name, &mut names)
                .and_then(|()| self.count(1))
                .and_then(|()| self.tensor(tensor));
            written.map_err(|trouble| {
                trouble.inside(Step::Name(name.clone())).inside(Step::Part("tensors"))
            })?;
        }
        Ok(())
    }

    fn tensor(&mut self, tensor: &Tensor) -> Written {
        let place = self.place(tensor.storage())?;
        let tree = &mut self.tree;
        tree.tag(Tag::new(tag::TENSOR)).array(5).u64(place).str(tensor.dtype().name());
        tree.array(tensor.shape().len() as u64);
        for &dim in tensor.shape() {
            tree.u64(dim as u64);
        }
        tree.array(tensor.strides().len() as u64);
        for &stride in tensor.strides() {
            tree.i64(stride as i64);
        }
        tree.u64(tensor.offset() as u64);
        Ok(())
    }

    /// Its number in the table, where it stands once.
    fn place(&mut self, storage: &Storage) -> Result<u64, Box<Trouble>> {
        let identity = match storage {
            Storage::Host(memory) => Identity::Host(memory.identity(), memory.len()),
            Storage::Device(memory) => Identity::Device(Arc::as_ptr(memory).addr()),
        };
        if let Some(&place) = self.places.get(&identity) {
            return Ok(place);
        }
        self.admit(storage)?;
        match storage {
            Storage::Host(memory) => {
                self.table.array(2).u64(storage_kind::HOST.into()).u64(memory.len() as u64);
            }
            Storage::Device(memory) => {
                let (passage, _) = memory.passage().map_err(|error| {
                    let hint = "copy it into memory that can be shared";
                    Trouble::capability("device memory that can be sent", error, hint)
                })?;
                match passage {
                    Passage::Vmm { device, len } => {
                        self.table.array(3).u64(storage_kind::VMM.into());
                        self.table.bytes(&device.0).u64(len as u64);
                    }
                    Passage::Part { device, allocation, offset, len } => {
                        self.table.array(5).u64(storage_kind::PART.into()).bytes(&device.0);
                        self.table.u64(allocation as u64).u64(offset as u64).u64(len as u64);
                    }
                    Passage::Legacy(descriptor) => {
                        self.table.array(2).u64(storage_kind::LEGACY.into());
                        self.table.bytes(&descriptor.to_bytes());
                    }
                }
            }
        }
        let place = self.storages.len() as u64;
        self.storages.push(storage.clone());
        self.places.insert(identity, place);
        Ok(place)
    }

    /// That the limits have room for one more storage.
    fn admit(&mut self, storage: &Storage) -> Written {
        if has_descriptor(storage) {
            self.descriptors += 1;
            let most = self.limits.descriptors.min(MOST_DESCRIPTORS);
            if self.descriptors > most {
                let expected = format!("at most {most} storages that travel as descriptors");
                let hint = "put several tensors into one storage";
                return Err(Trouble::value(expected, "more", hint));
            }
        }
        self.storage_len = self.storage_len.saturating_add(storage.len());
        if self.storage_len > self.limits.storage {
            let expected = format!("at most {} bytes of tensors in all", self.limits.storage);
            let hint = "send less at a time, or raise the limit `storage`";
            return Err(Trouble::value(expected, self.storage_len, hint));
        }
        Ok(())
    }

    fn count(&mut self, nodes: usize) -> Written {
        self.nodes += nodes;
        if self.nodes > self.limits.nodes {
            let expected = format!("at most {} nodes", self.limits.nodes);
            let hint = "put numbers into a tensor, or raise the limit `nodes`";
            return Err(Trouble::value(expected, "more", hint));
        }
        Ok(())
    }
}

/// What cannot travel, and where in the value it is, innermost first.
struct Trouble {
    kind: FailureKind,
    expected: String,
    found: String,
    hint: &'static str,
    steps: Vec<Step>,
}

enum Step {
    Index(usize),
    Name(String),
    Part(&'static str),
}

impl Trouble {
    fn value(expected: impl Into<String>, found: impl Display, hint: &'static str) -> Box<Trouble> {
        let (expected, found) = (expected.into(), found.to_string());
        Box::new(Trouble { kind: FailureKind::Value, expected, found, hint, steps: Vec::new() })
    }

    fn capability(
        expected: impl Into<String>,
        found: impl Display,
        hint: &'static str,
    ) -> Box<Trouble> {
        let mut trouble = Trouble::value(expected, found, hint);
        trouble.kind = FailureKind::Capability;
        trouble
    }

    fn inside(mut self: Box<Self>, step: Step) -> Box<Trouble> {
        self.steps.push(step);
        self
    }

    fn into_failure(self, root: &str) -> Failure {
        let mut path = root.to_owned();
        for step in self.steps.iter().rev() {
            let written = match step {
                Step::Index(index) => write!(path, "[{index}]"),
                Step::Name(name) => write!(path, "['{name}']"),
                Step::Part(part) => write!(path, ".{part}"),
            };
            written.expect("a String takes all text");
        }
        let Trouble { kind, expected, found, hint, .. } = self;
        let message = format!("{path}: expected {expected}, found {found}; {hint}");
        Failure::new(kind, message)
            .with("field", path)
            .with("expected", expected)
            .with("found", found)
    }
}

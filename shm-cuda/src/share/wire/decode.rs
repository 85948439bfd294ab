//! Values from bytes and descriptors of a peer that is not trusted.
//!
//! Upholds invariant 2: every number is checked before it is used, nothing is allocated by a number
//! alone, and a tensor is made only inside its storage.

use super::super::device::{DeviceStorage, Passage};
use super::super::limits::Limits;
use super::super::memory::{Access, HostMemory};
use super::super::tensor::{LayoutError, Storage, Tensor};
use super::super::value::{Arguments, Bundle, Opaque, Value};
use super::cbor::CborReader;
use super::tree::{DEEPEST, Names, storage_kind, tag};
use crate::device::DeviceUuid;
use crate::ipc::MemoryDescriptor;
use minicbor::data::Type;
use shm_core::Dtype;
use std::error::Error;
use std::fmt::Display;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// What is wrong with received bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: expected {expected}, found {found}")]
pub struct DecodeError {
    /// Which part, as the specification names it.
    pub field: &'static str,
    /// What it should be.
    pub expected: String,
    /// What it is.
    pub found: String,
}

impl DecodeError {
    /// An error about `field`.
    pub fn new(
        field: &'static str,
        expected: impl Into<String>,
        found: impl Display,
    ) -> DecodeError {
        DecodeError { field, expected: expected.into(), found: found.to_string() }
    }
}

/// Decodes a value. All of `descriptors` must be used.
///
/// # Errors
/// If the bytes are not an encoded value, or one beyond the limits, or its storages cannot be mapped.
pub fn decode_value(
    body: &[u8],
    descriptors: Vec<OwnedFd>,
    limits: &Limits,
    access: Access,
) -> Result<Value, DecodeError> {
    decode(body, descriptors, limits, access, |tree| tree.value(1))
}

/// Decodes arguments.
///
/// # Errors
/// As [`decode_value`].
pub fn decode_arguments(
    body: &[u8],
    descriptors: Vec<OwnedFd>,
    limits: &Limits,
    access: Access,
) -> Result<Arguments, DecodeError> {
    decode(body, descriptors, limits, access, |tree| tree.arguments())
}

/// Decodes a value without storages that stands in the body of a message.
pub(super) fn decode_plain(
    reader: &mut CborReader<'_>,
    limits: &Limits,
) -> Result<Value, DecodeError> {
    Tree { reader, storages: Vec::new(), used: Vec::new(), limits, nodes: 0 }.value(1)
}

fn decode<T>(
    body: &[u8],
    descriptors: Vec<OwnedFd>,
    limits: &Limits,
    access: Access,
    read: impl FnOnce(&mut Tree<'_, '_>) -> Result<T, DecodeError>,
) -> Result<T, DecodeError> {
    let mut reader = CborReader::new(body);
    reader.array_of("encoded value", 2)?;
    let storages = storages(&mut reader, descriptors, limits, access)?;
    let used = vec![false; storages.len()];
    let mut tree = Tree { reader: &mut reader, storages, used, limits, nodes: 0 };
    let value = read(&mut tree)?;
    if let Some(unused) = tree.used.iter().position(|used| !used) {
        return Err(DecodeError::new(
            "storages",
            "a tensor in each",
            format_args!("none in storage {unused}"),
        ));
    }
    reader.finish("encoded value")?;
    Ok(value)
}

fn storages(
    reader: &mut CborReader<'_>,
    descriptors: Vec<OwnedFd>,
    limits: &Limits,
    access: Access,
) -> Result<Vec<Storage>, DecodeError> {
    let count = reader.array("storages")?;
    let mut descriptors = descriptors.into_iter();
    let mut next = || {
        let missing =
            || DecodeError::new("descriptors", "one for each storage that needs one", "fewer");
        descriptors.next().ok_or_else(missing)
    };
    let mut storages = Vec::with_capacity(count.min(64));
    let mut total = 0_usize;
    for _ in 0..count {
        let items = reader.array("storage")?;
        let kind: u8 = reader.integer("storage kind")?;
        let expected = match kind {
            storage_kind::HOST | storage_kind::LEGACY => 2,
            storage_kind::VMM => 3,
            storage_kind::PART => 5,
            _ => return Err(DecodeError::new("storage kind", "0, 1, 2 or 3", kind)),
        };
        if items != expected {
            return Err(DecodeError::new("storage", format!("{expected} items"), items));
        }
        let mut announce = |len: usize| {
            total = total.saturating_add(len);
            if total > limits.storage {
                let expected = format!("at most {} bytes in all", limits.storage);
                return Err(DecodeError::new("storages", expected, total));
            }
            Ok(())
        };
        storages.push(match kind {
            storage_kind::HOST => {
                let len = reader.integer("storage length")?;
                announce(len)?;
                let descriptor = next()?;
                let access = HostMemory::access_of(&descriptor, access);
                let memory = HostMemory::import(descriptor, len, access)
                    .map_err(|error| DecodeError::new("storage", "memory to map", error))?;
                Storage::Host(Arc::new(memory))
            }
            storage_kind::VMM => {
                let device = DeviceUuid(reader.bytes_of("storage device")?);
                let len = reader.integer("storage length")?;
                announce(len)?;
                device_storage(&Passage::Vmm { device, len }, Some(next()?), access)?
            }
            storage_kind::PART => {
                let device = DeviceUuid(reader.bytes_of("storage device")?);
                let allocation = reader.integer("storage allocation")?;
                let offset = reader.integer("storage offset")?;
                let len = reader.integer("storage length")?;
                announce(len)?;
                let part = Passage::Part { device, allocation, offset, len };
                device_storage(&part, Some(next()?), access)?
            }
            _ => {
                let descriptor = MemoryDescriptor::from_bytes(reader.bytes("storage descriptor")?)
                    .map_err(|error| {
                        DecodeError::new("storage descriptor", "a legacy descriptor", error)
                    })?;
                announce(descriptor.len())?;
                device_storage(&Passage::Legacy(Box::new(descriptor)), None, access)?
            }
        });
    }
    match descriptors.len() {
        0 => Ok(storages),
        left => Err(DecodeError::new("descriptors", "none left over", format!("{left} more"))),
    }
}

fn device_storage(
    passage: &Passage,
    descriptor: Option<OwnedFd>,
    access: Access,
) -> Result<Storage, DecodeError> {
    let import = match access {
        Access::Read => DeviceStorage::import,
        Access::Write => DeviceStorage::import_writable,
    };
    let memory = import(passage, descriptor).map_err(|error| {
        let mut found = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            found.push_str(": ");
            found.push_str(&cause.to_string());
            source = cause.source();
        }
        DecodeError::new("storage", "device memory to map", found)
    })?;
    Ok(Storage::Device(Arc::new(memory)))
}

struct Tree<'a, 'b> {
    reader: &'a mut CborReader<'b>,
    storages: Vec<Storage>,
    used: Vec<bool>,
    limits: &'a Limits,
    nodes: usize,
}

impl<'b> Tree<'_, 'b> {
    fn arguments(&mut self) -> Result<Arguments, DecodeError> {
        self.reader.array_of("arguments", 2)?;
        let count = self.reader.array("positional arguments")?;
        let positional = self.items(count, 1)?;
        let named = self.entries("named arguments", 1)?;
        Ok(Arguments { positional, named })
    }

    fn value(&mut self, depth: usize) -> Result<Value, DecodeError> {
        let most = self.limits.depth.min(DEEPEST);
        if depth > most {
            let expected = format!("at most {most} levels");
            return Err(DecodeError::new("value", expected, "more"));
        }
        self.count(1)?;
        Ok(match self.reader.next("value")? {
            Type::Null => {
                self.reader.null("value")?;
                Value::Null
            }
            Type::Bool => Value::Bool(self.reader.bool("bool")?),
            Type::F64 => Value::Float(self.reader.float("float")?),
            Type::String => Value::Str(self.reader.text("str")?.to_owned()),
            Type::Bytes => Value::Bytes(self.reader.bytes("bytes")?.to_vec()),
            Type::Array => {
                let count = self.reader.array("list")?;
                Value::List(self.items(count, depth + 1)?)
            }
            Type::Map => Value::Map(self.entries("map", depth + 1)?),
            Type::Tag => match self.reader.tag("tag")? {
                tag::TUPLE => {
                    let count = self.reader.array("tuple")?;
                    Value::Tuple(self.items(count, depth + 1)?)
                }
                tag::TENSOR => Value::Tensor(self.tensor()?),
                tag::BUNDLE => Value::Bundle(Box::new(self.bundle(depth + 1)?)),
                tag::OPAQUE => Value::Opaque(self.opaque()?),
                found => {
                    let expected = "a tag of this protocol, 40000 to 40003";
                    return Err(DecodeError::new("tag", expected, found));
                }
            },
            Type::U8
            | Type::U16
            | Type::U32
            | Type::U64
            | Type::I8
            | Type::I16
            | Type::I32
            | Type::I64
            | Type::Int => Value::Int(self.reader.int("int")?),
            _ => return Err(self.reader.unexpected("value", "an item of the profile")),
        })
    }

    fn items(&mut self, count: usize, depth: usize) -> Result<Vec<Value>, DecodeError> {
        self.room(count)?;
        // What is announced is not yet there: the rest is taken as it comes.
        let mut items = Vec::with_capacity(count.min(256));
        for _ in 0..count {
            items.push(self.value(depth)?);
        }
        Ok(items)
    }

    fn entries(
        &mut self,
        field: &'static str,
        depth: usize,
    ) -> Result<Vec<(String, Value)>, DecodeError> {
        let count = self.reader.map(field)?;
        self.room(count)?;
        let mut names = Names::default();
        let mut entries = Vec::with_capacity(count.min(256));
        for _ in 0..count {
            let name = self.name(field, &mut names)?;
            entries.push((name, self.value(depth)?));
        }
        Ok(entries)
    }

    fn name(&mut self, field: &'static str, names: &mut Names<'b>) -> Result<String, DecodeError> {
        let name = self.reader.text(field)?;
        if !names.insert(name) {
            return Err(DecodeError::new(field, "each name once", format_args!("{name:?} twice")));
        }
        Ok(name.to_owned())
    }

    fn tensor(&mut self) -> Result<Tensor, DecodeError> {
        self.reader.array_of("tensor", 5)?;
        let index: usize = self.reader.integer("tensor storage")?;
        let Some(storage) = self.storages.get(index) else {
            let expected = format!("one of {} storages", self.storages.len());
            return Err(DecodeError::new("tensor storage", expected, index));
        };
        let name = self.reader.text("tensor dtype")?;
        let dtype = Dtype::from_name(name).ok_or_else(|| {
            DecodeError::new("tensor dtype", "the name of a dtype", format_args!("{name:?}"))
        })?;
        let shape = dimensions(self.reader, "tensor shape")?;
        let strides = dimensions(self.reader, "tensor strides")?;
        let offset = self.reader.integer("tensor offset")?;
        let tensor = Tensor::new(storage.clone(), dtype, &shape, &strides, offset).map_err(
            |LayoutError::Field { field, expected, found }| {
                let field = match field {
                    "shape" => "tensor shape",
                    "offset" => "tensor offset",
                    _ => "tensor strides",
                };
                DecodeError { field, expected, found }
            },
        )?;
        self.used[index] = true;
        Ok(tensor)
    }

    fn bundle(&mut self, depth: usize) -> Result<Bundle, DecodeError> {
        self.reader.array_of("bundle", 3)?;
        let kind = self.reader.text("bundle kind")?.to_owned();
        let structure = self.value(depth)?;
        let count = self.reader.map("bundle tensors")?;
        self.count(count)?;
        let mut names = Names::default();
        let mut tensors = Vec::with_capacity(count.min(256));
        for _ in 0..count {
            let name = self.name("bundle tensors", &mut names)?;
            match self.reader.tag("bundle tensors")? {
                tag::TENSOR => tensors.push((name, self.tensor()?)),
                found => {
                    return Err(DecodeError::new("bundle tensors", "tensors only", found));
                }
            }
        }
        Ok(Bundle { kind, structure, tensors })
    }

    fn opaque(&mut self) -> Result<Opaque, DecodeError> {
        if !self.limits.opaque {
            let expected = "plain data: this side was not told to accept opaque bytes";
            return Err(DecodeError::new("opaque", expected, "opaque bytes"));
        }
        self.reader.array_of("opaque", 2)?;
        let encoding = self.reader.text("opaque encoding")?.to_owned();
        let bytes = self.reader.bytes("opaque bytes")?.to_vec();
        Ok(Opaque { encoding, bytes })
    }

    fn count(&mut self, nodes: usize) -> Result<(), DecodeError> {
        self.room(nodes)?;
        self.nodes += nodes;
        Ok(())
    }

    fn room(&self, nodes: usize) -> Result<(), DecodeError> {
        if nodes > self.limits.nodes.saturating_sub(self.nodes) {
            let expected = format!("at most {} nodes", self.limits.nodes);
            return Err(DecodeError::new("value", expected, "more"));
        }
        Ok(())
    }
}

/// Shape or strides. As many as there are: the tensor says how many it may have.
fn dimensions<T: TryFrom<i128>>(
    reader: &mut CborReader<'_>,
    field: &'static str,
) -> Result<Vec<T>, DecodeError> {
    let count = reader.array(field)?;
    if count > super::super::tensor::MOST_DIMENSIONS {
        let expected = format!("at most {} dimensions", super::super::tensor::MOST_DIMENSIONS);
        return Err(DecodeError::new(field, expected, count));
    }
    (0..count).map(|_| reader.integer(field)).collect()
}

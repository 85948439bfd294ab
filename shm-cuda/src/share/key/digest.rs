//! A hash of arguments in which every difference counts and the order of names does not.

use super::super::tensor::{Storage, Tensor};
use super::super::value::{Bundle, Value};
use super::Key;
use super::bind::{Bound, Slot};
use blake3::Hasher;

/// What it takes to hash arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) enum Content {
    /// Nothing but a moment.
    Plain,
    /// Reading the bytes of host tensors.
    Bytes,
    /// It cannot be done: they hold device tensors or opaque bytes.
    Opaque,
}

impl Bound<'_> {
    /// What it takes to hash them.
    pub(in super::super) fn content(&self) -> Content {
        let rest = self.rest.iter().map(content_of).max();
        let named = self.named.iter().map(|(_, slot)| match slot {
            Slot::One(value) => content_of(value),
            Slot::Rest(values) => values.iter().map(content_of).max().unwrap_or(Content::Plain),
            Slot::Others(entries) => {
                entries.iter().map(|(_, value)| content_of(value)).max().unwrap_or(Content::Plain)
            }
        });
        named.chain(rest).max().unwrap_or(Content::Plain)
    }

    /// Their hash; `None` if they have none.
    pub(in super::super) fn digest(&self) -> Option<Key> {
        let mut hasher = Hasher::new();
        let mut order: Vec<&(&str, Slot<'_>)> = self.named.iter().collect();
        order.sort_by_key(|(name, _)| *name);
        length(&mut hasher, order.len());
        for (name, slot) in order {
            text(&mut hasher, name);
            match slot {
                Slot::One(value) => absorb(&mut hasher, value)?,
                Slot::Rest(values) => sequence(&mut hasher, TUPLE, values)?,
                Slot::Others(entries) => map(&mut hasher, entries.clone())?,
            }
        }
        sequence(&mut hasher, TUPLE, self.rest)?;
        Some(hasher.finalize().into())
    }
}

const NULL: u8 = 0;
const BOOL: u8 = 1;
const INT: u8 = 2;
const FLOAT: u8 = 3;
const STR: u8 = 4;
const BYTES: u8 = 5;
const LIST: u8 = 6;
const TUPLE: u8 = 7;
const MAP: u8 = 8;
const TENSOR: u8 = 9;
const BUNDLE: u8 = 10;

fn content_of(value: &Value) -> Content {
    let tensor = |tensor: &Tensor| match tensor.storage() {
        Storage::Host(_) => Content::Bytes,
        Storage::Device(_) => Content::Opaque,
    };
    match value {
        Value::Tensor(one) => tensor(one),
        Value::Opaque(_) => Content::Opaque,
        Value::List(items) | Value::Tuple(items) => {
            items.iter().map(content_of).max().unwrap_or(Content::Plain)
        }
        Value::Map(entries) => {
            entries.iter().map(|(_, item)| content_of(item)).max().unwrap_or(Content::Plain)
        }
        Value::Bundle(bundle) => {
            let tensors = bundle.tensors.iter().map(|(_, one)| tensor(one)).max();
            content_of(&bundle.structure).max(tensors.unwrap_or(Content::Plain))
        }
        Value::Null
        | Value::Bool(_)
        | Value::Int(_)
        | Value::Float(_)
        | Value::Str(_)
        | Value::Bytes(_) => Content::Plain,
    }
}

fn absorb(hasher: &mut Hasher, value: &Value) -> Option<()> {
    match value {
        Value::Null => tag(hasher, NULL),
        Value::Bool(value) => {
            hasher.update(&[BOOL, u8::from(*value)]);
        }
        Value::Int(value) => {
            tag(hasher, INT);
            hasher.update(&value.to_le_bytes());
        }
        Value::Float(value) => {
            tag(hasher, FLOAT);
            hasher.update(&value.to_bits().to_le_bytes());
        }
        Value::Str(value) => {
            tag(hasher, STR);
            text(hasher, value);
        }
        Value::Bytes(value) => {
            tag(hasher, BYTES);
            length(hasher, value.len());
            hasher.update(value);
        }
        Value::List(items) => sequence(hasher, LIST, items)?,
        Value::Tuple(items) => sequence(hasher, TUPLE, items)?,
        Value::Map(entries) => {
            map(hasher, entries.iter().map(|(name, item)| (name.as_str(), item)).collect())?;
        }
        Value::Tensor(one) => tensor(hasher, one)?,
        Value::Bundle(one) => bundle(hasher, one)?,
        Value::Opaque(_) => return None,
    }
    Some(())
}

fn sequence(hasher: &mut Hasher, kind: u8, items: &[Value]) -> Option<()> {
    tag(hasher, kind);
    length(hasher, items.len());
    items.iter().try_for_each(|item| absorb(hasher, item))
}

fn map(hasher: &mut Hasher, mut entries: Vec<(&str, &Value)>) -> Option<()> {
    entries.sort_by_key(|(name, _)| *name);
    tag(hasher, MAP);
    length(hasher, entries.len());
    entries.into_iter().try_for_each(|(name, item)| {
        text(hasher, name);
        absorb(hasher, item)
    })
}

fn bundle(hasher: &mut Hasher, bundle: &Bundle) -> Option<()> {
    tag(hasher, BUNDLE);
    text(hasher, &bundle.kind);
    absorb(hasher, &bundle.structure)?;
    let mut tensors: Vec<(&str, &Tensor)> =
        bundle.tensors.iter().map(|(name, one)| (name.as_str(), one)).collect();
    tensors.sort_by_key(|(name, _)| *name);
    length(hasher, tensors.len());
    tensors.into_iter().try_for_each(|(name, one)| {
        text(hasher, name);
        tensor(hasher, one)
    })
}

fn tensor(hasher: &mut Hasher, tensor: &Tensor) -> Option<()> {
    let Storage::Host(memory) = tensor.storage() else { return None };
    tag(hasher, TENSOR);
    text(hasher, tensor.dtype().name());
    length(hasher, tensor.shape().len());
    tensor.shape().iter().for_each(|size| length(hasher, *size));
    if !tensor.is_contiguous() {
        hasher.update(&tensor.to_vec()?);
        return Some(());
    }
    // A peer may be writing there: hashed is a copy, piece by piece, not what lies in shared memory.
    let mut piece = vec![0; tensor.byte_len().min(PIECE)];
    let mut done = 0;
    while done < tensor.byte_len() {
        let step = (tensor.byte_len() - done).min(PIECE);
        memory.read(tensor.offset() + done, &mut piece[..step]);
        hasher.update(&piece[..step]);
        done += step;
    }
    Some(())
}

/// Bytes that are copied out of shared memory at a time, so that they are still in the cache when hashed.
const PIECE: usize = 128 << 10;

fn tag(hasher: &mut Hasher, tag: u8) {
    hasher.update(&[tag]);
}

fn text(hasher: &mut Hasher, text: &str) {
    length(hasher, text.len());
    hasher.update(text.as_bytes());
}

fn length(hasher: &mut Hasher, length: usize) {
    hasher.update(&(length as u64).to_le_bytes());
}

//! What the server of these rows offers.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use shm_core::Dtype;
use shm_cuda::share::{
    Arguments, Endpoint, EndpointOptions, Failure, FailureKind, HostMemory, Storage, Tensor, Value,
};

/// A number, managed and cached.
pub(super) const NUMBER: &str = "number";
/// Bytes, as many as it is called with, managed and cached.
pub(super) const BYTES: &str = "bytes";
/// Many tensors in lists in a map, each with memory of its own or all in one, managed and cached.
pub(super) const NESTED: &str = "nested";
/// The first and the last word of a tensor that it is called with.
pub(super) const ENDS: &str = "ends";

/// What [`NUMBER`] gives.
pub(super) const THE_NUMBER: i128 = 21;
/// Lists of [`NESTED`], and tensors in each.
pub(super) const LISTS: usize = 8;
pub(super) const TENSORS: usize = 64;
/// Bytes of all tensors of [`NESTED`] together.
pub(super) const NESTED_LEN: usize = 256 << 20;

pub(super) fn all() -> Vec<Endpoint> {
    let managed = || EndpointOptions { managed: true, ..EndpointOptions::default() };
    let uncached = EndpointOptions { cache: false, ..EndpointOptions::default() };
    vec![
        Endpoint::new(NUMBER, |_, _| Ok(Value::Int(THE_NUMBER))).with(managed()),
        Endpoint::new(BYTES, |arguments, _| answer(bytes(arguments))).with(managed()),
        Endpoint::new(NESTED, |arguments, _| answer(nested(arguments))).with(managed()),
        Endpoint::new(ENDS, |arguments, _| answer(ends(arguments))).with(uncached),
    ]
}

/// A tensor of bytes in memory of its own, every page written.
pub(super) fn filled(len: usize) -> Result<Tensor> {
    let memory = memory(len)?;
    memory.seal().context("could not seal shared memory")?;
    Tensor::contiguous(Storage::Host(Arc::new(memory)), Dtype::U8, &[len], 0)
        .context("the bytes are no tensor")
}

/// The byte at a place of [`filled`].
pub(super) fn byte_at(offset: usize) -> u8 {
    (offset % BLOCK % 251) as u8
}

/// Bytes that repeat.
const BLOCK: usize = 1 << 16;

fn memory(len: usize) -> Result<HostMemory> {
    let memory = HostMemory::allocate(len).context("no shared memory")?;
    let block: Vec<u8> = (0..BLOCK).map(byte_at).collect();
    for offset in (0..len).step_by(BLOCK) {
        memory.write(offset, &block[..BLOCK.min(len - offset)]);
    }
    Ok(memory)
}

fn bytes(arguments: &Arguments) -> Result<Value> {
    let Some(Value::Int(len)) = arguments.positional.first() else {
        anyhow::bail!("`{BYTES}` is called with a number of bytes");
    };
    Ok(Value::Tensor(filled(usize::try_from(*len).context("no such length")?)?))
}

fn nested(arguments: &Arguments) -> Result<Value> {
    let Some(Value::Bool(apart)) = arguments.positional.first() else {
        anyhow::bail!("`{NESTED}` is called with whether its tensors lie apart");
    };
    let each = NESTED_LEN / TENSORS;
    let together = match apart {
        true => None,
        false => Some(Storage::Host(Arc::new(memory(NESTED_LEN)?))),
    };
    let tensor = |index: usize| match &together {
        None => filled(each),
        Some(storage) => Tensor::contiguous(storage.clone(), Dtype::U8, &[each], index * each)
            .context("a part is no tensor"),
    };
    let mut lists = Vec::new();
    for list in 0..LISTS {
        let tensors = (0..TENSORS / LISTS)
            .map(|index| tensor(list * TENSORS / LISTS + index).map(Value::Tensor));
        lists.push((format!("list{list}"), Value::List(tensors.collect::<Result<_>>()?)));
    }
    Ok(Value::Map(lists))
}

fn ends(arguments: &Arguments) -> Result<Value> {
    let Some(Value::Tensor(tensor)) = arguments.positional.first() else {
        anyhow::bail!("`{ENDS}` is called with a tensor");
    };
    let Storage::Host(memory) = tensor.storage() else {
        anyhow::bail!("`{ENDS}` reads on the host");
    };
    let len = tensor.byte_len();
    ensure!(len >= 8, "{len} bytes are less than a word");
    let word = |offset: usize| {
        let mut word = [0; 8];
        memory.read(tensor.offset() + offset, &mut word);
        Value::Int(u64::from_le_bytes(word).into())
    };
    Ok(Value::Tuple(vec![word(0), word(len - 8)]))
}

fn answer(value: Result<Value>) -> Result<Value, Failure> {
    value.map_err(|error| Failure::new(FailureKind::Build, format!("{error:#}")))
}

//! Random values, and when two are the same.

use fastrand::Rng;
use shm_core::Dtype;
use shm_cuda::share::wire::EncodedValue;
use shm_cuda::share::{Bundle, HostMemory, Limits, Opaque, Storage, Tensor, Value};
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Limits that let everything through.
pub fn open_limits() -> Limits {
    Limits { opaque: true, ..Limits::default() }
}

/// Shared memory with these bytes.
pub fn storage(bytes: &[u8]) -> Storage {
    let memory = HostMemory::allocate(bytes.len()).unwrap();
    memory.write(0, bytes);
    Storage::Host(Arc::new(memory))
}

/// The descriptors that would travel with it.
pub fn descriptors_of(encoded: &EncodedValue) -> Vec<OwnedFd> {
    let descriptor = |storage: &Storage| match storage {
        Storage::Host(memory) => memory.descriptor().try_clone_to_owned().unwrap(),
        Storage::Device(_) => panic!("these tests send host memory"),
    };
    encoded.storages.iter().map(descriptor).collect()
}

/// A random value over some of `storages`.
pub fn random_value(rng: &mut Rng, storages: &[Storage], depth: usize) -> Value {
    let kinds = if depth == 0 { 8 } else { 12 };
    match rng.usize(..kinds) {
        0 => Value::Null,
        1 => Value::Bool(rng.bool()),
        2 => Value::Int(random_int(rng)),
        3 => Value::Float(f64::from_bits(rng.u64(..))),
        4 => Value::Str(random_text(rng)),
        5 => Value::Bytes((0..rng.usize(..300)).map(|_| rng.u8(..)).collect()),
        6 => Value::Tensor(random_tensor(rng, storages)),
        7 => {
            let bytes = (0..rng.usize(..40)).map(|_| rng.u8(..)).collect();
            Value::Opaque(Opaque { encoding: random_text(rng), bytes })
        }
        8 => Value::List(random_items(rng, storages, depth)),
        9 => Value::Tuple(random_items(rng, storages, depth)),
        10 => {
            let items = random_items(rng, storages, depth);
            Value::Map(items.into_iter().enumerate().map(|(i, v)| (name(rng, i), v)).collect())
        }
        _ => {
            let structure = random_value(rng, storages, depth - 1);
            let tensors = (0..rng.usize(..20))
                .map(|index| (name(rng, index), random_tensor(rng, storages)))
                .collect();
            Value::Bundle(Box::new(Bundle { kind: random_text(rng), structure, tensors }))
        }
    }
}

fn random_items(rng: &mut Rng, storages: &[Storage], depth: usize) -> Vec<Value> {
    (0..rng.usize(..12)).map(|_| random_value(rng, storages, depth - 1)).collect()
}

fn random_int(rng: &mut Rng) -> i128 {
    let edge = 1_i128 << 64;
    match rng.usize(..4) {
        0 => i128::from(rng.i8(..)),
        1 => i128::from(rng.u64(..)),
        2 => -1 - i128::from(rng.u64(..)),
        _ => *rng.choice(&[0, -1, edge - 1, -edge, i128::from(i64::MIN)]).unwrap(),
    }
}

fn random_text(rng: &mut Rng) -> String {
    (0..rng.usize(..30)).map(|_| rng.char(..)).collect()
}

fn name(rng: &mut Rng, index: usize) -> String {
    format!("{}{index}", random_text(rng))
}

/// Dims and strides around a random place, such that all of it is inside the storage.
fn random_tensor(rng: &mut Rng, storages: &[Storage]) -> Tensor {
    let storage = rng.choice(storages).unwrap().clone();
    let dtype = *rng.choice(Dtype::ALL).unwrap();
    loop {
        let dims = rng.usize(..5);
        let shape: Vec<usize> = (0..dims).map(|_| rng.usize(..5)).collect();
        let strides: Vec<isize> = (0..dims).map(|_| rng.isize(-6..12)).collect();
        let offset = rng.usize(..=storage.len() / dtype.size()) * dtype.size();
        if let Ok(tensor) = Tensor::new(storage.clone(), dtype, &shape, &strides, offset) {
            return tensor;
        }
    }
}

/// The same kinds with the same contents; tensors by layout and bytes, floats by their bits.
pub fn same(a: &Value, b: &Value) -> bool {
    let same_tensor = |a: &Tensor, b: &Tensor| {
        (a.dtype(), a.shape(), a.strides(), a.offset())
            == (b.dtype(), b.shape(), b.strides(), b.offset())
            && a.storage().len() == b.storage().len()
            && a.to_vec() == b.to_vec()
    };
    match (a, b) {
        (Value::Null, Value::Null) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Int(a), Value::Int(b)) => a == b,
        (Value::Float(a), Value::Float(b)) => a.to_bits() == b.to_bits(),
        (Value::Str(a), Value::Str(b)) => a == b,
        (Value::Bytes(a), Value::Bytes(b)) => a == b,
        (Value::List(a), Value::List(b)) | (Value::Tuple(a), Value::Tuple(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Map(a), Value::Map(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0 == b.0 && same(&a.1, &b.1))
        }
        (Value::Tensor(a), Value::Tensor(b)) => same_tensor(a, b),
        (Value::Bundle(a), Value::Bundle(b)) => {
            a.kind == b.kind
                && same(&a.structure, &b.structure)
                && a.tensors.len() == b.tensors.len()
                && a.tensors
                    .iter()
                    .zip(&b.tensors)
                    .all(|(a, b)| a.0 == b.0 && same_tensor(&a.1, &b.1))
        }
        (Value::Opaque(a), Value::Opaque(b)) => a == b,
        _ => false,
    }
}

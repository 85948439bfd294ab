//! Values survive the way, storages stay shared, and what cannot travel is named.

use super::trees::{descriptors_of, open_limits, random_value, same, storage};
use fastrand::Rng;
use shm_core::Dtype;
use shm_cuda::share::wire::{
    EncodedValue, decode_arguments, decode_value, encode_arguments, encode_value,
};
use shm_cuda::share::{
    Access, Arguments, Bundle, FailureKind, Limits, Opaque, Storage, Tensor, Value,
};

fn round_trip(value: &Value) -> Value {
    let limits = open_limits();
    let encoded = encode_value(value, &limits).unwrap();
    assert_eq!(encoded.descriptors(), encoded.storages.len());
    decode_value(&encoded.body, descriptors_of(&encoded), &limits, Access::Read).unwrap()
}

#[test]
fn random_trees_survive() {
    for seed in 0..400 {
        let mut rng = Rng::with_seed(seed);
        let storages: Vec<_> = (0..4)
            .map(|_| storage(&(0..rng.usize(64..4096)).map(|_| rng.u8(..)).collect::<Vec<_>>()))
            .collect();
        let value = random_value(&mut rng, &storages, 5);
        let returned = round_trip(&value);
        assert!(same(&value, &returned), "seed {seed}: {value:?} became {returned:?}");
        // The same value has the same bytes, also when it comes from the other side.
        let limits = open_limits();
        let again = encode_value(&returned, &limits).unwrap();
        assert_eq!(again.body, encode_value(&value, &limits).unwrap().body, "seed {seed}");
        assert!(again.survives_owner());
    }
}

#[test]
fn random_arguments_survive() {
    for seed in 0..100 {
        let mut rng = Rng::with_seed(seed);
        let storages = [storage(&[7; 512])];
        let mut some = || (0..3).map(|_| random_value(&mut rng, &storages, 3)).collect::<Vec<_>>();
        let positional = some();
        let named: Vec<_> = ["b", "a", "c"].map(str::to_owned).into_iter().zip(some()).collect();
        let limits = open_limits();
        let arguments = Arguments { positional, named };
        let encoded = encode_arguments(&arguments, &limits).unwrap();
        let returned =
            decode_arguments(&encoded.body, descriptors_of(&encoded), &limits, Access::Read)
                .unwrap();
        let list = |arguments: Arguments| {
            Value::List(vec![Value::List(arguments.positional), Value::Map(arguments.named)])
        };
        assert!(same(&list(arguments), &list(returned)), "seed {seed}");
    }
}

#[test]
fn tensors_on_one_storage_stay_on_one() {
    let shared = storage(&[1, 2, 3, 4, 5, 6, 7, 8]);
    let row = |offset| {
        Value::Tensor(Tensor::contiguous(shared.clone(), Dtype::U8, &[4], offset).unwrap())
    };
    let own = Value::Tensor(Tensor::copy_of(Dtype::U8, &[1], &[9]).unwrap());
    let value = Value::List(vec![row(0), own, row(4)]);
    assert_eq!(encode_value(&value, &Limits::default()).unwrap().storage_len, 9);
    let mut tensors = Vec::new();
    let returned = round_trip(&value);
    returned.for_each_tensor(&mut |tensor| tensors.push(tensor));
    let [first, own, second] = tensors[..] else { panic!("three tensors") };
    assert!(first.storage().is_same(second.storage()));
    assert!(!first.storage().is_same(own.storage()));
    // Written here, seen there: the storage is the same memory and not a copy.
    let Storage::Host(memory) = &shared else { panic!("host memory") };
    memory.write(4, &[50, 60]);
    assert_eq!(second.to_vec().unwrap(), [50, 60, 7, 8]);
    // A storage that came back from the other side is recognised as the same.
    assert!(first.storage().is_same(&shared));
    let both = Value::List(vec![Value::Tensor(first.clone()), row(0)]);
    assert_eq!(encode_value(&both, &Limits::default()).unwrap().storages.len(), 1);
}

#[test]
fn what_cannot_travel_is_named_by_its_path() {
    let tensor = Tensor::copy_of(Dtype::U8, &[1], &[1]).unwrap();
    let deep = |levels: usize| (0..levels).fold(Value::Null, |inner, _| Value::List(vec![inner]));
    let map = |name: &str, value| Value::Map(vec![(name.to_owned(), value)]);
    let opaque = Value::Opaque(Opaque { encoding: "pickle".to_owned(), bytes: vec![1] });
    let bundle = Value::Bundle(Box::new(Bundle {
        kind: "k".to_owned(),
        structure: map("x", Value::Int(1 << 70)),
        tensors: vec![],
    }));
    let twice = Value::Bundle(Box::new(Bundle {
        kind: "k".to_owned(),
        structure: Value::Null,
        tensors: vec![("w".to_owned(), tensor.clone()), ("w".to_owned(), tensor.clone())],
    }));
    let many = Value::List(
        (0..254).map(|_| Value::Tensor(Tensor::copy_of(Dtype::U8, &[1], &[1]).unwrap())).collect(),
    );
    let names = (0..20).chain([17]).map(|index| (format!("n{index}"), Value::Null)).collect();
    let tight = Limits { storage: 3, nodes: 5, depth: 4, body: 100, ..Limits::default() };
    let wide = Limits::default();
    let large = Value::List(vec![
        Value::Null,
        Value::Tensor(Tensor::copy_of(Dtype::F32, &[1], &[0; 4]).unwrap()),
    ]);
    let four = map(
        "weights",
        Value::List(vec![Value::Null, Value::Null, Value::Null, Value::Int(-(1 << 64) - 1)]),
    );
    for (value, limits, path, expected) in [
        (four, wide, "value['weights'][3]", "an integer from -2^64 to 2^64 - 1"),
        (bundle, wide, "value.structure['x']", "an integer from -2^64 to 2^64 - 1"),
        (twice, wide, "value.tensors['w']", "each name once"),
        (Value::Map(names), wide, "value", "each name once"),
        (many, wide, "value[253]", "at most 253 storages that travel as descriptors"),
        (deep(4), tight, "value[0][0][0][0]", "at most 4 levels of nesting"),
        (deep(64), wide, &format!("value{}", "[0]".repeat(64)), "at most 64 levels of nesting"),
        (Value::Tuple(vec![Value::Null; 5]), tight, "value[4]", "at most 5 nodes"),
        (large, tight, "value[1]", "at most 3 bytes of tensors in all"),
        (Value::Bytes(vec![0; 100]), tight, "value", "at most 100 bytes beside its tensors"),
    ] {
        let failure = encode_value(&value, &limits).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Value, "{failure}");
        assert_eq!(
            (failure.detail("field"), failure.detail("expected")),
            (Some(path), Some(expected))
        );
        assert!(failure.message.starts_with(path), "{failure}");
    }
    let named = Arguments::named([("f", Value::List(vec![opaque]))]);
    let failure = encode_arguments(&named, &wide).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Capability);
    assert_eq!(failure.detail("field"), Some("arguments['f'][0]"));
    assert_eq!(failure.detail("found"), Some("opaque bytes (pickle)"));
}

#[test]
fn as_many_descriptors_as_a_frame_carries() {
    let tensor = || Value::Tensor(Tensor::copy_of(Dtype::U8, &[1], &[1]).unwrap());
    let value = Value::List((0..253).map(|_| tensor()).collect());
    let EncodedValue { storages, storage_len, .. } =
        encode_value(&value, &Limits::default()).unwrap();
    assert_eq!((storages.len(), storage_len), (253, 253));
}

#[test]
fn layouts_are_held_against_the_storage() {
    let storage = storage(&(0..64).collect::<Vec<u8>>());
    let new = |dtype, shape: &[usize], strides: &[isize], offset| {
        Tensor::new(storage.clone(), dtype, shape, strides, offset)
    };
    let field = |dtype, shape: &[usize], strides: &[isize], offset| {
        let error = new(dtype, shape, strides, offset).unwrap_err().to_string();
        error.split(" of a tensor").next().unwrap().to_owned()
    };
    // Backwards, broadcast, empty, and a scalar at the very end.
    let reversed = new(Dtype::U8, &[3, 2], &[-2, 1], 4).unwrap();
    assert_eq!(reversed.to_vec().unwrap(), [4, 5, 2, 3, 0, 1]);
    let broadcast = new(Dtype::U16, &[2, 3], &[0, 1], 2).unwrap();
    assert_eq!(broadcast.to_vec().unwrap(), [2, 3, 4, 5, 6, 7, 2, 3, 4, 5, 6, 7]);
    let columns = new(Dtype::U8, &[2, 2, 2], &[1, 8, 32], 0).unwrap();
    assert_eq!(columns.to_vec().unwrap(), [0, 32, 8, 40, 1, 33, 9, 41]);
    assert!(new(Dtype::F64, &[usize::MAX, 0, usize::MAX], &[isize::MAX; 3], 64).is_ok());
    assert_eq!(new(Dtype::U8, &[], &[], 63).unwrap().to_vec().unwrap(), [63]);
    assert!(new(Dtype::C128, &[], &[], 40).is_ok());
    // Each of these reaches outside in its own way.
    assert_eq!(field(Dtype::U8, &[], &[], 64), "strides");
    assert_eq!(field(Dtype::U8, &[3], &[-1], 1), "strides");
    assert_eq!(field(Dtype::U8, &[2], &[isize::MIN], 0), "strides");
    assert_eq!(field(Dtype::F64, &[2; 32], &[isize::MAX; 32], 0), "strides");
    assert_eq!(field(Dtype::F32, &[1], &[1], 2), "offset");
    assert_eq!(field(Dtype::F32, &[0], &[1], 68), "offset");
    assert_eq!(field(Dtype::U8, &[1; 33], &[1; 33], 0), "shape");
    assert_eq!(field(Dtype::U8, &[usize::MAX, 2], &[0, 0], 0), "shape");
    assert_eq!(field(Dtype::U8, &[1], &[], 0), "strides");
    // More elements than memory: an answer, not an abort.
    assert!(new(Dtype::U8, &[1 << 62], &[0], 0).unwrap().to_vec().is_none());
}

//! What makes a difference to a key, and what does not.

use super::super::endpoint::ParameterKind;
use super::super::value::Opaque;
use super::*;

fn parameter(name: &str, kind: ParameterKind, default: Option<Value>) -> Parameter {
    Parameter { name: name.into(), default, kind }
}

fn int(number: i128) -> Value {
    Value::Int(number)
}

fn text(text: &str) -> Value {
    Value::Str(text.into())
}

/// `def f(p, /, a, b=2, *rest, n, m=5, **others)`
fn parameters() -> Vec<Parameter> {
    vec![
        parameter("p", ParameterKind::Positional, None),
        parameter("a", ParameterKind::Either, None),
        parameter("b", ParameterKind::Either, Some(int(2))),
        parameter("rest", ParameterKind::Rest, None),
        parameter("n", ParameterKind::Named, None),
        parameter("m", ParameterKind::Named, Some(int(5))),
        parameter("others", ParameterKind::Others, None),
    ]
}

fn call(positional: &[i128], named: &[(&str, i128)]) -> Arguments {
    Arguments {
        positional: positional.iter().copied().map(int).collect(),
        named: named.iter().map(|(name, number)| ((*name).into(), int(*number))).collect(),
    }
}

#[test]
fn arguments_are_bound_as_python_binds_them() {
    let bound = |arguments| format!("{:?}", bind("f", &parameters(), &arguments).unwrap());
    let expected = |b, rest: Vec<Value>, m, others: Vec<(String, Value)>| {
        let names = ["p", "a", "b", "rest", "n", "m", "others"];
        let values =
            [int(1), int(7), int(b), Value::Tuple(rest), int(4), int(m), Value::Map(others)];
        let named: Vec<(String, Value)> = names.map(String::from).into_iter().zip(values).collect();
        format!("{named:?}")
    };
    assert_eq!(bound(call(&[1, 7], &[("n", 4)])), expected(2, vec![], 5, vec![]));
    assert_eq!(bound(call(&[1], &[("n", 4), ("a", 7)])), expected(2, vec![], 5, vec![]));
    let others = vec![("p".to_owned(), int(9)), ("z".to_owned(), int(8))];
    assert_eq!(
        bound(call(&[1, 7, 3, 8, 9], &[("p", 9), ("m", 6), ("n", 4), ("z", 8)])),
        expected(3, vec![int(8), int(9)], 6, others)
    );
}

#[test]
fn wrong_calls_are_refused_as_python_refuses_them() {
    let all = parameters();
    let refused = |parameters: &[Parameter], positional: &[i128], named: &[(&str, i128)]| {
        let failure = bind("f", parameters, &call(positional, named)).unwrap_err();
        assert_eq!((failure.kind, &*failure.error_type), (FailureKind::Configuration, "TypeError"));
        assert_eq!(failure.detail("endpoint"), Some("f"));
        failure.message
    };
    assert_eq!(refused(&all, &[1], &[("n", 1)]), "f() missing 1 required argument: 'a'");
    assert_eq!(refused(&all, &[], &[]), "f() missing 3 required arguments: 'p', 'a', 'n'");
    assert_eq!(
        refused(&all, &[1, 2], &[("a", 3), ("n", 1)]),
        "f() got multiple values for argument 'a'"
    );
    assert_eq!(
        refused(&all, &[1, 2], &[("n", 3), ("n", 1)]),
        "f() got multiple values for argument 'n'"
    );
    assert_eq!(
        refused(&all, &[1, 2], &[("n", 3), ("z", 1), ("z", 1)]),
        "f() got multiple values for keyword argument 'z'"
    );
    let few = &all[..2];
    assert_eq!(refused(few, &[1, 2, 3], &[]), "f() takes 2 positional arguments but 3 were given");
    assert_eq!(refused(&[], &[1], &[]), "f() takes 0 positional arguments but 1 was given");
    assert_eq!(refused(few, &[1, 2], &[("z", 3)]), "f() got an unexpected keyword argument 'z'");
    assert_eq!(
        refused(few, &[1], &[("a", 3), ("p", 3)]),
        "f() got a positional-only argument passed as keyword argument: 'p'"
    );
}

#[test]
fn all_that_differs_has_another_key() {
    let map = |entries: &[(&str, i128)]| {
        Value::Map(entries.iter().map(|(name, n)| ((*name).to_owned(), int(*n))).collect())
    };
    let values = vec![
        Value::Null,
        Value::Bool(false),
        Value::Bool(true),
        int(0),
        int(1),
        int(-1),
        int(1 << 64),
        Value::Float(0.0),
        Value::Float(-0.0),
        Value::Float(1.0),
        Value::Float(f64::NAN),
        Value::Float(-f64::NAN),
        text(""),
        text("1"),
        text("a"),
        Value::Bytes(vec![]),
        Value::Bytes(b"a".to_vec()),
        Value::List(vec![]),
        Value::Tuple(vec![]),
        map(&[]),
        map(&[("a", 1)]),
        map(&[("a", 1), ("b", 2)]),
        map(&[("a", 2), ("b", 1)]),
        Value::List(vec![int(1), int(2)]),
        Value::List(vec![int(2), int(1)]),
        Value::List(vec![Value::List(vec![int(1)]), int(2)]),
        Value::List(vec![Value::List(vec![int(1), int(2)])]),
        Value::List(vec![text("a"), text("b")]),
        Value::List(vec![text("ab"), text("")]),
    ];
    let mut keys = Vec::new();
    for value in &values {
        keys.push(canonical("f", &[("x".into(), value.clone())], &[]).unwrap());
        keys.push(canonical("f", &[("y".into(), value.clone())], &[]).unwrap());
        keys.push(canonical("f", &[], std::slice::from_ref(value)).unwrap());
        keys.push(canonical("g", &[("x".into(), value.clone())], &[]).unwrap());
    }
    let count = keys.len();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!((keys.len(), count), (count, 4 * values.len()));
}

#[test]
fn the_order_of_names_makes_no_difference() {
    let entries = [("a", int(1)), ("b", text("x"))].map(|(name, value)| (name.to_owned(), value));
    let mut turned = entries.clone();
    turned.reverse();
    assert_eq!(canonical("f", &entries, &[]), canonical("f", &turned, &[]));
    let inside = |entries: &[(String, Value)]| {
        canonical("f", &[], &[Value::List(vec![Value::Map(entries.to_vec())])]).unwrap()
    };
    assert_eq!(inside(&entries), inside(&turned));
}

#[test]
fn positions_and_names_are_the_same_call_once_they_are_bound() {
    let key = |arguments| canonical("f", &bind("f", &parameters(), &arguments).unwrap(), &[]);
    let same = [
        call(&[1, 7], &[("n", 4)]),
        call(&[1], &[("n", 4), ("a", 7), ("b", 2)]),
        call(&[1, 7, 2], &[("m", 5), ("n", 4)]),
    ];
    assert_eq!(key(same[0].clone()), key(same[1].clone()));
    assert_eq!(key(same[0].clone()), key(same[2].clone()));
    assert_ne!(key(same[0].clone()), key(call(&[1, 7, 2, 0], &[("n", 4)])));
}

#[test]
fn a_worker_finds_the_key_that_the_loop_would_find() {
    let bound = vec![("x".to_owned(), int(1))];
    let arguments = Arguments { positional: vec![text("rest")], named: bound.clone() };
    let digest = of_work(&arguments, None).unwrap();
    assert_eq!(of_endpoint("f", &digest), canonical("f", &bound, &arguments.positional).unwrap());
    let function: KeyFunction = std::sync::Arc::new(|_| Ok("v=1".into()));
    let digest = of_work(&arguments, Some(&function)).unwrap();
    assert_eq!(of_endpoint("f", &digest), formatted("f", "v={x}", &bound).unwrap());
}

#[test]
fn opaque_bytes_have_no_key() {
    let opaque = Value::Opaque(Opaque { encoding: "pickle".into(), bytes: vec![1] });
    let deep = Value::List(vec![Value::Map(vec![("a".into(), opaque)])]);
    assert_eq!(canonical("f", &[], std::slice::from_ref(&deep)), None);
    let failure = of_work(&Arguments::positional([deep.clone()]), None).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Value);
    let failure = formatted("f", "{x}", &[("x".into(), deep)]).unwrap_err();
    assert_eq!(failure.detail("argument"), Some("x"));
    assert_eq!(failure.detail("found"), Some("opaque"));
}

#[test]
fn text_is_what_python_writes() {
    // Each right side was written by CPython's format(): '{}'.format(value).
    let float = Value::Float;
    let cases = [
        (Value::Null, "None"),
        (Value::Bool(true), "True"),
        (Value::Bool(false), "False"),
        (int(-12), "-12"),
        (float(1.0), "1.0"),
        (float(-0.0), "-0.0"),
        (float(0.1), "0.1"),
        (float(1e15), "1000000000000000.0"),
        (float(1e16), "1e+16"),
        (float(1.5e300), "1.5e+300"),
        (float(123456789012345680.0), "1.2345678901234568e+17"),
        (float(0.0001), "0.0001"),
        (float(0.00001), "1e-05"),
        (float(5e-324), "5e-324"),
        (float(f64::NAN), "nan"),
        (float(f64::INFINITY), "inf"),
        (float(f64::NEG_INFINITY), "-inf"),
        (text("it's"), "it's"),
        (Value::Bytes(b"a'\x00\xff\n".to_vec()), "b\"a'\\x00\\xff\\n\""),
        (Value::Tuple(vec![]), "()"),
        (Value::Tuple(vec![int(1)]), "(1,)"),
        (
            Value::List(vec![text("a"), text("it's"), text("'\""), text("\\\t\u{7f}é")]),
            "['a', \"it's\", '\\'\"', '\\\\\\t\\x7fé']",
        ),
        (
            Value::Map(vec![
                ("k".into(), float(2.0)),
                ("l".into(), Value::Tuple(vec![int(1), int(2)])),
            ]),
            "{'k': 2.0, 'l': (1, 2)}",
        ),
    ];
    for (value, expected) in cases {
        let bound = [("x".to_owned(), value)];
        let template = Template::parse("f", "{{{x}}}:{x}").unwrap();
        let found = template.fill("f", &Bound::loose(&[], &bound)).unwrap();
        assert_eq!(found, format!("{{{expected}}}:{expected}"));
    }
}

#[test]
fn formats_say_what_is_wrong_with_them() {
    for (format, said) in [
        ("{", "without a }"),
        ("a}", "single }"),
        ("{}", "empty field"),
        ("{0}", "by position"),
        ("{a!r}", "a conversion"),
        ("{a:>3}", "a format specification"),
        ("{a.b}", "an attribute"),
        ("{a[0]}", "an index"),
        ("{a b}", "not a name"),
    ] {
        let failure = Template::parse("f", format).unwrap_err();
        assert!(failure.message.contains(said), "{failure}");
    }
    let failure = formatted("f", "{y}", &[("x".into(), int(1))]).unwrap_err();
    assert_eq!((failure.detail("field"), failure.detail("expected")), (Some("y"), Some("x")));
}

#[test]
fn tensors_are_the_same_by_dtype_shape_and_bytes_in_c_order() {
    use super::super::tensor::{Storage, Tensor};
    use super::super::value::Bundle;
    use shm_core::Dtype;
    let key = |value: Value| canonical("f", &[], &[value]).unwrap();
    let bytes: Vec<u8> = (0..12).collect();
    let plain = Tensor::copy_of(Dtype::U8, &[3, 4], &bytes).unwrap();
    // The same elements, stored column by column behind four other bytes.
    let mut columns = vec![99; 4];
    columns.extend((0..4_u8).flat_map(|column| (0..3_u8).map(move |row| row * 4 + column)));
    let turned = Tensor::copy_of(Dtype::U8, &[16], &columns).unwrap();
    let storage: Storage = turned.storage().clone();
    let turned = Tensor::new(storage, Dtype::U8, &[3, 4], &[1, 3], 4).unwrap();
    assert_eq!(key(Value::Tensor(plain.clone())), key(Value::Tensor(turned)));
    let mut keys = vec![
        key(Value::Tensor(plain.clone())),
        key(Value::Tensor(Tensor::copy_of(Dtype::I8, &[3, 4], &bytes).unwrap())),
        key(Value::Tensor(Tensor::copy_of(Dtype::U8, &[4, 3], &bytes).unwrap())),
        key(Value::Tensor(Tensor::copy_of(Dtype::U8, &[12], &bytes).unwrap())),
        key(Value::Tensor(Tensor::copy_of(Dtype::U8, &[0, 4], &[]).unwrap())),
        key(Value::Tensor(Tensor::copy_of(Dtype::U8, &[4, 0], &[]).unwrap())),
    ];
    // Longer than what is hashed at a time.
    let mut long = vec![0; 300_000];
    keys.push(key(Value::Tensor(Tensor::copy_of(Dtype::U8, &[300_000], &long).unwrap())));
    long[299_999] = 1;
    keys.push(key(Value::Tensor(Tensor::copy_of(Dtype::U8, &[300_000], &long).unwrap())));
    let bundle = |kind: &str, names: &[&str]| {
        let tensors = names.iter().map(|name| ((*name).to_owned(), plain.clone())).collect();
        Value::Bundle(Box::new(Bundle { kind: kind.into(), structure: Value::Null, tensors }))
    };
    assert_eq!(key(bundle("m", &["a", "b"])), key(bundle("m", &["b", "a"])));
    keys.extend([key(bundle("m", &["a"])), key(bundle("n", &["a"])), key(bundle("m", &["b"]))]);
    let count = keys.len();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), count);
}

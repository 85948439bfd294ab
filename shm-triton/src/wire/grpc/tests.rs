use super::{infer_response, model_configuration, parameters_of_proto, raw_of_contents};
use crate::wire::{Parameter, proto};
use bytes::Bytes;

fn output(name: &str, datatype: &str, shape: &[i64]) -> proto::Output {
    proto::Output {
        name: name.to_owned(),
        datatype: datatype.to_owned(),
        shape: shape.to_vec(),
        ..proto::Output::default()
    }
}

fn with(outputs: Vec<proto::Output>, raw: &[&[u8]]) -> proto::InferResponse {
    let raw_outputs = raw.iter().map(|raw| Bytes::copy_from_slice(raw)).collect();
    proto::InferResponse { outputs, raw_outputs, ..proto::InferResponse::default() }
}

fn data(message: proto::InferResponse) -> Result<Vec<Option<Vec<u8>>>, String> {
    let response = infer_response(message, |name| name == "shared")?;
    Ok(response.outputs.into_iter().map(|output| output.data.map(|data| data.to_vec())).collect())
}

#[test]
fn outputs_are_in_the_message_or_in_the_region() {
    let both = || vec![output("shared", "INT8", &[2]), output("inline", "INT16", &[1])];
    assert_eq!(data(with(both(), &[&[], &[1, 2]])).unwrap(), [None, Some(vec![1, 2])]);
    assert_eq!(data(with(vec![output("shared", "INT8", &[2])], &[])).unwrap(), [None]);
    assert_eq!(data(with(vec![output("inline", "INT8", &[0])], &[])).unwrap(), [Some(vec![])]);
    assert_eq!(data(with(vec![output("inline", "FP8", &[2])], &[&[7]])).unwrap(), [Some(vec![7])]);
}

#[test]
fn an_output_that_came_in_the_message_all_the_same_is_not_taken_for_one_in_the_region() {
    assert_eq!(
        data(with(vec![output("shared", "INT8", &[2])], &[&[1, 2]])).unwrap(),
        [Some(vec![1, 2])]
    );
}

#[test]
fn responses_that_do_not_fit_together_are_named() {
    let one = |datatype: &str, shape: &[i64]| vec![output("inline", datatype, shape)];
    for (message, text) in [
        (with(one("INT8", &[1]), &[&[1], &[2]]), "2 entries for 1 outputs"),
        (with(one("INT8", &[1]), &[]), "has no contents"),
        (with(one("INT8", &[-1]), &[&[1]]), "shape [-1]"),
        (with(one("INT8", &[i64::MAX, 4]), &[&[1]]), "shape"),
        (with(one("INT32", &[2]), &[&[1, 2, 3]]), "has 3 bytes; expected 2 elements of 4 bytes"),
        (with(one("FP64", &[i64::MAX]), &[&[1]]), "has 1 bytes"),
    ] {
        let error = data(message).unwrap_err();
        assert!(error.contains(text), "{error}");
    }
}

#[test]
fn typed_contents_become_raw_ones() {
    let ints = |ints: &[i32]| proto::Contents { ints: ints.to_vec(), ..proto::Contents::default() };
    let mut typed = output("inline", "INT16", &[2]);
    typed.contents = Some(ints(&[-2, 3]));
    assert_eq!(data(with(vec![typed.clone()], &[])).unwrap(), [Some(vec![0xfe, 0xff, 3, 0])]);
    assert!(
        data(with(vec![typed.clone()], &[&[1, 2, 3, 4]]))
            .unwrap_err()
            .contains("both raw and typed")
    );
    typed.shape = vec![3];
    assert!(data(with(vec![typed], &[])).unwrap_err().contains("expected 3 elements"));

    let words =
        proto::Contents { bytes: vec![b"ab".to_vec(), vec![]], ..proto::Contents::default() };
    assert_eq!(raw_of_contents("BYTES", &words).unwrap(), [2, 0, 0, 0, b'a', b'b', 0, 0, 0, 0]);
    let floats = proto::Contents { floats: vec![1.0], ..proto::Contents::default() };
    assert_eq!(raw_of_contents("FP32", &floats).unwrap(), 1.0_f32.to_le_bytes());
    let bools = proto::Contents { bools: vec![true, false], ..proto::Contents::default() };
    assert_eq!(raw_of_contents("BOOL", &bools).unwrap(), [1, 0]);
    for (datatype, contents, text) in [
        ("INT8", ints(&[200]), "200, which INT8"),
        ("UINT8", ints(&[2]), "has int_contents; expected uint_contents"),
        ("FP16", floats, "expected raw ones"),
        ("FP8", ints(&[2]), "FP8"),
    ] {
        let error = raw_of_contents(datatype, &contents).unwrap_err();
        assert!(error.contains(text), "{error}");
    }
}

#[test]
fn parameters_keep_their_values() {
    let parameter = |choice| proto::Parameter { choice };
    let parameters = parameters_of_proto(
        [
            ("small".to_owned(), parameter(Some(proto::Choice::Uint64(7)))),
            ("large".to_owned(), parameter(Some(proto::Choice::Uint64(u64::MAX)))),
            ("none".to_owned(), parameter(None)),
        ]
        .into(),
    );
    assert_eq!(parameters.len(), 2);
    assert_eq!(parameters["small"], Parameter::Int(7));
    assert_eq!(parameters["large"], Parameter::Text(u64::MAX.to_string()));
}

#[test]
fn a_configuration_that_is_none_is_an_error() {
    let reply = |config| model_configuration(proto::ModelConfigReply { config });
    assert!(reply(None).unwrap_err().contains("config"));
    let negative = proto::ModelConfig { max_batch_size: -1, ..proto::ModelConfig::default() };
    assert!(reply(Some(negative)).unwrap_err().contains("max_batch_size"));
    let config = proto::ModelConfig {
        max_batch_size: 8,
        input: vec![
            proto::ConfigInput {
                name: "a".to_owned(),
                optional: true,
                ..proto::ConfigInput::default()
            },
            proto::ConfigInput { name: "b".to_owned(), ..proto::ConfigInput::default() },
        ],
        sequence_batching: Some(proto::NoFields {}),
        ..proto::ModelConfig::default()
    };
    let configuration = reply(Some(config)).unwrap();
    assert_eq!(configuration.max_batch_size, 8);
    assert_eq!(configuration.optional_inputs, ["a"]);
    assert!(configuration.sequence && !configuration.decoupled);
}

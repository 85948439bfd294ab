//! Replies that no server in good order sends: each is a typed error, and the next call is as good as any.

use crate::call::{call, ms, until};
use crate::pretender::{Known, Pretender, good};
use serde_json::{Value, json};
use shm_tests::Watchdog;
use shm_tests::triton::FakeReply;
use shm_triton::{CallError, InferError, Inputs, ModelConfig, Options, OutputError};
use std::collections::BTreeMap;
use std::time::Duration;

const BOUND: Duration = Duration::from_secs(60);

fn raw(text: impl AsRef<[u8]>) -> FakeReply {
    FakeReply::Raw(text.as_ref().to_vec())
}

fn outputs(outputs: Value) -> FakeReply {
    good(json!({"model_name": "echo", "outputs": outputs}))
}

fn one(name: &str, datatype: &str, shape: Value, more: Value) -> FakeReply {
    let mut output = json!({"name": name, "datatype": datatype, "shape": shape});
    output.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    outputs(json!([output]))
}

/// A reply with tensor data behind its JSON.
fn binary(size: Value, bytes: usize, json_len: Option<&str>) -> FakeReply {
    let text = json!({"outputs": [{
        "name": "OUTPUT0", "datatype": "FP32", "shape": [2, 16],
        "parameters": {"binary_data_size": size},
    }]})
    .to_string();
    let len = json_len.map_or(text.len().to_string(), str::to_owned);
    let headers = BTreeMap::from([("Inference-Header-Content-Length".to_owned(), len)]);
    FakeReply::Http(200, headers, [text.as_bytes(), &vec![7; bytes]].concat())
}

#[test]
fn replies_that_break_the_protocol_are_typed_errors() {
    let _watchdog = Watchdog::new("malformed", BOUND);
    let none = || json!({});
    let fp32 = |shape, more| one("OUTPUT0", "FP32", shape, more);
    let cases: Vec<(&str, &str, FakeReply)> = vec![
        ("no JSON", "Malformed", FakeReply::json(200, "<html>")),
        ("nothing", "Malformed", FakeReply::json(200, "")),
        ("a list", "Malformed", good(json!([1, 2]))),
        ("outputs that are a number", "Malformed", outputs(json!(7))),
        ("an output that is a number", "Malformed", outputs(json!([7]))),
        ("no end", "Malformed", FakeReply::json(200, "[".repeat(100_000))),
        (
            "nested values",
            "Malformed",
            FakeReply::json(
                200,
                format!(
                    r#"{{"outputs":[{{"name":"OUTPUT0","datatype":"FP32","shape":[2,16],"data":{}1{}}}]}}"#,
                    "[".repeat(5000),
                    "]".repeat(5000)
                ),
            ),
        ),
        ("no UTF-8", "Malformed", FakeReply::Http(200, BTreeMap::new(), vec![0xFF; 40])),
        ("no outputs", "Missing", outputs(json!([]))),
        ("another output", "Missing", one("OUTPUT1", "FP32", json!([2, 16]), none())),
        (
            "two of them",
            "Unknown",
            outputs(json!([
                {"name": "OUTPUT0", "datatype": "FP32", "shape": [2, 16]},
                {"name": "OUTPUT0", "datatype": "FP32", "shape": [2, 16]},
            ])),
        ),
        ("another type", "DataType", one("OUTPUT0", "INT32", json!([2, 16]), none())),
        ("no type", "DataType", one("OUTPUT0", "FP33", json!([2, 16]), none())),
        ("fewer samples", "Shape", fp32(json!([1, 16]), none())),
        ("more samples", "Shape", fp32(json!([3, 16]), none())),
        ("no samples", "Shape", fp32(json!([16]), none())),
        ("no shape", "Shape", fp32(json!([]), none())),
        ("negative shape", "Shape", fp32(json!([2, -16]), none())),
        ("endless shape", "Shape", fp32(json!([2, i64::MAX]), none())),
        ("a shape too large for a number", "Malformed", fp32(json!([2, 1e30]), none())),
        ("too few values", "Malformed", fp32(json!([2, 16]), json!({"data": [1, 2]}))),
        ("values of another kind", "Malformed", fp32(json!([2, 16]), json!({"data": ["a"]}))),
        ("more than there is", "Malformed", binary(json!(128), 100, None)),
        ("far more", "Malformed", binary(json!(u64::MAX), 128, None)),
        ("a negative length", "Malformed", binary(json!(-1), 128, None)),
        ("a length that is a text", "Malformed", binary(json!("128"), 128, None)),
        ("fewer bytes than the shape has", "Length", binary(json!(124), 124, None)),
        ("JSON longer than the reply", "Malformed", binary(json!(128), 128, Some("100000"))),
        ("JSON of no length", "any", binary(json!(128), 128, Some("many"))),
        ("JSON cut short", "Malformed", binary(json!(128), 128, Some("10"))),
        ("no HTTP", "Lost", raw("220 mail.example ESMTP\r\n\r\n")),
        ("only zeros", "Lost", raw([0; 100])),
        ("an endless head", "Lost", raw(format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(100_000)))),
        (
            "endless headers",
            "Lost",
            raw(format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(500))),
        ),
        ("a huge body", "Lost", raw("HTTP/1.1 200 OK\r\nContent-Length: 1099511627776\r\n\r\n{}")),
        ("a body of no length", "Lost", raw("HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n{}")),
        (
            "a length beyond numbers",
            "Lost",
            raw(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{{}}", "9".repeat(40))),
        ),
        (
            "half a body",
            "Lost",
            FakeReply::RawThenClose(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}".to_vec()),
        ),
        ("half a head", "Lost", FakeReply::RawThenClose(b"HTTP/1.1 200 OK\r\nConte".to_vec())),
        (
            "a chunk of no length",
            "Lost",
            raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n"),
        ),
        (
            "a huge chunk",
            "Lost",
            raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffff\r\n{}"),
        ),
        (
            "a chunk beyond numbers",
            "Lost",
            raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffffffff\r\n"),
        ),
        ("not a word", "Lost", FakeReply::Close),
        ("an error that is no JSON", "Refused", FakeReply::json(500, "<html>")),
        ("an error without a text", "Refused", FakeReply::json(400, "{}")),
        ("a status that does not exist", "Refused", FakeReply::json(799, "{}")),
        ("another place", "Refused", FakeReply::json(302, "")),
    ];
    let server = Pretender::new("2.51.0");
    let client = server.client();
    let model = client.register_model(ModelConfig::new("echo").slots(2)).unwrap();
    for (what, expected, reply) in cases {
        for asynchronously in [false, true] {
            let reply = reply.clone();
            server.act(Some(Box::new(move |_: &Known, _: &Value| reply.clone())));
            let data = [1.0_f32; 32];
            let inputs = Inputs::new().tensor("INPUT0", &[2, 16], &data).unwrap();
            let options = Options::new().within(Duration::from_secs(10));
            let result = match asynchronously {
                true => futures::executor::block_on(model.infer_async(&inputs, &options)),
                false => model.infer(&inputs, &options),
            };
            let found = match &result {
                Ok(_) => "Ok",
                Err(InferError::Malformed { .. }) => "Malformed",
                Err(InferError::Lost { .. }) => "Lost",
                Err(InferError::Refused { .. }) => "Refused",
                Err(InferError::Output(OutputError::Missing { .. })) => "Missing",
                Err(InferError::Output(OutputError::Unknown { .. })) => "Unknown",
                Err(InferError::Output(OutputError::DataType { .. })) => "DataType",
                Err(InferError::Output(OutputError::Shape { .. })) => "Shape",
                Err(InferError::Output(OutputError::Length { .. })) => "Length",
                Err(_) => "another",
            };
            // What breaks HTTP itself may be said to be either.
            let same = found == expected
                || (expected, found) == ("Lost", "Malformed")
                || (expected == "any" && result.is_err());
            assert!(same, "{what}: {expected} was expected: {result:?}");
            server.act(None);
            call(&model, 8, &Options::new()).unwrap_or_else(|e| panic!("after {what}: {e}"));
        }
    }
    client.close(ms(10_000)).unwrap();
}

#[test]
fn what_comes_behind_a_reply_is_not_the_next_one() {
    let _watchdog = Watchdog::new("behind", BOUND);
    let server = Pretender::new("2.51.0");
    let client = server.client();
    let model = client.register_model(ModelConfig::new("echo").slots(1)).unwrap();
    server.act(Some(Box::new(|known: &Known, body: &Value| {
        let FakeReply::Http(_, _, reply) = known.echo(body) else { unreachable!() };
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", reply.len());
        let one = [head.as_bytes(), &reply].concat();
        // The second says, before it is asked, that the next request is answered.
        raw([one.clone(), one].concat())
    })));
    for _ in 0..20 {
        call(&model, 8, &Options::new()).unwrap();
    }
}

#[test]
fn items_that_lie_elsewhere_are_not_looked_at() {
    let _watchdog = Watchdog::new("items", BOUND);
    let server = Pretender::new("2.51.0");
    let client = server.client();
    let model = client.register_model(ModelConfig::new("text").slots(1)).unwrap();
    let items = ["one", "two"];
    let inputs = Inputs::new().items("INPUT0", &[2], &items).unwrap();
    for (prefix, count) in [([0xFF; 4], 2), ([3, 0, 0, 0x80], 2), ([3, 0, 0, 0], i64::MAX)] {
        server.act(Some(Box::new(move |known: &Known, body: &Value| {
            known.write(body, &[&prefix[..], b"one", &prefix, b"two"].concat());
            one("OUTPUT0", "BYTES", json!([count]), json!({}))
        })));
        let error = model.infer(&inputs, &Options::new()).unwrap_err();
        let expected = matches!(
            error,
            InferError::Output(OutputError::Items { .. } | OutputError::Length { .. })
        );
        assert!(expected, "{error}");
    }
    server.act(None);
    let outputs = model.infer(&inputs, &Options::new()).unwrap();
    assert_eq!(outputs.items("OUTPUT0").unwrap(), [b"one", b"two"]);
}

#[test]
fn descriptions_that_make_no_sense_are_typed_errors() {
    let _watchdog = Watchdog::new("descriptions", BOUND);
    let server = Pretender::new("2.51.0");
    let client = server.client();
    let metadata = |datatype: &str, shape: Value| {
        let tensor = |name: &str| json!([{"name": name, "datatype": datatype, "shape": shape}]);
        good(json!({"name": "echo", "inputs": tensor("INPUT0"), "outputs": tensor("OUTPUT0")}))
    };
    let (model, config) = ("/v2/models/echo", "/v2/models/echo/config");
    let (malformed, lost, config_error) = ("Call(Malformed", "Call(Lost", "Config {");
    let lost_region = "Region(Call(Lost";
    let cases: Vec<(&str, &str, FakeReply)> = vec![
        (model, malformed, FakeReply::json(200, "nonsense")),
        (model, lost, FakeReply::Close),
        (model, malformed, good(json!({"name": "echo", "inputs": [{"name": "INPUT0"}]}))),
        (model, malformed, metadata("FP33", json!([-1, 16]))),
        (model, malformed, metadata("FP32", json!([]))),
        (model, malformed, metadata("FP32", json!([-1, -16]))),
        (model, config_error, metadata("FP32", json!([-1, i64::MAX]))),
        (config, malformed, FakeReply::json(200, "")),
        (config, malformed, good(json!({"name": "echo", "max_batch_size": -1}))),
        (config, config_error, good(json!({"name": "echo", "max_batch_size": i64::MAX}))),
        (config, malformed, good(json!({"name": "echo", "max_batch_size": "8"}))),
        (
            config,
            "Decoupled",
            good(json!({
                "name": "echo", "model_transaction_policy": {"decoupled": true},
            })),
        ),
        ("/register", "Region(Unmapped", FakeReply::json(500, r#"{"error": "Unable to open"}"#)),
        ("/register", "Region(Disabled", FakeReply::json(501, r#"{"error": "is disabled"}"#)),
        ("/register", "Region(Unmapped", FakeReply::json(400, "nonsense")),
        ("/register", lost_region, FakeReply::Close),
        ("/v2", "Region(Call(Malformed", FakeReply::json(200, "nonsense")),
    ];
    for (end, expected, reply) in cases {
        let what = format!("{end}: {reply:.100?}");
        server.known.instead.lock().unwrap().insert(end, reply);
        let registered = client.register_model(ModelConfig::new("echo").slots(1)).map(drop);
        let error = registered.unwrap_err();
        assert!(format!("{error:?}").starts_with(expected), "{what}: {error:?}");
        server.known.instead.lock().unwrap().clear();
    }
    assert_eq!(client.models().len(), 0);
    until("what was made is given up", || client.stats().owed == 0);
    assert_eq!(server.known.regions.lock().unwrap().len(), 0);
    let model = client.register_model(ModelConfig::new("echo")).unwrap();
    call(&model, 8, &Options::new()).unwrap();
    for (end, reply) in [
        ("/stats", FakeReply::json(200, "{}")),
        ("/status", FakeReply::json(200, "{}")),
        ("/v2", FakeReply::json(200, "[]")),
    ] {
        server.known.instead.lock().unwrap().insert(end, reply);
        let error = match end {
            "/stats" => client.statistics("echo").map(drop),
            "/status" => client.regions().map(drop),
            _ => client.server_metadata().map(drop),
        };
        assert!(matches!(error, Err(CallError::Malformed { .. })), "{error:?}");
        server.known.instead.lock().unwrap().clear();
    }
    client.close(ms(10_000)).unwrap();
}

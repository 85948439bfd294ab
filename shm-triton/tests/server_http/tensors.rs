//! Tensors in JSON, in binary data and in shared memory.

use crate::http_client::shared;
use crate::served;
use crate::served::{Object, floats, serialized};
use serde_json::{Value, json};

fn sixteen() -> Vec<f32> {
    (0..16).map(|value| value as f32 + 0.5).collect()
}

#[test]
fn json_flat_and_nested_gives_json() {
    let (_server, mut client) = super::served();
    let flat = sixteen();
    let nested: Vec<&[f32]> = flat.chunks(4).collect();
    for data in [json!(flat), json!([flat]), json!([nested])] {
        let input = json!({ "name": "INPUT0", "datatype": "FP32", "shape": [1, 16], "data": data });
        let reply =
            client.infer("identity", &json!({ "id": "seven", "inputs": [input] })).ok().json();
        assert_eq!(reply["id"], "seven");
        assert_eq!(reply["model_name"], "identity");
        assert_eq!(reply["model_version"], "1");
        assert_eq!(
            reply["outputs"],
            json!([{ "name": "OUTPUT0", "datatype": "FP32", "shape": [1, 16], "data": flat }])
        );
    }
}

#[test]
fn every_datatype_goes_through_json() {
    let (_server, mut client) = super::served();
    let tensors = [
        ("FP16", json!([1.5, -2.0])),
        ("BF16", json!([0.25, 3.0])),
        ("BOOL", json!([true, false])),
        ("INT64", json!([i64::MIN, i64::MAX])),
        ("UINT8", json!([0, 255])),
        ("FP64", json!([1e300, -0.1])),
        ("BYTES", json!(["", "naïve \"text\""])),
        ("INT8", json!([-128, 127])),
    ];
    let inputs: Vec<Value> = tensors
        .iter()
        .enumerate()
        .map(|(number, (datatype, data))| {
            json!({ "name": format!("INPUT{number}"), "datatype": datatype, "shape": [1, 2], "data": data })
        })
        .collect();
    let reply = client.infer("half", &json!({ "inputs": inputs })).ok().json();
    for (number, (datatype, data)) in tensors.iter().enumerate() {
        let output = &reply["outputs"][number];
        assert_eq!(output["name"], format!("OUTPUT{number}"));
        assert_eq!((&output["datatype"], &output["data"]), (&json!(datatype), data));
    }
}

#[test]
fn json_that_does_not_fit_the_datatype_is_refused() {
    let (_server, mut client) = super::served();
    let cases = [
        ("any", "INT8", json!([128]), "INT8"),
        ("any", "INT8", json!([1.5]), "INT8"),
        ("any", "INT8", json!(["x"]), "INT8"),
        ("any", "INT8", json!([true]), "INT8"),
        ("any", "INT8", json!({}), "an array of INT8"),
        ("any", "INT8", json!([null]), "INT8"),
        ("bytes", "BYTES", json!([7]), "a text"),
        ("any", "INT7", json!([7]), "INT7"),
    ];
    for (model, datatype, data, part) in cases {
        let input = json!({ "name": "INPUT0", "datatype": datatype, "shape": [1], "data": data });
        client.infer(model, &json!({ "inputs": [input] })).refused(400, &["INPUT0", part]);
    }
}

#[test]
fn binary_in_and_binary_out() {
    let (_server, mut client) = super::served();
    let bytes = floats(sixteen());
    let input = |len: usize| json!({ "name": "INPUT0", "datatype": "FP32", "shape": [1, 16], "parameters": { "binary_data_size": len } });
    // Asked for of all outputs, of one, and of all but one; ids of several lengths shift the data.
    for (id, request, binary) in [
        ("", json!({ "parameters": { "binary_data_output": true } }), true),
        (
            "a",
            json!({ "outputs": [{ "name": "OUTPUT0", "parameters": { "binary_data": true } }] }),
            true,
        ),
        (
            "bc",
            json!({ "parameters": { "binary_data_output": true }, "outputs": [{ "name": "OUTPUT0", "parameters": { "binary_data": false } }] }),
            false,
        ),
        ("def", json!({}), false),
    ] {
        let mut request = request;
        request["id"] = id.into();
        request["inputs"] = json!([input(64)]);
        let answer = client.infer_binary("identity", &request, &bytes).ok();
        let output = &answer.json()["outputs"][0];
        if binary {
            assert_eq!(output["parameters"]["binary_data_size"], 64);
            assert_eq!((answer.binary(), &output["data"]), (&bytes[..], &Value::Null));
        } else {
            assert_eq!(output["data"], json!(sixteen()));
        }
    }
    let request = json!({ "inputs": [input(64)] });
    client.infer_binary("identity", &request, &bytes[1..]).refused(400, &["INPUT0", "64", "63"]);
    let longer = [&bytes[..], b"x"].concat();
    client
        .infer_binary("identity", &request, &longer)
        .refused(400, &["unexpected additional input data"]);
}

#[test]
fn values_that_json_cannot_hold_are_named() {
    let (_server, mut client) = super::served();
    let mut values = sixteen();
    values[3] = f32::NAN;
    let request = json!({ "inputs": [{ "name": "INPUT0", "datatype": "FP32", "shape": [1, 16], "parameters": { "binary_data_size": 64 } }] });
    client
        .infer_binary("identity", &request, &floats(values))
        .refused(400, &["OUTPUT0", "binary_data"]);
    let strings = serialized(&[b"\xff"]);
    let request = json!({ "inputs": [{ "name": "INPUT0", "datatype": "BYTES", "shape": [1, 1], "parameters": { "binary_data_size": strings.len() } }] });
    client
        .infer_binary("bytes", &request, &strings)
        .refused(400, &["OUTPUT0", "UTF-8", "binary_data"]);
}

#[test]
fn shared_memory_in_and_out_at_any_offset() {
    let (_server, mut client) = super::served();
    let object = Object::new(8192);
    client.register("r", &object.key, 0, 8192).ok();
    let bytes = floats(sixteen());
    // The last one is not aligned, and the output lies over the input.
    for (from, to) in [(0, 4096), (8, 8192 - 64), (3, 30)] {
        object.write(from, &bytes);
        let reply = client
            .infer(
                "identity",
                &json!({
                    "inputs": [shared("INPUT0", "FP32", &[1, 16], "r", from as i64, 64)],
                    "outputs": [shared("OUTPUT0", "FP32", &[1, 16], "r", to as i64, 64)],
                }),
            )
            .ok()
            .json();
        assert_eq!(object.read(to, 64), bytes);
        assert_eq!(
            reply["outputs"],
            json!([{ "name": "OUTPUT0", "datatype": "FP32", "shape": [1, 16] }])
        );
    }
}

#[test]
fn shared_and_inline_tensors_mix() {
    let (_server, mut client) = super::served();
    let object = Object::new(4096);
    client.register("r", &format!("//{}", object.key), 0, 4096).ok();
    object.write(0, &7_i32.to_le_bytes());
    let inline = json!({ "name": "INPUT1", "datatype": "INT32", "shape": [1], "data": [9] });
    let request = json!({
        "inputs": [shared("INPUT0", "INT32", &[1], "r", 0, 4), inline],
        "outputs": [{ "name": "OUTPUT1", "parameters": { "shared_memory_region": "r", "shared_memory_byte_size": 64, "shared_memory_offset": 128 } }, { "name": "OUTPUT0" }],
    });
    let reply = client.infer("optional", &request).ok().json();
    assert_eq!(
        reply["outputs"],
        json!([
            { "name": "OUTPUT1", "datatype": "INT32", "shape": [1] },
            { "name": "OUTPUT0", "datatype": "INT32", "shape": [1], "data": [7] },
        ])
    );
    assert_eq!(object.read(128, 8), [9, 0, 0, 0, 0, 0, 0, 0]);
    // What was not asked for is not sent.
    let request = json!({ "inputs": [shared("INPUT0", "INT32", &[1], "r", 0, 4), { "name": "INPUT1", "datatype": "INT32", "shape": [1], "data": [9] }], "outputs": [{ "name": "OUTPUT1" }] });
    let reply = client.infer("optional", &request).ok().json();
    assert_eq!(reply["outputs"].as_array().unwrap().len(), 1);
}

#[test]
fn outputs_of_any_length() {
    let (_server, mut client) = super::served();
    let object = Object::new(4096);
    client.register("r", &object.key, 0, 4096).ok();
    let ask = |n: i32, room: usize| {
        json!({
            "inputs": [{ "name": "INPUT0", "datatype": "INT32", "shape": [1], "data": [n] }],
            "outputs": [{ "name": "OUTPUT0", "parameters": { "shared_memory_region": "r", "shared_memory_byte_size": room } }],
        })
    };
    assert_eq!(
        client.infer("dynamic", &ask(32, 128)).ok().json()["outputs"][0]["shape"],
        json!([32])
    );
    assert_eq!(object.read(0, 128), floats((0..32).map(|value| value as f32)));
    assert_eq!(
        client.infer("dynamic", &ask(0, 128)).ok().json()["outputs"][0]["shape"],
        json!([0])
    );
    let before = object.read(0, 4096);
    client
        .infer("dynamic", &ask(33, 128))
        .refused(500, &["'OUTPUT0'", "(128 bytes) should be at least 132 bytes", "[33]"]);
    assert_eq!(object.read(0, 4096), before, "a slot that is too small stays as it is");
}

#[test]
fn byte_strings_through_shared_memory() {
    let (_server, mut client) = super::served();
    let object = Object::new(4096);
    client.register("r", &object.key, 0, 4096).ok();
    let strings = serialized(&[b"a\0b", b"", b"long enough"]);
    object.write(0, &strings);
    let ask = |shape: &[i64], len: usize| {
        json!({
            "inputs": [shared("INPUT0", "BYTES", shape, "r", 0, len)],
            "outputs": [shared("OUTPUT0", "BYTES", shape, "r", 2048, 2048)],
        })
    };
    client.infer("bytes", &ask(&[1, 3], strings.len())).ok();
    assert_eq!(object.read(2048, strings.len()), strings);
    client
        .infer("bytes", &ask(&[1, 2], strings.len()))
        .refused(400, &["unexpected number of string elements 3", "'INPUT0'", "expecting 2"]);
    client
        .infer("bytes", &ask(&[1, 3], strings.len() - 1))
        .refused(400, &["incomplete string data", "'INPUT0'", "length 11 but only 10 bytes"]);
    client
        .infer("bytes", &ask(&[1, 3], 9))
        .refused(400, &["incomplete string length indicator", "'INPUT0'"]);
}

#[test]
fn large_bodies_come_whole() {
    let (_server, mut client) = super::served();
    let bytes: Vec<u8> = (0..20_000_003).map(|value| (value % 251) as u8).collect();
    let request = json!({ "parameters": { "binary_data_output": true }, "inputs": [{ "name": "INPUT0", "datatype": "INT8", "shape": [bytes.len()], "parameters": { "binary_data_size": bytes.len() } }] });
    let answer = client.infer_binary("any", &request, &bytes).ok();
    assert!(answer.binary() == bytes);
}

#[test]
fn a_unix_socket_serves_too() {
    let folder = std::env::temp_dir().join(format!("shm-triton-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("http.sock");
    // What is left of a server that was killed is in nobody's way.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    {
        let _server = served::builder().http_unix(&path).start().unwrap();
        let taken = served::builder().http_unix(&path).start().unwrap_err();
        assert!(taken.to_string().contains("http.sock"), "{taken}");
        let stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
        let mut client = crate::http_client::Client::over(stream);
        let input = json!({ "name": "INPUT0", "datatype": "INT8", "shape": [2], "data": [1, 2] });
        let reply = client.infer("any", &json!({ "inputs": [input] })).ok().json();
        assert_eq!(reply["outputs"][0]["data"], json!([1, 2]));
    }
    assert!(!path.exists());
    std::fs::remove_dir_all(&folder).unwrap();
}

//! What a request must be.

use crate::served::floats;
use serde_json::{Value, json};

fn input(datatype: &str, shape: &[i64], data: Value) -> Value {
    json!({ "name": "INPUT0", "datatype": datatype, "shape": shape, "data": data })
}

fn zeros(count: usize) -> Value {
    json!(vec![0.0; count])
}

#[test]
fn models_and_versions_are_known_by_name() {
    let (_server, mut client) = super::served();
    let request = json!({ "inputs": [input("FP32", &[1, 16], zeros(16))] });
    client
        .infer("nobody", &request)
        .refused(404, &["Request for unknown model: 'nobody' is not found"]);
    client.post("/v2/models/identity/versions/1/infer", &request).ok();
    client
        .post("/v2/models/identity/versions/2/infer", &request)
        .refused(404, &["unknown model: 'identity'", "2"]);
    let request =
        json!({ "inputs": [{ "name": "INPUT0", "datatype": "INT8", "shape": [1], "data": [1] }] });
    client.infer("a%20b%2F%C3%BC%25", &request).ok();
}

#[test]
fn inputs_are_those_of_the_model() {
    let (_server, mut client) = super::served();
    let good = input("FP32", &[1, 16], zeros(16));
    let extra =
        json!({ "name": "INPUT1", "datatype": "FP32", "shape": [1, 16], "data": zeros(16) });
    for (inputs, parts) in [
        (json!([]), &["expected 1 inputs but got 0 inputs for model 'identity'", "'INPUT0'"][..]),
        (json!([good, extra]), &["unexpected inference input 'INPUT1' for model 'identity'"]),
        (json!([good, good]), &["input 'INPUT0' already exists in request"]),
        (
            json!([input("INT32", &[1, 16], json!(vec![0; 16]))]),
            &["'INT32'", "'identity' expects 'FP32'"],
        ),
        (
            json!([input("FP32", &[16], zeros(16))]),
            &["unexpected shape", "'INPUT0'", "[-1, 16]", "[16]"],
        ),
        (json!([input("FP32", &[1, 15], zeros(15))]), &["unexpected shape", "[1, 15]"]),
        (json!([input("FP32", &[1, 16, 1], zeros(16))]), &["unexpected shape"]),
        (json!([input("FP32", &[-1, 16], zeros(16))]), &["unexpected shape", "-1"]),
        (json!([input("FP32", &[], zeros(16))]), &["unexpected shape"]),
        (
            json!([input("FP32", &[0, 16], json!([]))]),
            &["batch-size", "<= 8", "'identity'", "got 0"],
        ),
        (json!([input("FP32", &[9, 16], zeros(144))]), &["batch-size", "<= 8", "got 9"]),
        (
            json!([input("FP32", &[1, 16], zeros(15))]),
            &["byte size", "'INPUT0'", "Expected 64, got 60"],
        ),
        (
            json!([{ "name": "INPUT0", "datatype": "FP32", "shape": [1, 16] }]),
            &["'INPUT0' has no data"],
        ),
        (json!([{ "name": "INPUT0", "shape": [1, 16], "data": [] }]), &["datatype"]),
        (
            json!([{ "name": "INPUT0", "datatype": "FP32", "shape": [1, 16], "data": [], "parameters": { "shared_memory_region": "r", "shared_memory_byte_size": 64 } }]),
            &["more than one place"],
        ),
        (
            json!([{ "name": "INPUT0", "datatype": "FP32", "shape": [1, 16], "parameters": { "shared_memory_region": "r" } }]),
            &["shared_memory_byte_size"],
        ),
        (
            json!([{ "name": "INPUT0", "datatype": "FP32", "shape": [1, 16], "parameters": { "shared_memory_byte_size": 64 } }]),
            &["shared_memory_region"],
        ),
    ] {
        client.infer("identity", &json!({ "inputs": inputs })).refused(400, parts);
    }
    let both = json!({ "inputs": [
        { "name": "INPUT0", "datatype": "FP16", "shape": [1, 2], "data": [1, 2] },
        { "name": "INPUT1", "datatype": "BF16", "shape": [2, 2], "data": [1, 2, 3, 4] },
    ] });
    client.infer("half", &both).refused(400, &["'INPUT1'", "batch size does not match"]);
    let optional =
        json!({ "inputs": [{ "name": "INPUT0", "datatype": "INT32", "shape": [1], "data": [3] }] });
    assert_eq!(client.infer("optional", &optional).ok().json()["outputs"][0]["data"], json!([3]));
}

#[test]
fn huge_shapes_do_not_overflow() {
    let (_server, mut client) = super::served();
    let request = json!({ "inputs": [{ "name": "INPUT0", "datatype": "INT8", "shape": [i64::MAX], "data": [1] }] });
    client.infer("any", &request).refused(400, &["Expected 9223372036854775807, got 1"]);
    let request = json!({ "inputs": [{ "name": "INPUT0", "datatype": "BYTES", "shape": [8, i64::MAX], "data": ["x"] }] });
    client.infer("bytes", &request).refused(400, &["'INPUT0'", "cannot have the shape"]);
}

#[test]
fn outputs_are_those_of_the_model() {
    let (_server, mut client) = super::served();
    let good = input("FP32", &[1, 16], zeros(16));
    for (outputs, part) in [
        (json!([{ "name": "OUTPUT1" }]), "unexpected inference output 'OUTPUT1'"),
        (
            json!([{ "name": "OUTPUT0" }, { "name": "OUTPUT0" }]),
            "output 'OUTPUT0' already requested",
        ),
        (
            json!([{ "name": "OUTPUT0", "parameters": { "binary_data": true, "shared_memory_region": "r", "shared_memory_byte_size": 8 } }]),
            "binary_data",
        ),
    ] {
        client
            .infer("identity", &json!({ "inputs": [good], "outputs": outputs }))
            .refused(400, &[part]);
    }
    let outputs = json!([{ "name": "OUTPUT0", "parameters": { "classification": 3 } }]);
    client
        .infer("identity", &json!({ "inputs": [good], "outputs": outputs }))
        .refused(501, &["classification"]);
}

#[test]
fn what_a_model_does_is_told() {
    let (_server, mut client) = super::served();
    let good = input("FP32", &[1, 16], zeros(16));
    let ask = |mode: &str| json!({ "parameters": { "mode": mode }, "inputs": [good] });
    client.infer("fail", &ask("error")).refused(500, &["the model was asked to fail"]);
    client.infer("fail", &ask("code")).refused(400, &["not like this"]);
    client
        .infer("fail", &ask("panic"))
        .refused(500, &["'fail' panicked", "the model was asked to panic"]);
    client.infer("fail", &ask("twice")).refused(500, &["'OUTPUT0' twice"]);
    assert_eq!(client.infer("fail", &ask("missing")).ok().json()["outputs"], json!([]));
}

#[test]
fn sequences_need_a_name() {
    let (_server, mut client) = super::served();
    let ask = |value: i32, parameters: Value| json!({ "parameters": parameters, "inputs": [input("INT32", &[1, 1], json!([value]))] });
    for none in [json!({}), json!({ "sequence_id": 0 }), json!({ "sequence_id": "" })] {
        client.infer("sum", &ask(1, none)).refused(400, &["'sum'", "correlation ID"]);
    }
    for bad in [json!({ "sequence_id": 1.5 }), json!({ "sequence_id": 1, "sequence_start": 1 })] {
        client.infer("sum", &ask(1, bad)).refused(400, &["sequence_"]);
    }
    for id in [json!(7), json!("seven"), json!(u64::MAX)] {
        let mut sum = |value, start| {
            let parameters =
                json!({ "sequence_id": id, "sequence_start": start, "sequence_end": false });
            client.infer("sum", &ask(value, parameters)).ok().json()["outputs"][0]["data"][0]
                .as_i64()
        };
        assert_eq!([sum(5, true), sum(6, false), sum(7, false)], [Some(5), Some(11), Some(18)]);
    }
}

#[test]
fn bytes_that_are_no_request_are_refused() {
    let (_server, mut client) = super::served();
    let path = "/v2/models/identity/infer";
    for body in [
        "",
        "{",
        "[]",
        "null",
        "{\"inputs\":7}",
        "{\"inputs\":[{}]}",
        "\u{0}",
        "{\"parameters\":{\"x\":[]},\"inputs\":[]}",
    ] {
        client
            .ask("POST", path, "", body.as_bytes())
            .refused(400, &["failed to parse the request JSON"]);
    }
    let deep = format!(
        "{{\"inputs\":[{{\"name\":\"INPUT0\",\"datatype\":\"FP32\",\"shape\":[1,16],\"data\":{}}}]}}",
        "[".repeat(100_000)
    );
    client.ask("POST", path, "", deep.as_bytes()).refused(400, &[]);
    let nested = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    let deep = format!(
        "{{\"inputs\":[{{\"name\":\"INPUT0\",\"datatype\":\"FP32\",\"shape\":[1,16],\"data\":{nested}}}]}}"
    );
    client.ask("POST", path, "", deep.as_bytes()).refused(400, &[]);
    for length in ["9", "-1", "x", "99999999999999999999"] {
        let header = format!("Inference-Header-Content-Length: {length}\r\n");
        client.ask("POST", path, &header, b"{}").refused(400, &["Inference-Header-Content-Length"]);
    }
    client
        .ask("POST", path, "Content-Encoding: gzip\r\n", b"{}")
        .refused(415, &["gzip", "uncompressed"]);
    client.ask("GET", path, "", b"").refused(405, &["POST"]);
    client.ask("DELETE", "/v2", "", b"").refused(405, &["DELETE"]);
    for path in [
        "/",
        "/v1",
        "/v2/nothing",
        "/v2/models",
        "/v2/models/identity/nothing",
        "/v2/models/identity/versions/1/2/3",
    ] {
        client.get(path).refused(404, &[]);
        client.post(path, &json!({})).refused(404, &[]);
    }
    client.get("/v2/models/%ff/ready").refused(400, &["UTF-8"]);
    // After all that the connection is still good.
    let bytes = floats([1.0; 16]);
    let request = json!({ "inputs": [{ "name": "INPUT0", "datatype": "FP32", "shape": [1, 16], "parameters": { "binary_data_size": 64 } }] });
    client.infer_binary("identity", &request, &bytes).ok();
}

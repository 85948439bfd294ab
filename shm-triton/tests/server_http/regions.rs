//! Registering shared memory.

use crate::http_client::{Client, shared};
use crate::served::{self, Object};
use serde_json::json;
use std::thread;
use std::time::Duration;

#[test]
fn a_region_is_registered_told_and_unregistered() {
    let (_server, mut client) = super::served();
    let object = Object::new(8192);
    client.register("n", &format!("/{}", object.key), 4096, 4096).ok();
    let status = client.get("/v2/systemsharedmemory/status").ok().json();
    let expected = json!([{ "name": "n", "key": format!("/{}", object.key), "offset": 4096, "byte_size": 4096 }]);
    assert_eq!(status, expected);
    assert_eq!(client.get("/v2/systemsharedmemory/region/n/status").ok().json(), expected);
    client
        .get("/v2/systemsharedmemory/region/other/status")
        .refused(404, &["Unable to find shared memory region: 'other'"]);
    // The second page is what was registered.
    object.write(4096, &5_i32.to_le_bytes());
    let request = json!({ "inputs": [shared("INPUT0", "INT32", &[1], "n", 0, 4)] });
    assert_eq!(client.infer("optional", &request).ok().json()["outputs"][0]["data"], json!([5]));
    client.unregister("n").ok();
    client.unregister("n").ok();
    client.unregister("never").ok();
    assert_eq!(client.get("/v2/systemsharedmemory/status").ok().json(), json!([]));
    client.infer("optional", &request).refused(404, &["Unable to find shared memory region: 'n'"]);
}

#[test]
fn names_and_objects_are_registered_once() {
    let (_server, mut client) = super::served();
    let (one, two) = (Object::new(4096), Object::new(4096));
    client.register("n", &one.key, 0, 4096).ok();
    for key in [&one.key, &two.key, "no-such-object"] {
        client
            .register("n", key, 0, 64)
            .refused(400, &["shared memory region 'n' already in manager"]);
    }
    for key in [one.key.clone(), format!("/{}", one.key), format!("//{}", one.key)] {
        client.register("m", &key, 0, 4096).refused(400, &["'m'", "already registered as 'n'"]);
    }
    // Another name of the same object.
    let alias = format!("/dev/shm/{}-alias", one.key);
    std::fs::hard_link(format!("/dev/shm/{}", one.key), &alias).unwrap();
    let refused = client.register("m", &format!("{}-alias", one.key), 0, 4096);
    std::fs::remove_file(alias).unwrap();
    refused.refused(400, &["already registered as 'n'"]);
    client.register("m", &two.key, 0, 4096).ok();
    client.unregister("n").ok();
    client.register("n", &one.key, 0, 4096).ok();
}

#[test]
fn what_cannot_be_mapped_is_refused() {
    let (_server, mut client) = super::served();
    let object = Object::new(8192);
    let key = object.key.as_str();
    for bad in ["", "/", "a/b", "..", "/../etc", "no-such-object"] {
        client.register("n", bad, 0, 64).refused(500, &["Unable to open shared memory region"]);
    }
    client.register("n", "/triton_python_backend_shm_region_1", 0, 64).refused(400, &["reserved"]);
    client.register("n", key, 0, 0).refused(400, &["'n'", "byte_size is 0"]);
    client.register("n", key, 0, 8193).refused(400, &["invalid args", "8193", "8192"]);
    client.register("n", key, 4096, 4097).refused(400, &["invalid args", "4096", "4097"]);
    client.register("n", key, 64, 64).refused(400, &["offset 64", "page size"]);
    client.register("n", key, !4095, 8192).refused(400, &["overflows"]);
    client.register("n", key, 0, u64::MAX).refused(400, &["overflows"]);
    client
        .post("/v2/systemsharedmemory/region/n/register", &json!({ "key": key }))
        .refused(400, &["byte_size"]);
    client
        .post(
            "/v2/systemsharedmemory/region/n/register",
            &json!({ "key": key, "offset": -1, "byte_size": 8 }),
        )
        .refused(400, &["'n'", "-1"]);
    assert_eq!(client.get("/v2/systemsharedmemory/status").ok().json(), json!([]));
}

#[test]
fn tensors_stay_inside_of_their_region() {
    let (_server, mut client) = super::served();
    let object = Object::new(4096);
    client.register("r", &object.key, 0, 100).ok();
    let input = |offset: i64, len: usize| json!({ "inputs": [shared("INPUT0", "INT8", &[len as i64], "r", offset, len)] });
    client.infer("any", &input(0, 100)).ok();
    client.infer("any", &input(99, 1)).ok();
    client.infer("any", &input(100, 1)).refused(400, &["Invalid offset", "'r'", "100"]);
    client.infer("any", &input(99, 2)).refused(400, &["Invalid offset + byte size", "'r'"]);
    client.infer("any", &input(-1, 2)).refused(400, &["shared_memory_offset", "-1"]);
    client.infer("any", &input(i64::MAX, 2)).refused(400, &["Invalid offset"]);
    let output = |offset: u64, len: u64| {
        json!({
            "inputs": [{ "name": "INPUT0", "datatype": "INT8", "shape": [1], "data": [1] }],
            "outputs": [{ "name": "OUTPUT0", "parameters": { "shared_memory_region": "r", "shared_memory_offset": offset, "shared_memory_byte_size": len } }],
        })
    };
    client.infer("any", &output(0, 1)).ok();
    client.infer("any", &output(1, u64::MAX)).refused(400, &["Invalid offset + byte size"]);
    client.infer("any", &output(u64::MAX, 1)).refused(400, &["Invalid offset"]);
}

#[test]
fn a_region_in_use_stays() {
    let (server, mut client) = super::served();
    let (one, two) = (Object::new(8192), Object::new(4096));
    client.register("one", &one.key, 0, 8192).ok();
    client.register("two", &two.key, 0, 4096).ok();
    let address = server.http_addr().unwrap();
    let running = thread::spawn(move || {
        let request = json!({
            "parameters": { "delay_ms": 400 },
            "inputs": [shared("INPUT0", "FP32", &[1, 1024], "one", 0, 4096)],
            "outputs": [shared("OUTPUT0", "FP32", &[1, 1024], "one", 4096, 4096)],
        });
        Client::new(address).infer("slow", &request).ok();
    });
    thread::sleep(Duration::from_millis(150));
    client.unregister("one").refused(400, &["'one'", "it is currently in use"]);
    let all = client.post("/v2/systemsharedmemory/unregister", &json!({}));
    all.refused(400, &["'one'", "it is currently in use"]);
    assert!(!all.text().contains("'two'"));
    assert_eq!(client.get("/v2/systemsharedmemory/status").ok().json()[0]["name"], "one");
    running.join().unwrap();
    client.unregister("one").ok();
    assert_eq!(client.get("/v2/systemsharedmemory/status").ok().json(), json!([]));
    client.post("/v2/systemsharedmemory/unregister", &json!({})).ok();
}

#[test]
fn failed_requests_leave_no_region_in_use() {
    let (_server, mut client) = super::served();
    let object = Object::new(4096);
    client.register("r", &object.key, 0, 4096).ok();
    let input = shared("INPUT0", "FP32", &[1, 16], "r", 0, 64);
    for request in [
        json!({ "inputs": [input, input] }),
        json!({ "inputs": [input], "outputs": [{ "name": "NONE" }] }),
        json!({ "inputs": [input], "outputs": [shared("OUTPUT0", "", &[], "r", 4090, 64)] }),
    ] {
        client.infer("fail", &request).refused(400, &[]);
    }
    client.infer("fail", &json!({ "inputs": [input] })).refused(500, &["asked to fail"]);
    client
        .infer("fail", &json!({ "parameters": { "mode": "panic" }, "inputs": [input] }))
        .refused(500, &["panicked"]);
    client.unregister("r").ok();
}

#[test]
fn there_can_be_a_limit_and_none_at_all() {
    let server = served::builder().max_regions(2).http("127.0.0.1:0").start().unwrap();
    let mut client = Client::new(server.http_addr().unwrap());
    let objects = [(); 3].map(|()| Object::new(4096));
    client.register("a", &objects[0].key, 0, 4096).ok();
    client.register("b", &objects[1].key, 0, 4096).ok();
    client.register("c", &objects[2].key, 0, 4096).refused(429, &["'c'", "limit"]);
    client.unregister("a").ok();
    client.register("c", &objects[2].key, 0, 4096).ok();

    let server = served::builder().client_shared_memory(false).http("127.0.0.1:0").start().unwrap();
    let mut client = Client::new(server.http_addr().unwrap());
    client
        .register("a", &objects[0].key, 0, 4096)
        .refused(501, &["Client shared memory is disabled"]);
    client.unregister("a").refused(501, &["Client shared memory is disabled"]);
    assert_eq!(client.get("/v2/systemsharedmemory/status").ok().json(), json!([]));
}

#[test]
fn many_regions_come_and_go() {
    let (_server, mut client) = super::served();
    let objects: Vec<Object> = (0..200).map(|_| Object::new(4096)).collect();
    for _ in 0..3 {
        for (number, object) in objects.iter().enumerate() {
            client.register(&format!("r{number}"), &object.key, 0, 4096).ok();
        }
        assert_eq!(
            client.get("/v2/systemsharedmemory/status").ok().json().as_array().unwrap().len(),
            200
        );
        client.post("/v2/systemsharedmemory/unregister", &json!({})).ok();
    }
}

#[test]
fn device_memory_is_refused() {
    let (_server, mut client) = super::served();
    assert_eq!(client.get("/v2/cudasharedmemory/status").ok().json(), json!([]));
    client.get("/v2/cudasharedmemory/region/x/status").refused(404, &["'x'"]);
    let handle = json!({ "raw_handle": { "b64": "AA==" }, "device_id": 0, "byte_size": 64 });
    client
        .post("/v2/cudasharedmemory/region/x/register", &handle)
        .refused(501, &["'x'", "device memory"]);
    client.post("/v2/cudasharedmemory/region/x/unregister", &json!({})).ok();
    client.post("/v2/cudasharedmemory/unregister", &json!({})).ok();
}

//! What the server says about itself and its models.

use serde_json::json;

#[test]
fn health_metadata_and_index() {
    let (mut server, mut client) = super::served();
    assert!(client.get("/v2/health/live").ok().body.is_empty());
    client.get("/v2/health/ready").ok();
    client.get("/v2/models/identity/ready").ok();
    client.get("/v2/models/identity/versions/1/ready").ok();
    assert_eq!(client.get("/v2/models/nobody/ready").status, 400);
    assert_eq!(client.get("/v2/models/identity/versions/9/ready").status, 400);
    let metadata = client.get("/v2").ok().json();
    assert_eq!(metadata["name"], "shm-triton");
    let extensions = metadata["extensions"].as_array().unwrap();
    assert!(extensions.contains(&json!("system_shared_memory")));
    let index = client.post("/v2/repository/index", &json!({})).ok().json();
    assert!(
        index.as_array().unwrap().contains(
            &json!({ "name": "identity", "version": "1", "state": "READY", "reason": "" })
        )
    );
    client.post("/v2/repository/models/identity/unload", &json!({})).refused(501, &[]);
    server.shutdown(std::time::Duration::from_secs(1)).unwrap();
}

#[test]
fn models_say_what_they_take_and_give() {
    let (_server, mut client) = super::served();
    assert_eq!(
        client.get("/v2/models/identity").ok().json(),
        json!({
            "name": "identity",
            "versions": ["1"],
            "platform": "rust",
            "inputs": [{ "name": "INPUT0", "datatype": "FP32", "shape": [-1, 16] }],
            "outputs": [{ "name": "OUTPUT0", "datatype": "FP32", "shape": [-1, 16] }],
        })
    );
    let metadata = client.get("/v2/models/any/versions/1").ok().json();
    assert_eq!(metadata["inputs"][0]["shape"], json!([-1]));
    client.get("/v2/models/nobody").refused(404, &["'nobody'"]);
    let configuration = client.get("/v2/models/bytes/config").ok().json();
    assert_eq!(configuration["max_batch_size"], 8);
    assert_eq!(configuration["input"][0]["data_type"], "TYPE_STRING");
    assert_eq!(configuration["input"][0]["dims"], json!([-1]));
    assert_eq!(configuration["instance_group"][0]["count"], 2);
    assert!(configuration.get("sequence_batching").is_none());
    let configuration = client.get("/v2/models/optional/config").ok().json();
    assert_eq!(configuration["input"][1]["optional"], true);
    assert!(client.get("/v2/models/sum/config").ok().json().get("sequence_batching").is_some());
}

#[test]
fn requests_are_counted() {
    let (_server, mut client) = super::served();
    let ask = |batch: usize| json!({ "inputs": [{ "name": "INPUT0", "datatype": "FP32", "shape": [batch, 16], "data": vec![0; 16 * batch] }] });
    for batch in [1, 3, 3] {
        client.infer("identity", &ask(batch)).ok();
    }
    client.infer("identity", &ask(9)).refused(400, &[]);
    client.infer("fail", &ask(1)).refused(500, &[]);
    let stats = client.get("/v2/models/identity/versions/1/stats").ok().json();
    let stats = &stats["model_stats"][0];
    assert_eq!((&stats["name"], &stats["version"]), (&json!("identity"), &json!("1")));
    assert_eq!((&stats["inference_count"], &stats["execution_count"]), (&json!(7), &json!(3)));
    let parts = &stats["inference_stats"];
    assert_eq!((&parts["success"]["count"], &parts["fail"]["count"]), (&json!(3), &json!(1)));
    assert_eq!(parts["compute_infer"]["count"], 3);
    assert!(parts["success"]["ns"].as_u64() >= parts["compute_infer"]["ns"].as_u64());
    assert!(stats["last_inference"].as_u64() > Some(1_700_000_000_000));
    let batches: Vec<_> =
        stats["batch_stats"].as_array().unwrap().iter().map(|batch| &batch["batch_size"]).collect();
    assert_eq!(batches, [&json!(1), &json!(3)]);
    let all = client.get("/v2/models/stats").ok().json();
    let all = all["model_stats"].as_array().unwrap();
    let fail = all.iter().find(|model| model["name"] == "fail").unwrap();
    assert_eq!(fail["inference_stats"]["fail"]["count"], 1);
    client.get("/v2/models/nobody/stats").refused(404, &["'nobody'"]);
}

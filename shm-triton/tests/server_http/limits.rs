//! How much is served at once, in which order, and until when.

use crate::http_client::Client;
use crate::served;
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};
use shm_triton::server::InferenceService;
use shm_triton::{DataType, ModelSpec};
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

fn slow(delay_ms: u64, timeout_us: i64) -> Value {
    json!({
        "parameters": { "delay_ms": delay_ms, "timeout": timeout_us },
        "inputs": [{ "name": "INPUT0", "datatype": "FP32", "shape": [1, 1024], "data": vec![0; 1024] }],
    })
}

fn in_background(address: SocketAddr, request: Value) -> thread::JoinHandle<u16> {
    thread::spawn(move || Client::new(address).infer("slow", &request).status)
}

#[test]
fn as_many_run_as_there_are_instances() {
    let (server, _client) = super::served();
    let address = server.http_addr().unwrap();
    let start = Instant::now();
    let running: Vec<_> = (0..4).map(|_| in_background(address, slow(200, 0))).collect();
    for request in running {
        assert_eq!(request.join().unwrap(), 200);
    }
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(400) && took < Duration::from_millis(790), "{took:?}");
}

#[test]
fn a_request_that_waited_too_long_never_runs() {
    let (server, mut client) = super::served();
    let address = server.http_addr().unwrap();
    let running: Vec<_> = (0..2).map(|_| in_background(address, slow(500, 0))).collect();
    thread::sleep(Duration::from_millis(150));
    let start = Instant::now();
    client.infer("slow", &slow(0, 50_000)).refused(503, &["Request timeout expired"]);
    assert!(start.elapsed() < Duration::from_millis(250), "{:?}", start.elapsed());
    // Patience enough.
    client.infer("slow", &slow(0, 5_000_000)).ok();
    for request in running {
        assert_eq!(request.join().unwrap(), 200);
    }
    client.infer("slow", &slow(0, -1)).refused(400, &["timeout"]);
    let stats = client.get("/v2/models/slow/stats").ok().json();
    assert_eq!(stats["model_stats"][0]["execution_count"], 3);
}

#[test]
fn waiting_requests_run_in_order() {
    let (server, _client) = super::served();
    let address = server.http_addr().unwrap();
    let request =
        json!({ "inputs": [{ "name": "INPUT0", "datatype": "INT32", "shape": [1], "data": [0] }] });
    let waiting: Vec<_> = (0..5)
        .map(|_| {
            let request = request.clone();
            let waiting = thread::spawn(move || {
                Client::new(address).infer("order", &request).ok().json()["outputs"][0]["data"][0]
                    .as_i64()
            });
            thread::sleep(Duration::from_millis(20));
            waiting
        })
        .collect();
    let turns: Vec<_> = waiting.into_iter().map(|request| request.join().unwrap()).collect();
    assert_eq!(turns, [0, 1, 2, 3, 4].map(Some));
}

#[test]
fn other_connections_go_on_while_models_block() {
    let (server, mut client) = super::served();
    let address = server.http_addr().unwrap();
    let running: Vec<_> = (0..8).map(|_| in_background(address, slow(150, 0))).collect();
    thread::sleep(Duration::from_millis(50));
    let start = Instant::now();
    for _ in 0..20 {
        client.get("/v2/health/live").ok();
    }
    assert!(start.elapsed() < Duration::from_millis(100), "{:?}", start.elapsed());
    for request in running {
        assert_eq!(request.join().unwrap(), 200);
    }
}

#[test]
fn one_request_too_many_is_refused() {
    let server = served::builder().max_in_flight(2).http("127.0.0.1:0").start().unwrap();
    let address = server.http_addr().unwrap();
    let running: Vec<_> = (0..2).map(|_| in_background(address, slow(300, 0))).collect();
    thread::sleep(Duration::from_millis(100));
    let mut client = Client::new(address);
    client.infer("slow", &slow(0, 0)).refused(503, &["2 requests in flight", "limit"]);
    for request in running {
        assert_eq!(request.join().unwrap(), 200);
    }
    client.infer("slow", &slow(0, 0)).ok();
}

#[test]
fn one_byte_too_many_is_refused() {
    let server = served::builder().max_body(10_000).http("127.0.0.1:0").start().unwrap();
    let address = server.http_addr().unwrap();
    let request = |size: usize| json!({ "inputs": [{ "name": "INPUT0", "datatype": "INT8", "shape": [size], "parameters": { "binary_data_size": size } }] });
    Client::new(address).infer_binary("any", &request(9000), &[0; 9000]).ok();
    Client::new(address)
        .infer_binary("any", &request(10_000), &[0; 10_000])
        .refused(413, &["10000"]);
    // Without a length, in pieces.
    let mut chunked = Client::over(std::net::TcpStream::connect(address).unwrap());
    let pieces = format!("2000\r\n{}\r\n", "x".repeat(0x2000)).repeat(2);
    let answer = chunked.raw(
        format!("POST /v2/models/any/infer HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n{pieces}0\r\n\r\n")
            .as_bytes(),
    );
    answer.refused(413, &["10000"]);
}

#[test]
fn hundreds_of_connections_at_once() {
    let (server, _client) = super::served();
    let address = server.http_addr().unwrap();
    let mut clients: Vec<Client> = (0..300).map(|_| Client::new(address)).collect();
    let input = json!({ "name": "INPUT0", "datatype": "INT8", "shape": [1], "data": [1] });
    let request = json!({ "inputs": [input] });
    for _ in 0..3 {
        for client in &mut clients {
            client.send("POST", "/v2/models/any/infer", "", request.to_string().as_bytes());
        }
        for client in &mut clients {
            client.answer().ok();
        }
    }
}

#[test]
fn clients_that_go_away_leave_nothing_behind() {
    let (server, mut client) = super::served();
    let address = server.http_addr().unwrap();
    for _ in 0..6 {
        let mut gone = Client::new(address);
        gone.send("POST", "/v2/models/slow/infer", "", slow(100, 0).to_string().as_bytes());
    }
    for _ in 0..50 {
        let mut gone = Client::new(address);
        gone.send_bytes(b"POST /v2/models/slow/infer HTTP/1.1\r\nContent-Length: 100\r\n\r\nhalf");
    }
    client.infer("slow", &slow(0, 0)).ok();
}

#[test]
fn shutting_down_waits_for_running_requests() {
    let (mut server, mut client) = super::served();
    let address = server.http_addr().unwrap();
    let running = in_background(address, slow(400, 0));
    client.get("/v2/health/ready").ok();
    thread::sleep(Duration::from_millis(100));
    let error = server.shutdown(Duration::from_millis(50)).unwrap_err();
    assert_eq!(error.still_running, 1);
    assert!(std::net::TcpStream::connect(address).is_err(), "nobody listens any more");
    server.shutdown(Duration::from_secs(5)).unwrap();
    assert_eq!(running.join().unwrap(), 200);
    server.shutdown(Duration::ZERO).unwrap();
}

#[test]
fn shutting_down_an_idle_server_ends_its_threads() {
    let (server, mut client) = super::served();
    client.get("/v2/health/live").ok();
    let start = Instant::now();
    drop(server);
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert!(client.try_answer().is_none(), "the connection has ended");
}

#[tokio::test]
async fn a_server_can_be_dropped_on_another_runtime() {
    let mut server = served::builder().http("127.0.0.1:0").start().unwrap();
    server.shutdown(Duration::from_secs(1)).unwrap();
    drop(served::builder().http("127.0.0.1:0").start().unwrap());
}

#[test]
fn what_cannot_be_started_says_why() {
    let error = served::builder().start().unwrap_err().to_string();
    assert!(error.contains("no address"), "{error}");
    let error = served::builder().http("127.0.0.1:99999").start().unwrap_err().to_string();
    assert!(error.contains("127.0.0.1:99999"), "{error}");
    let (server, _client) = super::served();
    let taken = server.http_addr().unwrap().to_string();
    let error = served::builder().http(&taken).start().unwrap_err().to_string();
    assert!(error.contains(&taken), "{error}");
    let twice =
        served::builder().model(served::scripted(ModelSpec::new("identity", 0), |_| Ok(())));
    let error = twice.http("127.0.0.1:0").start().unwrap_err().to_string();
    assert!(error.contains("'identity' in version 1"), "{error}");
}

/// A runtime with one thread has nowhere to block: the model runs on a thread beside it.
#[tokio::test(flavor = "current_thread")]
async fn a_service_runs_on_any_runtime() {
    let spec = ModelSpec::new("blocking", 0).input("INPUT0", DataType::Int8, &[-1]).output(
        "OUTPUT0",
        DataType::Int8,
        &[-1],
    );
    let service = InferenceService::builder()
        .model(served::scripted(spec, served::copy_all))
        .build()
        .unwrap();
    let body = r#"{"inputs":[{"name":"INPUT0","datatype":"INT8","shape":[2],"data":[1,2]}]}"#;
    let body = Full::<bytes::Bytes>::from(body);
    let request = Request::post("/v2/models/blocking/infer").body(body).unwrap();
    let answer = service.http(request).await;
    assert_eq!(answer.status(), 200);
}

//! The server over gRPC, as a tonic client sees it.

#[path = "served/grpc.rs"]
mod grpc_client;
#[path = "../src/wire/proto.rs"]
#[allow(dead_code, reason = "the messages that these tests do not send")]
mod proto;
#[path = "served/mod.rs"]
mod served;

use grpc_client::{Client, input, parameter, refused, request, shared};
use proto::{Choice, SERVICE};
use served::{Object, floats, serialized};
use shm_triton::server::{GrpcService, InferenceService, Server};
use std::collections::HashMap;
use std::convert::Infallible;
use std::time::Duration;
use tonic::client::Grpc;
use tonic::codegen::tokio_stream::{self, StreamExt};
use tonic::codegen::{Service, http};
use tonic::server::NamedService;
use tonic::transport::Endpoint;
use tonic::{Code, Request};
use tonic_prost::ProstCodec;

/// The data types that the file of the messages numbers: those of the library, of which only the library
/// itself may name all.
#[allow(dead_code, reason = "only their numbers are asked for")]
#[derive(Clone, Copy)]
enum DataType {
    Bool,
    Uint8,
    Uint16,
    Uint32,
    Uint64,
    Int8,
    Int16,
    Int32,
    Int64,
    Fp16,
    Fp32,
    Fp64,
    Bytes,
    Bf16,
}

async fn served() -> (Server, Client) {
    let server = served::builder().grpc("127.0.0.1:0").start().unwrap();
    let client = Client::new(&server).await;
    (server, client)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn health_and_descriptions() {
    let (_server, client) = served().await;
    let model = |name: &str| proto::NameVersion { name: name.into(), version: String::new() };
    let live: proto::Live = client.ask("ServerLive", proto::NoFields {}).await.unwrap();
    let ready: proto::Live = client.ask("ServerReady", proto::NoFields {}).await.unwrap();
    let known: proto::Live = client.ask("ModelReady", model("identity")).await.unwrap();
    let unknown: proto::Live = client.ask("ModelReady", model("nobody")).await.unwrap();
    assert_eq!([live.ok, ready.ok, known.ok, unknown.ok], [true, true, true, false]);
    let server: proto::ServerMetadata =
        client.ask("ServerMetadata", proto::NoFields {}).await.unwrap();
    assert_eq!(server.name, "shm-triton");
    let metadata: proto::ModelMetadata =
        client.ask("ModelMetadata", model("identity")).await.unwrap();
    assert_eq!(
        (metadata.versions, &metadata.inputs[0].shape),
        (vec!["1".to_owned()], &vec![-1, 16])
    );
    let config: proto::ModelConfigReply = client.ask("ModelConfig", model("bytes")).await.unwrap();
    let config = config.config.unwrap();
    assert_eq!(
        (config.max_batch_size, config.input[0].data_type),
        (8, proto::data_type_number(DataType::Bytes))
    );
    assert!(config.sequence_batching.is_none());
    let config: proto::ModelConfigReply = client.ask("ModelConfig", model("sum")).await.unwrap();
    assert!(config.config.unwrap().sequence_batching.is_some());
    let index: proto::Index =
        client.ask("RepositoryIndex", proto::IndexRequest::default()).await.unwrap();
    assert!(index.models.iter().any(|model| model.name == "identity" && model.state == "READY"));
    refused(
        client.ask::<_, proto::ModelMetadata>("ModelMetadata", model("nobody")).await,
        Code::NotFound,
        &["'nobody'"],
    );
    refused(
        client.ask::<_, proto::NoFields>("TraceSetting", proto::NoFields {}).await,
        Code::Unimplemented,
        &["TraceSetting"],
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn raw_and_typed_contents() {
    let (_server, client) = served().await;
    let values: Vec<f32> = (0..16).map(|value| value as f32).collect();
    let mut raw = request("identity", vec![input("INPUT0", "FP32", &[1, 16])]);
    raw.id = "seven".into();
    raw.raw_inputs = vec![floats(values.clone()).into()];
    let mut typed = request("identity", vec![input("INPUT0", "FP32", &[1, 16])]);
    typed.inputs[0].contents =
        Some(proto::Contents { floats: values.clone(), ..Default::default() });
    for (request, id) in [(raw.clone(), "seven"), (typed.clone(), "")] {
        let reply = client.infer(request).await.unwrap();
        assert_eq!((reply.id.as_str(), reply.model_version.as_str()), (id, "1"));
        assert_eq!(
            (&reply.outputs[0].datatype[..], &reply.outputs[0].shape[..]),
            ("FP32", &[1, 16][..])
        );
        assert_eq!(reply.raw_outputs, [floats(values.clone())]);
    }
    let mut both = typed;
    both.raw_inputs = raw.raw_inputs.clone();
    refused(client.infer(both).await, Code::InvalidArgument, &["contents", "'INPUT0'"]);
    let mut other = request("identity", vec![input("INPUT0", "INT8", &[1, 16])]);
    other.inputs[0].contents = Some(proto::Contents { ints: vec![300; 16], ..Default::default() });
    refused(client.infer(other).await, Code::InvalidArgument, &["'INPUT0'", "300", "INT8"]);
    let mut more = raw.clone();
    more.raw_inputs.push(vec![0].into());
    refused(
        client.infer(more).await,
        Code::InvalidArgument,
        &["expected 1 raw_input_contents", "got 2"],
    );
    let mut fewer = raw.clone();
    fewer.inputs.push(input("INPUT1", "FP32", &[1, 16]));
    refused(client.infer(fewer).await, Code::InvalidArgument, &["raw_input_contents", "'INPUT1'"]);
    let mut none = raw;
    none.raw_inputs.clear();
    refused(client.infer(none).await, Code::InvalidArgument, &["'INPUT0'", "Expected 64, got 0"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn shared_and_raw_tensors_mix() {
    let (_server, client) = served().await;
    let object = Object::new(4096);
    client.register("r", &object.key, 4096).await.unwrap();
    object.write(64, &7_i32.to_le_bytes());
    let mut mixed = request(
        "optional",
        vec![
            proto::Input { parameters: shared("r", 64, 4), ..input("INPUT0", "INT32", &[1]) },
            input("INPUT1", "INT32", &[1]),
        ],
    );
    mixed.raw_inputs = vec![9_i32.to_le_bytes().to_vec().into()];
    mixed.outputs = vec![
        proto::Wanted { name: "OUTPUT1".into(), parameters: shared("r", 128, 4) },
        proto::Wanted { name: "OUTPUT0".into(), parameters: HashMap::new() },
    ];
    let reply = client.infer(mixed.clone()).await.unwrap();
    let names: Vec<&str> = reply.outputs.iter().map(|output| output.name.as_str()).collect();
    assert_eq!(names, ["OUTPUT1", "OUTPUT0"]);
    assert_eq!(reply.raw_outputs, [vec![], 7_i32.to_le_bytes().to_vec()]);
    assert_eq!(object.read(128, 4), 9_i32.to_le_bytes());
    // Strings with a length in front, and a slot that is too small.
    let strings = serialized(&[b"a\0b", b""]);
    object.write(1024, &strings);
    let len = strings.len() as i64;
    let mut bytes = request(
        "bytes",
        vec![proto::Input {
            parameters: shared("r", 1024, len),
            ..input("INPUT0", "BYTES", &[1, 2])
        }],
    );
    bytes.outputs =
        vec![proto::Wanted { name: "OUTPUT0".into(), parameters: shared("r", 2048, len) }];
    client.infer(bytes.clone()).await.unwrap();
    assert_eq!(object.read(2048, strings.len()), strings);
    bytes.outputs[0].parameters = shared("r", 2048, len - 1);
    refused(
        client.infer(bytes).await,
        Code::Internal,
        &["(10 bytes) should be at least 11 bytes", "[1, 2]"],
    );
    for (offset, size, code, part) in [
        (4096, 4, Code::InvalidArgument, "Invalid offset"),
        (4094, 4, Code::InvalidArgument, "Invalid offset + byte size"),
        (-1, 4, Code::InvalidArgument, "shared_memory_offset"),
        (0, 8, Code::InvalidArgument, "Expected 4, got 8"),
    ] {
        mixed.inputs[0].parameters = shared("r", offset, size);
        refused(client.infer(mixed.clone()).await, code, &[part]);
    }
    mixed.inputs[0].parameters = shared("other", 0, 4);
    refused(
        client.infer(mixed.clone()).await,
        Code::NotFound,
        &["Unable to find shared memory region: 'other'"],
    );
    mixed.inputs[0].parameters = shared("r", 0, 4);
    mixed.inputs[0].contents = Some(proto::Contents::default());
    refused(
        client.infer(mixed).await,
        Code::InvalidArgument,
        &["both contents and 'shared_memory_region'"],
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn regions() {
    let (_server, client) = served().await;
    let object = Object::new(4096);
    client.register("n", &object.key, 4096).await.unwrap();
    refused(
        client.register("n", &object.key, 4096).await,
        Code::AlreadyExists,
        &["'n' already in manager"],
    );
    refused(
        client.register("m", &object.key, 4096).await,
        Code::InvalidArgument,
        &["registered as 'n'"],
    );
    refused(client.register("m", "no-such-object", 64).await, Code::Internal, &["Unable to open"]);
    let all: proto::Regions =
        client.ask("SystemSharedMemoryStatus", proto::Name::default()).await.unwrap();
    assert_eq!(
        (all.regions["n"].key.as_str(), all.regions["n"].byte_size),
        (object.key.as_str(), 4096)
    );
    let unknown = proto::Name { name: "x".into() };
    refused(
        client.ask::<_, proto::Regions>("SystemSharedMemoryStatus", unknown).await,
        Code::NotFound,
        &["'x'"],
    );
    let mut slow = request(
        "slow",
        vec![proto::Input {
            parameters: shared("n", 0, 4096),
            ..input("INPUT0", "FP32", &[1, 1024])
        }],
    );
    slow.parameters.insert("delay_ms".into(), parameter(Choice::Int64(300)));
    let (answer, ()) = tokio::join!(client.infer(slow), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        refused(
            client.unregister("n").await,
            Code::InvalidArgument,
            &["'n'", "it is currently in use"],
        );
        refused(client.unregister("").await, Code::InvalidArgument, &["'n'"]);
    });
    answer.unwrap();
    client.unregister("n").await.unwrap();
    client.unregister("n").await.unwrap();
    client.unregister("").await.unwrap();
    let cuda = proto::CudaRegister { name: "c".into(), ..Default::default() };
    refused(
        client.ask::<_, proto::NoFields>("CudaSharedMemoryRegister", cuda).await,
        Code::Unimplemented,
        &["'c'"],
    );
    let none: proto::CudaRegions =
        client.ask("CudaSharedMemoryStatus", proto::Name::default()).await.unwrap();
    assert!(none.regions.is_empty());
    client
        .ask::<_, proto::NoFields>("CudaSharedMemoryUnregister", proto::Name::default())
        .await
        .unwrap();

    let server = served::builder().client_shared_memory(false).grpc("127.0.0.1:0").start().unwrap();
    let client = Client::new(&server).await;
    refused(
        client.register("n", &object.key, 64).await,
        Code::Unimplemented,
        &["Client shared memory is disabled"],
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn memory_cut_short_is_an_error() {
    let (_server, client) = served().await;
    let object = Object::new(4096);
    client.register("n", &object.key, 4096).await.unwrap();
    let mut slow = request(
        "slow",
        vec![proto::Input {
            parameters: shared("n", 0, 4096),
            ..input("INPUT0", "FP32", &[1, 1024])
        }],
    );
    slow.parameters.insert("delay_ms".into(), parameter(Choice::Int64(200)));
    let (answer, ()) = tokio::join!(client.infer(slow.clone()), async {
        tokio::time::sleep(Duration::from_millis(80)).await;
        object.resize(0);
    });
    refused(answer, Code::InvalidArgument, &["'n' is damaged"]);
    refused(client.infer(slow).await, Code::InvalidArgument, &["register it again"]);
    client.unregister("n").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_stream_is_answered_in_order() {
    let (_server, client) = served().await;
    let ask = |id: usize, delay: i64| {
        let mut ask = request("slow", vec![input("INPUT0", "FP32", &[1, 1024])]);
        ask.id = id.to_string();
        ask.raw_inputs = vec![floats([id as f32; 1024]).into()];
        ask.parameters.insert("delay_ms".into(), parameter(Choice::Int64(delay)));
        ask.parameters
            .insert("triton_enable_empty_final_response".into(), parameter(Choice::Bool(true)));
        ask
    };
    let mut requests = vec![ask(0, 100), ask(1, 0), ask(2, 50), ask(3, 0)];
    requests[2].inputs[0].shape = vec![1, 1000];
    let mut grpc = client.0.clone();
    grpc.ready().await.unwrap();
    let replies = grpc
        .streaming(
            Request::new(tokio_stream::iter(requests)),
            format!("{SERVICE}ModelStreamInfer").parse().unwrap(),
            ProstCodec::<proto::InferRequest, proto::StreamResponse>::default(),
        )
        .await
        .unwrap()
        .into_inner();
    let replies: Vec<proto::StreamResponse> = replies.map(Result::unwrap).collect().await;
    assert_eq!(replies.len(), 4);
    for (id, reply) in replies.into_iter().enumerate() {
        let response = reply.response.unwrap();
        assert_eq!(response.id, id.to_string());
        if id == 2 {
            assert!(
                reply.error_message.contains("unexpected shape for input 'INPUT0'"),
                "{}",
                reply.error_message
            );
            assert!(response.outputs.is_empty());
        } else {
            assert_eq!(reply.error_message, "");
            assert_eq!(response.raw_outputs, [floats([id as f32; 1024])]);
            assert_eq!(response.parameters["triton_final_response"], parameter(Choice::Bool(true)));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_a_model_does_is_told_and_counted() {
    let (_server, client) = served().await;
    let ask = |mode: &str| {
        let mut ask = request("fail", vec![input("INPUT0", "FP32", &[2, 16])]);
        ask.raw_inputs = vec![vec![0; 128].into()];
        ask.parameters.insert("mode".into(), parameter(Choice::Text(mode.into())));
        ask
    };
    refused(client.infer(ask("error")).await, Code::Internal, &["the model was asked to fail"]);
    refused(client.infer(ask("code")).await, Code::InvalidArgument, &["not like this"]);
    refused(client.infer(ask("panic")).await, Code::Internal, &["panicked"]);
    assert!(client.infer(ask("missing")).await.unwrap().outputs.is_empty());
    let model = proto::NameVersion { name: "fail".into(), version: String::new() };
    let statistics: proto::Statistics = client.ask("ModelStatistics", model).await.unwrap();
    let [fail] = &statistics.models[..] else { panic!("{statistics:?}") };
    let parts = fail.inference_stats.as_ref().unwrap();
    assert_eq!((parts.success.as_ref().unwrap().count, parts.fail.as_ref().unwrap().count), (1, 3));
    assert_eq!((fail.inference_count, fail.batch_stats[0].batch_size), (2, 2));
    let all: proto::Statistics =
        client.ask("ModelStatistics", proto::NameVersion::default()).await.unwrap();
    assert!(all.models.len() > 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn sequences_by_number_and_by_text() {
    let (_server, client) = served().await;
    let sum = async |id: Option<Choice>, value: i32, start: bool| {
        let mut ask = request("sum", vec![input("INPUT0", "INT32", &[1, 1])]);
        ask.raw_inputs = vec![value.to_le_bytes().to_vec().into()];
        ask.parameters.extend(id.map(|id| ("sequence_id".to_owned(), parameter(id))));
        ask.parameters.insert("sequence_start".into(), parameter(Choice::Bool(start)));
        Ok(client.infer(ask).await?.raw_outputs[0].clone())
    };
    for id in [Choice::Int64(7), Choice::Text("seven".into()), Choice::Uint64(u64::MAX)] {
        for (value, start, expected) in [(5, true, 5_i32), (6, false, 11), (7, false, 18)] {
            assert_eq!(
                sum(Some(id.clone()), value, start).await.unwrap(),
                expected.to_le_bytes()[..]
            );
        }
    }
    refused(sum(None, 1, true).await, Code::InvalidArgument, &["correlation ID"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn large_messages_and_their_limit() {
    let (_server, client) = served().await;
    let large: Vec<u8> = (0..12_000_000).map(|value| (value % 251) as u8).collect();
    let mut ask = request("any", vec![input("INPUT0", "INT8", &[large.len() as i64])]);
    ask.raw_inputs = vec![large.clone().into()];
    assert!(client.infer(ask.clone()).await.unwrap().raw_outputs[0] == large);
    let server = served::builder().max_body(1 << 20).grpc("127.0.0.1:0").start().unwrap();
    let client = Client::new(&server).await;
    let status = client.infer(ask).await.unwrap_err();
    assert!(matches!(status.code(), Code::OutOfRange | Code::ResourceExhausted), "{status:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_thousand_calls_on_one_connection() {
    let (_server, client) = served().await;
    let client = std::sync::Arc::new(client);
    let calls: Vec<_> = (0..1000_u32)
        .map(|number| {
            let client = std::sync::Arc::clone(&client);
            tokio::spawn(async move {
                let mut ask = request("any", vec![input("INPUT0", "INT8", &[4])]);
                ask.raw_inputs = vec![number.to_le_bytes().to_vec().into()];
                assert_eq!(
                    client.infer(ask).await.unwrap().raw_outputs[0],
                    number.to_le_bytes()[..]
                );
            })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn deadlines_and_cancelled_calls_leave_nothing_behind() {
    let (_server, client) = served().await;
    let object = Object::new(4096);
    client.register("n", &object.key, 4096).await.unwrap();
    let mut slow = request(
        "slow",
        vec![proto::Input {
            parameters: shared("n", 0, 4096),
            ..input("INPUT0", "FP32", &[1, 1024])
        }],
    );
    slow.parameters.insert("delay_ms".into(), parameter(Choice::Int64(100)));
    for _ in 0..6 {
        let call = client.infer(slow.clone());
        assert!(tokio::time::timeout(Duration::from_millis(20), call).await.is_err());
    }
    // Those that run are waited for, the others have gone with their callers.
    let mut unregistered = client.unregister("n").await;
    for _ in 0..40 {
        if unregistered.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
        unregistered = client.unregister("n").await;
    }
    unregistered.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn shutting_down_waits_for_running_calls() {
    let (mut server, client) = served().await;
    let mut slow = request("slow", vec![input("INPUT0", "FP32", &[1, 1024])]);
    slow.raw_inputs = vec![vec![0; 4096].into()];
    slow.parameters.insert("delay_ms".into(), parameter(Choice::Int64(400)));
    let call = client.infer(slow);
    let stop = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        tokio::task::spawn_blocking(move || {
            assert_eq!(server.shutdown(Duration::ZERO).unwrap_err().still_running, 1);
            server.shutdown(Duration::from_secs(5)).unwrap();
        })
        .await
        .unwrap();
    };
    let (answer, ()) = tokio::join!(call, stop);
    answer.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_unix_socket_serves_too() {
    let path = std::env::temp_dir().join(format!("shm-triton-grpc-{}.sock", std::process::id()));
    let _server = served::builder().grpc_unix(&path).start().unwrap();
    let channel =
        Endpoint::from_shared(format!("unix:{}", path.display())).unwrap().connect().await.unwrap();
    let client = Client(Grpc::new(channel));
    let live: proto::Live = client.ask("ServerLive", proto::NoFields {}).await.unwrap();
    assert!(live.ok);
}

/// What a tonic router asks of a service.
#[test]
fn the_service_can_be_mounted() {
    fn mountable<S>(_: S)
    where
        S: NamedService + Clone + Send + Sync + 'static,
        S: Service<
                http::Request<tonic::body::Body>,
                Response = http::Response<tonic::body::Body>,
                Error = Infallible,
                Future: Send,
            >,
    {
    }
    mountable::<GrpcService>(InferenceService::builder().build().unwrap().grpc());
    assert_eq!(format!("/{}/", GrpcService::NAME), SERVICE);
}

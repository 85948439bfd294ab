mod loss;
mod server;

use self::server::{Server, unused_addr};
use super::{GrpcTarget, GrpcTransport};
use crate::transport::{Ending, Lost, Outcome, Patience, Prepared, Reply, Request, Transport};
use crate::wire::proto::Choice;
use crate::wire::{
    Code, InferRequest, InferResponse, InputMessage, Parameter, Parameters, Payload, SharedBytes,
    WantedMessage,
};
use bytes::Bytes;
use shm_core::Deadline;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(20);

type Told = mpsc::Receiver<Result<Reply, Lost>>;

fn to(addr: SocketAddr) -> GrpcTransport {
    GrpcTransport::connect(GrpcTarget::Tcp { host: addr.ip().to_string(), port: addr.port() })
        .unwrap()
}

/// Panics if the deadline passes.
fn ask(transport: &GrpcTransport, request: Request<'_>) -> Result<Reply, Lost> {
    match transport
        .call(request, &Patience::until(SOON.into()), &mut || panic!("no answer in {SOON:?}"))
    {
        Outcome::Answered(reply) => Ok(reply),
        Outcome::Lost(lost) => Err(lost),
        Outcome::Late => unreachable!("panicked"),
    }
}

fn start(transport: &GrpcTransport, request: Request<'_>) -> Told {
    let (ending, told) = ending();
    transport.start(request, ending);
    told
}

fn ending() -> (Ending, Told) {
    let (tell, told) = mpsc::channel();
    (Box::new(move |result| tell.send(result).unwrap()), told)
}

fn end_of(told: &Told) -> Result<Reply, Lost> {
    told.recv_timeout(SOON).expect("told in time")
}

fn response(reply: Result<Reply, Lost>) -> InferResponse {
    match reply {
        Ok(Reply::Infer(response)) => response,
        other => panic!("expected a response, found {other:?}"),
    }
}

fn lost(reply: Result<Reply, Lost>) -> (bool, io::Error) {
    match reply {
        Err(lost) => (lost.sent, lost.source),
        Ok(reply) => panic!("expected none, found {reply:?}"),
    }
}

/// Returns when the transport's thread has looked at its sockets and has done what follows from that.
fn settle(transport: &GrpcTransport) {
    for _ in 0..3 {
        let (tell, told) = mpsc::channel();
        transport.after(Duration::from_millis(2), Box::new(move || tell.send(()).unwrap()));
        told.recv_timeout(SOON).expect("run in time");
    }
}

fn eventually(condition: impl Fn() -> bool) {
    let until = Instant::now() + SOON;
    while !condition() {
        assert!(Instant::now() < until, "not in {SOON:?}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// A request to `model` with one inline input of `bytes`.
fn inline(model: &str, bytes: impl Into<Bytes>) -> InferRequest {
    let bytes = bytes.into();
    let input = InputMessage {
        name: "INPUT0".to_owned(),
        datatype: "UINT8".to_owned(),
        shape: vec![bytes.len() as i64],
        payload: Payload::Inline(bytes),
        parameters: Parameters::new(),
    };
    InferRequest { model_name: model.to_owned(), inputs: vec![input], ..InferRequest::default() }
}

#[test]
fn shared_and_inline_tensors_are_told_apart() {
    let server = Server::tcp();
    let transport = to(server.addr);
    let mut request = inline("echo", vec![1, 2, 3]);
    request.id = "mine".to_owned();
    request.parameters = Parameters::from([
        ("sequence_id".to_owned(), Parameter::Int(7)),
        ("sequence_start".to_owned(), Parameter::Bool(true)),
        ("weight".to_owned(), Parameter::Float(0.5)),
        ("user".to_owned(), Parameter::Text("x".to_owned())),
    ]);
    let shared = |offset| SharedBytes { region: "r".to_owned(), offset, byte_size: 4 };
    let mut other = request.inputs[0].clone();
    other.name = "INPUT1".to_owned();
    other.shape = vec![4];
    other.payload = Payload::Shared(shared(0));
    let mut last = request.inputs[0].clone();
    last.name = "INPUT2".to_owned();
    request.inputs.push(other);
    request.inputs.push(last);
    let wanted = |name: &str, shared| WantedMessage {
        name: name.to_owned(),
        shared,
        parameters: Parameters::new(),
    };
    request.outputs =
        vec![wanted("OUTPUT0", None), wanted("OUTPUT1", Some(shared(64))), wanted("OUTPUT2", None)];

    let response = response(ask(&transport, Request::Infer(&Prepared::new(request.clone()))));

    assert_eq!(response.id, "mine");
    let data: Vec<_> = response.outputs.iter().map(|output| output.data.as_deref()).collect();
    assert_eq!(data, [Some(&[1, 2, 3][..]), None, Some(&[1, 2, 3][..])]);
    let seen = server.seen.infer.lock()[0].clone();
    assert_eq!(seen.raw_inputs.len(), 2);
    let choice = |name: &str| seen.parameters[name].choice.clone().unwrap();
    assert_eq!(choice("sequence_id"), Choice::Int64(7));
    assert_eq!(choice("sequence_start"), Choice::Bool(true));
    assert_eq!(choice("weight"), Choice::Double(0.5));
    assert_eq!(choice("user"), Choice::Text("x".to_owned()));
    let input = &seen.inputs[1].parameters;
    assert_eq!(input["shared_memory_region"].choice, Some(Choice::Text("r".to_owned())));
    assert_eq!(input["shared_memory_byte_size"].choice, Some(Choice::Int64(4)));
    assert!(!input.contains_key("shared_memory_offset"), "only where it is not 0");
    assert_eq!(seen.outputs[1].parameters["shared_memory_offset"].choice, Some(Choice::Int64(64)));
    assert!(seen.inputs[0].parameters.is_empty());
}

#[test]
fn no_deadline_is_sent() {
    let server = Server::tcp();
    let transport = to(server.addr);
    ask(&transport, Request::ServerLive).unwrap();
    let headers = server.seen.headers.lock();
    assert_eq!(headers[0]["te"], "trailers");
    assert!(!headers[0].contains_key("grpc-timeout"));
}

#[test]
fn the_servers_own_errors_are_refusals() {
    let server = Server::tcp();
    let transport = to(server.addr);
    let refusal =
        |model: &str| match ask(&transport, Request::Infer(&Prepared::new(inline(model, vec![1]))))
        {
            Ok(Reply::Refused { code, message }) => (code, message),
            other => panic!("expected a refusal, found {other:?}"),
        };
    assert_eq!(refusal("expired"), (Code::Unavailable, "Request timeout expired".to_owned()));
    assert_eq!(refusal("refused"), (Code::InvalidArgument, "t\u{e4}nsor 'x': no".to_owned()));
    let reply = ask(&transport, Request::Unregister("x"));
    assert!(matches!(reply, Ok(Reply::Refused { code: Code::Unimplemented, .. })), "{reply:?}");
    let reply = ask(&transport, Request::RegionStatus(""));
    assert!(matches!(reply, Ok(Reply::Refused { code: Code::NotFound, .. })), "{reply:?}");
}

#[test]
fn bytes_that_are_no_reply_end_the_request() {
    let server = Server::tcp();
    let transport = to(server.addr);
    for request in [Request::ServerMetadata, Request::Statistics("", "")] {
        let reply = ask(&transport, request);
        assert!(matches!(reply, Ok(Reply::Malformed(_))), "{request:?}: {reply:?}");
    }
}

#[test]
fn a_thousand_requests_are_open_at_once() {
    let server = Server::tcp();
    let transport = to(server.addr);
    let told: Vec<Told> = (0..1000_u32)
        .map(|k| {
            start(
                &transport,
                Request::Infer(&Prepared::new(inline("gated", k.to_le_bytes().to_vec()))),
            )
        })
        .collect();
    // What the server lets in at once is its own limit; the others follow.
    server.wait_for(100);
    assert_eq!(transport.in_flight(), 1000);
    server.seen.gate.add_permits(1000);
    for (k, told) in told.iter().enumerate() {
        let response = response(end_of(told));
        assert_eq!(response.outputs[0].data.as_deref(), Some(&(k as u32).to_le_bytes()[..]));
    }
    assert_eq!(transport.in_flight(), 0);
}

#[test]
fn many_threads_share_one_transport() {
    let server = Server::tcp();
    let transport = to(server.addr);
    thread::scope(|scope| {
        for id in 0..8_u8 {
            let transport = &transport;
            scope.spawn(move || {
                for k in 0..50_u8 {
                    let response = response(ask(
                        transport,
                        Request::Infer(&Prepared::new(inline("echo", vec![id, k]))),
                    ));
                    assert_eq!(response.outputs[0].data.as_deref(), Some(&[id, k][..]));
                }
            });
        }
    });
    assert_eq!(server.seen.connections.load(Ordering::Relaxed), 1);
}

#[test]
fn big_tensors_travel_in_the_message() {
    let server = Server::tcp();
    let transport = to(server.addr);
    let big: Bytes =
        (0..(64 << 20) / 4_u32).flat_map(|k| k.to_le_bytes()).collect::<Vec<u8>>().into();
    let mut request = inline("echo", big.clone());
    let mut small = request.inputs[0].clone();
    small.name = "INPUT1".to_owned();
    small.shape = vec![2];
    small.payload = Payload::Inline(Bytes::from_static(&[1, 2]));
    request.inputs.push(small);
    let response = response(ask(&transport, Request::Infer(&Prepared::new(request.clone()))));
    assert!(response.outputs[0].data.as_ref() == Some(&big), "the bytes come back");
    assert_eq!(response.outputs[1].data.as_deref(), Some(&[1, 2][..]));
}

#[test]
fn unix_sockets_carry_requests() {
    let folder = std::env::temp_dir().join(format!("shm triton {}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("g#%41.sock");
    let absent = GrpcTransport::connect(GrpcTarget::Unix(path.clone())).unwrap();
    let (sent, source) = lost(ask(&absent, Request::ServerLive));
    assert!(!sent);
    assert_eq!(source.kind(), io::ErrorKind::NotFound, "{source}");

    let server = Server::unix(&path);
    response(ask(&absent, Request::Infer(&Prepared::new(inline("echo", vec![1, 2])))));
    drop(server);
    settle(&absent);
    assert!(!lost(ask(&absent, Request::ServerLive)).0);
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn names_are_looked_up() {
    let server = Server::tcp();
    let target = GrpcTarget::Tcp { host: "localhost".to_owned(), port: server.addr.port() };
    let transport = GrpcTransport::connect(target).unwrap();
    assert!(matches!(ask(&transport, Request::ServerLive), Ok(Reply::Yes(true))));
}

#[test]
fn an_ending_that_would_wait_for_itself_is_refused() {
    let server = Server::tcp();
    let transport = Arc::new(to(server.addr));
    let (tell, told) = mpsc::channel();
    let inner = Arc::clone(&transport);
    transport.start(
        Request::ServerLive,
        Box::new(move |_| {
            tell.send(ask(&inner, Request::ServerLive)).unwrap();
            inner.start(Request::ServerLive, Box::new(move |result| tell.send(result).unwrap()));
        }),
    );
    let (sent, source) = lost(end_of(&told));
    assert!(!sent);
    assert_eq!(source.kind(), io::ErrorKind::WouldBlock);
    assert!(matches!(end_of(&told), Ok(Reply::Yes(true))), "starting one is allowed");
}

#[test]
fn delayed_work_runs_once_in_its_time() {
    let transport = to(unused_addr());
    let (tell, told) = mpsc::channel();
    let since = Instant::now();
    for delay in [80, 20] {
        let tell = tell.clone();
        transport.after(Duration::from_millis(delay), Box::new(move || tell.send(delay).unwrap()));
    }
    drop(tell);
    assert_eq!(told.recv_timeout(SOON), Ok(20));
    assert!(since.elapsed() >= Duration::from_millis(20));
    assert_eq!(told.recv_timeout(SOON), Ok(80));
    assert!(since.elapsed() >= Duration::from_millis(80));
    assert!(told.recv().is_err());
}

#[test]
fn all_regions_at_once_are_never_unregistered() {
    let transport = to(unused_addr());
    let Ok(Reply::Refused { code: Code::InvalidArgument, message }) =
        ask(&transport, Request::Unregister(""))
    else {
        panic!("an empty name names every region");
    };
    assert!(message.contains("name one"), "{message}");
    let reply = end_of(&start(&transport, Request::Unregister("")));
    assert!(matches!(reply, Ok(Reply::Refused { .. })), "{reply:?}");
    assert_eq!(transport.in_flight(), 0);
}

#[test]
fn targets_that_cannot_be_are_named() {
    for host in ["", "a b", "user@host", "host:1", "host/path", "[::1]:4", "h?q"] {
        let error =
            GrpcTransport::connect(GrpcTarget::Tcp { host: host.to_owned(), port: 1 }).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{host}");
        assert!(error.to_string().contains(&format!("{host:?}")), "{error}");
    }
    for host in ["::1", "[::1]", "127.0.0.1", "localhost", "a.b-c"] {
        GrpcTransport::connect(GrpcTarget::Tcp { host: host.to_owned(), port: 1 }).unwrap();
    }
    let error = GrpcTransport::connect(GrpcTarget::Unix("".into())).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
}

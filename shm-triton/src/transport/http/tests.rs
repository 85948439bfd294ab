//! The transport against a server that does what the test says, over real sockets.

use super::HttpTransport;
use crate::address::Socket;
use crate::transport::{Ending, Lost, Outcome, Patience, Prepared, Reply, Request, Transport};
use crate::wire::{Code, InferRequest, InputMessage, Payload, WantedMessage};
use bytes::Bytes;
use proptest::prelude::*;
use shm_core::Deadline;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Long enough for a busy machine, and no reply takes so long.
const SOON: Duration = Duration::from_secs(20);

/// A server that reads one request after another and answers each with what `answer` says of it; an
/// empty answer closes the connection.
fn server(connections: usize, answer: fn(&[u8]) -> Vec<u8>) -> (HttpTransport, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let served = thread::spawn(move || {
        let mut served = Vec::new();
        for _ in 0..connections {
            let (stream, _) = listener.accept().unwrap();
            served.push(thread::spawn(move || serve(stream, answer)));
        }
        served.into_iter().for_each(|thread| thread.join().unwrap());
    });
    (HttpTransport::new(Socket::Tcp("127.0.0.1".into(), port), 1 << 20), served)
}

fn serve(mut stream: TcpStream, answer: fn(&[u8]) -> Vec<u8>) {
    while let Some(request) = read_request(&mut stream) {
        let answer = answer(&request);
        if answer.is_empty() || stream.write_all(&answer).is_err() {
            break;
        }
    }
}

/// Head and body of a request; `None` at the end of the connection.
fn read_request(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        request.push(byte[0]);
    }
    let head = String::from_utf8(request.clone()).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length:"));
    let length = length.map_or(0, |length| length.trim().parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    request.extend(body);
    Some(request)
}

fn reply(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let reply = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
    [reply.as_bytes(), body].concat()
}

fn ask(transport: &HttpTransport, request: Request<'_>) -> Outcome {
    transport.call(request, &Patience::until(SOON.into()), &mut || panic!("no answer in {SOON:?}"))
}

#[test]
fn a_connection_is_kept_and_a_closed_one_replaced() {
    // This server closes a connection after it has said how the regions are.
    let (transport, served) =
        server(2, |request| match request.starts_with(b"GET /v2/health/live") {
            true => reply("200 OK", "", b""),
            false => reply("200 OK", "Connection: close\r\n", b"[]"),
        });
    for _ in 0..10 {
        assert!(matches!(
            ask(&transport, Request::ServerLive),
            Outcome::Answered(Reply::Yes(true))
        ));
    }
    assert_eq!(transport.shared.idle.lock().len(), 1);
    assert!(matches!(
        ask(&transport, Request::RegionStatus("")),
        Outcome::Answered(Reply::Regions(_))
    ));
    assert_eq!(transport.shared.idle.lock().len(), 0);
    assert!(matches!(ask(&transport, Request::ServerLive), Outcome::Answered(Reply::Yes(true))));
    drop(transport);
    served.join().unwrap();
}

#[test]
fn a_server_that_hangs_up_loses_the_request_and_the_next_one_connects_anew() {
    let (transport, served) = server(2, |request| match request.starts_with(b"POST") {
        true => Vec::new(),
        false => reply("200 OK", "", b""),
    });
    let Outcome::Lost(Lost { sent: true, .. }) = ask(&transport, Request::Unregister("r")) else {
        panic!("a server that hangs up has answered nothing");
    };
    assert!(matches!(ask(&transport, Request::ServerReady), Outcome::Answered(Reply::Yes(true))));
    assert_eq!(transport.in_flight(), 0);
    drop(transport);
    served.join().unwrap();
}

#[test]
fn where_nobody_listens_nothing_was_sent() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let transport = HttpTransport::new(Socket::Tcp("127.0.0.1".into(), port), 1 << 20);
    let Outcome::Lost(Lost { sent: false, source }) = ask(&transport, Request::ServerLive) else {
        panic!("nobody listens");
    };
    assert_eq!(source.kind(), std::io::ErrorKind::ConnectionRefused);
}

#[test]
fn a_late_answer_is_told_to_whom_the_caller_left_it() {
    let (transport, served) = server(1, |_| {
        thread::sleep(Duration::from_millis(150));
        reply("200 OK", "", b"")
    });
    let (told, hear) = mpsc::channel();
    let mut late = || -> Ending {
        let told = told.clone();
        Box::new(move |how| told.send(how).unwrap())
    };
    let patience = Patience::until(Duration::from_millis(20).into());
    assert!(matches!(transport.call(Request::ServerLive, &patience, &mut late), Outcome::Late));
    assert_eq!(transport.in_flight(), 1);
    assert!(matches!(hear.recv_timeout(SOON).unwrap(), Ok(Reply::Yes(true))));
    assert_eq!(transport.in_flight(), 0);
    // Its connection is one like any other again.
    assert!(matches!(ask(&transport, Request::ServerLive), Outcome::Answered(Reply::Yes(true))));
    drop(transport);
    served.join().unwrap();
}

#[test]
fn a_deadline_that_has_passed_sends_nothing() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let transport = HttpTransport::new(Socket::Tcp("127.0.0.1".into(), port), 1 << 20);
    let (told, hear) = mpsc::channel();
    let mut late = || -> Ending {
        let told = told.clone();
        Box::new(move |how| told.send(how).unwrap())
    };
    let patience = Patience::until(Deadline::NOW);
    assert!(matches!(transport.call(Request::ServerLive, &patience, &mut late), Outcome::Late));
    assert!(matches!(hear.recv().unwrap(), Err(Lost { sent: false, .. })));
}

#[test]
fn an_interrupt_ends_the_wait() {
    let (transport, served) = server(1, |_| {
        thread::sleep(Duration::from_millis(300));
        Vec::new()
    });
    let since = Instant::now();
    let interrupt = move || since.elapsed() > Duration::from_millis(60);
    let patience = Patience { deadline: Deadline::NEVER, interrupt: Some(&interrupt) };
    let mut late = || -> Ending { Box::new(|_| {}) };
    assert!(matches!(transport.call(Request::ServerLive, &patience, &mut late), Outcome::Late));
    served.join().unwrap();
}

#[test]
fn many_requests_are_awaited_at_once_and_time_is_kept() {
    let (transport, served) = server(50, |_| {
        thread::sleep(Duration::from_millis(30));
        reply("200 OK", "", b"")
    });
    let (told, hear) = mpsc::channel();
    for _ in 0..50 {
        let told = told.clone();
        transport.start(Request::ServerLive, Box::new(move |how| told.send(how.is_ok()).unwrap()));
    }
    let since = Instant::now();
    let (rang, ring) = mpsc::channel();
    for ms in [40_u64, 10, 20] {
        let rang = rang.clone();
        transport.after(Duration::from_millis(ms), Box::new(move || rang.send(ms).unwrap()));
    }
    let order: Vec<u64> = (0..3).map(|_| ring.recv_timeout(SOON).unwrap()).collect();
    assert_eq!(order, [10, 20, 40]);
    assert!(since.elapsed() >= Duration::from_millis(40));
    for _ in 0..50 {
        assert!(hear.recv_timeout(SOON).unwrap());
    }
    drop(transport);
    served.join().unwrap();
}

#[test]
fn a_transport_that_is_dropped_tells_what_is_open() {
    let (transport, served) = server(1, |_| {
        thread::sleep(Duration::from_millis(100));
        Vec::new()
    });
    let (told, hear) = mpsc::channel();
    transport.start(Request::ServerLive, Box::new(move |how| told.send(how).unwrap()));
    drop(transport);
    assert!(matches!(hear.recv().unwrap(), Err(Lost { sent: true, .. })));
    served.join().unwrap();
}

#[test]
fn errors_are_the_servers_own() {
    let (transport, served) = server(1, |request| {
        let text = String::from_utf8_lossy(request);
        match text.contains("taken") {
            true => {
                reply("400 Bad Request", "", br#"{"error":"region 'taken' already in manager"}"#)
            }
            false => reply("404 Not Found", "", b"<html>"),
        }
    });
    let request = Request::Register { name: "taken", key: "/k", offset: 0, byte_size: 64 };
    let Outcome::Answered(Reply::Refused { code: Code::AlreadyExists, .. }) =
        ask(&transport, request)
    else {
        panic!("the name is taken");
    };
    let Outcome::Answered(Reply::Refused { code: Code::NotFound, message }) =
        ask(&transport, Request::ModelMetadata("m", "1"))
    else {
        panic!("not there");
    };
    assert_eq!(message, "<html>");
    drop(transport);
    served.join().unwrap();
}

#[test]
fn inline_tensors_travel_behind_the_json_in_order() {
    // Echoes each input's bytes as an output.
    let (transport, served) = server(1, |request| {
        let at = request.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        let head = String::from_utf8_lossy(&request[..at]).into_owned();
        let json_len =
            head.lines().find_map(|line| line.strip_prefix("Inference-Header-Content-Length:"));
        let json_len: usize = json_len.unwrap().trim().parse().unwrap();
        let json: serde_json::Value = serde_json::from_slice(&request[at..at + json_len]).unwrap();
        let outputs: Vec<_> = json["inputs"].as_array().unwrap().iter().map(|input| {
            serde_json::json!({"name": input["name"], "datatype": input["datatype"], "shape": input["shape"],
                "parameters": {"binary_data_size": input["parameters"]["binary_data_size"]}})
        }).collect();
        let answer =
            serde_json::json!({"model_name": "m", "model_version": "1", "outputs": outputs})
                .to_string();
        let headers = format!("Inference-Header-Content-Length: {}\r\n", answer.len());
        reply("200 OK", &headers, &[answer.as_bytes(), &request[at + json_len..]].concat())
    });
    let input = |name: &str, bytes: Vec<u8>| InputMessage {
        name: name.into(),
        datatype: "UINT8".into(),
        shape: vec![bytes.len() as i64],
        payload: Payload::Inline(Bytes::from(bytes)),
        parameters: Default::default(),
    };
    let request = InferRequest {
        model_name: "m".into(),
        inputs: vec![
            input("a", vec![1; 10]),
            input("b", vec![2; 300_000]),
            input("c", Vec::new()),
            input("d", vec![3; 7]),
        ],
        outputs: vec![WantedMessage {
            name: "a".into(),
            shared: None,
            parameters: Default::default(),
        }],
        ..InferRequest::default()
    };
    let Outcome::Answered(Reply::Infer(response)) =
        ask(&transport, Request::Infer(&Prepared::new(request.clone())))
    else {
        panic!("an echo");
    };
    for (output, input) in response.outputs.iter().zip(&request.inputs) {
        let Payload::Inline(bytes) = &input.payload else { unreachable!() };
        assert_eq!((&output.name, output.data.as_ref()), (&input.name, Some(bytes)));
    }
    drop(transport);
    served.join().unwrap();
}

#[test]
fn chunked_replies_are_put_together() {
    let (transport, served) = server(1, |_| {
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[]\r\n0\r\n\r\n".to_vec()
    });
    for _ in 0..2 {
        let Outcome::Answered(Reply::Regions(regions)) = ask(&transport, Request::RegionStatus(""))
        else {
            panic!("no regions");
        };
        assert!(regions.is_empty());
    }
    drop(transport);
    served.join().unwrap();
}

#[test]
fn replies_that_claim_too_much_lose_the_request() {
    for head in [
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffff\r\n",
        "SSH-2.0-OpenSSH_9.2\r\n\r\n",
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let served = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            read_request(&mut stream);
            stream.write_all(head.as_bytes()).unwrap();
            // Until the client has had enough.
            let _ = stream.read(&mut [0]);
        });
        let transport = HttpTransport::new(Socket::Tcp("127.0.0.1".into(), port), 1 << 20);
        let outcome = ask(&transport, Request::RegionStatus(""));
        assert!(matches!(outcome, Outcome::Lost(Lost { sent: true, .. })), "{head:?}: {outcome:?}");
        served.join().unwrap();
    }
}

proptest! {
    /// Whatever comes, it is a reply, no reply yet, or an error; nothing panics.
    #[test]
    fn hostile_bytes_are_no_reply(bytes in proptest::collection::vec(any::<u8>(), 0..300), json in any::<bool>()) {
        let head: &[u8] = if json { b"HTTP/1.1 200 OK\r\nInference-Header-Content-Length: 40\r\nContent-Length: 60\r\n\r\n" } else { b"" };
        let (client, mut server) = {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            let transport = HttpTransport::new(Socket::Tcp("127.0.0.1".into(), port), 1 << 16);
            let client = transport.shared.connection(SOON).unwrap();
            (client, listener.accept().unwrap().0)
        };
        let mut client = client;
        server.write_all(head).unwrap();
        server.write_all(&bytes).unwrap();
        drop(server);
        while let Ok(None) = client.pull() {
            client.wait(SOON).unwrap();
        }
        for asked in [super::encode::Asked::Infer, super::encode::Asked::Statistics, super::encode::Asked::ModelConfig] {
            let raw = super::Raw { status: 200, json_len: Some(bytes.len() / 2), body: Bytes::from(bytes.clone()) };
            let _ = super::decode::reply(asked, &raw);
        }
    }
}

//! Requests whose end is not an answer, or comes after their caller has left.

use super::server::{Server, bare, read_until_headers, unused_addr};
use super::*;

#[test]
fn a_reply_without_the_servers_status_is_lost() {
    let server = Server::tcp();
    let transport = to(server.addr);
    for (request, text) in [
        (Request::ModelMetadata("m", ""), "HTTP status 503"),
        (Request::ModelConfig("m", ""), "without a gRPC status"),
        (Request::Infer(&Prepared::new(inline("cancelled", vec![1]))), "said the server"),
    ] {
        let (sent, source) = lost(ask(&transport, request));
        assert!(sent, "{request:?}");
        assert!(source.to_string().contains(text), "{source}");
    }
}

#[test]
fn a_lost_reply_has_the_next_request_connect_anew_and_leaves_the_others_open() {
    let server = Server::tcp();
    let transport = to(server.addr);
    let gated = start(&transport, Request::Infer(&Prepared::new(inline("gated", vec![9]))));
    server.wait_for(1);
    lost(ask(&transport, Request::Infer(&Prepared::new(inline("cancelled", vec![1])))));
    response(ask(&transport, Request::Infer(&Prepared::new(inline("echo", vec![2])))));
    assert_eq!(server.seen.connections.load(Ordering::Relaxed), 2);
    thread::sleep(Duration::from_millis(50));
    assert_eq!(transport.in_flight(), 1);
    server.seen.gate.add_permits(1);
    assert_eq!(response(end_of(&gated)).outputs[0].data.as_deref(), Some(&[9][..]));
}

#[test]
fn a_server_that_dies_loses_its_requests_and_the_next_one_finds_its_successor() {
    let mut server = Server::tcp();
    let transport = to(server.addr);
    let open = start(&transport, Request::Infer(&Prepared::new(inline("never", vec![1]))));
    thread::scope(|scope| {
        let waiting = scope
            .spawn(|| ask(&transport, Request::Infer(&Prepared::new(inline("never", vec![1])))));
        server.wait_for(2);
        assert_eq!(transport.in_flight(), 2);
        server.kill();
        assert!(lost(waiting.join().unwrap()).0, "was sent");
    });
    assert!(lost(end_of(&open)).0, "was sent");
    assert_eq!(transport.in_flight(), 0);

    let (sent, source) = lost(ask(&transport, Request::ServerLive));
    assert!(!sent, "nobody was there");
    assert_eq!(source.kind(), io::ErrorKind::ConnectionRefused, "{source}");

    let _successor = Server::at(server.addr);
    assert!(matches!(ask(&transport, Request::ServerLive), Ok(Reply::Yes(true))));
}

#[test]
fn a_connection_that_closed_while_idle_is_known_not_to_have_taken_the_request() {
    let mut server = Server::tcp();
    let transport = to(server.addr);
    for _ in 0..5 {
        ask(&transport, Request::ServerLive).unwrap();
        server.kill();
        settle(&transport);
        let (sent, source) = lost(ask(&transport, Request::ServerLive));
        assert!(!sent);
        assert_eq!(source.kind(), io::ErrorKind::ConnectionRefused, "{source}");
        server = Server::at(server.addr);
    }
    assert!(matches!(ask(&transport, Request::ServerLive), Ok(Reply::Yes(true))));
}

#[test]
fn a_socket_that_is_closed_on_the_request_loses_it() {
    let transport = to(bare(3, |stream| read_until_headers(&stream).unwrap()));
    for _ in 0..3 {
        assert!(lost(ask(&transport, Request::ServerLive)).0, "may have been sent");
    }
}

#[test]
fn what_does_not_speak_grpc_loses_the_request() {
    let addr = bare(1, |stream| {
        read_until_headers(&stream).unwrap();
        io::Write::write_all(
            &mut &stream,
            b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
        )
        .unwrap();
    });
    assert!(lost(ask(&to(addr), Request::ServerLive)).0);
}

#[test]
fn an_unreachable_server_has_seen_nothing() {
    let addr = unused_addr();
    let transport = to(addr);
    for result in
        [ask(&transport, Request::ServerLive), end_of(&start(&transport, Request::ServerLive))]
    {
        let (sent, source) = lost(result);
        assert!(!sent);
        assert_eq!(source.kind(), io::ErrorKind::ConnectionRefused, "{source}");
    }
    let _server = Server::at(addr);
    assert!(matches!(ask(&transport, Request::ServerLive), Ok(Reply::Yes(true))));
}

/// A listener whose queue is full does not answer at all.
#[test]
fn connecting_ends_with_the_deadline_or_after_a_second() {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let addr = socket.local_addr().unwrap().as_socket().unwrap();
    let mut queued = Vec::new();
    while let Ok(stream) = std::net::TcpStream::connect_timeout(&addr, Duration::from_millis(200)) {
        queued.push(stream);
    }
    let transport = to(addr);
    let since = Instant::now();
    let other = start(&transport, Request::ServerLive);
    let deadline = Deadline::after(Duration::from_millis(100));
    let outcome = transport
        .call(Request::ServerLive, &Patience::until(deadline), &mut || panic!("nothing was sent"));
    let Outcome::Lost(early) = outcome else { panic!("{outcome:?}") };
    assert!(!early.sent);
    assert_eq!(early.source.kind(), io::ErrorKind::TimedOut);
    let took = since.elapsed();
    assert!(took >= Duration::from_millis(99), "{took:?}");

    let (sent, source) = lost(end_of(&other));
    assert!(!sent);
    assert_eq!(source.kind(), io::ErrorKind::TimedOut, "{source}");
    let took = since.elapsed();
    assert!(took >= Duration::from_millis(900), "{took:?}");
    assert_eq!(transport.in_flight(), 0);
}

#[test]
fn a_late_answer_is_told_to_whom_the_caller_left_it() {
    let server = Server::tcp();
    let transport = to(server.addr);
    let (mut late, told) = {
        let (ending, told) = ending();
        (Some(ending), told)
    };
    let request = inline("gated", vec![5]);
    let deadline = Deadline::after(Duration::from_millis(60));
    let outcome = transport.call(
        Request::Infer(&Prepared::new(request.clone())),
        &Patience::until(deadline),
        &mut || late.take().expect("asked once"),
    );
    assert!(matches!(outcome, Outcome::Late), "{outcome:?}");
    assert!(late.is_none());
    assert!(deadline.has_passed());
    assert!(told.recv_timeout(Duration::from_millis(50)).is_err(), "the request is still open");
    assert_eq!(transport.in_flight(), 1);

    server.seen.gate.add_permits(1);
    assert_eq!(response(end_of(&told)).outputs[0].data.as_deref(), Some(&[5][..]));
    assert_eq!(transport.in_flight(), 0);
}

#[test]
fn an_answer_that_comes_while_the_caller_leaves_is_told_by_the_caller() {
    let server = Server::tcp();
    let transport = to(server.addr);
    let (ending, told) = ending();
    let mut ending = Some(ending);
    let outcome = transport.call(
        Request::Infer(&Prepared::new(inline("gated", vec![5]))),
        &Patience::until(Duration::from_millis(60).into()),
        &mut || {
            server.seen.gate.add_permits(1);
            eventually(|| transport.in_flight() == 0);
            ending.take().expect("asked once")
        },
    );
    assert!(matches!(outcome, Outcome::Late), "{outcome:?}");
    response(told.try_recv().expect("told already"));
}

#[test]
fn a_server_that_dies_after_the_deadline_is_told_too() {
    let mut server = Server::tcp();
    let transport = to(server.addr);
    let (ending, told) = ending();
    let mut ending = Some(ending);
    let request = inline("never", vec![5]);
    let deadline = Duration::from_millis(60).into();
    let outcome = transport.call(
        Request::Infer(&Prepared::new(request.clone())),
        &Patience::until(deadline),
        &mut || ending.take().unwrap(),
    );
    assert!(matches!(outcome, Outcome::Late), "{outcome:?}");
    server.kill();
    assert!(lost(end_of(&told)).0);
}

#[test]
fn a_deadline_that_has_passed_sends_nothing() {
    let server = Server::tcp();
    let transport = to(server.addr);
    let request = inline("echo", vec![1]);
    let outcome = transport.call(
        Request::Infer(&Prepared::new(request.clone())),
        &Patience::until(Deadline::NOW),
        &mut || panic!("nothing was sent"),
    );
    assert!(matches!(outcome, Outcome::Lost(Lost { sent: false, .. })), "{outcome:?}");
    assert_eq!(transport.in_flight(), 0);
    ask(&transport, Request::ServerLive).unwrap();
    assert!(server.seen.infer.lock().is_empty());
}

#[test]
fn a_transport_that_is_dropped_tells_what_is_open() {
    let server = Server::tcp();
    let transport = to(server.addr);
    let sent = start(&transport, Request::Infer(&Prepared::new(inline("never", vec![1]))));
    server.wait_for(1);
    let ran = Arc::new(AtomicBool::new(false));
    let then = Arc::clone(&ran);
    transport
        .after(Duration::from_millis(50), Box::new(move || then.store(true, Ordering::Relaxed)));
    drop(transport);
    assert!(lost(sent.try_recv().expect("told before drop returned")).0);
    thread::sleep(Duration::from_millis(80));
    assert!(!ran.load(Ordering::Relaxed), "dropped unrun");
    assert_eq!(Arc::strong_count(&ran), 1);
}

#[test]
fn a_transport_may_be_dropped_on_its_own_thread() {
    let server = Server::tcp();
    let transport = Arc::new(to(server.addr));
    let open = start(&transport, Request::Infer(&Prepared::new(inline("never", vec![1]))));
    server.wait_for(1);
    let (tell, told) = mpsc::channel();
    let last = Arc::clone(&transport);
    transport.start(
        Request::Infer(&Prepared::new(inline("gated", vec![1]))),
        Box::new(move |result| {
            drop(last);
            tell.send(result).unwrap();
        }),
    );
    drop(transport);
    server.seen.gate.add_permits(1);
    response(end_of(&told));
    assert!(lost(end_of(&open)).0);
}

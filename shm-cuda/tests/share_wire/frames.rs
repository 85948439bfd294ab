//! Frames over a socket: order, partial writes, descriptors, and peers that break the rules.

use super::alone::{alone, descriptors};
use super::messages::bytes_of;
use super::samples;
use super::trees::{descriptors_of, open_limits, same, storage};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use shm_core::Dtype;
use shm_cuda::share::wire::{
    Answer, ArgumentsOf, Channel, ChannelError, Frame, HEADER_LEN, Header, MAGIC, Message,
    Received, Reply, Request, decode_value, encode_arguments, encode_value, kind,
};
use shm_cuda::share::{Access, Arguments, Limits, Tensor, Value};
use std::io::{IoSlice, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

fn pair() -> (Channel, Channel) {
    let (a, b) = UnixStream::pair().unwrap();
    let channel = |socket| Channel::new(socket, Limits::default()).unwrap();
    (channel(a), channel(b))
}

fn raw(limits: Limits) -> (UnixStream, Channel) {
    let (a, b) = UnixStream::pair().unwrap();
    (a, Channel::new(b, limits).unwrap())
}

/// Writes and reads in turn until `count` frames have come.
fn carry(from: &mut Channel, to: &mut Channel, count: usize) -> Vec<Frame> {
    let mut frames = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(30);
    while frames.len() < count {
        assert!(Instant::now() < deadline, "{} of {count} frames came", frames.len());
        from.flush().unwrap();
        while let Some(frame) = to.next_frame().unwrap() {
            frames.push(frame);
        }
        if frames.len() < count {
            to.fill().unwrap();
        }
    }
    assert!(from.flush().unwrap());
    assert_eq!(from.queued(), 0);
    assert!(to.next_frame().unwrap().is_none());
    frames
}

/// Sends bytes with descriptors, as no `Channel` would.
fn send(socket: &UnixStream, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        assert!(control.push(SendAncillaryMessage::ScmRights(descriptors)));
    }
    let sent =
        rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::empty());
    assert_eq!(sent.unwrap(), bytes.len());
}

/// Reads until there is an error.
fn fails(channel: &mut Channel) -> ChannelError {
    loop {
        match channel.next_frame() {
            Ok(Some(_)) => continue,
            Ok(None) => {}
            Err(error) => return error,
        }
        match channel.fill() {
            Ok(0) => panic!("no error, and nothing more to read"),
            Ok(_) => {}
            Err(error) => return error,
        }
    }
}

/// Sees the end of the connection. A process that another test starts at this moment may have a copy of
/// the other side's socket until it has begun.
fn closes(channel: &mut Channel) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match channel.fill() {
            Ok(0) => assert!(Instant::now() < deadline, "no end of the connection"),
            Err(ChannelError::Closed) => return,
            other => panic!("expected the end of the connection, found {other:?}"),
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn broken_field(channel: &mut Channel) -> &'static str {
    match fails(channel) {
        ChannelError::Protocol(error) => error.field,
        other => panic!("expected a protocol error, found {other:?}"),
    }
}

fn ping() -> Vec<u8> {
    bytes_of(1, &Request::Ping.encode())
}

#[test]
fn frames_arrive_in_order_with_their_own_descriptors() {
    let (mut a, mut b) = pair();
    let samples = samples::all();
    let sent: Vec<_> = samples
        .iter()
        .map(|sample| (sample.request, bytes_of(sample.request, &sample.message)))
        .collect();
    let values: Vec<_> = samples.iter().map(|sample| sample.message.value.clone()).collect();
    for sample in samples {
        a.push(sample.request, sample.message).unwrap();
    }
    assert_eq!(a.queued(), sent.iter().map(|(_, bytes)| bytes.len()).sum::<usize>());
    let frames = carry(&mut a, &mut b, sent.len());
    for ((frame, (request, bytes)), value) in frames.into_iter().zip(sent).zip(values) {
        assert_eq!(frame.header.request, request);
        assert_eq!([&frame.header.to_bytes()[..], &frame.body].concat(), bytes);
        assert_eq!(frame.descriptors.len(), usize::from(frame.header.descriptors));
        let expected = value.map_or_else(Vec::new, |value| descriptors_of(&value));
        let inode = |fd: &OwnedFd| rustix::fs::fstat(fd).unwrap().st_ino;
        assert_eq!(
            frame.descriptors.iter().map(inode).collect::<Vec<_>>(),
            expected.iter().map(inode).collect::<Vec<_>>()
        );
    }
}

#[test]
fn a_call_and_its_answer() {
    let (mut client, mut server) = pair();
    let tensor = Tensor::copy_of(Dtype::F32, &[2], &[1, 2, 3, 4, 5, 6, 7, 8]).unwrap();
    let value = Value::List(vec![Value::Int(1), Value::Tensor(tensor)]);
    let arguments = Arguments::positional([value.clone()]);
    let encoded = encode_arguments(&arguments, &Limits::default()).unwrap();
    client.push(9, Request::encode_with(ArgumentsOf::Call, "echo", encoded)).unwrap();
    let frame = carry(&mut client, &mut server, 1).remove(0);
    let request = Request::decode(&frame.header, &frame.body, frame.descriptors).unwrap();
    let Request::Call { endpoint, arguments } = request else { panic!("a call, not {request:?}") };
    assert_eq!(endpoint, "echo");
    let mut arguments = shm_cuda::share::wire::decode_arguments(
        &arguments.body,
        arguments.descriptors,
        &Limits::default(),
        Access::Read,
    )
    .unwrap();
    let answer = Answer {
        value: encode_value(&arguments.positional.remove(0), &Limits::default()).unwrap(),
        lease: Some(3),
        object: None,
    };
    server.push(9, Reply::Answer(answer).encode()).unwrap();
    let frame = carry(&mut server, &mut client, 1).remove(0);
    match Reply::decode(&frame.header, &frame.body, frame.descriptors).unwrap() {
        Received::Answer { value: payload, lease: Some(3), object: None } => {
            let limits = Limits::default();
            let returned =
                decode_value(&payload.body, payload.descriptors, &limits, Access::Read).unwrap();
            assert!(same(&value, &returned));
        }
        other => panic!("expected an answer with lease 3, found {other:?}"),
    }
}

#[test]
fn large_bodies_and_full_sockets_are_carried_in_parts() {
    let (mut a, mut b) = pair();
    // So much that one read could take more of a body than is asked for at a time.
    rustix::net::sockopt::set_socket_send_buffer_size(a.socket(), 512 << 10).unwrap();
    let limits = Limits::default();
    let mut sent = Vec::new();
    for (index, len) in [3 << 20, 10, 70_000, 0, 16_384, 16_385, 200_000, 1].into_iter().enumerate()
    {
        let bytes: Vec<u8> = (0..len).map(|at| (at * 7 + index) as u8).collect();
        let own = Tensor::copy_of(Dtype::U8, &[1], &[index as u8]).unwrap();
        let value = Value::Tuple(vec![Value::Bytes(bytes), Value::Tensor(own)]);
        let value = if index % 2 == 0 { value } else { Value::List(vec![value, Value::Null]) };
        let encoded = encode_value(&value, &limits).unwrap();
        let answer = Answer { value: encoded, lease: None, object: None };
        a.push(index as u64, Reply::Answer(answer).encode()).unwrap();
        a.push(index as u64, Reply::Pong.encode()).unwrap();
        sent.push(value);
    }
    assert!(!a.flush().unwrap(), "more than a socket takes");
    let frames = carry(&mut a, &mut b, 16);
    for (pair, value) in frames.chunks(2).zip(&sent) {
        let [answer, pong] = pair else { panic!("two for each") };
        assert_eq!((pong.header.kind, pong.header.request), (kind::PONG, answer.header.request));
        let descriptors: Vec<OwnedFd> =
            answer.descriptors.iter().map(|fd| fd.try_clone().unwrap()).collect();
        let body = &answer.body[3..];
        let returned = decode_value(body, descriptors, &limits, Access::Read).unwrap();
        assert!(same(value, &returned));
    }
}

#[test]
fn every_way_to_cut_a_stream_gives_the_same_frames() {
    for cut in 1..60 {
        let (mut a, mut b) = raw(Limits::default());
        let task = bytes_of(7, &Request::Task(300).encode());
        let stream = [ping(), task, ping()].concat();
        let mut frames = Vec::new();
        for part in stream.chunks(cut) {
            a.write_all(part).unwrap();
            b.fill().unwrap();
            while let Some(frame) = b.next_frame().unwrap() {
                frames.push((frame.header.kind, frame.body));
            }
        }
        let expected =
            [(kind::PING, vec![]), (kind::TASK, vec![0x81, 0x19, 1, 44]), (kind::PING, vec![])];
        assert_eq!(frames, expected, "cut every {cut} bytes");
        assert_eq!(b.fill().unwrap(), 0);
        drop(a);
        closes(&mut b);
    }
}

#[test]
fn frames_before_the_end_can_be_taken_after_it() {
    let (mut a, mut b) = raw(Limits::default());
    a.write_all(&[ping(), ping()].concat()).unwrap();
    drop(a);
    assert_eq!(b.fill().unwrap(), 2 * HEADER_LEN);
    closes(&mut b);
    assert!(b.next_frame().unwrap().is_some());
    assert!(b.next_frame().unwrap().is_some());
    assert!(b.next_frame().unwrap().is_none());
    b.push(1, Reply::Pong.encode()).unwrap();
    assert!(matches!(b.flush(), Err(ChannelError::Closed)));
}

#[test]
fn a_reader_that_takes_nothing_is_not_given_more() {
    let (mut a, mut b) = raw(Limits::default());
    let many = ping().repeat(4000);
    a.write_all(&many).unwrap();
    let mut read = 0;
    while let Ok(more @ 1..) = b.fill() {
        read += more;
    }
    assert_eq!(read, 64 << 10);
    let mut frames = 0;
    loop {
        while b.next_frame().unwrap().is_some() {
            frames += 1;
        }
        if b.fill().unwrap() == 0 {
            break;
        }
    }
    assert_eq!(frames, 4000);
}

#[test]
fn headers_beyond_limits_are_refused_before_their_bodies_come() {
    let header =
        |kind, descriptors, body| Header { kind, descriptors, request: 1, body }.to_bytes();
    for (bytes, field) in [
        (header(kind::CALL, 0, u32::MAX), "body length"),
        (header(kind::CALL, 0, (4 << 20) + 1), "body length"),
        (header(kind::CALL, 254, 10), "descriptors"),
        (header(18, 0, 0), "kind"),
        (*b"GET / HTTP/1.1\r\nHost: x\r", "magic"),
    ] {
        let (mut a, mut b) = raw(Limits::default());
        a.write_all(&bytes).unwrap();
        assert_eq!(broken_field(&mut b), field);
        // It stays broken, whatever comes.
        a.write_all(&ping()).unwrap();
        assert_eq!(broken_field(&mut b), field);
        assert!(matches!(b.fill(), Err(ChannelError::Protocol(_))));
    }
}

#[test]
fn descriptors_that_were_not_announced_break_the_connection() {
    const NAME: &str = "frames::descriptors_that_were_not_announced_break_the_connection";
    if !alone(NAME) {
        return;
    }
    let null = std::fs::File::open("/dev/null").unwrap();
    let fds = |count: usize| vec![null.as_fd(); count];
    let call = |descriptors, body| {
        Header { kind: kind::CALL, descriptors, request: 1, body }.to_bytes().to_vec()
    };
    let before = descriptors();
    for (bytes, sent) in [
        (ping(), 1),
        (ping(), 253),
        (call(2, 0), 1),
        (call(0, 10), 1),
        (call(1, 10), 2),
        ([call(1, 0), call(1, 0)].concat(), 3),
        ([call(1, 0), call(1, 0)].concat(), 1),
    ] {
        let (a, mut b) = raw(Limits::default());
        send(&a, &bytes, &fds(sent));
        assert_eq!(broken_field(&mut b), "descriptors", "{sent} with {bytes:?}");
        assert_eq!(descriptors(), before + 2, "all that came is closed at once");
    }
    // More than one frame can announce, byte by byte.
    let (a, mut b) = raw(Limits::default());
    send(&a, &MAGIC[..1], &fds(200));
    b.fill().unwrap();
    assert!(b.next_frame().unwrap().is_none());
    send(&a, &MAGIC[1..2], &fds(200));
    assert_eq!(broken_field(&mut b), "descriptors");
    drop((a, b));
    assert_eq!(descriptors(), before);
}

#[test]
fn truncated_descriptors_break_the_connection() {
    const NAME: &str = "frames::truncated_descriptors_break_the_connection";
    if !alone(NAME) {
        return;
    }
    let null = std::fs::File::open("/dev/null").unwrap();
    let (a, mut b) = raw(Limits::default());
    let header = Header { kind: kind::CALL, descriptors: 100, request: 1, body: 0 };
    send(&a, &header.to_bytes(), &vec![null.as_fd(); 100]);
    let open = descriptors() as u64;
    let limit = rustix::process::Rlimit { current: Some(open + 20), maximum: Some(open + 20) };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).unwrap();
    match fails(&mut b) {
        ChannelError::Protocol(error) => assert_eq!(error.expected, "all that were sent"),
        other => panic!("expected a protocol error, found {other:?}"),
    }
    assert_eq!(descriptors() as u64, open, "those that did come are closed");
}

#[test]
fn three_hundred_descriptors_across_frames() {
    const NAME: &str = "frames::three_hundred_descriptors_across_frames";
    if !alone(NAME) {
        return;
    }
    let before = descriptors();
    let (mut a, mut b) = pair();
    let (small, large) = (storage(&[1; 10]), storage(&[2; 10]));
    let message = |storages: usize| -> Message {
        let tensors = (0..storages).map(|index| {
            let own = if index == 0 { small.clone() } else { storage(&[index as u8]) };
            Value::Tensor(Tensor::contiguous(own, Dtype::U8, &[1], 0).unwrap())
        });
        let value = Value::List(tensors.collect());
        let value = encode_value(&value, &open_limits()).unwrap();
        Reply::Answer(Answer { value, lease: None, object: None }).encode()
    };
    for (request, storages) in [(1, 150), (2, 0), (3, 100), (4, 50)] {
        a.push(request, message(storages)).unwrap();
    }
    let frames = carry(&mut a, &mut b, 4);
    let counts: Vec<_> = frames.iter().map(|frame| frame.descriptors.len()).collect();
    assert_eq!(counts, [150, 0, 100, 50]);
    for frame in frames {
        let close_on_exec =
            |fd: &OwnedFd| rustix::io::fcntl_getfd(fd).unwrap() == rustix::io::FdFlags::CLOEXEC;
        assert!(frame.descriptors.iter().all(close_on_exec));
        let body = &frame.body[3..];
        decode_value(body, frame.descriptors, &Limits::default(), Access::Read).unwrap();
    }
    // Frames that are never written, and ones that are never taken.
    a.push(5, message(20)).unwrap();
    a.flush().unwrap();
    b.fill().unwrap();
    a.push(6, message(20)).unwrap();
    drop((a, b, small, large));
    assert_eq!(descriptors(), before);
}

#[test]
fn pipelined_requests_share_system_calls() {
    let (mut a, mut b) = pair();
    for request in 1..=1000 {
        a.push(request, Request::Ping.encode()).unwrap();
    }
    assert!(a.flush().unwrap());
    assert_eq!(b.fill().unwrap(), 1000 * HEADER_LEN, "one read takes them all");
    for request in 1..=1000 {
        assert_eq!(b.next_frame().unwrap().unwrap().header.request, request);
    }
}

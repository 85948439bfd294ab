//! Every message survives the way, and what is not one is refused.

use super::meaning::frame;
use super::samples;
use super::trees::{descriptors_of, open_limits};
use shm_cuda::share::wire::{
    DecodeError, HEADER_LEN, Header, MAGIC, Message, Received, Reply, Request, decode_value, kind,
};
use shm_cuda::share::{Access, Failure, FailureKind, Limits, TaskState, Tensor, Value};
use std::os::fd::OwnedFd;

/// Header and body as they would be received.
pub fn bytes_of(request: u64, message: &Message) -> Vec<u8> {
    let header = Header {
        kind: message.kind,
        descriptors: message.descriptors().try_into().unwrap(),
        request,
        body: message.body_len().try_into().unwrap(),
    };
    let value = message.value.iter().flat_map(|value| value.body.iter());
    header.to_bytes().iter().chain(&message.body).chain(value).copied().collect()
}

fn header(kind: u16) -> Header {
    Header { kind, descriptors: 0, request: 1, body: 0 }
}

#[test]
fn every_kind_has_a_sample() {
    let samples = samples::all();
    for &(kind, name) in kind::REQUESTS.iter().chain(kind::REPLIES) {
        assert!(samples.iter().any(|sample| sample.message.kind == kind), "{name}");
    }
    assert_eq!((kind::REQUESTS.len(), kind::REPLIES.len()), (17, 13));
}

#[test]
fn decoded_messages_encode_to_the_same_bytes() {
    for sample in samples::all() {
        let bytes = bytes_of(sample.request, &sample.message);
        let (header, body) = bytes.split_first_chunk::<HEADER_LEN>().unwrap();
        let header = Header::parse(header, &Limits::default()).unwrap();
        let again = if header.kind & 0x8000 == 0 {
            Request::decode(&header, body, Vec::new()).unwrap().encode()
        } else {
            match Reply::decode(&header, body, Vec::new()).unwrap() {
                Received::Reply(reply) => reply.encode(),
                Received::Answer { value, lease, object } => {
                    let sent = sample.message.value.as_ref().unwrap();
                    assert_eq!(value.body, *sent.body, "{}", sample.name);
                    let decoded = decode_value(
                        &value.body,
                        descriptors_of(sent),
                        &open_limits(),
                        Access::Read,
                    );
                    let value =
                        shm_cuda::share::wire::encode_value(&decoded.unwrap(), &open_limits())
                            .unwrap();
                    Reply::Answer(shm_cuda::share::wire::Answer { value, lease, object }).encode()
                }
            }
        };
        let mut again = bytes_of(sample.request, &again);
        // Received arguments hold no storages, so only they lack the count of their descriptors.
        again[6..8].copy_from_slice(&bytes[6..8]);
        assert_eq!(again, bytes, "{}: {}", sample.name, frame(&bytes));
    }
}

#[test]
fn bodies_that_are_cut_off_or_too_long_are_refused() {
    for sample in samples::all() {
        let bytes = bytes_of(sample.request, &sample.message);
        let body = &bytes[HEADER_LEN..];
        let own = sample.message.body.len();
        let decode = |body: &[u8]| -> Result<(), DecodeError> {
            let header = header(sample.message.kind);
            if header.kind & 0x8000 == 0 {
                Request::decode(&header, body, Vec::new()).map(drop)
            } else {
                Reply::decode(&header, body, Vec::new()).map(drop)
            }
        };
        for len in 0..own {
            assert!(decode(&body[..len]).is_err(), "{} of {len} bytes", sample.name);
        }
        if sample.message.value.is_none() {
            let longer = [body, &[0xf6]].concat();
            let error = decode(&longer).unwrap_err();
            assert_eq!(error.expected, "the end", "{}", sample.name);
        }
    }
}

#[test]
fn descriptors_come_only_with_values() {
    let descriptor = || vec![OwnedFd::from(std::fs::File::open("/dev/null").unwrap())];
    for sample in samples::all() {
        let header = header(sample.message.kind);
        let body = sample.message.body.clone();
        let refused = match header.kind & 0x8000 {
            0 => Request::decode(&header, &body, descriptor()).err(),
            _ => Reply::decode(&header, &body, descriptor()).err(),
        };
        let field = refused.map(|error| error.field);
        let expected = (!kind::carries_value(header.kind)).then_some("descriptors");
        assert_eq!(field, expected, "{}", sample.name);
    }
}

#[test]
fn requests_and_replies_are_not_mistaken_for_each_other() {
    let error = Request::decode(&header(kind::PONG), &[], Vec::new()).unwrap_err();
    assert_eq!(error.to_string(), "kind: expected a request, found Pong");
    let error = Reply::decode(&header(kind::PING), &[], Vec::new()).unwrap_err();
    assert_eq!(error.to_string(), "kind: expected a reply, found Ping");
}

#[test]
fn headers_are_checked_field_by_field() {
    let good = Header { kind: kind::CALL, descriptors: 253, request: 77, body: 1000 };
    let limits = Limits { body: 1000, ..Limits::default() };
    assert_eq!(Header::parse(&good.to_bytes(), &limits).unwrap(), good);
    let changed = |at: usize, byte: u8| {
        let mut bytes = good.to_bytes();
        bytes[at] = byte;
        Header::parse(&bytes, &limits).map_err(|error| error.field)
    };
    assert_eq!(&good.to_bytes()[..4], &MAGIC);
    for at in 0..4 {
        assert_eq!(changed(at, 0), Err("magic"));
    }
    assert_eq!(changed(4, 0), Err("kind"));
    assert_eq!(changed(4, 18), Err("kind"));
    assert_eq!(changed(5, 0x40), Err("kind"));
    assert_eq!(changed(6, 254), Err("descriptors"));
    assert_eq!(changed(7, 1), Err("descriptors"));
    assert_eq!(changed(16, 0xff), Err("body length"));
    for at in 20..24 {
        assert_eq!(changed(at, 1), Err("header"));
    }
    let few = Limits { descriptors: 3, ..limits };
    assert_eq!(Header::parse(&good.to_bytes(), &few).unwrap_err().field, "descriptors");
}

#[test]
fn information_is_plain_or_a_failure() {
    let tensor = Tensor::copy_of(shm_core::Dtype::U8, &[1], &[1]).unwrap();
    let message = Reply::Info(Value::Tensor(tensor)).encode();
    let header = header(message.kind);
    match Reply::decode(&header, &message.body, Vec::new()).unwrap() {
        Received::Reply(Reply::Failed(failure)) => assert_eq!(failure.kind, FailureKind::Value),
        other => panic!("expected a failure, found {other:?}"),
    }
}

#[test]
fn a_detail_of_a_failure_is_sent_once() {
    let failure = Failure::new(FailureKind::Busy, "m").with("a", 1).with("b", 2).with("a", 3);
    let message = Reply::Failed(failure.clone()).encode();
    match Reply::decode(&header(message.kind), &message.body, Vec::new()).unwrap() {
        Received::Reply(Reply::Failed(found)) => {
            assert_eq!(found.detail("a"), failure.detail("a"));
            assert_eq!(found.details.len(), 2);
        }
        other => panic!("expected a failure, found {other:?}"),
    }
}

#[test]
fn numbers_without_a_meaning_are_refused() {
    assert_eq!(TaskState::ALL.map(TaskState::code), [0, 1, 2, 3, 4]);
    let tasks = Request::decode(&header(kind::TASKS), &[0x81, 5], Vec::new()).unwrap_err();
    assert_eq!(tasks.to_string(), "state: expected 0 to 4, found 5");
    let failed = [&[0x84, 13][..], &[0x60, 0x60, 0xa0]].concat();
    let failed = Reply::decode(&header(kind::FAILED), &failed, Vec::new()).unwrap_err();
    assert_eq!(failed.to_string(), "failure code: expected 1 to 12, found 13");
    // `[id, endpoint, state, created, ...]` with a time of 4 bytes.
    let task = [0x88, 1, 0x60, 0, 0xfa, 0x3f, 0x80, 0, 0, 0xf6, 0xf6, 0xf6, 0xf6];
    let task = Reply::decode(&header(kind::TASK_STATE), &task, Vec::new()).unwrap_err();
    assert_eq!(task.to_string(), "task created: expected a float of 8 bytes, found f32");
    let negative = Request::decode(&header(kind::TASK), &[0x81, 0x20], Vec::new()).unwrap_err();
    assert_eq!(negative.to_string(), "task: expected an integer of u64, found -1");
}

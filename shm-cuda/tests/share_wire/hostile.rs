//! Bytes from a peer that means harm: an error each time, never a panic, never much memory.

use super::alone::{alone, descriptors};
use super::messages::bytes_of;
use super::samples;
use super::trees::{descriptors_of, open_limits, random_value, storage};
use fastrand::Rng;
use shm_core::Dtype;
use shm_cuda::share::wire::{
    Channel, DecodeError, EncodedValue, HEADER_LEN, Header, Reply, Request, decode_arguments,
    decode_value, encode_value, kind,
};
use shm_cuda::share::{Access, Limits, Tensor, Value};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

fn decode(body: &[u8], descriptors: Vec<OwnedFd>) -> Result<Value, DecodeError> {
    decode_value(body, descriptors, &open_limits(), Access::Read)
}

fn sample_value() -> EncodedValue {
    let memory = storage(&[1; 64]);
    let mut rng = Rng::with_seed(11);
    let tensor = Tensor::contiguous(memory.clone(), Dtype::F32, &[2, 2], 4).unwrap();
    let mut items: Vec<_> =
        (0..6).map(|_| random_value(&mut rng, std::slice::from_ref(&memory), 3)).collect();
    items.push(Value::Tensor(tensor));
    encode_value(&Value::List(items), &open_limits()).unwrap()
}

#[test]
fn values_that_are_cut_off_are_refused() {
    let encoded = sample_value();
    for len in 0..encoded.body.len() {
        assert!(decode(&encoded.body[..len], descriptors_of(&encoded)).is_err(), "{len} bytes");
    }
    let longer = [&encoded.body[..], &[0]].concat();
    assert_eq!(decode(&longer, descriptors_of(&encoded)).unwrap_err().expected, "the end");
}

#[test]
fn random_and_mutated_bytes_never_panic_and_keep_no_descriptor() {
    const NAME: &str = "hostile::random_and_mutated_bytes_never_panic_and_keep_no_descriptor";
    if !alone(NAME) {
        return;
    }
    let encoded = sample_value();
    let frames: Vec<_> =
        samples::all().iter().map(|sample| bytes_of(sample.request, &sample.message)).collect();
    let before = descriptors();
    let mut rng = Rng::with_seed(5);
    let (mut fine, mut refused) = (0, 0);
    let mut count = |fails: bool| if fails { refused += 1 } else { fine += 1 };
    for _ in 0..20_000 {
        let bytes: Vec<u8> = (0..rng.usize(..60)).map(|_| rng.u8(..)).collect();
        count(decode(&bytes, Vec::new()).is_err());
        let limits = Limits::default();
        count(decode_arguments(&bytes, Vec::new(), &limits, Access::Read).is_err());
        let (kind, _) = *rng.choice(&[kind::REQUESTS, kind::REPLIES].concat()).unwrap();
        let header = Header { kind, descriptors: 0, request: 1, body: bytes.len() as u32 };
        count(Request::decode(&header, &bytes, Vec::new()).is_err());
        count(Reply::decode(&header, &bytes, Vec::new()).is_err());
    }
    for _ in 0..20_000 {
        let mut bytes = encoded.body.to_vec();
        for _ in 0..rng.usize(1..4) {
            let at = rng.usize(..bytes.len());
            bytes[at] = rng.u8(..);
        }
        count(decode(&bytes, descriptors_of(&encoded)).is_err());
    }
    for _ in 0..5_000 {
        let mut bytes = rng.choice(&frames).unwrap().clone();
        let at = rng.usize(..bytes.len());
        bytes[at] = rng.u8(..);
        count(receive(&bytes).is_err());
    }
    assert!(fine > 1000 && refused > 1000, "{fine} went through, {refused} did not");
    assert_eq!(descriptors(), before);
}

/// What a channel and the decoders make of bytes without descriptors.
fn receive(bytes: &[u8]) -> Result<(), Box<dyn std::error::Error>> {
    let (mut a, b) = UnixStream::pair()?;
    a.write_all(bytes)?;
    drop(a);
    let mut channel = Channel::new(b, Limits::default())?;
    loop {
        while let Some(frame) = channel.next_frame()? {
            match frame.header.kind & 0x8000 {
                0 => Request::decode(&frame.header, &frame.body, frame.descriptors).map(drop)?,
                _ => Reply::decode(&frame.header, &frame.body, frame.descriptors).map(drop)?,
            }
        }
        channel.fill()?;
    }
}

#[test]
fn announced_sizes_take_no_memory() {
    const NAME: &str = "hostile::announced_sizes_take_no_memory";
    if !alone(NAME) {
        return;
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmSize:")).unwrap();
    let now: u64 = line.trim().strip_suffix(" kB").unwrap().parse().unwrap();
    let most = Some((now << 10) + (24 << 20));
    let limit = rustix::process::Rlimit { current: most, maximum: most };
    rustix::process::setrlimit(rustix::process::Resource::As, limit).unwrap();
    // Beyond the limit an allocation ends the process, and with it the test.
    let long = |head: u8, len: u64| [&[0x82, 0x80, head][..], &len.to_be_bytes()].concat();
    let mut refused = 0;
    for (head, expected) in [
        (0x9b, "at most 0 items in what is left"),
        (0xbb, "at most 0 items in what is left"),
        (0x5b, "bytes of definite length"),
        (0x7b, "text of definite length in UTF-8"),
    ] {
        for len in [1, 1 << 20, 1 << 32, u64::MAX] {
            assert_eq!(decode(&long(head, len), Vec::new()).unwrap_err().expected, expected);
            refused += 1;
        }
    }
    for prefix in [
        &[0x82, 0x9b][..],                     // storages
        &[0x82, 0x80, 0xd9, 0x9c, 0x40, 0x9b], // a tuple
        &[0x81, 0x9b],                         // leases
    ] {
        let bytes = [prefix, &(1_u64 << 40).to_be_bytes()].concat();
        assert!(decode(&bytes, Vec::new()).is_err());
        let header = Header { kind: kind::RELEASE, descriptors: 0, request: 1, body: 0 };
        assert!(Request::decode(&header, &bytes, Vec::new()).is_err());
        refused += 1;
    }
    // Every level announces as many as the bytes behind it: no level may believe it.
    let body = 1_u32 << 20;
    let mut nested = vec![0x82, 0x80];
    for _ in 0..60 {
        nested.push(0x9a);
        nested.extend_from_slice(&(body / 8).to_be_bytes());
    }
    nested.resize(body as usize, 0xff);
    assert!(decode(&nested, Vec::new()).is_err());
    // Headers that announce 4 MiB each, and send nothing.
    let header = Header { kind: kind::CALL, descriptors: 0, request: 1, body: 4 << 20 }.to_bytes();
    let channels: Vec<_> = (0..40)
        .map(|_| {
            let (mut a, b) = UnixStream::pair().unwrap();
            a.write_all(&header).unwrap();
            let mut channel = Channel::new(b, Limits::default()).unwrap();
            channel.fill().unwrap();
            assert!(channel.next_frame().unwrap().is_none());
            assert_eq!(channel.fill().unwrap(), 0);
            (a, channel)
        })
        .collect();
    assert_eq!((channels.len(), refused), (40, 19));
}

#[test]
fn nesting_and_nodes_are_bounded() {
    let nested = |levels: usize| [&[0x82, 0x80][..], &vec![0x81; levels], &[0xf6]].concat();
    assert!(decode(&nested(63), Vec::new()).is_ok());
    let error = decode(&nested(64), Vec::new()).unwrap_err();
    assert_eq!(error.to_string(), "value: expected at most 64 levels, found more");
    // No limit of the caller's lets a peer exhaust the stack.
    let deep = Limits { depth: usize::MAX, ..Limits::default() };
    assert!(decode_value(&nested(200), Vec::new(), &deep, Access::Read).is_ok());
    assert!(decode_value(&nested(1 << 20), Vec::new(), &deep, Access::Read).is_err());
    let few = Limits { nodes: 10, ..Limits::default() };
    let wide = |count: u8| [&[0x82, 0x80, 0x80 | count][..], &vec![0xf6; count.into()]].concat();
    assert!(decode_value(&wide(9), Vec::new(), &few, Access::Read).is_ok());
    assert!(decode_value(&wide(10), Vec::new(), &few, Access::Read).is_err());
}

/// The bytes of `[storages, tree]` from its parts, and how they are refused.
fn refusal(parts: &[&[u8]], descriptors: Vec<OwnedFd>) -> String {
    decode_value(&parts.concat(), descriptors, &Limits::default(), Access::Read)
        .unwrap_err()
        .to_string()
}

#[test]
fn items_outside_of_the_profile_are_refused() {
    for (tree, found) in [
        (&[0x9f, 0xff][..], "indefinite array"),
        (&[0xbf, 0xff], "indefinite map"),
        (&[0x7f, 0xff], "indefinite string"),
        (&[0x5f, 0xff], "indefinite bytes"),
        (&[0xf9, 0x3c, 0x00], "f16"),
        (&[0xfa, 0x3f, 0x80, 0, 0], "f32"),
        (&[0xf7], "undefined"),
        (&[0xf8, 0xff], "simple"),
        (&[0xff], "break"),
        (&[0xc0, 0x60], "0"),
        (&[0xd9, 0x9c, 0x44, 0x80], "40004"),
        (&[0xa1, 0x01, 0x02], "u8"),
        (&[0xa2, 0x61, b'a', 1, 0x61, b'a', 2], "\"a\" twice"),
        (&[0x61, 0xff], "string"),
        (&[0xd9, 0x9c, 0x43, 0x82, 0x60, 0x40], "opaque bytes"),
        (&[0xd9, 0x9c, 0x42, 0x83, 0x60, 0xf6, 0xa1, 0x60, 0xd9, 0x9c, 0x40, 0x80], "40000"),
    ] {
        let text = refusal(&[&[0x82, 0x80], tree], Vec::new());
        assert!(text.ends_with(&format!("found {found}")), "{tree:02x?}: {text}");
    }
}

#[test]
fn storages_and_tensors_must_fit_each_other() {
    let fds = |count: usize| -> Vec<OwnedFd> {
        let memory = storage(&[0; 16]);
        let value = Value::Tensor(Tensor::contiguous(memory, Dtype::U8, &[1], 0).unwrap());
        let encoded = encode_value(&value, &Limits::default()).unwrap();
        (0..count).flat_map(|_| descriptors_of(&encoded)).collect()
    };
    let text = |text: &str| [&[0x60 | text.len() as u8], text.as_bytes()].concat();
    // `[index, "uint8", [2], [stride], offset]`
    let tensor = |index: u8, stride: u8, offset: u8| {
        [&[0xd9, 0x9c, 0x41, 0x85, index][..], &text("uint8"), &[0x81, 2, 0x81, stride, offset]]
            .concat()
    };
    let host = |len: u8| vec![0x81, 0x82, 0, len];
    let good = [&[0x82][..], &host(16), &tensor(0, 1, 14)].concat();
    assert!(decode_value(&good, fds(1), &Limits::default(), Access::Read).is_ok());
    for (table, tree, count, expected) in [
        (host(16), tensor(0, 1, 15), 1, "tensor strides: "),
        (host(16), tensor(0, 0x20, 0), 1, "tensor strides: "),
        (host(16), tensor(0, 1, 17), 1, "tensor offset: "),
        (host(16), tensor(1, 1, 0), 1, "tensor storage: expected one of 1 storages, found 1"),
        (host(17), tensor(0, 1, 0), 1, "storage: expected memory to map, found size of a received"),
        (host(16), tensor(0, 1, 0), 0, "descriptors: expected one for each storage"),
        (host(16), tensor(0, 1, 0), 2, "descriptors: expected none left over, found 1 more"),
        (host(16), vec![0xf6], 1, "storages: expected a tensor in each, found none in storage 0"),
        (
            vec![0x82, 0x82, 0, 16, 0x82, 0, 16],
            tensor(1, 1, 0),
            2,
            "storages: expected a tensor in each, found none in storage 0",
        ),
        (vec![0x80], vec![0xf6], 1, "descriptors: expected none left over, found 1 more"),
        (vec![0x81, 0x82, 4, 1], vec![0xf6], 1, "storage kind: expected 0, 1, 2 or 3, found 4"),
        (vec![0x81, 0x82, 3, 1], vec![0xf6], 1, "storage: expected 5 items, found 2"),
        (vec![0x81, 0x85, 3, 0x41, 0, 1, 0, 1], vec![0xf6], 1, "storage device: expected 16 bytes"),
        (vec![0x81, 0x83, 0, 1, 1], vec![0xf6], 1, "storage: expected 2 items, found 3"),
        (vec![0x81, 0x82, 2, 0x41, 0], vec![0xf6], 0, "storage descriptor: expected a legacy"),
        (vec![0x81, 0x83, 1, 0x41, 0, 1], vec![0xf6], 1, "storage device: expected 16 bytes"),
        (vec![0x81, 0x82, 0, 0x20], vec![0xf6], 1, "storage length: "),
    ] {
        let found = refusal(&[&[0x82], &table, &tree], fds(count));
        assert!(found.starts_with(expected), "{found}, not {expected}");
    }
    let tight = Limits { storage: 15, ..Limits::default() };
    let error = decode_value(&good, fds(1), &tight, Access::Read).unwrap_err();
    assert_eq!(error.to_string(), "storages: expected at most 15 bytes in all, found 16");
    let unsized_shape = [&[0xd9, 0x9c, 0x41, 0x85, 0][..], &text("uint8"), &[0x98, 33], &[0; 40]];
    let found = refusal(&[&[0x82], &host(16), &unsized_shape.concat()], fds(1));
    assert_eq!(found, "tensor shape: expected at most 32 dimensions, found 33");
    let unknown = [&[0xd9, 0x9c, 0x41, 0x85, 0][..], &text("float8"), &[0x80, 0x80, 0]].concat();
    let found = refusal(&[&[0x82], &host(16), &unknown], fds(1));
    assert!(found.starts_with("tensor dtype: "), "{found}");
}

#[test]
fn bytes_behind_a_header_are_not_believed() {
    assert_eq!(HEADER_LEN, 24);
    for len in 0..200 {
        let mut rng = Rng::with_seed(len);
        let bytes: Vec<u8> = (0..len).map(|_| rng.u8(..)).collect();
        assert!(receive(&bytes).is_err());
        assert!(receive(&[b"SHR1".to_vec(), bytes].concat()).is_err());
    }
}

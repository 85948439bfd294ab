//! The golden vectors of the specification, against the code in both directions.

use super::meaning::{frame, hex, unhex};
use super::messages::bytes_of;
use super::samples;
use serde_json::{Value as Json, json};
use shm_cuda::share::wire::{Header, kind};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/share-vectors.json");

struct Vector {
    name: &'static str,
    description: &'static str,
    bytes: Vec<u8>,
}

fn vectors() -> Vec<Vector> {
    let samples = samples::all().into_iter().map(|sample| Vector {
        name: sample.name,
        description: sample.description,
        bytes: bytes_of(sample.request, &sample.message),
    });
    samples.chain(device()).collect()
}

/// Answers that lie on a device, item by item: no device is needed to read them.
fn device() -> [Vector; 2] {
    let tensor = [
        &[0xd9, 0x9c, 0x41, 0x85, 0x00, 0x67][..],
        b"float16",
        &[0x82, 0x02, 0x03, 0x82, 0x03, 0x01, 0x00],
    ]
    .concat();
    let answer = |descriptors, storage: &[u8]| {
        let body = [&[0x82, 0x18, 0x4d, 0xf6, 0x82, 0x81][..], storage, &tensor].concat();
        let len = body.len().try_into().unwrap();
        let header = Header { kind: kind::ANSWER, descriptors, request: 5, body: len };
        [&header.to_bytes()[..], &body].concat()
    };
    let vmm = [&[0x83, 0x01, 0x50][..], &[0xd0; 16], &[0x19, 0x10, 0x00]].concat();
    let legacy = [&[0x82, 0x02, 0x59, 0x01, 0x00][..], &[0x1e; 256]].concat();
    [
        Vector {
            name: "answer-vmm",
            description: "device memory that travels as a descriptor",
            bytes: answer(1, &vmm),
        },
        Vector {
            name: "answer-legacy",
            description: "device memory by a handle of its driver, which is not a real one here",
            bytes: answer(0, &legacy),
        },
    ]
}

fn as_json(vector: &Vector) -> Json {
    json!({
        "name": vector.name,
        "description": vector.description,
        "frame": hex(&vector.bytes),
        "descriptors": u16::from_le_bytes([vector.bytes[6], vector.bytes[7]]),
        "meaning": frame(&vector.bytes),
    })
}

fn written() -> Vec<Json> {
    serde_json::from_str(&std::fs::read_to_string(PATH).unwrap()).unwrap()
}

#[test]
fn the_code_writes_the_golden_bytes() {
    let written = written();
    let vectors = vectors();
    assert_eq!(written.len(), vectors.len());
    for (golden, vector) in written.iter().zip(&vectors) {
        assert_eq!(golden["name"], vector.name);
        assert_eq!(golden["frame"], hex(&vector.bytes), "{}", vector.name);
        assert_eq!(golden["description"], vector.description);
    }
}

#[test]
fn the_golden_bytes_mean_what_is_written() {
    for golden in written() {
        let bytes = unhex(golden["frame"].as_str().unwrap());
        assert_eq!(frame(&bytes), golden["meaning"], "{}", golden["name"]);
        assert_eq!(golden["descriptors"], u16::from_le_bytes([bytes[6], bytes[7]]));
    }
}

/// For a new version of the protocol: the vectors of a version that was released never change.
#[test]
#[ignore = "writes the vectors"]
fn write_the_golden_vectors() {
    let lines: Vec<_> = vectors().iter().map(|vector| format!("  {}", as_json(vector))).collect();
    std::fs::write(PATH, format!("[\n{}\n]\n", lines.join(",\n"))).unwrap();
}

//! Words that a stream stores and waits for.

use crate::loaded::{Driver, load, simulated};
use crate::peer::Peer;
use crate::rooms::Room;
use crate::status::*;

const EQUAL: u32 = 1;
const AND: u32 = 2;
const NOR: u32 = 3;

/// The driver, if its device has these operations.
fn able() -> Option<&'static Driver> {
    let driver = load()?;
    driver.ready();
    // CAN_USE_STREAM_MEM_OPS of the second generation is always there where 64 bits are: 122.
    if driver.device_attribute(122, 0) != Ok(1) {
        println!("SKIPPED: this device has no stream memory operations");
        return None;
    }
    Some(driver)
}

fn registered(driver: &Driver) -> Room {
    let room = Room::new(4096);
    driver.host_register(room.at(), room.len(), 0).expect("register");
    room
}

#[test]
fn words_are_stored_in_stream_order() {
    let Some(driver) = able() else { return };
    let stream = driver.stream(1).expect("stream");
    let room = registered(driver);
    let target = driver.host_device_pointer(room.at(), 0).expect("device pointer");
    let data = Room::new(1 << 16);
    driver.host_register(data.at(), data.len(), 0).expect("register");
    let address = driver.allocate(1 << 16).expect("allocate");
    for round in 1..=20u8 {
        driver.set_d8_async(address, round, 1 << 16, stream).expect("set");
        driver.to_host_async_at(data.at(), address, 1 << 16, stream).expect("copy");
        driver.write64(stream, target + 8, u64::from(round) << 32 | 5, 0).expect("write");
        // No call of the driver's: the word alone says that the data are there.
        while room.word(8) != u64::from(round) << 32 | 5 {
            std::thread::yield_now();
        }
        assert_eq!(data.uniform(1 << 16), Ok(round));
    }
    driver.write32(stream, target + 12, 0xAABB_CCDD, 0).expect("write");
    driver.stream_synchronize(stream).expect("synchronise");
    assert_eq!(room.word(8), 0xAABB_CCDD_0000_0005, "four bytes only");
    driver.host_unregister(room.at()).expect("unregister");
    driver.host_unregister(data.at()).expect("unregister");
    driver.free(address).expect("free");
    driver.stream_destroy(stream).expect("destroy");
}

/// Whether a stream has work left after it had time to go wrong.
fn still_waits(driver: &Driver, stream: usize) -> bool {
    std::thread::sleep(std::time::Duration::from_millis(5));
    driver.stream_query(stream) == Err(NOT_READY)
}

#[test]
fn a_stream_waits_for_a_word() {
    let Some(driver) = able() else { return };
    let (waiting, writing) = (driver.stream(1).unwrap(), driver.stream(1).unwrap());
    let word = driver.allocate(256).expect("allocate");
    // What is waited for, what does not do, and what does.
    let cases: [(u32, u64, u64, u64); 6] = [
        (0, 10, 9, 10),
        (0, 10, 9, 11),
        (EQUAL, 10, 11, 10),
        (AND, 0b0110, 0b1001, 0b0010),
        (NOR, 0b01, u64::MAX, u64::MAX - 3),
        (0, 5, u64::MAX, 6),
    ];
    for (condition, value, no, yes) in cases {
        driver.write64(writing, word, no, 0).expect("write");
        driver.stream_synchronize(writing).expect("synchronise");
        driver.wait64(waiting, word, value, condition).expect("wait");
        assert!(still_waits(driver, waiting), "{condition} {value} {no}");
        driver.write64(writing, word, yes, 0).expect("write");
        driver.stream_synchronize(waiting).expect("it goes on");
    }
    driver.write32(writing, word, u32::MAX, 0).expect("write");
    driver.stream_synchronize(writing).expect("synchronise");
    driver.wait32(waiting, word, 3, 0).expect("wait");
    assert!(still_waits(driver, waiting), "cyclic: -1 is before 3");
    driver.write32(writing, word, 4, 0).expect("write");
    driver.stream_synchronize(waiting).expect("it goes on");
    driver.free(word).expect("free");
    for stream in [waiting, writing] {
        driver.stream_destroy(stream).expect("destroy");
    }
}

#[test]
fn a_batch_is_done_in_its_order() {
    let Some(driver) = able() else { return };
    let (first, second) = (driver.stream(1).unwrap(), driver.stream(1).unwrap());
    let room = registered(driver);
    let at = driver.host_device_pointer(room.at(), 0).expect("device pointer");
    let (wait64, write32, write64) = (4, 2, 5);
    let batch = [
        [write32, at, 1, 0, 0, 0],
        [wait64, at + 8, 7, u64::from(EQUAL), 0, 0],
        [write64, at + 16, 2, 0, 0, 0],
        [write64, at + 24, 3, 0, 0, 0],
    ];
    driver.batch(first, &batch).expect("batch");
    while room.word(0) != 1 {
        std::thread::yield_now();
    }
    assert_eq!((room.word(16), room.word(24)), (0, 0), "it waits before the others");
    driver.write64(second, at + 8, 7, 0).expect("write");
    driver.stream_synchronize(first).expect("synchronise");
    assert_eq!((room.word(16), room.word(24)), (2, 3));
    assert_eq!(driver.batch(first, &[[99, at, 0, 0, 0, 0]]), Err(INVALID_VALUE));
    driver.stream_synchronize(second).expect("synchronise");
    driver.host_unregister(room.at()).expect("unregister");
    for stream in [first, second] {
        driver.stream_destroy(stream).expect("destroy");
    }
}

#[test]
fn bad_words_are_refused() {
    let Some(driver) = able() else { return };
    let stream = driver.stream(1).expect("stream");
    let room = Room::new(4096);
    let address = driver.allocate(256).expect("allocate");
    let unregistered = room.at() as u64;
    assert_eq!(driver.write64(stream, unregistered, 1, 0), Err(INVALID_VALUE));
    assert_eq!(driver.wait32(stream, unregistered, 1, 0), Err(INVALID_VALUE));
    assert_eq!(driver.write64(stream, address + 4, 1, 0), Err(INVALID_VALUE), "not aligned");
    assert_eq!(driver.write32(stream, address + 2, 1, 0), Err(INVALID_VALUE), "not aligned");
    driver.free(address).expect("free");
    driver.stream_destroy(stream).expect("destroy");
}

#[test]
fn a_device_without_them_says_so() {
    if simulated().is_some() {
        Peer::alone("memops::absent", &[("SHM_CUDA_SIM_NO_MEMOPS", "1")]);
    }
}

pub fn absent() {
    let driver = load().expect("a driver");
    driver.ready();
    for attribute in [92, 93, 94, 122, 123] {
        assert_eq!(driver.device_attribute(attribute, 0), Ok(0));
    }
    let (stream, address) = (driver.stream(0).unwrap(), driver.allocate(64).unwrap());
    assert_eq!(driver.write64(stream, address, 1, 0), Err(NOT_SUPPORTED));
    assert_eq!(driver.wait32(stream, address, 1, 0), Err(NOT_SUPPORTED));
    assert_eq!(driver.batch(stream, &[[2, address, 1, 0, 0, 0]]), Err(NOT_SUPPORTED));
}

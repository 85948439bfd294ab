//! Copies and fills.

use crate::loaded::load;
use crate::rooms::Room;
use crate::status::*;

#[test]
fn bytes_go_there_and_back() {
    let Some(driver) = load() else { return };
    driver.ready();
    let (first, second) = (driver.allocate(5000).unwrap(), driver.allocate(5000).unwrap());
    driver.to_device(first, &Room::filled(5000, 0x5A), 5000).expect("to the device");
    driver.within_device(second, first, 5000).expect("within the device");
    assert_eq!(driver.uniform(second, 5000), Ok(0x5A));
    driver.set_d8(second + 10, 1, 20).expect("set");
    let read = driver.read(second, 5000);
    assert_eq!((read[9], &read[10..30], read[30]), (0x5A, &[1; 20][..], 0x5A));
    driver.set_d32(second, 0x0403_0201, 1250).expect("set words");
    assert_eq!(driver.read(second, 5000), [1, 2, 3, 4].repeat(1250));
    let room = Room::filled(5000, 3);
    driver.unified(first, room.at() as u64, 5000).expect("from the host");
    driver.unified(second, first, 5000).expect("on the device");
    driver.unified(room.at() as u64, second, 5000).expect("to the host");
    assert_eq!(room.uniform(5000), Ok(3));
    assert!([first, second].into_iter().all(|address| driver.free(address) == Ok(())));
}

#[test]
fn copies_of_any_size_are_exact() {
    let Some(driver) = load() else { return };
    driver.ready();
    let stream = driver.stream(1).expect("stream");
    for bytes in [1usize, 2, 3, 7, 63, 4096, 4097, 1 << 20] {
        let address = driver.allocate(bytes + 2).expect("allocate");
        driver.set_d8_async(address, 1, bytes + 2, stream).expect("set");
        let room = Room::filled(bytes, 2);
        driver.to_device_async_at(address + 1, room.at(), bytes, stream).expect("copy");
        driver.stream_synchronize(stream).expect("synchronise");
        let read = driver.read(address, bytes + 2);
        assert_eq!((read[0], read[bytes + 1]), (1, 1), "{bytes}");
        assert!(read[1..=bytes].iter().all(|byte| *byte == 2), "{bytes}");
        driver.free(address).expect("free");
    }
    driver.stream_destroy(stream).expect("destroy");
}

#[test]
fn ranges_are_checked() {
    let Some(driver) = load() else { return };
    driver.ready();
    let room = Room::new(1 << 16);
    let stream = driver.stream(1).expect("stream");
    assert_eq!(driver.to_device(0, &room, 16), Err(INVALID_VALUE));
    assert_eq!(driver.to_host(&room, 0x1000, 16), Err(INVALID_VALUE));
    assert_eq!(driver.to_host_at(0, 0x1000, 16), Err(INVALID_VALUE));
    assert_eq!(driver.to_device_async_at(0x1000, room.at(), 16, stream), Err(INVALID_VALUE));
    assert_eq!(driver.set_d8(0x1000, 0, 16), Err(INVALID_VALUE));
    let address = driver.allocate(4096).expect("allocate");
    let (base, bytes) = driver.address_range(address).expect("range");
    let end = base + bytes as u64;
    assert_eq!(driver.set_d32(address + 2, 0, 1), Err(INVALID_VALUE), "not aligned");
    if driver.is_simulated {
        // The real driver may have more of its own memory behind it.
        assert_eq!(driver.to_host(&room, end - 8, 16), Err(INVALID_VALUE));
        assert_eq!(driver.set_d8(end - 8, 0, 16), Err(INVALID_VALUE));
        assert_eq!(driver.within_device_async(base, end - 8, 16, stream), Err(INVALID_VALUE));
    }
    assert_eq!(driver.to_host(&room, end - 16, 16), Ok(()), "the last bytes are fine");
    driver.free(address).expect("free");
    assert_eq!(driver.to_host(&room, address, 16), Err(INVALID_VALUE), "freed");
    driver.stream_destroy(stream).expect("destroy");
}

#[test]
fn a_stream_works_in_order() {
    let Some(driver) = load() else { return };
    driver.ready();
    let stream = driver.stream(1).expect("stream");
    let address = driver.allocate(1 << 16).expect("allocate");
    let rooms: Vec<Room> = (0..20).map(|value| Room::filled(1 << 16, value)).collect();
    let results: Vec<Room> = (0..20).map(|_| Room::new(1 << 16)).collect();
    for room in rooms.iter().chain(&results) {
        driver.host_register(room.at(), room.len(), 0).expect("register");
    }
    for (from, to) in rooms.iter().zip(&results) {
        driver.to_device_async_at(address, from.at(), 1 << 16, stream).expect("copy");
        driver.to_host_async_at(to.at(), address, 1 << 16, stream).expect("copy");
    }
    driver.stream_synchronize(stream).expect("synchronise");
    assert_eq!(driver.stream_query(stream), Ok(()));
    for (value, room) in results.iter().enumerate() {
        assert_eq!(room.uniform(1 << 16), Ok(value as u8));
    }
    for room in rooms.iter().chain(&results) {
        driver.host_unregister(room.at()).expect("unregister");
    }
    driver.free(address).expect("free");
    driver.stream_destroy(stream).expect("destroy");
}

#[test]
fn a_destroyed_stream_still_does_its_work() {
    let Some(driver) = load() else { return };
    driver.ready();
    let stream = driver.stream(0).expect("stream");
    let address = driver.allocate(1 << 16).expect("allocate");
    driver.set_d8_async(address, 1, 1 << 16, stream).expect("set");
    driver.set_d8_async(address, 2, 1 << 16, stream).expect("set");
    driver.stream_destroy(stream).expect("destroy");
    assert_eq!(driver.uniform(address, 1 << 16), Ok(2));
    driver.free(address).expect("free");
}

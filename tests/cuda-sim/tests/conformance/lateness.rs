//! Work is late: whoever does not wait for it sees old or torn bytes. The simulated driver makes
//! this certain; with a real one it is a matter of luck.

use crate::loaded::{load, simulated};
use crate::peer::Peer;
use crate::rooms::Room;

const BYTES: usize = 1 << 16;

#[test]
fn a_copy_is_seen_half_done() {
    if simulated().is_some() {
        Peer::alone("lateness::torn", &[]);
    }
}

pub fn torn() {
    let driver = load().expect("a driver");
    driver.ready();
    let stream = driver.stream(1).expect("stream");
    let address = driver.allocate(BYTES).expect("allocate");
    driver.set_d8(address, 1, BYTES).expect("set");
    driver.context_synchronize().expect("synchronise");
    let room = Room::new(BYTES);
    driver.host_register(room.at(), BYTES, 0).expect("register");
    // A second before each half: longer than this thread is away from its processor.
    driver.set_delay(2_000_000, 2_000_000);
    driver.to_host_async_at(room.at(), address, BYTES, stream).expect("copy");
    assert_eq!(room.uniform(BYTES), Ok(0), "nothing yet");
    while room.read(1) == [0] {
        std::thread::yield_now();
    }
    let seen = room.read(BYTES);
    assert_eq!((seen[0], seen[BYTES / 4], seen[BYTES - 1]), (1, 1, 0), "half of it");
    driver.set_delay(0, 0);
    driver.stream_synchronize(stream).expect("synchronise");
    assert_eq!(room.uniform(BYTES), Ok(1));
}

#[test]
fn a_stream_that_does_not_wait_reads_old_bytes() {
    if simulated().is_some() {
        Peer::alone("lateness::old", &[]);
    }
}

pub fn old() {
    let driver = load().expect("a driver");
    driver.ready();
    let (writing, reading) = (driver.stream(1).unwrap(), driver.stream(1).unwrap());
    let (source, target) = (driver.allocate(BYTES).unwrap(), driver.allocate(BYTES).unwrap());
    driver.set_d8(source, 1, BYTES).expect("set");
    driver.context_synchronize().expect("synchronise");
    // Shut until the other stream has read, however slow this machine is.
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    driver.host_function(writing, move || receiver.recv().unwrap_or(())).expect("gate");
    driver.set_d8_async(source, 2, BYTES, writing).expect("set");
    driver.set_delay(0, 0);
    driver.within_device_async(target, source, BYTES, reading).expect("copy");
    driver.stream_synchronize(reading).expect("synchronise");
    sender.send(()).expect("open the gate");
    assert_eq!(driver.uniform(target, BYTES), Ok(1), "old bytes: nothing ordered the two");
    assert_eq!(driver.uniform(source, BYTES), Ok(2));
}

#[test]
fn page_locked_memory_is_read_late_and_ordinary_memory_at_once() {
    if simulated().is_some() {
        Peer::alone("lateness::snapshot", &[]);
    }
}

pub fn snapshot() {
    let driver = load().expect("a driver");
    driver.ready();
    let stream = driver.stream(1).expect("stream");
    let address = driver.allocate(BYTES).expect("allocate");
    let room = Room::filled(BYTES, 1);
    let shut = || {
        let (sender, receiver) = std::sync::mpsc::channel::<()>();
        driver.host_function(stream, move || receiver.recv().unwrap_or(())).expect("gate");
        sender
    };
    let gate = shut();
    driver.to_device_async_at(address, room.at(), BYTES, stream).expect("copy");
    room.fill(2);
    gate.send(()).expect("open the gate");
    driver.stream_synchronize(stream).expect("synchronise");
    assert_eq!(driver.uniform(address, BYTES), Ok(1), "taken when it was queued");
    driver.host_register(room.at(), BYTES, 0).expect("register");
    let gate = shut();
    driver.to_device_async_at(address, room.at(), BYTES, stream).expect("copy");
    room.fill(3);
    gate.send(()).expect("open the gate");
    driver.stream_synchronize(stream).expect("synchronise");
    assert_eq!(driver.uniform(address, BYTES), Ok(3), "read when it was done");
}

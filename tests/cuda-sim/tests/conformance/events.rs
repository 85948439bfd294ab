//! Events, also between processes.

use crate::loaded::{load, simulated};
use crate::peer::{Peer, as_handle, as_text, listen, say};
use crate::status::*;

const DISABLE_TIMING: u32 = 2;
const INTERPROCESS: u32 = 4;
const BYTES: usize = 1 << 18;

#[test]
fn an_event_without_a_record_is_complete() {
    let Some(driver) = load() else { return };
    driver.ready();
    let event = driver.event(DISABLE_TIMING).expect("event");
    assert_eq!(driver.event_query(event), Ok(()));
    assert_eq!(driver.event_synchronize(event), Ok(()));
    driver.event_destroy(event).expect("destroy");
}

#[test]
fn bad_flags_are_refused() {
    let Some(driver) = load() else { return };
    driver.ready();
    assert_eq!(driver.event(INTERPROCESS), Err(INVALID_VALUE), "such events keep no time");
    assert_eq!(driver.event(1 << 20), Err(INVALID_VALUE));
    assert_eq!(driver.stream(1 << 20), Err(INVALID_VALUE));
    let event = driver.event(DISABLE_TIMING).expect("event");
    assert!(driver.ipc_export_event(event).is_err(), "it is not for other processes");
    driver.event_destroy(event).expect("destroy");
}

#[test]
fn events_keep_time() {
    let Some(driver) = load() else { return };
    driver.ready();
    let stream = driver.stream(1).expect("stream");
    let (start, end) = (driver.event(0).unwrap(), driver.event(0).unwrap());
    let address = driver.allocate(BYTES).expect("allocate");
    driver.event_record(start, stream).expect("record");
    let pause = || std::thread::sleep(std::time::Duration::from_millis(20));
    driver.host_function(stream, pause).expect("host function");
    driver.event_record(end, stream).expect("record");
    driver.event_synchronize(end).expect("synchronise");
    let elapsed = driver.elapsed(start, end).expect("elapsed");
    assert!(elapsed >= 19.0, "{elapsed} ms for a pause of 20");
    let untimed = driver.event(DISABLE_TIMING).expect("event");
    driver.event_record(untimed, stream).expect("record");
    driver.event_synchronize(untimed).expect("synchronise");
    assert_eq!(driver.elapsed(start, untimed), Err(INVALID_HANDLE));
    driver.free(address).expect("free");
    driver.stream_destroy(stream).expect("destroy");
}

#[test]
fn an_event_of_another_context_cannot_be_recorded() {
    let Some(driver) = load() else { return };
    driver.ready();
    let event = driver.event(DISABLE_TIMING).expect("event");
    let other = driver.context_create(0, 0).expect("context");
    let stream = driver.stream(1).expect("stream");
    assert_eq!(driver.event_record(event, stream), Err(INVALID_HANDLE));
    assert_eq!(driver.stream_wait_event(stream, event, 0), Ok(()), "waiting is fine");
    driver.context_destroy(other).expect("destroy");
}

#[test]
fn another_process_waits_for_an_event() {
    let Some(driver) = load() else { return };
    driver.ready();
    let stream = driver.stream(1).expect("stream");
    let event = driver.event(DISABLE_TIMING | INTERPROCESS).expect("event");
    let address = driver.allocate(BYTES).expect("allocate");
    let mut peer = Peer::start("events::importer");
    peer.tell(&as_text(&driver.ipc_export(address).expect("export")));
    peer.tell(&as_text(&driver.ipc_export_event(event).expect("export")));
    for round in 1..=10u8 {
        let (sender, receiver) = std::sync::mpsc::channel::<()>();
        driver.host_function(stream, move || receiver.recv().unwrap_or(())).expect("gate");
        driver.set_d8_async(address, round, BYTES, stream).expect("set");
        driver.event_record(event, stream).expect("record");
        peer.tell("recorded");
        assert_eq!(peer.hear(), "not yet");
        sender.send(()).expect("open the gate");
        assert_eq!(peer.hear(), format!("{round} everywhere"));
    }
    peer.tell("end");
    peer.finish();
    driver.event_destroy(event).expect("destroy");
    driver.free(address).expect("free");
    driver.stream_destroy(stream).expect("destroy");
}

pub fn importer() {
    let driver = load().expect("a driver");
    driver.ready();
    let stream = driver.stream(1).expect("stream");
    let memory = driver.ipc_open(&as_handle(&listen().expect("a handle")), 1).expect("open");
    let event = driver.ipc_open_event(&as_handle(&listen().expect("a handle"))).expect("open");
    let copy = driver.allocate(BYTES).expect("allocate");
    while listen().is_some_and(|order| order == "recorded") {
        assert_eq!(driver.event_query(event), Err(NOT_READY));
        driver.stream_wait_event(stream, event, 0).expect("wait");
        driver.within_device_async(copy, memory, BYTES, stream).expect("copy");
        assert_eq!(driver.stream_query(stream), Err(NOT_READY));
        say("not yet");
        driver.stream_synchronize(stream).expect("synchronise");
        let bytes = driver.read(copy, BYTES);
        assert!(bytes.iter().all(|byte| *byte == bytes[0]), "torn");
        say(&format!("{} everywhere", bytes[0]));
    }
    driver.ipc_close(memory).expect("close");
    driver.event_destroy(event).expect("destroy");
}

#[test]
fn an_event_that_its_exporter_destroyed_is_refused_and_reported() {
    let Some(driver) = simulated() else { return };
    driver.ready();
    let event = driver.event(DISABLE_TIMING | INTERPROCESS).expect("event");
    let mut peer = Peer::start("misuse::owner");
    peer.tell("event");
    let handle = as_handle(&peer.hear());
    let imported = driver.ipc_open_event(&handle).expect("open");
    assert_eq!(driver.event_query(imported), Ok(()));
    peer.tell("free");
    assert_eq!(peer.hear(), "freed");
    assert_eq!(driver.event_query(imported), Err(INVALID_HANDLE));
    let violations = driver.report()["violations"].to_string();
    assert!(violations.contains("after its exporter destroyed it"), "{violations}");
    assert_eq!(driver.ipc_open_event(&handle), Err(INVALID_VALUE));
    peer.finish();
    let own = driver.ipc_export_event(event).expect("export");
    assert_eq!(driver.ipc_open_event(&own), Err(INVALID_CONTEXT), "one's own");
    driver.event_destroy(event).expect("destroy");
    driver.event_destroy(imported).expect("destroy");
}

//! Contexts belong to threads.

use std::thread;

use crate::loaded::{load, simulated};
use crate::peer::Peer;
use crate::rooms::Room;
use crate::status::*;

#[test]
fn each_thread_has_its_own_current_context() {
    let Some(driver) = load() else { return };
    let context = driver.ready();
    assert_eq!(driver.current(), Ok(context));
    let elsewhere = thread::spawn(move || {
        assert_eq!(driver.current(), Ok(0), "a new thread has none");
        assert_eq!(driver.allocate(64), Err(INVALID_CONTEXT));
        assert_eq!(driver.stream(0), Err(INVALID_CONTEXT));
        assert_eq!(driver.event(0), Err(INVALID_CONTEXT));
        assert_eq!(driver.context_synchronize(), Err(INVALID_CONTEXT));
        assert_eq!(driver.ipc_close(4096), Err(INVALID_CONTEXT));
        assert_eq!(driver.pop_current(), Err(INVALID_CONTEXT));
        driver.set_current(context).expect("set current");
        let address = driver.allocate(64).expect("now it works");
        driver.free(address)
    });
    assert_eq!(elsewhere.join().expect("join"), Ok(()));
    assert_eq!(driver.current(), Ok(context));
}

#[test]
fn contexts_are_a_stack() {
    let Some(driver) = load() else { return };
    let primary = driver.ready();
    let other = driver.context_create(0, 0).expect("create");
    assert_ne!(primary, other);
    assert_eq!(driver.current(), Ok(other), "a created context is current");
    driver.push_current(primary).expect("push");
    assert_eq!(driver.current(), Ok(primary));
    assert_eq!(driver.current_device(), Ok(0));
    assert_eq!(driver.pop_current(), Ok(primary));
    assert_eq!(driver.pop_current(), Ok(other));
    assert_eq!(driver.current(), Ok(primary));
    driver.context_destroy(other).expect("destroy");
    assert_eq!(driver.current(), Ok(primary));
    driver.set_current(0).expect("none");
    assert_eq!(driver.current(), Ok(0));
}

#[test]
fn the_primary_context_is_one_and_counted() {
    let Some(driver) = load() else { return };
    let context = driver.ready();
    assert_eq!(driver.primary_retain(0), Ok(context), "the same again");
    driver.primary_release(0).expect("release");
    assert_eq!(driver.context_synchronize(), Ok(()), "it is still retained");
}

#[test]
fn memory_of_a_destroyed_context_is_gone() {
    let Some(driver) = load() else { return };
    let primary = driver.ready();
    let other = driver.context_create(0, 0).expect("create");
    let address = driver.allocate(1 << 20).expect("allocate");
    let stream = driver.stream(1).expect("stream");
    let room = Room::filled(1 << 20, 7);
    driver.to_device_async_at(address, room.at(), 1 << 20, stream).expect("copy");
    driver.context_destroy(other).expect("destroy");
    assert_eq!(driver.current(), Ok(primary));
    assert_eq!(driver.to_host(&room, address, 1), Err(INVALID_VALUE));
}

#[test]
fn after_its_last_release_the_primary_context_is_destroyed() {
    if simulated().is_some() {
        Peer::alone("contexts::released", &[]);
    }
}

pub fn released() {
    let driver = load().expect("a driver");
    driver.ready();
    let address = driver.allocate(64).expect("allocate");
    let stream = driver.stream(0).expect("stream");
    let event = driver.event(0).expect("event");
    driver.event_record(event, stream).expect("record");
    driver.primary_release(0).expect("release");
    assert_eq!(driver.context_synchronize(), Err(CONTEXT_IS_DESTROYED));
    assert_eq!(driver.allocate(64), Err(CONTEXT_IS_DESTROYED));
    assert_eq!(driver.primary_release(0), Err(INVALID_CONTEXT));
    driver.ready();
    assert_eq!(driver.set_d8(address, 1, 64), Err(INVALID_VALUE));
    assert_eq!(driver.stream_synchronize(stream), Err(INVALID_HANDLE));
    assert_eq!(driver.event_query(event), Err(INVALID_HANDLE));
    let report = driver.report();
    assert_eq!((&report["allocations"], &report["contexts"]), (&0.into(), &1.into()), "{report}");
}

#[test]
fn two_devices_reach_each_other() {
    if simulated().is_some() {
        Peer::alone("contexts::two_devices", &[("SHM_CUDA_SIM_DEVICES", "2")]);
    }
}

pub fn two_devices() {
    let driver = load().expect("a driver");
    let first = driver.ready();
    let second = driver.primary_retain(1).expect("retain");
    assert_eq!((driver.can_access_peer(0, 1), driver.can_access_peer(0, 0)), (Ok(1), Ok(0)));
    assert_eq!(driver.peer_disable(second), Err(705));
    assert_eq!(driver.peer_enable(second, 0), Ok(()));
    assert_eq!(driver.peer_enable(second, 0), Err(704));
    assert_eq!(driver.peer_enable(first, 0), Err(INVALID_CONTEXT));
    let here = driver.allocate(4096).expect("allocate");
    driver.set_current(second).expect("set current");
    let there = driver.allocate(4096).expect("allocate");
    let stream = driver.stream(1).expect("stream");
    driver.set_d8_async(there, 5, 4096, stream).expect("set");
    driver.within_device_async(here, there, 4096, stream).expect("copy");
    driver.stream_synchronize(stream).expect("synchronise");
    driver.set_current(first).expect("set current");
    assert_eq!(driver.set_d8_async(here, 0, 1, stream), Err(INVALID_HANDLE), "not its context");
    assert_eq!(driver.uniform(here, 4096), Ok(5));
    assert_eq!((driver.attribute(9, here), driver.attribute(9, there)), (Ok(0), Ok(1)));
}

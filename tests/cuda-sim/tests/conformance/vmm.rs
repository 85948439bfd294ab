//! Virtual memory management, and passing memory as a descriptor.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use crate::loaded::{Driver, Properties, load, simulated};
use crate::peer::{Peer, listen, say, take};
use crate::rooms::Room;
use crate::status::*;

const DESCRIPTOR: i32 = 1;
const MAPPING_SIZE: i32 = 18;
const MAPPING_START: i32 = 19;
const READ: i32 = 1;
const READ_WRITE: i32 = 3;

fn properties(handle_types: i32) -> Properties {
    Properties { kind: 1, handle_types, location: [1, 0], windows: 0, flags: [0; 8] }
}

/// The driver, and the granularity of its first device.
fn able() -> Option<(&'static Driver, usize)> {
    let driver = load()?;
    driver.ready();
    if driver.device_attribute(102, 0) != Ok(1) || driver.device_attribute(103, 0) != Ok(1) {
        println!("SKIPPED: this device does not manage virtual memory");
        return None;
    }
    let unit = driver.vmm_granularity(&properties(DESCRIPTOR)).expect("granularity");
    Some((driver, unit))
}

fn map(driver: &Driver, handle: u64, bytes: usize, access: i32) -> u64 {
    let base = driver.vmm_reserve(bytes, 0, 0, 0).expect("reserve");
    driver.vmm_map(base, bytes, 0, handle, 0).expect("map");
    driver.vmm_set_access(base, bytes, access).expect("set access");
    base
}

fn unmap(driver: &Driver, base: u64, bytes: usize) {
    driver.vmm_unmap(base, bytes).expect("unmap");
    driver.vmm_free(base, bytes).expect("free the addresses");
}

fn export(driver: &Driver, handle: u64) -> OwnedFd {
    let number = driver.vmm_export(handle, DESCRIPTOR, 0).expect("export");
    // SAFETY: the driver made this descriptor for us, and nobody else owns it.
    unsafe { OwnedFd::from_raw_fd(number) }
}

#[test]
fn memory_stays_while_a_handle_or_a_mapping_is_there() {
    let Some((driver, unit)) = able() else { return };
    let handle = driver.vmm_create(unit, &properties(DESCRIPTOR)).expect("create");
    let first = map(driver, handle, unit, READ_WRITE);
    let second = map(driver, handle, unit, READ_WRITE);
    assert_ne!(first, second);
    driver.set_d8(first, 5, unit).expect("set");
    assert_eq!(driver.uniform(second, unit), Ok(5), "the same memory twice");
    let retained = driver.vmm_retain(second as usize + 5).expect("an address inside will do");
    driver.vmm_release(handle).expect("release");
    driver.vmm_release(retained).expect("release what was retained too");
    assert_eq!(driver.read(first, 16), [5; 16], "the mapping keeps it");
    let again = driver.vmm_retain(first as usize).expect("its handle from its address");
    unmap(driver, first, unit);
    unmap(driver, second, unit);
    let third = map(driver, again, unit, READ_WRITE);
    assert_eq!(driver.read(third, 16), [5; 16], "the handle kept it");
    let words = driver.vmm_properties(again).expect("properties");
    assert_eq!(words[0] >> 32, DESCRIPTOR as u64, "what it can be exported as");
    driver.vmm_release(again).expect("release");
    unmap(driver, third, unit);
}

#[test]
fn bad_requests_are_refused() {
    let Some((driver, unit)) = able() else { return };
    assert_eq!(driver.vmm_create(unit + 1, &properties(DESCRIPTOR)), Err(INVALID_VALUE));
    assert_eq!(driver.vmm_create(0, &properties(DESCRIPTOR)), Err(INVALID_VALUE));
    assert_eq!(driver.vmm_reserve(unit + 1, 0, 0, 0), Err(INVALID_VALUE));
    let handle = driver.vmm_create(unit, &properties(0)).expect("create");
    assert_eq!(driver.vmm_export(handle, DESCRIPTOR, 0), Err(INVALID_VALUE), "not asked for");
    let base = driver.vmm_reserve(2 * unit, 0, 0, 0).expect("reserve");
    assert_eq!(base as usize % unit, 0);
    assert!(driver.vmm_set_access(base, unit, READ_WRITE).is_err(), "nothing is mapped");
    assert_eq!(driver.set_d8(base, 1, 16), Err(INVALID_VALUE), "nothing is mapped");
    driver.vmm_map(base, unit, 0, handle, 0).expect("map");
    assert_eq!(driver.vmm_map(base, unit, 0, handle, 0), Err(INVALID_VALUE), "mapped already");
    assert!(driver.vmm_free(base, 2 * unit).is_err(), "something is mapped");
    assert_eq!(driver.ipc_export(base), Err(INVALID_VALUE), "it is not for legacy handles");
    assert_eq!(driver.free(base), Err(INVALID_VALUE));
    driver.vmm_unmap(base, unit).expect("unmap");
    driver.vmm_free(base, 2 * unit).expect("free");
    driver.vmm_release(handle).expect("release");
}

#[test]
fn one_range_may_have_several_memories() {
    let Some((driver, unit)) = able() else { return };
    let base = driver.vmm_reserve(2 * unit, 0, 0, 0).expect("reserve");
    for index in 0..2 {
        let handle = driver.vmm_create(unit, &properties(DESCRIPTOR)).expect("create");
        driver.vmm_map(base + (index * unit) as u64, unit, 0, handle, 0).expect("map");
        driver.vmm_release(handle).expect("release");
    }
    driver.vmm_set_access(base, 2 * unit, READ_WRITE).expect("set access");
    let room = Room::filled(4096, 9);
    driver.set_d8(base, 1, 2 * unit).expect("set");
    driver.to_device(base + unit as u64 - 100, &room, 200).expect("across both");
    let read = driver.read(base + unit as u64 - 101, 202);
    assert_eq!((read[0], &read[1..201], read[201]), (1, &[9; 200][..], 1));
    let second = base + unit as u64;
    assert_eq!(driver.attribute(MAPPING_SIZE, second + 7), Ok(unit as u64), "of one mapping");
    assert_eq!(driver.attribute(MAPPING_START, second + 7), Ok(second));
    driver.vmm_unmap(base, 2 * unit).expect("unmap");
    driver.vmm_free(base, 2 * unit).expect("free");
}

#[test]
fn another_process_maps_it_by_a_descriptor_and_keeps_it() {
    let Some((driver, unit)) = able() else { return };
    let mut owner = Peer::start("vmm::exporter");
    let mut user = Peer::start("vmm::importer");
    // The descriptor comes from a third process, as it would from a service.
    let handle = driver.vmm_create(unit, &properties(DESCRIPTOR)).expect("create");
    let base = map(driver, handle, unit, READ_WRITE);
    driver.set_d8(base, 6, unit).expect("set");
    driver.context_synchronize().expect("synchronise");
    let descriptor = export(driver, handle);
    owner.hand(descriptor.as_fd());
    assert_eq!(owner.hear(), "reads 6");
    owner.tell("write 7");
    assert_eq!(owner.hear(), "written");
    assert_eq!(driver.uniform(base, unit), Ok(7));
    user.hand(descriptor.as_fd());
    drop(descriptor);
    assert_eq!(user.hear(), "reads 7");
    unmap(driver, base, unit);
    driver.vmm_release(handle).expect("release");
    owner.finish();
    user.tell("again");
    assert_eq!(user.hear(), "reads 7", "it outlives whoever made it");
    user.finish();
}

/// Imports, says what is there, and writes what it is told.
pub fn exporter() {
    let (driver, unit) = able().expect("a driver");
    let descriptor = take();
    let handle = import(driver, &descriptor);
    let base = map(driver, handle, unit, READ_WRITE);
    say(&format!("reads {}", driver.read(base, unit)[unit - 1]));
    while let Some(order) = listen() {
        let value = order.strip_prefix("write ").expect("an order").parse().expect("a byte");
        driver.set_d8(base, value, unit).expect("set");
        driver.context_synchronize().expect("synchronise");
        say("written");
    }
}

/// Imports to read only, and says what is there whenever it is asked.
pub fn importer() {
    let (driver, unit) = able().expect("a driver");
    let handle = import(driver, &take());
    let base = map(driver, handle, unit, READ);
    driver.vmm_release(handle).expect("release");
    say(&format!("reads {}", driver.read(base, unit)[0]));
    while listen().is_some() {
        say(&format!("reads {}", driver.read(base, unit)[0]));
    }
    unmap(driver, base, unit);
}

fn import(driver: &Driver, descriptor: &OwnedFd) -> u64 {
    let number = descriptor.as_raw_fd() as usize;
    driver.vmm_import(number, DESCRIPTOR).expect("import")
}

#[test]
fn only_the_drivers_descriptors_are_imported() {
    let Some((driver, _)) = able() else { return };
    let file = std::fs::File::open("/proc/self/exe").expect("a file");
    assert!(driver.vmm_import(file.as_raw_fd() as usize, DESCRIPTOR).is_err());
    assert!(driver.vmm_import(9999, DESCRIPTOR).is_err(), "not open");
    if driver.is_simulated {
        let memory = rustix::fs::memfd_create("other", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        rustix::fs::ftruncate(&memory, 1 << 22).expect("truncate");
        let number = memory.as_raw_fd() as usize;
        assert_eq!(driver.vmm_import(number, DESCRIPTOR), Err(INVALID_VALUE), "not sealed");
    }
}

#[test]
fn a_mapping_to_read_is_not_written() {
    // What becomes of a context after that differs between real drivers.
    if simulated().is_some() {
        Peer::alone("vmm::read_only_is_written", &[]);
    }
}

pub fn read_only_is_written() {
    let (driver, unit) = able().expect("a driver");
    let handle = driver.vmm_create(unit, &properties(DESCRIPTOR)).expect("create");
    let (writable, readable) =
        (map(driver, handle, unit, READ_WRITE), map(driver, handle, unit, READ));
    driver.set_d8(writable, 3, unit).expect("set");
    assert_eq!(driver.read(readable, 16), [3; 16]);
    driver.set_d8(readable, 4, unit).expect("it is queued");
    assert_eq!(driver.context_synchronize(), Err(ILLEGAL_ADDRESS));
    assert_eq!(driver.allocate(16), Err(ILLEGAL_ADDRESS), "the context is lost");
    let violations = driver.report()["violations"].to_string();
    assert!(violations.contains("write to") && violations.contains("without that access"));
    driver.inject(0, 0);
    assert_eq!(driver.uniform(writable, unit), Ok(3), "nothing was written");
}

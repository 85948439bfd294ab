//! Page-locked host memory.

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};

use crate::loaded::load;
use crate::rooms::Room;
use crate::status::*;

#[test]
fn registered_memory_is_known_to_the_device() {
    let Some(driver) = load() else { return };
    driver.ready();
    let room = Room::filled(8192, 4);
    driver.host_register(room.at(), 8192, 0).expect("register");
    let device = driver.host_device_pointer(room.at() + 100, 0).expect("device pointer");
    assert_eq!(driver.attribute(2, room.at() as u64), Ok(1), "it is host memory");
    let address = driver.allocate(8192).expect("allocate");
    driver.within_device(address, device, 4096).expect("the device reads it by its own address");
    assert_eq!(driver.uniform(address, 4096), Ok(4));
    assert_eq!(driver.ipc_export(device), Err(INVALID_VALUE), "it is not for legacy handles");
    driver.host_unregister(room.at()).expect("unregister");
    assert_eq!(driver.host_device_pointer(room.at(), 0), Err(INVALID_VALUE));
    driver.free(address).expect("free");
}

#[test]
fn ranges_are_registered_once() {
    let Some(driver) = load() else { return };
    driver.ready();
    let room = Room::new(4 * 4096);
    driver.host_register(room.at() + 4096, 8192, 0).expect("register");
    assert_eq!(driver.host_register(room.at() + 4096, 8192, 0), Err(ALREADY_REGISTERED));
    assert_eq!(driver.host_register(room.at() + 8192, 4096, 0), Err(ALREADY_REGISTERED));
    assert_eq!(driver.host_register(room.at(), 3 * 4096, 0), Err(ALREADY_REGISTERED));
    driver.host_register(room.at(), 4096, 0).expect("beside it");
    driver.host_unregister(room.at()).expect("unregister");
    driver.host_unregister(room.at() + 4096).expect("unregister");
    assert_eq!(driver.host_unregister(room.at()), Err(NOT_REGISTERED));
    assert_eq!(driver.host_register(0, 4096, 0), Err(INVALID_VALUE));
    assert_eq!(driver.host_register(room.at(), 0, 0), Err(INVALID_VALUE));
}

#[test]
fn only_memory_that_is_there_can_be_registered() {
    let Some(driver) = load() else { return };
    driver.ready();
    let none = ProtFlags::empty();
    // SAFETY: no address is asked for, so nothing that is mapped changes.
    let pages = unsafe { mmap_anonymous(std::ptr::null_mut(), 8192, none, MapFlags::PRIVATE) };
    let pages = pages.expect("map").expose_provenance();
    assert!(driver.host_register(pages, 8192, 0).is_err());
}

#[test]
fn the_driver_allocates_page_locked_memory() {
    let Some(driver) = load() else { return };
    driver.ready();
    let pinned = driver.host_allocate(4096, 0).expect("allocate");
    let address = driver.allocate(4096).expect("allocate");
    driver.set_d8(pinned as u64, 6, 4096).expect("the device writes it");
    driver.to_device_at(address, pinned, 4096).expect("copy");
    assert_eq!(driver.uniform(address, 4096), Ok(6));
    assert_eq!(driver.host_unregister(pinned), Err(NOT_REGISTERED));
    assert_eq!(driver.free(pinned as u64), Err(INVALID_VALUE));
    driver.host_free(pinned).expect("free");
    assert_eq!(driver.host_free(pinned), Err(INVALID_VALUE));
    driver.free(address).expect("free");
}

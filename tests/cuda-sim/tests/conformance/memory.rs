//! Allocating, freeing and what is known of addresses.

use crate::loaded::{load, simulated};
use crate::peer::Peer;
use crate::rooms::Room;
use crate::status::*;

const CONTEXT: i32 = 1;
const MEMORY_TYPE: i32 = 2;
const BUFFER_ID: i32 = 7;
const IS_MANAGED: i32 = 8;
const DEVICE_ORDINAL: i32 = 9;
const IS_LEGACY_IPC_CAPABLE: i32 = 10;
const RANGE_START: i32 = 11;
const RANGE_SIZE: i32 = 12;

#[test]
fn allocations_are_aligned_and_apart() {
    let Some(driver) = load() else { return };
    driver.ready();
    let addresses: Vec<u64> =
        (0..8).map(|index| driver.allocate(1 + index * 1000).expect("allocate")).collect();
    for (index, address) in addresses.iter().enumerate() {
        assert_eq!(address % 256, 0);
        let end = address + 1 + index as u64 * 1000;
        assert!(addresses.iter().all(|other| other <= address || *other >= end));
    }
    assert!(addresses.into_iter().all(|address| driver.free(address) == Ok(())));
}

#[test]
fn bad_sizes_and_addresses_are_refused() {
    let Some(driver) = load() else { return };
    driver.ready();
    assert_eq!(driver.allocate(0), Err(INVALID_VALUE));
    assert_eq!(driver.allocate(1 << 60), Err(OUT_OF_MEMORY));
    assert_eq!(driver.free(0), Ok(()), "nothing to free");
    let address = driver.allocate(4096).expect("allocate");
    assert_eq!(driver.free(address + 256), Err(INVALID_VALUE), "not where it begins");
    assert_eq!(driver.free(address), Ok(()));
    assert_eq!(driver.free(address), Err(INVALID_VALUE), "freed twice");
    assert_eq!(driver.host_free(4096), Err(INVALID_VALUE));
}

#[test]
fn an_address_inside_names_the_whole_allocation() {
    let Some(driver) = load() else { return };
    let context = driver.ready();
    let address = driver.allocate(10_000).expect("allocate");
    let (base, bytes) = driver.address_range(address + 5000).expect("range");
    assert!(base <= address && base + bytes as u64 >= address + 10_000);
    assert_eq!(driver.attribute(MEMORY_TYPE, address + 5), Ok(2));
    assert_eq!(driver.attribute(DEVICE_ORDINAL, address), Ok(0));
    assert_eq!(driver.attribute(IS_LEGACY_IPC_CAPABLE, address), Ok(1));
    assert_eq!(driver.attribute(IS_MANAGED, address), Ok(0));
    assert_eq!(driver.attribute(CONTEXT, address), Ok(context as u64));
    let start = driver.attribute(RANGE_START, address + 5000).expect("start");
    let size = driver.attribute(RANGE_SIZE, address + 5000).expect("size");
    assert!(start <= address && start + size >= address + 10_000);
    driver.free(address).expect("free");
}

#[test]
fn no_two_allocations_have_the_same_buffer_id() {
    let Some(driver) = load() else { return };
    driver.ready();
    let mut ids = std::collections::HashSet::new();
    for _ in 0..20 {
        let address = driver.allocate(1 << 16).expect("allocate");
        assert!(ids.insert(driver.attribute(BUFFER_ID, address).expect("id")));
        driver.free(address).expect("free");
    }
}

#[test]
fn attributes_asked_for_together_are_nil_for_unknown_addresses() {
    let Some(driver) = load() else { return };
    driver.ready();
    let address = driver.allocate(1 << 20).expect("allocate");
    let (kind, bytes) = driver.type_and_size(address).expect("attributes");
    assert!(kind == 2 && bytes >= 1 << 20, "{kind} {bytes}");
    driver.free(address).expect("free");
    let room = Room::new(64);
    assert_eq!(driver.type_and_size(room.at() as u64), Ok((0, 0)));
}

#[test]
fn ordinary_host_memory_is_unknown_to_the_driver() {
    let Some(driver) = load() else { return };
    driver.ready();
    let room = Room::new(64);
    assert_eq!(driver.attribute(MEMORY_TYPE, room.at() as u64), Err(INVALID_VALUE));
    assert!(driver.address_range(room.at() as u64).is_err());
}

#[test]
fn memory_of_pools_and_managed_memory_work_and_are_not_for_legacy_handles() {
    let Some(driver) = load() else { return };
    driver.ready();
    let stream = driver.stream(1).expect("stream");
    let pooled = driver.allocate_async(4096, stream).expect("allocate");
    driver.set_d8_async(pooled, 9, 4096, stream).expect("set");
    driver.stream_synchronize(stream).expect("synchronise");
    assert_eq!(driver.uniform(pooled, 4096), Ok(9));
    assert_eq!(driver.attribute(IS_LEGACY_IPC_CAPABLE, pooled), Ok(0));
    assert_eq!(driver.ipc_export(pooled), Err(INVALID_VALUE));
    driver.free_async(pooled, stream).expect("free");
    driver.stream_synchronize(stream).expect("synchronise");
    let managed = driver.allocate_managed(4096, 1).expect("managed");
    assert_eq!(driver.attribute(IS_MANAGED, managed), Ok(1));
    assert_eq!(driver.ipc_export(managed), Err(INVALID_VALUE));
    driver.free(managed).expect("free");
    driver.stream_destroy(stream).expect("destroy");
}

#[test]
fn no_more_memory_than_the_device_has() {
    if simulated().is_some() {
        Peer::alone("memory::exhausted", &[("SHM_CUDA_SIM_MEMORY_MB", "8")]);
    }
}

pub fn exhausted() {
    let driver = load().expect("a driver");
    driver.ready();
    let first = driver.allocate(6 << 20).expect("allocate");
    assert_eq!(driver.uniform(first, 16), Ok(0xCD), "fresh memory is not nil");
    assert_eq!(driver.allocate(3 << 20), Err(OUT_OF_MEMORY));
    let second = driver.allocate(2 << 20).expect("what is left");
    driver.free(first).expect("free");
    driver.free(second).expect("free");
    driver.allocate(8 << 20).expect("all of it again");
}

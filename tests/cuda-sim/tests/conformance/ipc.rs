//! Memory of one process in another, by legacy handles.

use crate::loaded::{load, simulated};
use crate::peer::{Peer, as_handle, as_text, listen, say};
use crate::status::*;

const BYTES: usize = 1 << 20;

#[test]
fn another_process_reads_and_writes_the_same_memory() {
    let Some(driver) = load() else { return };
    driver.ready();
    let address = driver.allocate(BYTES).expect("allocate");
    driver.set_d8(address, 1, BYTES).expect("set");
    driver.set_d8(address + 5000, 2, 1).expect("set");
    driver.context_synchronize().expect("synchronise");
    // The handle is of the whole allocation, wherever in it the address lies.
    let (base, _) = driver.address_range(address + 5000).expect("range");
    let mut peer = Peer::start("ipc::importer");
    peer.tell(&as_text(&driver.ipc_export(address + 5000).expect("export")));
    peer.tell(&format!("{}", address + 5000 - base));
    assert_eq!(peer.hear(), "read 2");
    assert_eq!(driver.read(address + 5000, 2), [3, 1], "what the other process wrote");
    peer.finish();
    driver.free(address).expect("free");
}

pub fn importer() {
    let driver = load().expect("a driver");
    driver.ready();
    let handle = as_handle(&listen().expect("a handle"));
    let offset: u64 = listen().expect("an offset").parse().expect("a number");
    let base = driver.ipc_open(&handle, 1).expect("open");
    let read = driver.read(base + offset, 1)[0];
    driver.set_d8(base + offset, 3, 1).expect("set");
    driver.context_synchronize().expect("synchronise");
    assert_eq!(driver.free(base), Err(INVALID_VALUE), "it is not ours to free");
    assert_eq!(driver.ipc_export(base), Err(INVALID_VALUE), "nor to export again");
    say(&format!("read {read}"));
    driver.ipc_close(base).expect("close");
    assert_eq!(driver.ipc_close(base), Err(INVALID_VALUE), "closed already");
    assert_eq!(driver.set_d8(base, 0, 1), Err(INVALID_VALUE));
}

#[test]
fn a_process_may_not_open_its_own_handle() {
    let Some(driver) = load() else { return };
    driver.ready();
    let address = driver.allocate(BYTES).expect("allocate");
    let handle = driver.ipc_export(address).expect("export");
    assert_eq!(driver.ipc_open(&handle, 1), Err(INVALID_CONTEXT));
    driver.free(address).expect("free");
}

#[test]
fn a_handle_opened_again_gives_the_same_address_until_all_are_closed() {
    let Some(driver) = load() else { return };
    let primary = driver.ready();
    let mut peer = Peer::start("ipc::exporter");
    let handle = as_handle(&peer.hear());
    assert_eq!(driver.ipc_open(&handle, 0), Err(INVALID_VALUE), "the flag is a must");
    let first = driver.ipc_open(&handle, 1).expect("open");
    assert_eq!(driver.ipc_open(&handle, 1), Ok(first));
    if driver.is_simulated {
        let other = driver.context_create(0, 0).expect("context");
        assert_eq!(driver.ipc_open(&handle, 1), Err(208), "another context of the device");
        driver.context_destroy(other).expect("destroy");
        assert_eq!(driver.current(), Ok(primary));
    }
    driver.ipc_close(first).expect("close");
    assert_eq!(driver.read(first, 4), [8; 4], "still open once");
    driver.ipc_close(first).expect("close");
    assert_eq!(driver.ipc_close(first), Err(INVALID_VALUE));
    let again = driver.ipc_open(&handle, 1).expect("open again");
    assert_eq!(driver.read(again, 4), [8; 4]);
    driver.ipc_close(again).expect("close");
    peer.tell("end");
    peer.finish();
}

pub fn exporter() {
    let driver = load().expect("a driver");
    driver.ready();
    let address = driver.allocate(BYTES).expect("allocate");
    driver.set_d8(address, 8, BYTES).expect("set");
    driver.context_synchronize().expect("synchronise");
    say(&as_text(&driver.ipc_export(address).expect("export")));
    listen();
    driver.free(address).expect("free");
}

#[test]
fn a_handle_of_a_dead_process_or_no_handle_at_all_is_refused() {
    let Some(driver) = simulated() else { return };
    driver.ready();
    let mut peer = Peer::start("ipc::exporter");
    let handle = as_handle(&peer.hear());
    let mut damaged = handle;
    damaged[20] ^= 1;
    assert_eq!(driver.ipc_open(&damaged, 1), Err(INVALID_VALUE));
    assert_eq!(driver.ipc_open(&[0; 64], 1), Err(INVALID_VALUE));
    peer.kill();
    assert_eq!(driver.ipc_open(&handle, 1), Err(INVALID_VALUE));
}

#[test]
fn memory_allocated_again_has_another_handle() {
    let Some(driver) = load() else { return };
    driver.ready();
    let first = driver.allocate(BYTES).expect("allocate");
    let one = driver.ipc_export(first).expect("export");
    assert_eq!(driver.ipc_export(first), Ok(one), "the same memory, the same handle");
    driver.free(first).expect("free");
    let second = driver.allocate(BYTES).expect("allocate");
    assert_ne!(driver.ipc_export(second).expect("export"), one);
    driver.free(second).expect("free");
    assert_eq!(driver.ipc_export(second), Err(INVALID_VALUE), "freed");
}

#[test]
fn freed_memory_cannot_be_opened() {
    let Some(driver) = simulated() else { return };
    driver.ready();
    let address = driver.allocate(BYTES).expect("allocate");
    let handle = driver.ipc_export(address).expect("export");
    driver.free(address).expect("free");
    let mut peer = Peer::start("ipc::strict_importer");
    peer.tell(&as_text(&handle));
    assert_eq!(peer.hear(), "Err(1)");
    peer.finish();
}

/// Says how opening goes, and what the first byte is.
pub fn strict_importer() {
    let driver = load().expect("a driver");
    driver.ready();
    let handle = as_handle(&listen().expect("a handle"));
    match driver.ipc_open(&handle, 1) {
        Ok(base) => say(&format!("Ok({})", driver.read(base, 1)[0])),
        Err(code) => say(&format!("Err({code})")),
    }
    listen();
}

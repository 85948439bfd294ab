//! What the real driver leaves undefined, and the simulated one finds.

use crate::loaded::{load, simulated};
use crate::peer::{Peer, as_handle, as_text, listen, say};
use crate::status::*;

const BYTES: usize = 1 << 16;

#[test]
fn queued_work_on_freed_memory_is_found() {
    if simulated().is_some() {
        Peer::alone("misuse::freed_in_other_stream", &[]);
    }
}

pub fn freed_in_other_stream() {
    let driver = load().expect("a driver");
    driver.ready();
    let (using, freeing) = (driver.stream(1).unwrap(), driver.stream(1).unwrap());
    let address = driver.allocate_async(BYTES, freeing).expect("allocate");
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    driver.host_function(using, move || receiver.recv().unwrap_or(())).expect("gate");
    driver.set_d8_async(address, 1, BYTES, using).expect("set");
    driver.free_async(address, freeing).expect("free");
    driver.stream_synchronize(freeing).expect("synchronise");
    sender.send(()).expect("open the gate");
    assert_eq!(driver.stream_synchronize(using), Err(ILLEGAL_ADDRESS));
    assert_eq!(driver.stream_query(freeing), Err(ILLEGAL_ADDRESS), "it sticks");
    let violations = driver.report()["violations"].to_string();
    assert!(violations.contains("after it was freed"), "{violations}");
}

#[test]
fn freeing_what_others_have_open_is_found_on_both_sides() {
    if simulated().is_some() {
        Peer::alone("misuse::reports", &[]);
    }
}

pub fn reports() {
    let driver = load().expect("a driver");
    driver.ready();
    let mut owner = Peer::start("misuse::owner");
    owner.tell("memory");
    let base = driver.ipc_open(&as_handle(&owner.hear()), 1).expect("open");
    assert_eq!(driver.read(base, 16), [8; 16]);
    owner.tell("free");
    assert_eq!(owner.hear(), "freed");
    let violations = owner.hear();
    assert!(violations.contains("freed while mapped by others"), "{violations}");
    owner.finish();
    driver.set_d8(base, 1, 16).expect("queued");
    assert_eq!(driver.context_synchronize(), Err(ILLEGAL_ADDRESS));
    let violations = driver.report()["violations"].to_string();
    assert!(violations.contains("use after the exporter freed it"), "{violations}");
    driver.inject(0, 0);
    driver.ipc_close(base).expect("close");
}

/// Exports what it is told to, and frees it when it is told to.
pub fn owner() {
    let driver = load().expect("a driver");
    driver.ready();
    match listen().as_deref() {
        Some("memory") => {
            let address = driver.allocate(BYTES).expect("allocate");
            driver.set_d8(address, 8, BYTES).expect("set");
            driver.context_synchronize().expect("synchronise");
            say(&as_text(&driver.ipc_export(address).expect("export")));
            listen();
            driver.free(address).expect("free");
        }
        _ => {
            let event = driver.event(2 | 4).expect("event");
            say(&as_text(&driver.ipc_export_event(event).expect("export")));
            listen();
            driver.event_destroy(event).expect("destroy");
        }
    }
    say("freed");
    say(&driver.report()["violations"].to_string());
    listen();
}

#[test]
fn an_importer_that_died_is_no_importer() {
    let Some(driver) = simulated() else { return };
    driver.ready();
    let address = driver.allocate(BYTES).expect("allocate");
    driver.set_d8(address, 4, BYTES).expect("set");
    driver.context_synchronize().expect("synchronise");
    let mut peer = Peer::start("ipc::strict_importer");
    peer.tell(&as_text(&driver.ipc_export(address).expect("export")));
    assert_eq!(peer.hear(), "Ok(4)");
    peer.kill();
    driver.free(address).expect("free");
    let violations = driver.report()["violations"].to_string();
    let name = format!("{address:#x}");
    assert!(!violations.contains(&name), "{violations}");
}

#[test]
fn a_child_of_a_fork_has_no_driver() {
    if simulated().is_some() {
        Peer::alone("misuse::forked", &[]);
    }
}

pub fn forked() {
    let driver = load().expect("a driver");
    driver.ready();
    // SAFETY: the child only calls the driver, which must take no lock there, and leaves.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let refused = driver.context_synchronize() == Err(NOT_INITIALIZED)
            && driver.allocate(16) == Err(NOT_INITIALIZED);
        // SAFETY: nothing of this process is to be torn down.
        unsafe { libc::_exit(i32::from(!refused)) };
    }
    let mut status = 0;
    // SAFETY: `status` has room for the answer.
    let waited = unsafe { libc::waitpid(child, &mut status, 0) };
    assert_eq!((waited, status), (child, 0));
}

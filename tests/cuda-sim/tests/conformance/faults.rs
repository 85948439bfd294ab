//! Failures that tests ask of the simulated driver.

use crate::loaded::{load, simulated};
use crate::peer::{Peer, as_handle};
use crate::rooms::Room;
use crate::status::*;

const OUT_OF_MEMORY_FAULT: u32 = 1;
const LAUNCH: u32 = 2;
const DEVICE_LOST: u32 = 3;
const OPEN: u32 = 4;
const REGISTRATION: u32 = 5;
const MEMOP: u32 = 6;

macro_rules! alone {
    ($($test:ident: $role:literal in $environment:expr;)*) => { $(
        #[test]
        fn $test() {
            if simulated().is_some() {
                Peer::alone($role, &$environment);
            }
        }
    )* };
}

alone! {
    the_allocation_that_is_meant_fails: "faults::out_of_memory" in [];
    queued_work_fails_for_good: "faults::launch" in [];
    a_lost_device_is_lost_for_every_call: "faults::device_lost" in [];
    opening_registering_and_memops_fail: "faults::refusals" in [];
    faults_come_from_the_environment:
        "faults::from_environment" in [("SHM_CUDA_SIM_INJECT", "oom:2,register:1")];
}

pub fn out_of_memory() {
    let driver = load().expect("a driver");
    driver.ready();
    driver.inject(OUT_OF_MEMORY_FAULT, 3);
    driver.allocate(16).expect("the first");
    driver.allocate(16).expect("the second");
    assert_eq!(driver.allocate(16), Err(OUT_OF_MEMORY));
    driver.allocate(16).expect("the fourth");
}

pub fn launch() {
    let driver = load().expect("a driver");
    driver.ready();
    let stream = driver.stream(1).expect("stream");
    let address = driver.allocate(64).expect("allocate");
    driver.set_d8(address, 1, 64).expect("set");
    driver.context_synchronize().expect("synchronise");
    driver.inject(LAUNCH, 1);
    driver.set_d8_async(address, 2, 64, stream).expect("queued");
    assert_eq!(driver.stream_synchronize(stream), Err(LAUNCH_FAILED));
    assert_eq!(driver.stream_query(stream), Err(LAUNCH_FAILED));
    assert_eq!(driver.set_d8_async(address, 2, 64, stream), Err(LAUNCH_FAILED));
    assert_eq!(driver.free(address), Err(LAUNCH_FAILED));
    driver.inject(0, 0);
    assert_eq!(driver.read(address, 64), [1; 64], "it was not done");
    driver.inject(LAUNCH, 1);
    driver.set_d8_async(address, 2, 64, stream).expect("queued");
    assert_eq!(driver.stream_synchronize(stream), Err(LAUNCH_FAILED));
    driver.primary_release(0).expect("a new context helps");
    driver.ready();
    let address = driver.allocate(64).expect("allocate");
    driver.set_d8(address, 1, 64).expect("set");
    assert_eq!(driver.read(address, 64), [1; 64]);
}

pub fn device_lost() {
    let driver = load().expect("a driver");
    driver.ready();
    let stream = driver.stream(1).expect("stream");
    driver.inject(DEVICE_LOST, 2);
    driver.context_synchronize().expect("the first call");
    assert_eq!(driver.context_synchronize(), Err(LAUNCH_FAILED));
    assert_eq!(driver.allocate(16), Err(LAUNCH_FAILED));
    assert_eq!(driver.stream_query(stream), Err(LAUNCH_FAILED));
    assert!(driver.device_count().is_ok(), "calls without a context still work");
}

pub fn refusals() {
    let driver = load().expect("a driver");
    driver.ready();
    let mut peer = Peer::start("ipc::exporter");
    let handle = as_handle(&peer.hear());
    driver.inject(OPEN, 1);
    assert_eq!(driver.ipc_open(&handle, 1), Err(INVALID_VALUE));
    let base = driver.ipc_open(&handle, 1).expect("the next one");
    driver.ipc_close(base).expect("close");
    peer.finish();
    let room = Room::new(4096);
    driver.inject(REGISTRATION, 1);
    assert_eq!(driver.host_register(room.at(), 4096, 0), Err(NOT_SUPPORTED));
    driver.host_register(room.at(), 4096, 0).expect("the next one");
    driver.inject(MEMOP, 1);
    assert_eq!(driver.write64(0, room.at() as u64, 1, 0), Err(NOT_SUPPORTED));
    driver.write64(0, room.at() as u64, 5, 0).expect("the next one");
    driver.context_synchronize().expect("synchronise");
    assert_eq!(room.word(0), 5);
}

pub fn from_environment() {
    let driver = load().expect("a driver");
    driver.ready();
    driver.allocate(16).expect("the first");
    assert_eq!(driver.allocate(16), Err(OUT_OF_MEMORY));
    let room = Room::new(4096);
    assert_eq!(driver.host_register(room.at(), 4096, 0), Err(NOT_SUPPORTED));
}

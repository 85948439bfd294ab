//! Before `cuInit`, and the devices after it.

use std::collections::HashSet;
use std::path::PathBuf;

use crate::loaded::{load, simulated};
use crate::peer::{Peer, say};
use crate::status::*;

#[test]
fn nothing_works_before_init() {
    if load().is_some() {
        Peer::alone("startup::before_init", &[]);
    }
}

pub fn before_init() {
    let driver = load().expect("a driver");
    assert_eq!(driver.device_count(), Err(NOT_INITIALIZED));
    assert_eq!(driver.allocate(16), Err(NOT_INITIALIZED));
    assert_eq!(driver.primary_retain(0), Err(NOT_INITIALIZED));
    assert_eq!(driver.init(1), Err(INVALID_VALUE));
    assert_eq!(driver.init(0), Ok(()));
    assert_eq!(driver.init(0), Ok(()), "a second time is fine");
    assert!(driver.device_count().expect("count") >= 1);
}

#[test]
fn devices_have_names_and_memory_and_uuids_of_their_own() {
    let Some(driver) = load() else { return };
    driver.init(0).expect("init");
    assert!(driver.version().expect("version") >= 11_000);
    let count = driver.device_count().expect("count");
    let mut uuids = HashSet::new();
    for ordinal in 0..count {
        let device = driver.device(ordinal).expect("device");
        let name = driver.device_name(device).expect("name");
        assert!(!name.is_empty());
        assert_eq!(name.contains("sim") && name.contains("no GPU"), driver.is_simulated, "{name}");
        assert!(driver.device_memory(device).expect("memory") > 0);
        assert!(uuids.insert(driver.device_uuid(device).expect("uuid")), "a uuid twice");
        assert_eq!(driver.device_attribute(41, device), Ok(1), "unified addressing");
    }
    assert_eq!(driver.device(count), Err(INVALID_DEVICE));
    assert_eq!(driver.device(-1), Err(INVALID_DEVICE));
    assert_eq!(driver.device_attribute(100_000, 0), Err(INVALID_VALUE));
}

#[test]
fn errors_have_names_and_texts() {
    let Some(driver) = load() else { return };
    assert_eq!(driver.error_name(0).as_deref(), Some("CUDA_SUCCESS"));
    assert_eq!(driver.error_name(2).as_deref(), Some("CUDA_ERROR_OUT_OF_MEMORY"));
    assert_eq!(driver.error_name(700).as_deref(), Some("CUDA_ERROR_ILLEGAL_ADDRESS"));
    assert_eq!(driver.error_name(123_456), None);
    let text = driver.error_string(2).expect("text");
    assert!(text.contains("memory"), "{text}");
    assert_eq!(text.ends_with(" (sim)"), driver.is_simulated, "{text}");
}

#[test]
fn functions_are_found_by_name() {
    let Some(driver) = load() else { return };
    driver.init(0).expect("init");
    assert!(driver.has_function("cuMemAlloc") && driver.has_function("cuCtxSynchronize"));
    assert!(!driver.has_function("cuNoSuchFunction"));
}

#[test]
fn every_process_sees_the_same_uuids() {
    let Some(driver) = simulated() else { return };
    driver.init(0).expect("init");
    let own: Vec<_> = (0..2).map(|it| format!("{:?}", driver.device_uuid(it))).collect();
    let mut peer = Peer::start_in("startup::two_devices", &[("SHM_CUDA_SIM_DEVICES", "2")]);
    let theirs = [peer.hear(), peer.hear()];
    peer.finish();
    assert_eq!(own, theirs);
    let reordered = [("SHM_CUDA_SIM_DEVICES", "2"), ("CUDA_VISIBLE_DEVICES", "1,0")];
    let mut peer = Peer::start_in("startup::reordered", &reordered);
    let theirs = [peer.hear(), peer.hear()];
    peer.finish();
    assert_eq!([own[1].clone(), own[0].clone()], theirs, "devices keep their uuids when reordered");
}

pub fn two_devices() {
    let driver = load().expect("a driver");
    driver.init(0).expect("init");
    assert_eq!(driver.device_count(), Ok(2));
    for ordinal in 0..2 {
        say(&format!("{:?}", driver.device_uuid(ordinal)));
    }
}

pub fn reordered() {
    two_devices();
    let driver = load().expect("a driver");
    assert!(driver.device_name(0).expect("name").starts_with("sim 1 "));
}

#[test]
fn without_a_visible_device_there_is_nothing_to_initialise() {
    if load().is_some() {
        Peer::alone("startup::no_device", &[("CUDA_VISIBLE_DEVICES", "-1")]);
    }
}

pub fn no_device() {
    assert_eq!(load().expect("a driver").init(0), Err(100));
}

#[test]
fn a_process_leaves_its_report_at_exit() {
    if simulated().is_none() {
        return;
    }
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let environment =
        [("SHM_CUDA_SIM_REPORT", folder.to_str().expect("a path")), ("SHM_CUDA_SIM_DEVICES", "2")];
    let peer = Peer::start_in("startup::two_devices", &environment);
    let path = folder.join(format!("{}.json", peer.id()));
    peer.finish();
    let report = std::fs::read_to_string(&path).expect("the report");
    std::fs::remove_file(&path).expect("remove the report");
    let report: serde_json::Value = serde_json::from_str(&report).expect("JSON");
    assert_eq!(report["sim"], true);
    assert!(report["calls"].as_u64().expect("calls") >= 3, "{report}");
}

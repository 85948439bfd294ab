//! Devices.

use std::ffi::{CStr, c_char, c_int};
use std::slice;

use super::entries;
use crate::call::{Out, give};
use crate::context::current;
use crate::driver::driver;
use crate::status::{Result, Status};

entries! {
    fn cuDeviceGetCount(count: Out<c_int>) {
        give(count, driver()?.devices.len() as c_int)
    }

    fn cuDeviceGet(device: Out<c_int>, ordinal: c_int) {
        driver()?.device(ordinal)?;
        give(device, ordinal)
    }

    fn cuDeviceGetName(name: *mut c_char, len: c_int, device: c_int) {
        give_text(name, len, driver()?.device(device)?.name.to_bytes())
    }

    fn cuDeviceGetPCIBusId(text: *mut c_char, len: c_int, device: c_int) {
        give_text(text, len, driver()?.device(device)?.pci_bus_id().as_bytes())
    }

    fn cuDeviceGetByPCIBusId(device: Out<c_int>, text: *const c_char) {
        let driver = driver()?;
        if text.is_null() {
            return Err(Status::INVALID_VALUE);
        }
        // SAFETY: the C caller gives a string that ends with a nul.
        let text = unsafe { CStr::from_ptr(text) }.to_bytes();
        let found = driver.devices.iter().position(|it| it.pci_bus_id().as_bytes() == text);
        give(device, found.ok_or(Status::INVALID_DEVICE)? as c_int)
    }

    fn cuDeviceGetUuid(uuid: Out<[u8; 16]>, device: c_int) {
        give(uuid, driver()?.device(device)?.uuid)
    }

    fn cuDeviceGetUuid_v2(uuid: Out<[u8; 16]>, device: c_int) {
        give(uuid, driver()?.device(device)?.uuid)
    }

    fn cuDeviceTotalMem_v2(bytes: Out<usize>, device: c_int) {
        give(bytes, driver()?.device(device)?.memory as usize)
    }

    fn cuDeviceGetAttribute(value: Out<c_int>, attribute: c_int, device: c_int) {
        let found = driver()?.device(device)?.attribute(attribute);
        give(value, found.ok_or(Status::INVALID_VALUE)?)
    }

    fn cuDeviceComputeCapability(major: Out<c_int>, minor: Out<c_int>, device: c_int) {
        driver()?.device(device)?;
        give(major, 8)?;
        give(minor, 0)
    }

    fn cuDeviceCanAccessPeer(can: Out<c_int>, device: c_int, peer: c_int) {
        let driver = driver()?;
        driver.device(device)?;
        driver.device(peer)?;
        give(can, c_int::from(device != peer))
    }

    fn cuCtxEnablePeerAccess(peer: usize, flags: u32) {
        let (driver, context) = current()?;
        let peer = driver.state().context(driver, peer)?;
        if flags != 0 {
            return Err(Status::INVALID_VALUE);
        }
        if peer.device == context.device {
            return Err(Status::INVALID_CONTEXT);
        }
        let is_new = context.peers.lock().insert(peer.handle);
        if is_new { Ok(()) } else { Err(Status::PEER_ACCESS_ALREADY_ENABLED) }
    }

    fn cuCtxDisablePeerAccess(peer: usize) {
        let (driver, context) = current()?;
        let peer = driver.state().context(driver, peer)?;
        let was_enabled = context.peers.lock().remove(&peer.handle);
        if was_enabled { Ok(()) } else { Err(Status::PEER_ACCESS_NOT_ENABLED) }
    }
}

/// As much of a text as there is room for, and a nul.
fn give_text(out: *mut c_char, len: c_int, text: &[u8]) -> Result {
    let room = usize::try_from(len).map_err(|_| Status::INVALID_VALUE)?;
    if out.is_null() || room == 0 {
        return Err(Status::INVALID_VALUE);
    }
    // SAFETY: the C caller says that `out` has room for `len` bytes, and nobody else uses them.
    let out = unsafe { slice::from_raw_parts_mut(out.cast::<u8>(), room) };
    let copied = text.len().min(room - 1);
    out[..copied].copy_from_slice(&text[..copied]);
    out[copied] = 0;
    Ok(())
}

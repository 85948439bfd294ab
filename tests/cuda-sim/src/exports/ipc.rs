//! Legacy handles of memory and events. They are passed by value, as C does it.

use super::entries;
use crate::call::{Out, give};
use crate::ipc::{self, Handle};

/// The layout of `CUipcMemHandle` and `CUipcEventHandle`.
#[repr(C)]
pub struct Named {
    bytes: Handle,
}

entries! {
    fn cuIpcGetMemHandle(handle: Out<Handle>, address: u64) {
        give(handle, ipc::export_memory(address)?)
    }

    fn cuIpcOpenMemHandle(address: Out<u64>, handle: Named, flags: u32) {
        give(address, ipc::open_memory(&handle.bytes, flags)?)
    }

    fn cuIpcOpenMemHandle_v2(address: Out<u64>, handle: Named, flags: u32) {
        give(address, ipc::open_memory(&handle.bytes, flags)?)
    }

    fn cuIpcCloseMemHandle(address: u64) {
        ipc::close_memory(address)
    }

    fn cuIpcGetEventHandle(handle: Out<Handle>, event: usize) {
        give(handle, ipc::export_event(event)?)
    }

    fn cuIpcOpenEventHandle(event: Out<usize>, handle: Named) {
        give(event, ipc::open_event(&handle.bytes)?)
    }
}

//! The functions of the driver that this crate calls.
//!
//! The same symbols as in `cust::sys`, declared once more with a plain `i32` for the result: there it
//! is an enumeration of the codes of CUDA 11.4, and a newer driver's code would be no value of it.

#![allow(missing_docs)]

use core::ffi::{c_char, c_int, c_uint, c_ulonglong, c_void};
pub(crate) use cust::sys::{
    CUcontext, CUdevice, CUdeviceptr, CUevent, CUipcEventHandle, CUipcMemHandle, CUmemAccessDesc,
    CUmemAllocationProp, CUmemGenericAllocationHandle, CUstream, CUuuid,
};

/// The driver's call of a host function.
pub(crate) type HostFn = unsafe extern "C" fn(*mut c_void);

unsafe extern "C" {
    pub(crate) fn cuInit(flags: c_uint) -> i32;
    pub(crate) fn cuDriverGetVersion(version: *mut c_int) -> i32;
    pub(crate) fn cuGetErrorName(error: i32, text: *mut *const c_char) -> i32;

    pub(crate) fn cuDeviceGetCount(count: *mut c_int) -> i32;
    pub(crate) fn cuDeviceGet(device: *mut CUdevice, ordinal: c_int) -> i32;
    pub(crate) fn cuDeviceGetName(name: *mut c_char, len: c_int, device: CUdevice) -> i32;
    pub(crate) fn cuDeviceGetUuid(uuid: *mut CUuuid, device: CUdevice) -> i32;
    pub(crate) fn cuDeviceGetUuid_v2(uuid: *mut CUuuid, device: CUdevice) -> i32;
    pub(crate) fn cuDeviceTotalMem_v2(bytes: *mut usize, device: CUdevice) -> i32;
    pub(crate) fn cuDeviceGetAttribute(
        value: *mut c_int,
        attribute: c_int,
        device: CUdevice,
    ) -> i32;
    pub(crate) fn cuDeviceCanAccessPeer(can: *mut c_int, device: CUdevice, peer: CUdevice) -> i32;
    pub(crate) fn cuDevicePrimaryCtxRetain(context: *mut CUcontext, device: CUdevice) -> i32;
    pub(crate) fn cuDevicePrimaryCtxRelease_v2(device: CUdevice) -> i32;
    pub(crate) fn cuCtxPushCurrent_v2(context: CUcontext) -> i32;
    pub(crate) fn cuCtxPopCurrent_v2(context: *mut CUcontext) -> i32;
    pub(crate) fn cuCtxSynchronize() -> i32;
    pub(crate) fn cuCtxEnablePeerAccess(peer: CUcontext, flags: c_uint) -> i32;

    pub(crate) fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) -> i32;
    pub(crate) fn cuMemAlloc_v2(address: *mut CUdeviceptr, bytes: usize) -> i32;
    pub(crate) fn cuMemFree_v2(address: CUdeviceptr) -> i32;
    pub(crate) fn cuMemGetAddressRange_v2(
        base: *mut CUdeviceptr,
        bytes: *mut usize,
        address: CUdeviceptr,
    ) -> i32;
    pub(crate) fn cuMemHostAlloc(address: *mut *mut c_void, bytes: usize, flags: c_uint) -> i32;
    pub(crate) fn cuMemFreeHost(address: *mut c_void) -> i32;
    pub(crate) fn cuMemHostRegister_v2(address: *mut c_void, bytes: usize, flags: c_uint) -> i32;
    pub(crate) fn cuMemHostUnregister(address: *mut c_void) -> i32;
    pub(crate) fn cuMemHostGetDevicePointer_v2(
        device: *mut CUdeviceptr,
        host: *mut c_void,
        flags: c_uint,
    ) -> i32;
    pub(crate) fn cuMemcpyHtoDAsync_v2(
        to: CUdeviceptr,
        from: *const c_void,
        bytes: usize,
        stream: CUstream,
    ) -> i32;
    pub(crate) fn cuMemcpyDtoHAsync_v2(
        to: *mut c_void,
        from: CUdeviceptr,
        bytes: usize,
        stream: CUstream,
    ) -> i32;
    pub(crate) fn cuMemcpyAsync(
        to: CUdeviceptr,
        from: CUdeviceptr,
        bytes: usize,
        stream: CUstream,
    ) -> i32;
    pub(crate) fn cuMemcpyDtoDAsync_v2(
        to: CUdeviceptr,
        from: CUdeviceptr,
        bytes: usize,
        stream: CUstream,
    ) -> i32;
    pub(crate) fn cuMemsetD8Async(
        to: CUdeviceptr,
        value: u8,
        count: usize,
        stream: CUstream,
    ) -> i32;

    pub(crate) fn cuStreamCreate(stream: *mut CUstream, flags: c_uint) -> i32;
    pub(crate) fn cuStreamDestroy_v2(stream: CUstream) -> i32;
    pub(crate) fn cuStreamSynchronize(stream: CUstream) -> i32;
    pub(crate) fn cuStreamQuery(stream: CUstream) -> i32;
    pub(crate) fn cuStreamWaitEvent(stream: CUstream, event: CUevent, flags: c_uint) -> i32;
    pub(crate) fn cuLaunchHostFunc(stream: CUstream, function: HostFn, data: *mut c_void) -> i32;

    pub(crate) fn cuEventCreate(event: *mut CUevent, flags: c_uint) -> i32;
    pub(crate) fn cuEventRecord(event: CUevent, stream: CUstream) -> i32;
    pub(crate) fn cuEventQuery(event: CUevent) -> i32;
    pub(crate) fn cuEventSynchronize(event: CUevent) -> i32;
    pub(crate) fn cuEventDestroy_v2(event: CUevent) -> i32;
    pub(crate) fn cuEventElapsedTime(ms: *mut f32, start: CUevent, end: CUevent) -> i32;

    pub(crate) fn cuPointerGetAttribute(
        data: *mut c_void,
        attribute: c_int,
        at: CUdeviceptr,
    ) -> i32;

    pub(crate) fn cuIpcGetMemHandle(handle: *mut CUipcMemHandle, address: CUdeviceptr) -> i32;
    pub(crate) fn cuIpcOpenMemHandle_v2(
        address: *mut CUdeviceptr,
        handle: CUipcMemHandle,
        flags: c_uint,
    ) -> i32;
    pub(crate) fn cuIpcCloseMemHandle(address: CUdeviceptr) -> i32;
    pub(crate) fn cuIpcGetEventHandle(handle: *mut CUipcEventHandle, event: CUevent) -> i32;
    pub(crate) fn cuIpcOpenEventHandle(event: *mut CUevent, handle: CUipcEventHandle) -> i32;

    pub(crate) fn cuMemGetAllocationGranularity(
        granularity: *mut usize,
        properties: *const CUmemAllocationProp,
        option: c_int,
    ) -> i32;
    pub(crate) fn cuMemCreate(
        handle: *mut CUmemGenericAllocationHandle,
        bytes: usize,
        properties: *const CUmemAllocationProp,
        flags: c_ulonglong,
    ) -> i32;
    pub(crate) fn cuMemRelease(handle: CUmemGenericAllocationHandle) -> i32;
    pub(crate) fn cuMemAddressReserve(
        address: *mut CUdeviceptr,
        bytes: usize,
        alignment: usize,
        wish: CUdeviceptr,
        flags: c_ulonglong,
    ) -> i32;
    pub(crate) fn cuMemAddressFree(address: CUdeviceptr, bytes: usize) -> i32;
    pub(crate) fn cuMemMap(
        address: CUdeviceptr,
        bytes: usize,
        offset: usize,
        handle: CUmemGenericAllocationHandle,
        flags: c_ulonglong,
    ) -> i32;
    pub(crate) fn cuMemUnmap(address: CUdeviceptr, bytes: usize) -> i32;
    pub(crate) fn cuMemSetAccess(
        address: CUdeviceptr,
        bytes: usize,
        access: *const CUmemAccessDesc,
        count: usize,
    ) -> i32;
    pub(crate) fn cuMemExportToShareableHandle(
        shareable: *mut c_void,
        handle: CUmemGenericAllocationHandle,
        kind: c_int,
        flags: c_ulonglong,
    ) -> i32;
    pub(crate) fn cuMemImportFromShareableHandle(
        handle: *mut CUmemGenericAllocationHandle,
        shareable: *mut c_void,
        kind: c_int,
    ) -> i32;
    #[cfg(all(feature = "share", target_os = "linux"))]
    pub(crate) fn cuMemRetainAllocationHandle(
        handle: *mut CUmemGenericAllocationHandle,
        address: *mut c_void,
    ) -> i32;
    #[cfg(all(feature = "share", target_os = "linux"))]
    pub(crate) fn cuMemGetAllocationPropertiesFromHandle(
        properties: *mut CUmemAllocationProp,
        handle: CUmemGenericAllocationHandle,
    ) -> i32;
}

//! What of the server's C interface the backend uses, version 1 of the backend interface.

use core::ffi::{c_char, c_void};
use core::marker::{PhantomData, PhantomPinned};

/// A type of the server's that is only ever seen by pointer.
macro_rules! opaque {
    ($($name:ident),+ $(,)?) => {$(
        #[repr(C)]
        pub struct $name {
            _bytes: [u8; 0],
            _neither_send_nor_sync_nor_unpin: PhantomData<(*mut u8, PhantomPinned)>,
        }
    )+};
}

opaque!(Error, Input, Model, ModelInstance, Output, Request, Response);

/// Error codes.
pub const ERROR_INTERNAL: u32 = 1;
pub const ERROR_INVALID_ARGUMENT: u32 = 3;

/// Data types.
pub const TYPE_INT32: u32 = 8;
pub const TYPE_FP32: u32 = 11;

/// Memory types.
pub const MEMORY_CPU: u32 = 0;
pub const MEMORY_GPU: u32 = 2;

/// Types of request parameters.
pub const PARAMETER_STRING: u32 = 0;
pub const PARAMETER_INT: u32 = 1;

/// Flags of a request.
pub const SEQUENCE_START: u32 = 1;
pub const SEQUENCE_END: u32 = 2;

/// Flags that end a request and its response.
pub const RELEASE_ALL: u32 = 1;
pub const RESPONSE_FINAL: u32 = 1;

unsafe extern "C" {
    pub fn TRITONSERVER_ErrorNew(code: u32, message: *const c_char) -> *mut Error;
    pub fn TRITONSERVER_ErrorDelete(error: *mut Error);

    pub fn TRITONBACKEND_ModelName(model: *mut Model, name: *mut *const c_char) -> *mut Error;
    pub fn TRITONBACKEND_ModelState(model: *mut Model, state: *mut *mut c_void) -> *mut Error;
    pub fn TRITONBACKEND_ModelSetState(model: *mut Model, state: *mut c_void) -> *mut Error;
    pub fn TRITONBACKEND_ModelInstanceModel(
        instance: *mut ModelInstance,
        model: *mut *mut Model,
    ) -> *mut Error;
    pub fn TRITONBACKEND_ModelInstanceReportStatistics(
        instance: *mut ModelInstance,
        request: *mut Request,
        success: bool,
        begun_ns: u64,
        compute_begun_ns: u64,
        compute_ended_ns: u64,
        ended_ns: u64,
    ) -> *mut Error;
    pub fn TRITONBACKEND_ModelInstanceReportBatchStatistics(
        instance: *mut ModelInstance,
        batch: u64,
        begun_ns: u64,
        compute_begun_ns: u64,
        compute_ended_ns: u64,
        ended_ns: u64,
    ) -> *mut Error;

    pub fn TRITONBACKEND_RequestInput(
        request: *mut Request,
        name: *const c_char,
        input: *mut *mut Input,
    ) -> *mut Error;
    pub fn TRITONBACKEND_RequestOutputCount(request: *mut Request, count: *mut u32) -> *mut Error;
    pub fn TRITONBACKEND_RequestOutputName(
        request: *mut Request,
        index: u32,
        name: *mut *const c_char,
    ) -> *mut Error;
    pub fn TRITONBACKEND_RequestParameterCount(
        request: *mut Request,
        count: *mut u32,
    ) -> *mut Error;
    pub fn TRITONBACKEND_RequestParameter(
        request: *mut Request,
        index: u32,
        key: *mut *const c_char,
        kind: *mut u32,
        value: *mut *const c_void,
    ) -> *mut Error;
    pub fn TRITONBACKEND_RequestFlags(request: *mut Request, flags: *mut u32) -> *mut Error;
    pub fn TRITONBACKEND_RequestCorrelationId(request: *mut Request, id: *mut u64) -> *mut Error;
    pub fn TRITONBACKEND_RequestCorrelationIdString(
        request: *mut Request,
        id: *mut *const c_char,
    ) -> *mut Error;
    pub fn TRITONBACKEND_RequestRelease(request: *mut Request, flags: u32) -> *mut Error;

    pub fn TRITONBACKEND_InputProperties(
        input: *mut Input,
        name: *mut *const c_char,
        data_type: *mut u32,
        shape: *mut *const i64,
        dimensions: *mut u32,
        bytes: *mut u64,
        buffers: *mut u32,
    ) -> *mut Error;
    pub fn TRITONBACKEND_InputBuffer(
        input: *mut Input,
        index: u32,
        buffer: *mut *const c_void,
        bytes: *mut u64,
        memory: *mut u32,
        memory_id: *mut i64,
    ) -> *mut Error;

    pub fn TRITONBACKEND_ResponseNew(
        response: *mut *mut Response,
        request: *mut Request,
    ) -> *mut Error;
    pub fn TRITONBACKEND_ResponseOutput(
        response: *mut Response,
        output: *mut *mut Output,
        name: *const c_char,
        data_type: u32,
        shape: *const i64,
        dimensions: u32,
    ) -> *mut Error;
    pub fn TRITONBACKEND_OutputBuffer(
        output: *mut Output,
        buffer: *mut *mut c_void,
        bytes: u64,
        memory: *mut u32,
        memory_id: *mut i64,
    ) -> *mut Error;
    pub fn TRITONBACKEND_ResponseSend(
        response: *mut Response,
        flags: u32,
        error: *mut Error,
    ) -> *mut Error;
}

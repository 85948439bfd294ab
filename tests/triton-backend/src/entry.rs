//! The functions that the server calls.

use core::ffi::{CStr, c_void};
use core::ptr::{null, null_mut};

use rustix::time::{ClockId, clock_gettime};

use crate::behaviour::Behaviour;
use crate::fault::{Fault, told};
use crate::ffi;
use crate::request::Request;
use crate::response::Response;

/// Looks at the model's name once, before its first request.
///
/// # Safety
///
/// Called by the server with a model that is being loaded.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn TRITONBACKEND_ModelInitialize(model: *mut ffi::Model) -> *mut ffi::Error {
    // SAFETY: passed on from the caller.
    answer(unsafe { initialize(model) })
}

/// Frees what was remembered of the model.
///
/// # Safety
///
/// Called by the server with a model that was initialized and whose last instance is gone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn TRITONBACKEND_ModelFinalize(model: *mut ffi::Model) -> *mut ffi::Error {
    // SAFETY: passed on from the caller.
    answer(unsafe { finalize(model) })
}

/// Answers requests. Several instances of a model run this at the same time.
///
/// # Safety
///
/// Called by the server with an instance of an initialized model and with `count` requests, which
/// are this backend's until it releases them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn TRITONBACKEND_ModelInstanceExecute(
    instance: *mut ffi::ModelInstance,
    requests: *mut *mut ffi::Request,
    count: u32,
) -> *mut ffi::Error {
    // SAFETY: passed on from the caller.
    let behaviour = match unsafe { behaviour_of(instance) } {
        Ok(behaviour) => behaviour,
        // The requests stay the server's where this function fails.
        Err(fault) => return fault.into_raw(),
    };
    for index in 0..count as usize {
        // SAFETY: the array has `count` requests, each of them ours until it is released, which
        // `execute` does.
        unsafe { execute(instance, behaviour, Request::new(*requests.add(index))) };
    }
    null_mut()
}

fn answer(result: Result<(), Fault>) -> *mut ffi::Error {
    result.map_or_else(Fault::into_raw, |()| null_mut())
}

/// # Safety
///
/// As of [`TRITONBACKEND_ModelInitialize`].
unsafe fn initialize(model: *mut ffi::Model) -> Result<(), Fault> {
    let mut name = null();
    // SAFETY: the model is being loaded, the place is ours.
    unsafe { told(ffi::TRITONBACKEND_ModelName(model, &mut name))? };
    // SAFETY: the server's name ends with a NUL and lives as long as the model.
    let name = unsafe { CStr::from_ptr(name) }.to_string_lossy();
    let behaviour = Box::into_raw(Box::new(Behaviour::of_model(&name)?));
    // SAFETY: the model keeps the pointer until `finalize` frees what it points to.
    unsafe { told(ffi::TRITONBACKEND_ModelSetState(model, behaviour.cast())) }
}

/// # Safety
///
/// As of [`TRITONBACKEND_ModelFinalize`].
unsafe fn finalize(model: *mut ffi::Model) -> Result<(), Fault> {
    let mut state: *mut c_void = null_mut();
    // SAFETY: the model is alive, the place is ours.
    unsafe { told(ffi::TRITONBACKEND_ModelState(model, &mut state))? };
    if !state.is_null() {
        // SAFETY: `initialize` put the box there and no instance is left to use it.
        drop(unsafe { Box::from_raw(state.cast::<Behaviour>()) });
    }
    Ok(())
}

/// # Safety
///
/// The instance is alive, and so is its model, which was initialized, as long as the lifetime.
unsafe fn behaviour_of<'a>(instance: *mut ffi::ModelInstance) -> Result<&'a Behaviour, Fault> {
    let mut model = null_mut();
    // SAFETY: the instance is alive, the place is ours.
    unsafe { told(ffi::TRITONBACKEND_ModelInstanceModel(instance, &mut model))? };
    let mut state: *mut c_void = null_mut();
    // SAFETY: an instance has a model, which outlives it; the place is ours.
    unsafe { told(ffi::TRITONBACKEND_ModelState(model, &mut state))? };
    // SAFETY: `initialize` put a behaviour there, which is freed after the last instance and is
    // only ever shared: it is `Sync`.
    unsafe { state.cast::<Behaviour>().as_ref() }
        .ok_or_else(|| Fault::internal("the model was not initialized"))
}

/// Answers one request, reports what it took and gives it back.
///
/// # Safety
///
/// The instance is alive.
unsafe fn execute(instance: *mut ffi::ModelInstance, behaviour: &Behaviour, request: Request) {
    let begun = now();
    let mut batch = 1;
    let mut success = false;
    // A request that cannot be answered is still given back, or it would be stuck for ever.
    if let Ok(mut response) = Response::new(&request) {
        let answered = behaviour.answer(&request, &mut response);
        if let Ok(samples) = answered {
            batch = samples;
        }
        success = response.send(answered.as_ref().err()).is_ok() && answered.is_ok();
    }
    let ended = now();
    // What the server thinks of the figures changes nothing for the client.
    // SAFETY: instance and request are alive.
    let _ = unsafe {
        told(ffi::TRITONBACKEND_ModelInstanceReportStatistics(
            instance,
            request.as_ptr(),
            success,
            begun,
            begun,
            ended,
            ended,
        ))
    };
    if success {
        // SAFETY: the instance is alive.
        let _ = unsafe {
            told(ffi::TRITONBACKEND_ModelInstanceReportBatchStatistics(
                instance, batch, begun, begun, ended, ended,
            ))
        };
    }
    let _ = request.release();
}

/// By the clock that the server uses too: it subtracts its own times from these.
fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

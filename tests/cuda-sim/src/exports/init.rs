//! Starting, versions, error texts and looking functions up.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;

use super::entries;
use crate::call::{Out, give, offer};
use crate::driver;
use crate::status::{self, Result, Status};
use crate::symbol;

const VERSION: c_int = 12_040;

entries! {
    fn cuInit(flags: u32) {
        if flags != 0 {
            return Err(Status::INVALID_VALUE);
        }
        driver::init()?;
        symbol::pin();
        Ok(())
    }

    fn cuDriverGetVersion(version: Out<c_int>) {
        give(version, VERSION)
    }

    fn cuGetProcAddress(name: *const c_char, function: Out<*mut c_void>, _version: c_int, _flags: u64) {
        give(function, find(name).map_err(|_| Status::NOT_FOUND)?)
    }

    fn cuGetProcAddress_v2(
        name: *const c_char,
        function: Out<*mut c_void>,
        _version: c_int,
        _flags: u64,
        outcome: Out<c_int>,
    ) {
        let found = find(name);
        // CU_GET_PROC_ADDRESS_SUCCESS and CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND.
        offer(outcome, if found.is_ok() { 0 } else { 1 });
        give(function, found?)
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGetErrorName(code: c_int, text: Out<*const c_char>) -> c_int {
    give_text(text, status::name(code))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGetErrorString(code: c_int, text: Out<*const c_char>) -> c_int {
    give_text(text, status::text(code))
}

/// These two work everywhere: before `cuInit`, and in host functions.
fn give_text(out: Out<*const c_char>, text: Option<&'static CStr>) -> c_int {
    let given = give(out, text.map_or(ptr::null(), CStr::as_ptr));
    if given.is_ok() && text.is_some() { 0 } else { Status::INVALID_VALUE.0 }
}

/// The newest version of a function, as the real driver gives it.
fn find(name: *const c_char) -> Result<*mut c_void> {
    if name.is_null() {
        return Err(Status::INVALID_VALUE);
    }
    // SAFETY: the C caller gives a string that ends with a nul.
    let name = unsafe { CStr::from_ptr(name) };
    if !name.to_bytes().starts_with(b"cu") {
        return Err(Status::NOT_FOUND);
    }
    let newest = [name.to_bytes(), b"_v2\0"].concat();
    let newest = CStr::from_bytes_with_nul(&newest).map_err(|_| Status::NOT_FOUND)?;
    let found = symbol::find(newest).or_else(|| symbol::find(name)).ok_or(Status::NOT_FOUND)?;
    Ok(found.as_ptr())
}

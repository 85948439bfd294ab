//! Contexts.

use std::ffi::c_int;

use super::entries;
use crate::call::{Out, give, offer};
use crate::context::{self, current};
use crate::driver::driver;
use crate::status::{Result, Status};

entries! {
    fn cuDevicePrimaryCtxRetain(handle: Out<usize>, device: c_int) {
        let driver = driver()?;
        let primary = driver.device(device)?.primary;
        let mut state = driver.state();
        let ordinal = device as usize;
        if !state.contexts.contains_key(&primary) {
            let flags = state.primary_flags.get(&ordinal).copied().unwrap_or(0);
            context::create(driver, &mut state, ordinal, flags, primary);
        }
        *state.primaries.entry(ordinal).or_default() += 1;
        give(handle, primary)
    }

    fn cuDevicePrimaryCtxRelease_v2(device: c_int) {
        release(device)
    }

    fn cuDevicePrimaryCtxRelease(device: c_int) {
        release(device)
    }

    fn cuDevicePrimaryCtxReset_v2(device: c_int) {
        reset(device)
    }

    fn cuDevicePrimaryCtxReset(device: c_int) {
        reset(device)
    }

    fn cuDevicePrimaryCtxGetState(device: c_int, flags: Out<u32>, active: Out<c_int>) {
        let driver = driver()?;
        let primary = driver.device(device)?.primary;
        let state = driver.state();
        give(flags, state.primary_flags.get(&(device as usize)).copied().unwrap_or(0))?;
        give(active, c_int::from(state.contexts.contains_key(&primary)))
    }

    fn cuDevicePrimaryCtxSetFlags_v2(device: c_int, flags: u32) {
        set_flags(device, flags)
    }

    fn cuDevicePrimaryCtxSetFlags(device: c_int, flags: u32) {
        set_flags(device, flags)
    }

    fn cuCtxCreate_v2(handle: Out<usize>, flags: u32, device: c_int) {
        let driver = driver()?;
        driver.device(device)?;
        if flags & !KNOWN_FLAGS != 0 {
            return Err(Status::INVALID_VALUE);
        }
        let id = driver.new_id();
        context::create(driver, &mut driver.state(), device as usize, flags, id);
        context::push(id);
        give(handle, id)
    }

    fn cuCtxDestroy_v2(handle: usize) {
        let driver = driver()?;
        if driver.devices.iter().any(|device| device.primary == handle) {
            return Err(Status::INVALID_CONTEXT);
        }
        driver.state().context(driver, handle)?;
        context::destroy(driver, handle)?;
        if context::top() == Some(handle) {
            context::pop();
        }
        Ok(())
    }

    fn cuCtxSetCurrent(handle: usize) {
        let driver = driver()?;
        if handle != 0 {
            driver.state().context(driver, handle)?;
        }
        context::set_top(handle);
        Ok(())
    }

    fn cuCtxGetCurrent(handle: Out<usize>) {
        driver()?;
        give(handle, context::top().unwrap_or(0))
    }

    fn cuCtxPushCurrent_v2(handle: usize) {
        let driver = driver()?;
        driver.state().context(driver, handle)?;
        context::push(handle);
        Ok(())
    }

    fn cuCtxPopCurrent_v2(handle: Out<usize>) {
        driver()?;
        let popped = context::pop().ok_or(Status::INVALID_CONTEXT)?;
        offer(handle, popped);
        Ok(())
    }

    fn cuCtxGetDevice(device: Out<c_int>) {
        let driver = driver()?;
        let handle = context::top().ok_or(Status::INVALID_CONTEXT)?;
        give(device, driver.state().context(driver, handle)?.device as c_int)
    }

    fn cuCtxGetFlags(flags: Out<u32>) {
        give(flags, current()?.1.flags)
    }

    fn cuCtxGetApiVersion(handle: usize, version: Out<u32>) {
        let driver = driver()?;
        let handle = if handle == 0 { context::top().unwrap_or(0) } else { handle };
        driver.state().context(driver, handle)?;
        give(version, 3020)
    }

    fn cuCtxGetId(handle: usize, id: Out<u64>) {
        let driver = driver()?;
        let handle = if handle == 0 { context::top().unwrap_or(0) } else { handle };
        give(id, driver.state().context(driver, handle)?.id)
    }

    fn cuCtxGetLimit(value: Out<usize>, limit: c_int) {
        let (_, context) = current()?;
        if !(0..=6).contains(&limit) {
            return Err(Status::UNSUPPORTED_LIMIT);
        }
        give(value, context.limits.lock().get(&limit).copied().unwrap_or(0))
    }

    fn cuCtxSetLimit(limit: c_int, value: usize) {
        let (_, context) = current()?;
        if !(0..=6).contains(&limit) {
            return Err(Status::UNSUPPORTED_LIMIT);
        }
        context.limits.lock().insert(limit, value);
        Ok(())
    }

    fn cuCtxGetStreamPriorityRange(least: Out<c_int>, greatest: Out<c_int>) {
        current()?;
        offer(least, 0);
        offer(greatest, GREATEST_PRIORITY);
        Ok(())
    }

    fn cuCtxGetCacheConfig(value: Out<c_int>) {
        current()?;
        give(value, 0)
    }

    fn cuCtxSetCacheConfig(_value: c_int) {
        current()?;
        Ok(())
    }

    fn cuCtxSynchronize() {
        current()?.1.synchronize()
    }
}

pub const GREATEST_PRIORITY: c_int = -5;
const KNOWN_FLAGS: u32 = 0x1F;

fn release(device: c_int) -> Result {
    let driver = driver()?;
    let primary = driver.device(device)?.primary;
    let mut state = driver.state();
    let count = state.primaries.get_mut(&(device as usize)).filter(|count| **count > 0);
    let count = count.ok_or(Status::INVALID_CONTEXT)?;
    *count -= 1;
    let is_last = *count == 0;
    drop(state);
    if is_last { context::destroy(driver, primary) } else { Ok(()) }
}

/// Ends the primary context whoever retains it; the next retain makes a new one.
fn reset(device: c_int) -> Result {
    let driver = driver()?;
    let primary = driver.device(device)?.primary;
    driver.state().primaries.remove(&(device as usize));
    if driver.state().contexts.contains_key(&primary) {
        context::destroy(driver, primary)?;
    }
    Ok(())
}

fn set_flags(device: c_int, flags: u32) -> Result {
    let driver = driver()?;
    driver.device(device)?;
    if flags & !KNOWN_FLAGS != 0 {
        return Err(Status::INVALID_VALUE);
    }
    driver.state().primary_flags.insert(device as usize, flags);
    Ok(())
}

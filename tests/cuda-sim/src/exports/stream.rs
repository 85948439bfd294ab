//! Streams.

use std::ffi::{c_int, c_void};
use std::ptr;

use super::context::GREATEST_PRIORITY;
use super::entries;
use crate::call::{Out, give};
use crate::context::current;
use crate::driver::{driver, in_host_function};
use crate::status::{Result, Status};
use crate::stream::{self, Lane, Mark, Stream};

/// What a stream calls on the host.
type HostFunction = Option<unsafe extern "C" fn(*mut c_void)>;

const NON_BLOCKING: u32 = 1;

entries! {
    fn cuStreamCreate(handle: Out<usize>, flags: u32) {
        create(handle, flags, 0)
    }

    fn cuStreamCreateWithPriority(handle: Out<usize>, flags: u32, priority: c_int) {
        create(handle, flags, priority)
    }

    fn cuStreamDestroy_v2(handle: usize) {
        let (driver, _context) = current()?;
        let stream = driver.state().streams.remove(&handle).ok_or(Status::INVALID_HANDLE)?;
        stream.close();
        Ok(())
    }

    fn cuStreamSynchronize(handle: usize) {
        let (_, context) = current()?;
        let stream = stream::find(handle, &context)?;
        if stream.lane == Lane::Legacy {
            // What it would wait for is part of what was queued before.
            return context.wait(context.legacy_marks());
        }
        let own = stream.context.upgrade().ok_or(Status::CONTEXT_IS_DESTROYED)?;
        own.wait(vec![stream.mark()])
    }

    fn cuStreamQuery(handle: usize) {
        let (_, context) = current()?;
        let stream = stream::find(handle, &context)?;
        let is_idle = if stream.lane == Lane::Legacy {
            context.legacy_marks().iter().all(Mark::is_done)
        } else {
            stream.is_idle()
        };
        context.healthy()?;
        if is_idle { Ok(()) } else { Err(Status::NOT_READY) }
    }

    fn cuStreamWaitEvent(handle: usize, event: usize, flags: u32) {
        let (driver, context) = current()?;
        let stream = stream::find(handle, &context)?;
        let event = super::event::find(driver, event)?;
        if flags & !1 != 0 {
            return Err(Status::INVALID_VALUE);
        }
        let Some(point) = event.last() else { return Ok(()) };
        let own = stream.context.upgrade().ok_or(Status::CONTEXT_IS_DESTROYED)?;
        own.submit(&stream, Box::new(move |context| {
            point.wait(|| context.is_over());
            Ok(())
        }))?;
        Ok(())
    }

    fn cuStreamGetCtx(handle: usize, out: Out<usize>) {
        let (_, context) = current()?;
        give(out, stream::find(handle, &context)?.context_handle)
    }

    fn cuStreamGetFlags(handle: usize, out: Out<u32>) {
        let (_, context) = current()?;
        let lane = stream::find(handle, &context)?.lane;
        give(out, if lane == Lane::NonBlocking { NON_BLOCKING } else { 0 })
    }

    fn cuStreamGetPriority(handle: usize, out: Out<c_int>) {
        let (_, context) = current()?;
        give(out, stream::find(handle, &context)?.priority)
    }

    fn cuStreamGetId(handle: usize, out: Out<u64>) {
        let (_, context) = current()?;
        give(out, stream::find(handle, &context)?.id as u64)
    }

    fn cuStreamIsCapturing(handle: usize, out: Out<c_int>) {
        let (_, context) = current()?;
        stream::find(handle, &context)?;
        give(out, 0)
    }

    fn cuLaunchHostFunc(handle: usize, function: HostFunction, argument: *mut c_void) {
        let (_, context) = current()?;
        let stream = stream::find_in(handle, &context)?;
        let function = function.ok_or(Status::INVALID_VALUE)?;
        let argument = argument.expose_provenance();
        context.submit(&stream, Box::new(move |_| {
            in_host_function(|| {
                let argument = ptr::with_exposed_provenance_mut(argument);
                // SAFETY: the C caller gave the function with its argument, to be called once
                // from a thread of the driver.
                unsafe { function(argument) }
            });
            Ok(())
        }))?;
        Ok(())
    }
}

fn create(handle: Out<usize>, flags: u32, priority: c_int) -> Result {
    let (_, context) = current()?;
    let handle = handle.ok_or(Status::INVALID_VALUE)?;
    let lane = match flags {
        0 => Lane::Blocking,
        NON_BLOCKING => Lane::NonBlocking,
        _ => return Err(Status::INVALID_VALUE),
    };
    let driver = driver()?;
    let priority = priority.clamp(GREATEST_PRIORITY, 0);
    let stream = Stream::new(driver.new_id(), lane, priority, &context);
    handle.write(stream.id);
    context.adopt(stream.clone());
    driver.state().streams.insert(stream.id, stream);
    Ok(())
}

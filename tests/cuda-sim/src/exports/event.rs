//! Events.

use std::sync::Arc;

use super::entries;
use crate::call::Out;
use crate::context::current;
use crate::driver::Driver;
use crate::event::{DISABLE_TIMING, Event};
use crate::status::{Result, Status};
use crate::stream;

entries! {
    fn cuEventCreate(handle: Out<usize>, flags: u32) {
        let (driver, context) = current()?;
        let handle = handle.ok_or(Status::INVALID_VALUE)?;
        let event = Event::new(context.handle, flags)?;
        let id = driver.new_id();
        driver.state().events.insert(id, Arc::new(event));
        handle.write(id);
        Ok(())
    }

    fn cuEventRecord(event: usize, stream: usize) {
        record(event, stream)
    }

    fn cuEventRecordWithFlags(event: usize, stream: usize, flags: u32) {
        if flags > 1 {
            return Err(Status::INVALID_VALUE);
        }
        record(event, stream)
    }

    fn cuEventQuery(event: usize) {
        let (driver, context) = current()?;
        let event = find(driver, event)?;
        match event.last() {
            Some(point) if !point.is_reached() => Err(Status::NOT_READY),
            _ => context.healthy(),
        }
    }

    fn cuEventSynchronize(event: usize) {
        let (driver, context) = current()?;
        let event = find(driver, event)?;
        if let Some(point) = event.last() {
            point.wait(|| context.is_over());
        }
        context.healthy()
    }

    fn cuEventDestroy_v2(event: usize) {
        let (driver, _context) = current()?;
        driver.state().events.remove(&event).ok_or(Status::INVALID_HANDLE)?;
        Ok(())
    }

    fn cuEventElapsedTime(milliseconds: Out<f32>, start: usize, end: usize) {
        let (driver, _context) = current()?;
        let milliseconds = milliseconds.ok_or(Status::INVALID_VALUE)?;
        let (start, end) = (find(driver, start)?, find(driver, end)?);
        if (start.flags | end.flags) & DISABLE_TIMING != 0 {
            return Err(Status::INVALID_HANDLE);
        }
        let (start, end) = (start.reached_at()?, end.reached_at()?);
        let elapsed = match end.checked_duration_since(start) {
            Some(after) => after.as_secs_f32(),
            None => -start.duration_since(end).as_secs_f32(),
        };
        milliseconds.write(elapsed * 1e3);
        Ok(())
    }
}

/// The event of a handle; one whose exporter destroyed it is no event any more.
pub fn find(driver: &Driver, handle: usize) -> Result<Arc<Event>> {
    let event = driver.state().events.get(&handle).cloned().ok_or(Status::INVALID_HANDLE)?;
    if event.is_destroyed() {
        driver.violation(format!("use of event {handle:#x} after its exporter destroyed it"));
        return Err(Status::INVALID_HANDLE);
    }
    Ok(event)
}

fn record(event: usize, stream: usize) -> Result {
    let (driver, context) = current()?;
    let event = find(driver, event)?;
    let stream = stream::find(stream, &context)?;
    if event.context != stream.context_handle {
        return Err(Status::INVALID_HANDLE);
    }
    let own = stream.context.upgrade().ok_or(Status::CONTEXT_IS_DESTROYED)?;
    let point = event.record();
    own.submit(
        &stream,
        Box::new(move |_| {
            point.reach();
            Ok(())
        }),
    )?;
    Ok(())
}

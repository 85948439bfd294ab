//! Copies and fills.

use std::ffi::c_void;
use std::sync::Arc;

use super::entries;
use crate::context::{Context, current};
use crate::copy::{self, Span};
use crate::status::{Result, Status};
use crate::stream::{self, Mark, Stream};

entries! {
    fn cuMemcpyHtoD_v2(to: u64, from: *const c_void, bytes: usize) {
        copy_now(bytes, || Span::device(to, bytes), || host(from, bytes))
    }

    fn cuMemcpyDtoH_v2(to: *mut c_void, from: u64, bytes: usize) {
        copy_now(bytes, || host(to, bytes), || Span::device(from, bytes))
    }

    fn cuMemcpyDtoD_v2(to: u64, from: u64, bytes: usize) {
        copy_now(bytes, || Span::device(to, bytes), || Span::device(from, bytes))
    }

    fn cuMemcpy(to: u64, from: u64, bytes: usize) {
        copy_now(bytes, || Span::unified(to, bytes), || Span::unified(from, bytes))
    }

    fn cuMemcpyPeer(to: u64, _to_context: usize, from: u64, _from_context: usize, bytes: usize) {
        copy_now(bytes, || Span::device(to, bytes), || Span::device(from, bytes))
    }

    fn cuMemcpyHtoDAsync_v2(to: u64, from: *const c_void, bytes: usize, stream: usize) {
        copy_later(stream, bytes, || Span::device(to, bytes), || host(from, bytes))
    }

    fn cuMemcpyDtoHAsync_v2(to: *mut c_void, from: u64, bytes: usize, stream: usize) {
        copy_later(stream, bytes, || host(to, bytes), || Span::device(from, bytes))
    }

    fn cuMemcpyDtoDAsync_v2(to: u64, from: u64, bytes: usize, stream: usize) {
        copy_later(stream, bytes, || Span::device(to, bytes), || Span::device(from, bytes))
    }

    fn cuMemcpyAsync(to: u64, from: u64, bytes: usize, stream: usize) {
        copy_later(stream, bytes, || Span::unified(to, bytes), || Span::unified(from, bytes))
    }

    fn cuMemcpyPeerAsync(
        to: u64,
        _to_context: usize,
        from: u64,
        _from_context: usize,
        bytes: usize,
        stream: usize,
    ) {
        copy_later(stream, bytes, || Span::device(to, bytes), || Span::device(from, bytes))
    }

    fn cuMemsetD8_v2(to: u64, value: u8, count: usize) {
        fill_now(to, &value.to_ne_bytes(), count)
    }

    fn cuMemsetD16_v2(to: u64, value: u16, count: usize) {
        fill_now(to, &value.to_ne_bytes(), count)
    }

    fn cuMemsetD32_v2(to: u64, value: u32, count: usize) {
        fill_now(to, &value.to_ne_bytes(), count)
    }

    fn cuMemsetD8Async(to: u64, value: u8, count: usize, stream: usize) {
        fill_later(to, &value.to_ne_bytes(), count, stream).map(drop)
    }

    fn cuMemsetD16Async(to: u64, value: u16, count: usize, stream: usize) {
        fill_later(to, &value.to_ne_bytes(), count, stream).map(drop)
    }

    fn cuMemsetD32Async(to: u64, value: u32, count: usize, stream: usize) {
        fill_later(to, &value.to_ne_bytes(), count, stream).map(drop)
    }
}

fn host(address: *const c_void, bytes: usize) -> Result<Span> {
    Span::host(address.expose_provenance(), bytes)
}

/// A copy in the legacy default stream. It returns when the host's part is over: a copy between
/// device addresses, or out of pageable memory once that is read, goes on after that.
fn copy_now(
    bytes: usize,
    to: impl FnOnce() -> Result<Span>,
    from: impl FnOnce() -> Result<Span>,
) -> Result {
    let (_, context) = current()?;
    if bytes == 0 {
        return Ok(());
    }
    let (to, from) = (to()?, from()?);
    let reads_pageable = from.is_pageable();
    let must_wait = to.is_host() || from.is_host() && !reads_pageable;
    let from = if reads_pageable {
        context.wait(context.legacy_marks())?;
        from.snapshot()
    } else {
        from
    };
    let stream = context.legacy_stream()?;
    let mark = context.submit(&stream, copy::copy(to, from, bytes))?;
    if must_wait { context.wait(vec![mark]) } else { Ok(()) }
}

/// A copy in a stream. Pageable memory is read before it returns, or written.
fn copy_later(
    handle: usize,
    bytes: usize,
    to: impl FnOnce() -> Result<Span>,
    from: impl FnOnce() -> Result<Span>,
) -> Result {
    let (context, stream) = stream_of(handle)?;
    if bytes == 0 {
        return Ok(());
    }
    let (to, from) = (to()?, from()?);
    let must_wait = to.is_pageable();
    let from = if from.is_pageable() { from.snapshot() } else { from };
    let mark = context.submit(&stream, copy::copy(to, from, bytes))?;
    if must_wait { context.wait(vec![mark]) } else { Ok(()) }
}

/// A fill in the legacy default stream; of host memory it is waited for.
fn fill_now(to: u64, pattern: &[u8], count: usize) -> Result {
    let (_, context) = current()?;
    let bytes = count.checked_mul(pattern.len()).ok_or(Status::INVALID_VALUE)?;
    let is_host = count > 0 && Span::device(to, bytes)?.is_host();
    let mark = fill_later(to, pattern, count, 0)?;
    if is_host { context.wait(mark.into_iter().collect()) } else { Ok(()) }
}

fn fill_later(to: u64, pattern: &[u8], count: usize, handle: usize) -> Result<Option<Mark>> {
    let (context, stream) = stream_of(handle)?;
    let bytes = count.checked_mul(pattern.len()).ok_or(Status::INVALID_VALUE)?;
    if count == 0 {
        return Ok(None);
    }
    if !to.is_multiple_of(pattern.len() as u64) {
        return Err(Status::INVALID_VALUE);
    }
    let work = copy::fill(Span::device(to, bytes)?, pattern.to_vec(), bytes);
    context.submit(&stream, work).map(Some)
}

fn stream_of(handle: usize) -> Result<(Arc<Context>, Arc<Stream>)> {
    let (_, context) = current()?;
    let stream = stream::find_in(handle, &context)?;
    Ok((context, stream))
}

//! Stream memory operations, under both generations of their names.

use std::slice;

use super::entries;
use crate::memop::{BatchEntry, Memop, queue};
use crate::status::{Result, Status};

entries! {
    fn cuStreamWriteValue32(stream: usize, address: u64, value: u32, flags: u32) {
        queue(stream, &[Memop::Write { address, value: value.into(), wide: false, flags }])
    }

    fn cuStreamWriteValue32_v2(stream: usize, address: u64, value: u32, flags: u32) {
        queue(stream, &[Memop::Write { address, value: value.into(), wide: false, flags }])
    }

    fn cuStreamWriteValue64(stream: usize, address: u64, value: u64, flags: u32) {
        queue(stream, &[Memop::Write { address, value, wide: true, flags }])
    }

    fn cuStreamWriteValue64_v2(stream: usize, address: u64, value: u64, flags: u32) {
        queue(stream, &[Memop::Write { address, value, wide: true, flags }])
    }

    fn cuStreamWaitValue32(stream: usize, address: u64, value: u32, flags: u32) {
        queue(stream, &[Memop::Wait { address, value: value.into(), wide: false, flags }])
    }

    fn cuStreamWaitValue32_v2(stream: usize, address: u64, value: u32, flags: u32) {
        queue(stream, &[Memop::Wait { address, value: value.into(), wide: false, flags }])
    }

    fn cuStreamWaitValue64(stream: usize, address: u64, value: u64, flags: u32) {
        queue(stream, &[Memop::Wait { address, value, wide: true, flags }])
    }

    fn cuStreamWaitValue64_v2(stream: usize, address: u64, value: u64, flags: u32) {
        queue(stream, &[Memop::Wait { address, value, wide: true, flags }])
    }

    fn cuStreamBatchMemOp(stream: usize, count: u32, entries: *const BatchEntry, flags: u32) {
        batch(stream, count, entries, flags)
    }

    fn cuStreamBatchMemOp_v2(stream: usize, count: u32, entries: *const BatchEntry, flags: u32) {
        batch(stream, count, entries, flags)
    }
}

fn batch(stream: usize, count: u32, entries: *const BatchEntry, flags: u32) -> Result {
    if flags != 0 || entries.is_null() || !entries.is_aligned() {
        return Err(Status::INVALID_VALUE);
    }
    // SAFETY: the C caller says that `count` entries begin at `entries`, which is not null and
    // is aligned; any words are an entry.
    let entries = unsafe { slice::from_raw_parts(entries, count as usize) };
    let operations: Vec<Memop> = entries.iter().map(BatchEntry::read).collect::<Result<_>>()?;
    queue(stream, &operations)
}

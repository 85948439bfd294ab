//! Somebody who carries out what was announced of a mirrored stream, as a device or as a function on
//! the host that a device calls.

use shm_core::{Announced, Stream, WordStore, copy};
use std::sync::atomic::{AtomicU64, Ordering, fence};

/// Calls what begins and finishes the frame; wakes who waits.
pub fn carry_out_on_host(stream: &Stream, announced: Announced, payload: &[u64]) {
    announced.begin_on_host();
    mirror(stream, &announced, payload);
    announced.finish_on_host();
}

/// Makes the listed stores, and wakes nobody.
pub fn carry_out(stream: &Stream, announced: &Announced, payload: &[u64]) {
    announced.begin().iter().for_each(store);
    fence(Ordering::Release);
    mirror(stream, announced, payload);
    for (index, word) in announced.finish().iter().enumerate() {
        if index >= 5 {
            fence(Ordering::Release);
        }
        store(word);
    }
}

fn mirror(stream: &Stream, announced: &Announced, payload: &[u64]) {
    let cell = stream.host_cell(announced.cell()).expect("the stream is mirrored");
    assert_eq!(payload.len(), stream.desc().elements());
    // SAFETY: a whole payload at the address of a cell of a stream with full access, which others reach
    // with copies only; `payload` is borrowed and as long, by the assertion.
    unsafe { copy::copy_in(cell, payload.as_ptr().cast(), size_of_val(payload)) }
}

fn store(word: &WordStore) {
    // SAFETY: aligned to 8, in a mapping that the stream keeps, and others reach it as an atomic.
    unsafe { AtomicU64::from_ptr(word.address) }.store(word.value, Ordering::Relaxed);
}

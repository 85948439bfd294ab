//! Streams whose frames live elsewhere, within one process.

mod announcing;
mod describing;
mod hostile;
mod reading;
mod waiting;

use crate::{Announced, Deadline, FrameTag, Stream, StreamConfig, Writer};

pub(super) const WORDS: usize = 100;

pub(super) fn config(mirrored: bool) -> StreamConfig {
    StreamConfig::of::<u64>(&[WORDS]).unwrap().external(b"elsewhere", mirrored).unwrap()
}

pub(super) fn stream(mirrored: bool) -> Stream {
    Stream::process_local("external", &config(mirrored)).unwrap()
}

pub(super) fn writer(stream: &Stream) -> Writer {
    stream.writer(Deadline::NOW).unwrap()
}

/// Carries a frame out as a device does: the listed stores, and nothing rung.
pub(super) fn carry_out(stream: &Stream, announced: &Announced) {
    use crate::sync::{Ordering, fence};
    let shared = stream.shared();
    let ring = shared.ring();
    for store in ring.beginning(&announced.writing) {
        store.word.store(store.value, Ordering::Relaxed);
    }
    fence(Ordering::Release);
    if stream.has_host_payload() {
        let payload = [announced.count(); WORDS];
        shared.fill(announced.cell(), bytemuck::cast_slice(&payload), None);
    }
    let stores = ring.completion(&announced.writing, &announced.header);
    for (index, store) in stores.into_iter().enumerate() {
        if index >= 5 {
            fence(Ordering::Release);
        }
        store.word.store(store.value, Ordering::Relaxed);
    }
}

/// Announces one frame and carries it out.
pub(super) fn frame(stream: &Stream, writer: &mut Writer, id: u64) -> u64 {
    let announced = writer.announce(FrameTag::id(id)).unwrap();
    carry_out(stream, &announced);
    announced.count()
}

//! What a peer does with a stream whose frames live elsewhere.

use super::{Actor, Reply, flat};
use crate::device;
use crate::payload::{Payload, tag};
use shm_core::{FrameTag, Stream, StreamConfig};
use std::time::Duration;

impl Actor {
    pub(in crate::peer) fn create_external(&mut self, name: &str, words: usize) -> Reply {
        flat(|| {
            let config = StreamConfig::of::<u64>(&[words])?.external(b"elsewhere", true)?;
            self.stream = Some(Stream::create(name, &config)?);
            Ok(Reply::ok(""))
        })
    }

    /// Announces frames; answers how many are in flight.
    pub(in crate::peer) fn announce(&mut self, frames: u64) -> Reply {
        flat(|| {
            let writer = self.writer.as_mut().ok_or_else(|| Reply::wrong("no writer"))?;
            for _ in 0..frames {
                let count = self.stream.as_ref().map_or(0, Stream::announced) + 1;
                let announced = writer.announce(FrameTag::id(tag(count)))?;
                if announced.count() != count {
                    let found = announced.count();
                    return Err(Reply::wrong(format!("announced {found}, expected {count}")));
                }
                self.announced.push(announced);
            }
            Ok(Reply::ok(writer.in_flight()))
        })
    }

    /// Carries out what is in flight, whether or not the lock is still held; answers the newest count.
    pub(in crate::peer) fn carry_out(&mut self) -> Reply {
        flat(|| {
            let stream = self.stream()?.clone();
            let mut payload = Payload::new(stream.desc().elements());
            for announced in self.announced.drain(..) {
                device::carry_out(&stream, &announced, payload.of(announced.count()));
            }
            Ok(Reply::ok(stream.count()))
        })
    }

    pub(in crate::peer) fn called_back(&mut self, frames: u64) -> Reply {
        let Some(stream) = self.stream.clone() else { return Reply::wrong("no stream") };
        self.write(frames, |writer, payload, count| {
            let announced = writer.announce(FrameTag::id(tag(count)))?;
            let published = announced.count();
            device::carry_out_on_host(&stream, announced, payload.of(count));
            Ok(published)
        })
    }

    pub(in crate::peer) fn wait_for(&mut self, count: u64, ms: u64) -> Reply {
        flat(|| {
            let reader = self.reader.as_mut().ok_or_else(|| Reply::wrong("no reader"))?;
            Ok(Reply::ok(reader.wait_for(count, Duration::from_millis(ms))?))
        })
    }
}

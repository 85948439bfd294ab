//! One stream through all rounds, with a reader process that survives them.

use crate::failure::Failure;
use crate::payload::{Payload, tag};
use crate::peer::Peer;
use crate::scene::Scene;
use shm_core::{Deadline, FrameTag, ReadError, Reader, Stream, StreamConfig};
use std::time::Duration;

#[derive(Debug)]
pub(super) struct Stage {
    stream: Stream,
    reader: Reader,
    payload: Payload,
    survivor: Peer,
    /// The count that the previous round ended with.
    settled: u64,
}

impl Stage {
    pub(super) fn new(scene: &Scene, words: usize) -> Result<Stage, Failure> {
        let name = scene.name(&format!("rounds-{words}"));
        let config = StreamConfig::of::<u64>(&[words]).map_err(Failure::from_display)?;
        let stream = Stream::create(&name, &config).map_err(Failure::from_display)?;
        let reader = Reader::open(&name).map_err(Failure::from_display)?;
        let mut survivor = scene.peer();
        survivor.ask(&format!("reader {name}"))?;
        survivor.start("follow wait")?;
        Ok(Stage { stream, reader, payload: Payload::new(words), survivor, settled: 0 })
    }

    pub(super) fn name(&self) -> &str {
        self.stream.name()
    }

    pub(super) fn frame_len(&self) -> usize {
        self.stream.desc().byte_len()
    }

    pub(super) fn count(&self) -> u64 {
        self.stream.count()
    }

    /// An instant somewhere in the first few frames of a back-to-back writer.
    pub(super) fn random_instant(&self, rng: &mut fastrand::Rng) -> Duration {
        let most = 2_000 + self.frame_len() as u64 / 200;
        Duration::from_micros(rng.u64(..most))
    }

    /// A process that has opened the stream for writing.
    pub(super) fn writer(&self, scene: &Scene) -> Result<Peer, Failure> {
        let mut peer = scene.peer();
        peer.ask(&format!("open {}", self.name()))?;
        Ok(peer)
    }

    /// A process that has opened the stream for reading.
    pub(super) fn reader(&self, scene: &Scene) -> Result<Peer, Failure> {
        let mut peer = scene.peer();
        peer.ask(&format!("reader {}", self.name()))?;
        Ok(peer)
    }

    /// Publishes one frame from this process, taking the lock, which must be free now.
    pub(super) fn publish(&mut self) -> Result<u64, Failure> {
        let mut writer = self.stream.writer(Deadline::NOW).map_err(Failure::from_display)?;
        let count = self.stream.count() + 1;
        let published = writer
            .publish_tagged(self.payload.of(count), FrameTag::id(tag(count)))
            .map_err(Failure::from_display)?;
        match published == count {
            true => Ok(count),
            false => Err(Failure::Unexpected(format!("published {published}, expected {count}"))),
        }
    }

    /// What must hold whenever nobody lives who could hold the lock.
    pub(super) fn settle(&mut self) -> Result<(), Failure> {
        let newest = self.stream.count();
        match self.read() {
            Ok(count) if count >= self.settled.max(newest) => {}
            Ok(count) => {
                let (settled, newest) = (self.settled, newest);
                let text = format!("read frame {count}; {settled} was settled, {newest} newest");
                return Err(Failure::Unexpected(text));
            }
            Err(error) => return Err(error),
        }
        let count = self.publish()?;
        // At most one frame is handed over by the writer that comes after a death.
        if !(newest + 1..=newest + 2).contains(&count) {
            let text = format!("published frame {count} after frame {newest}");
            return Err(Failure::Unexpected(text));
        }
        let read = self.read()?;
        if read != count {
            return Err(Failure::Unexpected(format!("read frame {read}, {count} was published")));
        }
        self.settled = count;
        Ok(())
    }

    /// Reads and verifies at once; 0 while there is no frame.
    fn read(&mut self) -> Result<u64, Failure> {
        match self.reader.read_into(self.payload.buffer()) {
            Ok(info) => {
                self.payload.verify(&info)?;
                Ok(info.count)
            }
            Err(ReadError::Empty { .. }) => Ok(0),
            Err(error) => Err(Failure::from_display(error)),
        }
    }

    /// Ends the survivor and removes the stream; returns how many frames the survivor verified.
    pub(super) fn end(mut self) -> Result<u64, Failure> {
        let report = self.survivor.finish();
        self.stream.unlink().map_err(Failure::from_display)?;
        let report = report?;
        let reads = report.split_ascii_whitespace().find_map(|word| word.strip_prefix("reads="));
        reads
            .and_then(|reads| reads.parse().ok())
            .ok_or_else(|| Failure::Unexpected(format!("no reads in '{report}'")))
    }
}

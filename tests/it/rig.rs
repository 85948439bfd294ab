//! A stream with a reader in this process, and what must hold for it at any moment.

use shm_core::{Deadline, FrameTag, ReadError, Reader, Stream, StreamConfig, Writer};
use shm_tests::{Payload, Peer, Scene, carry_out, tag, verify};

pub(crate) const SIGKILL: Option<i32> = Some(libc::SIGKILL);

/// Frames next to their header, on pages of their own, and of many pages.
pub(crate) const SIZES: [usize; 3] = [8, 5_000, 500_000];

/// One stream as the test's process sees it.
#[derive(Debug)]
pub(crate) struct Rig<'a> {
    scene: &'a Scene,
    pub(crate) name: String,
    pub(crate) stream: Stream,
    reader: Reader,
    payload: Payload,
}

impl<'a> Rig<'a> {
    pub(crate) fn new(scene: &'a Scene, suffix: &str, words: usize) -> Rig<'a> {
        Rig::over(scene, suffix, words, StreamConfig::of::<u64>(&[words]).unwrap())
    }

    /// Over a mirrored stream whose frames live elsewhere.
    pub(crate) fn external(scene: &'a Scene, suffix: &str, words: usize) -> Rig<'a> {
        let config = StreamConfig::of::<u64>(&[words]).unwrap();
        Rig::over(scene, suffix, words, config.external(b"elsewhere", true).unwrap())
    }

    fn over(scene: &'a Scene, suffix: &str, words: usize, config: StreamConfig) -> Rig<'a> {
        let name = scene.name(suffix);
        let stream = Stream::create(&name, &config).unwrap();
        let reader = Reader::open(&name).unwrap();
        Rig { scene, name, stream, reader, payload: Payload::new(words) }
    }

    /// A process that has opened the stream for writing.
    pub(crate) fn writing_peer(&self) -> Peer {
        let mut peer = self.scene.peer();
        peer.ask(&format!("open {}", self.name)).unwrap();
        peer
    }

    /// A process that holds the writer lock.
    pub(crate) fn locking_peer(&self) -> Peer {
        let mut peer = self.writing_peer();
        peer.ask("writer 0").unwrap();
        peer
    }

    /// A process that has opened the stream for reading.
    pub(crate) fn reading_peer(&self) -> Peer {
        let mut peer = self.scene.peer();
        peer.ask(&format!("reader {}", self.name)).unwrap();
        peer
    }

    /// A process that sleeps until there is a frame newer than `count`.
    pub(crate) fn blocked_peer(&self, count: u64) -> Peer {
        let mut peer = self.reading_peer();
        peer.send(&format!("read-after {count} 60000"));
        peer.await_parked();
        peer
    }

    /// Count of the frame that can be read now, verified; 0 if there is none. The frames before it
    /// that are still there are verified too.
    #[track_caller]
    pub(crate) fn read(&mut self) -> u64 {
        match self.reader.read_into(self.payload.buffer()) {
            Ok(info) => {
                self.payload.verify(&info).unwrap();
                let cells = self.stream.cells();
                let history = self.reader.history::<u64>(cells).unwrap();
                let least = info.count.min(cells as u64 - 1) as usize;
                assert!(history.len() >= least, "only {} frames", history.len());
                for (frame, count) in history.iter().rev().zip((1..=info.count).rev()) {
                    verify(&frame.info, &frame.data).unwrap();
                    assert_eq!(frame.info.count, count, "history has no gap");
                }
                info.count
            }
            Err(ReadError::Empty { .. }) => 0,
            Err(error) => panic!("{error}"),
        }
    }

    /// The lock, which must be free at this moment.
    #[track_caller]
    pub(crate) fn lock(&self) -> Writer {
        self.stream.writer(Deadline::NOW).unwrap()
    }

    /// Publishes one frame and reads it back.
    #[track_caller]
    pub(crate) fn publish(&mut self, writer: &mut Writer) -> u64 {
        let count = self.stream.count() + 1;
        let (payload, tag) = (self.payload.of(count), FrameTag::id(tag(count)));
        let published = match self.stream.external() {
            None => writer.publish_tagged(payload, tag).unwrap(),
            Some(_) => {
                let announced = writer.announce(tag).unwrap();
                carry_out(&self.stream, &announced, payload);
                announced.count()
            }
        };
        assert_eq!(published, count, "count goes on without a gap");
        assert_eq!(self.read(), count);
        count
    }

    /// Everything that must still work: the next writer gets the lock at once and publishes.
    #[track_caller]
    pub(crate) fn goes_on(&mut self) -> u64 {
        let mut writer = self.lock();
        self.publish(&mut writer)
    }
}

impl Drop for Rig<'_> {
    fn drop(&mut self) {
        // Some tests unlink it themselves; what stays is what the scene complains about.
        let _ = self.stream.unlink();
    }
}

/// Counts and explains a test that this system does not permit.
pub(crate) fn skipped(test: &str, reason: impl core::fmt::Display) {
    use std::io::Write;
    use std::sync::atomic::{AtomicUsize, Ordering};
    static SKIPPED: AtomicUsize = AtomicUsize::new(0);
    let number = SKIPPED.fetch_add(1, Ordering::Relaxed) + 1;
    // Past the capture of the test harness: a skipped test must be seen.
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {reason} (skipped so far: {number})");
}

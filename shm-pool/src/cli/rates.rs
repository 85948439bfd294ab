//! Two looks at one segment, and what happened in between.
//!
//! Counters only go up; a look that shows less than the one before it, or a segment that another one
//! has replaced, says nothing about a rate. Upholds invariant 2: no number of a header makes a rate
//! negative, infinite or a panic.

use super::subject::{Subject, SubjectKind};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The counters of a segment at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    at: Instant,
    instance: String,
    uses: u64,
    frame_bytes: Option<u64>,
    counters: BTreeMap<String, u64>,
}

impl Look {
    /// The counters of a subject that was looked at just now.
    pub(crate) fn at(subject: &Subject, at: Instant) -> Look {
        let is_stream = matches!(subject.kind, SubjectKind::Stream | SubjectKind::ExternalStream);
        let frame = subject.frame.as_ref().filter(|_| is_stream);
        Look {
            at,
            instance: subject.instance.clone(),
            uses: subject.uses(),
            frame_bytes: frame.map(|frame| frame.bytes as u64),
            counters: subject.counters.clone(),
        }
    }

    /// What happened since an earlier look; `None` if that was at another segment of the same name, or
    /// no time has passed.
    pub(crate) fn since(&self, earlier: &Look) -> Option<Change> {
        let elapsed = self.at.checked_duration_since(earlier.at)?;
        if elapsed.is_zero() || self.instance != earlier.instance {
            return None;
        }
        let before = |name: &str| earlier.counters.get(name).copied().unwrap_or_default();
        let gained =
            |(name, now): (&String, &u64)| (name.clone(), now.saturating_sub(before(name)));
        let uses = self.uses.saturating_sub(earlier.uses);
        let counters = self.counters.iter().map(gained).collect();
        Some(Change { elapsed, uses, frame_bytes: self.frame_bytes, counters })
    }
}

/// What happened between two looks.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    elapsed: Duration,
    uses: u64,
    frame_bytes: Option<u64>,
    counters: BTreeMap<String, u64>,
}

impl Change {
    /// Time between the looks.
    pub(crate) fn seconds(&self) -> f64 {
        self.elapsed.as_secs_f64()
    }

    /// Frames published, or slots lent.
    pub(crate) fn uses(&self) -> u64 {
        self.uses
    }

    /// Frames or lends a second.
    pub(crate) fn uses_per_s(&self) -> f64 {
        self.per_second(self.uses)
    }

    /// Payload of the frames of a stream, in millions of bytes a second. What is lent says nothing
    /// about how much of it was filled, so pools and stores have none.
    pub(crate) fn mb_per_s(&self) -> Option<f64> {
        Some(self.uses_per_s() * self.frame_bytes? as f64 / 1e6)
    }

    /// By how much a counter went up.
    pub(crate) fn gained(&self, counter: &str) -> u64 {
        self.counters.get(counter).copied().unwrap_or_default()
    }

    /// A number of this change as a rate.
    pub(crate) fn per_second(&self, count: u64) -> f64 {
        count as f64 / self.seconds()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A stream as its header might show it: `frames` of 1000 bytes.
    pub(crate) fn stream(name: &str, frames: u64) -> Subject {
        let counters = [("frames", frames), ("writer_pid", 7), ("writers", 1)];
        Subject {
            name: name.to_owned(),
            kind: SubjectKind::Stream,
            path: format!("/dev/shm/{name}"),
            bytes: 8192,
            allocated_bytes: 8192,
            created_ns: 0,
            creator_pid: 7,
            instance: format!("instance of {name}"),
            attached: true,
            writer_locked: true,
            holders: vec![super::super::subject::HolderRow {
                pid: 7,
                process: None,
                uid: 0,
                role: "writer",
                since_mono_ns: 0,
            }],
            frame: Some(super::super::subject::FrameShape {
                dtype: "uint8",
                shape: vec![10, 100],
                bytes: 1000,
                cells: 3,
                readable: true,
                descriptor_bytes: None,
            }),
            memory: None,
            header_kind: "stream".to_owned(),
            units: [("frames".to_owned(), "frame".to_owned())].into(),
            counters: counters.map(|(name, value)| (name.to_owned(), value)).into(),
        }
    }

    #[test]
    fn what_happened_between_two_looks_is_a_rate() {
        let begun = Instant::now();
        let earlier = Look::at(&stream("a", 10), begun);
        let later = Look::at(&stream("a", 110), begun + Duration::from_secs(2));
        let change = later.since(&earlier).unwrap();
        assert_eq!((change.uses(), change.gained("frames")), (100, 100));
        assert_eq!(change.uses_per_s(), 50.0);
        assert_eq!(change.mb_per_s(), Some(0.05));
        assert_eq!(change.gained("no such counter"), 0);
    }

    #[test]
    fn other_segments_no_time_and_counters_that_fall_are_no_rates() {
        let begun = Instant::now();
        let earlier = Look::at(&stream("a", 10), begun);
        assert!(Look::at(&stream("a", 20), begun).since(&earlier).is_none());
        let mut other = stream("a", 20);
        other.instance = "another".to_owned();
        let second = begun + Duration::from_secs(1);
        assert!(Look::at(&other, second).since(&earlier).is_none());
        assert!(earlier.since(&Look::at(&stream("a", 5), second)).is_none());
        let fallen = Look::at(&stream("a", 4), second).since(&earlier).unwrap();
        assert_eq!((fallen.uses(), fallen.gained("frames")), (0, 0));
    }

    #[test]
    fn pools_have_no_payload_rate() {
        let begun = Instant::now();
        let pool = |lent: u64| {
            let mut subject = stream("p", 0);
            subject.kind = SubjectKind::Pool;
            subject.counters.insert("lent".to_owned(), lent);
            subject
        };
        let later = Look::at(&pool(9), begun + Duration::from_secs(3));
        let change = later.since(&Look::at(&pool(3), begun)).unwrap();
        assert_eq!((change.uses(), change.uses_per_s(), change.mb_per_s()), (6, 2.0, None));
    }
}

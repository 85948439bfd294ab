//! Models of the cells: every interleaving and every reordering that the memory model allows.

use super::*;
use crate::sync::{check, violates};
use loom::sync::Arc;
use loom::thread;

/// K cells with a payload of one word that must always equal the frame's count, times ten.
struct Model {
    latest: AtomicU64,
    cells: Vec<Cell>,
    payload: Vec<AtomicU64>,
}

impl Model {
    fn new(cells: usize) -> Arc<Model> {
        Arc::new(Model {
            latest: AtomicU64::new(0),
            cells: (0..cells).map(|_| Cell::default()).collect(),
            payload: (0..cells).map(|_| AtomicU64::new(0)).collect(),
        })
    }

    fn ring(&self) -> Ring<'_, &[Cell]> {
        Ring { latest: &self.latest, cells: &self.cells }
    }

    fn publish(&self, count: u64) {
        let writing = self.ring().begin(count);
        self.payload[writing.index].store(count * 10, Ordering::Relaxed);
        self.ring().seal(&writing, header(count));
        self.ring().hand_over(count);
    }

    /// One attempt: the frame's count and payload, if it was not overwritten meanwhile.
    fn attempt(&self, count: u64) -> Option<(CellHeader, u64)> {
        let Look::Stable(stamp) = self.ring().look(count) else { return None };
        let payload = self.payload[stamp.index].load(Ordering::Relaxed);
        self.ring().validate(&stamp).then_some((stamp.header, payload))
    }
}

fn header(count: u64) -> CellHeader {
    CellHeader { count, frame_id: count + 100, byte_len: 8, ..CellHeader::default() }
}

fn check_whole(count: u64, (header, payload): (CellHeader, u64)) {
    check(header.count == count, "the count is this frame's");
    check(header.frame_id == count + 100, "the frame id is this frame's");
    check(payload == count * 10, "the payload is this frame's");
}

/// A frame that nobody is overwriting.
fn check_readable(model: &Model, count: u64) {
    match model.attempt(count) {
        Some(frame) => check_whole(count, frame),
        None => check(false, "a frame that is not being overwritten is readable"),
    }
}

/// A writer that uses the reader's cell again while it is being read.
fn overwriting() {
    let model = Model::new(2);
    model.publish(1);
    let writer = {
        let model = model.clone();
        thread::spawn(move || {
            model.publish(2);
            model.publish(3);
        })
    };
    let count = model.ring().newest();
    if let Some(frame) = model.attempt(count) {
        check_whole(count, frame);
    }
    writer.join().unwrap();
}

/// A writer that leaves the newest cell alone: the first attempt must succeed.
fn handing_over() {
    let model = Model::new(3);
    model.publish(1);
    let writer = {
        let model = model.clone();
        thread::spawn(move || model.publish(2))
    };
    let count = model.ring().newest();
    check_readable(&model, count);
    writer.join().unwrap();
}

/// A frame asked for by a count whose cell holds an older one.
fn naming_a_frame_of_the_future() {
    let model = Model::new(2);
    model.publish(1);
    if let Some(frame) = model.attempt(3) {
        check_whole(3, frame);
    }
}

/// A writer that stops for ever at each step of frame 2, and the next writer's frame.
fn dying(steps: usize) {
    let model = Model::new(2);
    model.publish(1);
    let writer = {
        let model = model.clone();
        thread::spawn(move || {
            let writing = model.ring().begin(2);
            if steps > 0 {
                model.payload[writing.index].store(20, Ordering::Relaxed);
            }
            if steps > 1 {
                model.ring().seal(&writing, header(2));
            }
        })
    };
    let count = model.ring().newest();
    check(count == 1, "an unfinished frame is not the newest");
    check_readable(&model, 1);
    writer.join().unwrap();
    // The kernel gave the lock of the dead writer to this one.
    let newest = model.ring().recover();
    check(newest == if steps > 1 { 2 } else { 1 }, "a finished frame is handed over");
    check_readable(&model, newest);
    model.publish(newest + 1);
    check_readable(&model, newest + 1);
}

/// A writer that stops for ever after sealing, and a next writer that looks at its cell meanwhile.
fn recovering() {
    let model = Model::new(2);
    model.publish(1);
    let writer = {
        let model = model.clone();
        thread::spawn(move || {
            let writing = model.ring().begin(2);
            model.payload[writing.index].store(20, Ordering::Relaxed);
            model.ring().seal(&writing, header(2));
        })
    };
    let newest = model.ring().recover();
    check_readable(&model, newest);
    writer.join().unwrap();
}

/// An aborted frame is never seen, and the one before it stays.
fn aborting() {
    let model = Model::new(2);
    model.publish(1);
    let writer = {
        let model = model.clone();
        thread::spawn(move || {
            let writing = model.ring().begin(2);
            model.payload[writing.index].store(77, Ordering::Relaxed);
            drop(writing);
            check(model.ring().recover() == 1, "an aborted frame is not handed over");
        })
    };
    check(model.attempt(2).is_none(), "an aborted frame is never readable");
    check_readable(&model, 1);
    writer.join().unwrap();
}

#[test]
fn loom_no_frame_is_torn() {
    assert_eq!(violates(None, overwriting), None);
}

#[test]
fn loom_the_newest_frame_is_readable_at_once() {
    assert_eq!(violates(None, handing_over), None);
}

#[test]
fn loom_a_frame_is_found_by_its_count() {
    assert_eq!(violates(None, naming_a_frame_of_the_future), None);
}

#[test]
fn loom_a_dead_writer_costs_nothing() {
    assert_eq!(violates(None, recovering), None);
    for steps in 0..3 {
        assert_eq!(violates(None, move || dying(steps)), None, "died after step {steps}");
    }
}

#[test]
fn loom_an_aborted_frame_is_never_seen() {
    assert_eq!(violates(None, aborting), None);
}

#[test]
fn loom_mutations_of_the_seqlock_fail() {
    assert!(violates(Some(Mutation::OddFence), overwriting).is_some(), "odd fence");
    assert!(violates(Some(Mutation::ValidateFence), overwriting).is_some(), "validate fence");
    assert!(violates(Some(Mutation::EvenRelease), recovering).is_some(), "even mark");
    assert!(violates(Some(Mutation::CountCheck), naming_a_frame_of_the_future).is_some(), "count");
}

#[test]
fn loom_mutations_of_the_hand_over_fail() {
    assert!(violates(Some(Mutation::LatestRelease), handing_over).is_some(), "latest");
    assert!(violates(Some(Mutation::ReuseLatest), handing_over).is_some(), "reused cell");
}

//! Models of frames that a device carries out: it makes the listed stores, and rings nothing.

use super::*;
use crate::event::kernel::Kernel;
use crate::seqlock::{Cell, CellHeader, Look, Ring, Writing};
use crate::sync::{AtomicU32, check, fence, violates};
use loom::sync::Arc;
use loom::thread;

struct Model {
    word: AtomicU64,
    chain: AtomicU32,
    kernel: Kernel,
    announced: AtomicU64,
    latest: AtomicU64,
    cells: Vec<Cell>,
    payload: Vec<AtomicU64>,
    /// The kernel's word on the writer: 1 while it lives.
    alive: AtomicU32,
}

impl Model {
    /// A model in which that many threads ring, wait or carry out.
    fn new(threads: u32, cells: usize) -> Arc<Model> {
        Arc::new(Model {
            word: AtomicU64::new(0),
            chain: AtomicU32::new(0),
            kernel: Kernel::new(threads),
            announced: AtomicU64::new(0),
            latest: AtomicU64::new(0),
            cells: (0..cells).map(|_| Cell::default()).collect(),
            payload: (0..cells).map(|_| AtomicU64::new(0)).collect(),
            alive: AtomicU32::new(1),
        })
    }

    fn ring(&self) -> Ring<'_, &[Cell]> {
        Ring { latest: &self.latest, cells: &self.cells }
    }

    fn flight(&self) -> Flight<'_> {
        Flight { announced: &self.announced }
    }

    fn event(&self) -> Event<'_> {
        Event { word: &self.word, chain: &self.chain }
    }

    fn announce(&self, count: u64) -> Writing {
        let writing = self.ring().reserve(count);
        self.flight().announce(count);
        self.event().ring(&self.kernel);
        writing
    }

    /// What a device does, with or without the fences that its last stores want.
    fn carry_out(&self, writing: &Writing, fences: bool) {
        self.begin(writing);
        let header = header(writing.count);
        for (index, store) in self.ring().completion(writing, &header).into_iter().enumerate() {
            if fences && index >= 5 {
                fence(Ordering::Release);
            }
            store.word.store(store.value, Ordering::Relaxed);
        }
    }

    fn begin(&self, writing: &Writing) {
        for store in self.ring().beginning(writing) {
            store.word.store(store.value, Ordering::Relaxed);
        }
        fence(Ordering::Release);
        self.payload[writing.index].store(writing.count * 10, Ordering::Relaxed);
    }

    /// Waits for a frame above `count` as the product does, asking after the writer on every turn.
    fn wait_above(&self, count: u64) {
        let (mut belief, mut armed) = (Belief::default(), None);
        while self.ring().newest() <= count && !self.kernel.has_lost() {
            let is_dead = || self.alive.load(Ordering::Acquire) == 0;
            if belief.is_in_flight(self.flight(), self.event(), count)
                && !belief.doubt(self.event(), is_dead)
            {
                // A nap: it ends by itself.
                thread::yield_now();
                continue;
            }
            let awake = || {
                self.ring().newest() > count
                    || belief.is_in_flight(self.flight(), self.event(), count)
            };
            self.event().sleep(&self.kernel, &mut armed, (), awake);
        }
    }

    /// One attempt at a frame: true if it was there, and whole.
    fn read(&self, count: u64) -> bool {
        let Look::Stable(stamp) = self.ring().look(count) else { return false };
        let payload = self.payload[stamp.index].load(Ordering::Relaxed);
        if !self.ring().validate(&stamp) {
            return false;
        }
        check(stamp.header == header(count), "the header is this frame's");
        check(payload == count * 10, "the payload is this frame's");
        true
    }
}

fn header(count: u64) -> CellHeader {
    CellHeader { count, frame_id: count + 100, byte_len: 8, ..CellHeader::default() }
}

/// Threads of the model beside the writer, which is this one.
fn spawn(model: &Arc<Model>, act: impl FnOnce(&Model) + 'static) -> thread::JoinHandle<()> {
    let model = model.clone();
    thread::spawn(move || {
        act(&model);
        model.kernel.finish();
    })
}

fn wait_and_read(model: &Model) {
    model.wait_above(0);
    if !model.kernel.has_lost() {
        check(model.read(model.ring().newest()), "a frame that was waited for is readable");
    }
}

/// A waiter, a writer that announces one frame, and the device that carries it out and rings nothing.
fn waiting(ring_first: bool) {
    let model = Model::new(3, 2);
    let waiter = spawn(&model, wait_and_read);
    let writing = match ring_first {
        false => model.announce(1),
        true => {
            model.event().ring(&model.kernel);
            model.flight().announce(1);
            model.ring().reserve(1)
        }
    };
    let device = spawn(&model, move |model| model.carry_out(&writing, true));
    model.kernel.finish();
    waiter.join().unwrap();
    device.join().unwrap();
    model.kernel.assert_nobody_overslept();
}

/// A writer that announces the next frame while the device is at the first.
fn announcing_the_next_meanwhile() {
    let model = Model::new(2, 3);
    let first = model.announce(1);
    let device = spawn(&model, move |model| model.carry_out(&first, true));
    let second = model.announce(2);
    let newest = model.ring().newest();
    check(newest <= model.flight().announced(), "nothing is complete that was not announced");
    if newest > 0 {
        check(model.read(newest), "the newest frame is readable");
    }
    device.join().unwrap();
    model.carry_out(&second, true);
    check(model.ring().newest() == 2 && model.read(2), "frames complete in their order");
    model.kernel.finish();
}

/// A device that uses the reader's cell again while it is being read.
fn overwriting() {
    let model = Model::new(2, 2);
    let first = model.announce(1);
    model.carry_out(&first, true);
    let (second, third) = (model.announce(2), model.announce(3));
    let device = spawn(&model, move |model| {
        model.carry_out(&second, true);
        model.carry_out(&third, true);
    });
    model.read(model.ring().newest());
    device.join().unwrap();
    model.kernel.finish();
}

/// A device that leaves the newest cell alone: the first attempt must succeed.
fn handing_over(fences: bool) {
    let model = Model::new(2, 3);
    let first = model.announce(1);
    model.carry_out(&first, true);
    let second = model.announce(2);
    let device = spawn(&model, move |model| model.carry_out(&second, fences));
    check(model.read(model.ring().newest()), "the newest frame is readable");
    device.join().unwrap();
    model.kernel.finish();
}

/// A writer died with frame 1 in flight, at that step of the device; a waiter finds it dead, now or
/// later; and the next writer announces the same frame again.
fn succeeding(steps: usize) {
    let model = Model::new(2, 2);
    let lost = model.announce(1);
    if steps > 0 {
        model.begin(&lost);
    }
    model.alive.store(0, Ordering::Release);
    let waiter = spawn(&model, wait_and_read);
    // The kernel gave this one the lock, and said that the predecessor's process is gone.
    model.alive.store(1, Ordering::Release);
    let newest = model.ring().recover();
    check(newest == 0, "a frame that was lost is not handed over");
    model.flight().settle(newest);
    let again = model.announce(1);
    model.carry_out(&again, true);
    model.kernel.finish();
    waiter.join().unwrap();
    model.kernel.assert_nobody_overslept();
    check(model.read(1), "the frame is the next writer's");
}

#[test]
fn loom_a_waiter_sees_what_nobody_rings_for() {
    assert_eq!(violates(None, || waiting(false)), None);
}

#[test]
fn loom_the_next_frame_may_be_announced_meanwhile() {
    assert_eq!(violates(None, announcing_the_next_meanwhile), None);
}

#[test]
fn loom_no_frame_of_a_device_is_torn() {
    assert_eq!(violates(None, overwriting), None);
    assert_eq!(violates(None, || handing_over(true)), None);
}

#[test]
fn loom_a_waiter_survives_the_writer_it_gave_up() {
    for steps in 0..2 {
        assert_eq!(violates(None, move || succeeding(steps)), None, "died after step {steps}");
    }
}

#[test]
fn loom_mutations_of_the_announcement_fail() {
    assert!(violates(None, || waiting(true)).is_some(), "ring before the store");
    assert!(violates(Some(Mutation::SleepUnchecked), || waiting(false)).is_some(), "unchecked");
    assert!(violates(Some(Mutation::DoubtLate), || succeeding(0)).is_some(), "late epoch");
}

#[test]
fn loom_mutations_of_the_device_fail() {
    assert!(violates(Some(Mutation::OddMark), overwriting).is_some(), "odd mark");
    assert!(violates(Some(Mutation::LatestFirst), || handing_over(true)).is_some(), "order");
    assert!(violates(None, || handing_over(false)).is_some(), "fences");
}

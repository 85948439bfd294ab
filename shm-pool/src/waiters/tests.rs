//! Models of the line: no wake-up is lost, nobody is overlooked.

use super::*;
use crate::sync::{check, fence_after_exchange, violates};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

/// What the kernel's futex guarantees: comparing and going to sleep is one step for a waker. When
/// everybody who has not finished sleeps, a wake-up was lost: that is noted, and all are let go.
struct Kernel {
    queue: Mutex<Queue>,
    wake: Condvar,
}

struct Queue {
    active: usize,
    /// Cells whose sleepers sleep.
    asleep: Vec<usize>,
    lost: bool,
}

impl Kernel {
    fn new(active: usize) -> Kernel {
        let queue = Queue { active, asleep: Vec::new(), lost: false };
        Kernel { queue: Mutex::new(queue), wake: Condvar::new() }
    }

    fn check(&self, queue: &mut Queue) {
        if queue.active > 0 && queue.asleep.len() == queue.active {
            queue.lost = true;
            self.wake.notify_all();
        }
    }

    fn finish(&self) {
        let mut queue = self.queue.lock().unwrap();
        queue.active -= 1;
        self.check(&mut queue);
    }

    fn park(&self, cell: usize, count: &AtomicU64, seen: u64) {
        let mut queue = self.queue.lock().unwrap();
        if queue.lost || count.load(Ordering::Relaxed) != seen {
            return;
        }
        queue.asleep.push(cell);
        self.check(&mut queue);
        while queue.asleep.contains(&cell) && !queue.lost {
            queue = self.wake.wait(queue).unwrap();
        }
    }

    fn unpark(&self, cell: usize) {
        let mut queue = self.queue.lock().unwrap();
        queue.asleep.retain(|sleeper| *sleeper != cell);
        self.wake.notify_all();
    }

    fn has_lost(&self) -> bool {
        self.queue.lock().unwrap().lost
    }
}

/// Two cells, and a number of free slots.
struct Model {
    cells: Vec<AtomicU64>,
    marks: Vec<AtomicU64>,
    room: AtomicU64,
    kernel: Kernel,
}

impl Model {
    fn new(threads: usize) -> Arc<Model> {
        Arc::new(Model {
            cells: (0..2 * CELL).map(|_| AtomicU64::new(0)).collect(),
            marks: vec![AtomicU64::new(0)],
            room: AtomicU64::new(0),
            kernel: Kernel::new(threads),
        })
    }

    fn waiters(&self) -> Waiters<'_> {
        Waiters { cells: &self.cells, marks: &self.marks }
    }

    fn wake(&self) {
        let waiters = self.waiters();
        waiters.wake_first(|count| {
            let cell = (0..2).find(|cell| std::ptr::eq(waiters.count(*cell), count));
            self.kernel.unpark(cell.unwrap());
        });
    }

    /// Gives a slot back.
    fn release(&self) {
        self.room.fetch_add(1, Ordering::AcqRel);
        fence_after_exchange();
        if self.waiters().is_anybody() {
            self.wake();
        }
    }

    fn take(&self) -> bool {
        let room = self.room.load(Ordering::Acquire);
        let (took, same) = (Ordering::AcqRel, Ordering::Relaxed);
        room > 0 && self.room.compare_exchange(room, room - 1, took, same).is_ok()
    }

    fn leave(&self, cell: usize, waiter: Waiter) {
        self.waiters().stand_up(cell, waiter);
        if self.waiters().is_anybody() {
            self.wake();
        }
    }

    /// Waits for a slot, in line.
    fn wait(&self, number: u64) {
        let waiter = Waiter::new(number, 0, 0);
        let cell = self.waiters().sit_down(waiter).expect("there is a cell for everybody");
        self.waiters().announce(cell);
        while !self.kernel.has_lost() {
            let seen = self.waiters().before_looking(cell);
            let first = !self.waiters().in_turn().any(|(_, other)| other.is_before(waiter));
            if first && self.take() {
                break;
            }
            self.kernel.park(cell, self.waiters().count(cell), seen);
        }
        self.leave(cell, waiter);
        self.kernel.finish();
    }

    fn check_empty(&self) {
        check(!self.kernel.has_lost(), "no wake-up is lost");
        check(!self.waiters().is_anybody(), "nobody is left in the line");
    }
}

fn aside(model: &Arc<Model>, act: impl FnOnce(&Model) + 'static) -> thread::JoinHandle<()> {
    let model = model.clone();
    thread::spawn(move || act(&model))
}

/// A slot is given back while a producer gets in line.
fn waiting() {
    let model = Model::new(2);
    let waiter = aside(&model, |model| model.wait(0));
    model.release();
    model.kernel.finish();
    waiter.join().unwrap();
    model.check_empty();
}

/// Two wait for the two slots that are given back: the second is woken by the first.
fn waiting_in_line() {
    let model = Model::new(3);
    let first = aside(&model, |model| model.wait(0));
    let second = aside(&model, |model| model.wait(1));
    model.release();
    model.release();
    model.kernel.finish();
    first.join().unwrap();
    second.join().unwrap();
    model.check_empty();
}

/// One gives up while another one sits down, where there is one cell for both.
fn changing_places() {
    let model = Model::new(3);
    let gone = Waiter::new(7, 0, 0);
    let cell = model.waiters().sit_down(gone).unwrap();
    model.waiters().announce(cell);
    let next = aside(&model, |model| {
        // The second cell is nobody's in this model.
        let waiters = Waiters { cells: &model.cells[..CELL], ..model.waiters() };
        let waiter = Waiter::new(8, 0, 0);
        if let Some(cell) = waiters.sit_down(waiter) {
            waiters.announce(cell);
            waiters.stand_up(cell, waiter);
        }
    });
    model.waiters().stand_up(cell, gone);
    next.join().unwrap();
    check(!model.waiters().is_anybody(), "an empty cell has no mark");
}

/// One gives up while another one sits down in its cell and waits for what is given back.
fn overlooking() {
    let model = Model::new(3);
    let gone = Waiter::new(7, 0, 0);
    let cell = model.waiters().sit_down(gone).unwrap();
    model.waiters().announce(cell);
    let leaving = aside(&model, move |model| {
        model.leave(cell, gone);
        model.kernel.finish();
    });
    let releasing = aside(&model, |model| {
        model.release();
        model.kernel.finish();
    });
    model.wait(8);
    leaving.join().unwrap();
    releasing.join().unwrap();
    model.check_empty();
}

#[test]
fn loom_a_waiter_is_served() {
    assert_eq!(violates(None, waiting), None);
}

#[test]
fn loom_those_in_line_are_served() {
    assert_eq!(violates(None, waiting_in_line), None);
}

#[test]
fn loom_an_empty_cell_has_no_mark() {
    assert_eq!(violates(None, changing_places), None);
}

#[test]
fn loom_nobody_in_line_is_overlooked() {
    assert_eq!(violates(None, overlooking), None);
}

#[test]
fn loom_mutations_of_the_line_fail() {
    assert!(violates(Some(Mutation::WaitFence), waiting).is_some(), "fence");
    assert!(violates(Some(Mutation::MarkOnce), changing_places).is_some(), "mark");
}

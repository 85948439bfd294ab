//! What is put is got once and in order, whoever stops where.

use crate::queue::cell::{CellShape, Entry};
use crate::queue::ring::{Look, Ring, Trouble};
use crate::sync::{AtomicU64, Mutation, Ordering, check, violates};
use loom::sync::Arc;
use loom::thread;

const SLOTS: usize = 4;
const LIVE: u64 = 1;

struct Model {
    life: AtomicU64,
    cells: Vec<AtomicU64>,
    head: AtomicU64,
    tail: AtomicU64,
    cursor: AtomicU64,
    /// What the slots say before they are put.
    published: Vec<AtomicU64>,
}

impl Model {
    fn new(cells: usize) -> Arc<Model> {
        let word = || AtomicU64::new(0);
        let words = |count| (0..count).map(|_| word()).collect();
        let (cells, published) = (words(cells), words(SLOTS));
        let model = Model {
            life: AtomicU64::new(LIVE),
            cells,
            head: word(),
            tail: word(),
            cursor: word(),
            published,
        };
        model.ring().prepare(0);
        Arc::new(model)
    }

    fn ring(&self) -> Ring<'_> {
        self.ring_of(LIVE, self.cells.len())
    }

    /// The queue that had, or has got, these words.
    fn ring_of(&self, alive: u64, cells: usize) -> Ring<'_> {
        Ring {
            life: &self.life,
            alive,
            shape: CellShape::new(cells, SLOTS),
            cells: &self.cells[..cells],
            head: &self.head,
            tail: &self.tail,
        }
    }

    fn publish(&self, slot: usize) -> Entry {
        self.published[slot].store(1, Ordering::Relaxed);
        Entry::new(slot, 7)
    }

    fn put(&self, slot: usize) -> bool {
        let put = self.ring().put(self.publish(slot));
        check(put.is_ok(), "nothing is damaged");
        put == Ok(true)
    }

    fn append(&self, slot: usize) -> bool {
        let slowest = || Some(self.cursor.load(Ordering::Acquire));
        let put = self.ring().append(self.publish(slot), slowest);
        check(put.is_ok(), "nothing is damaged");
        put == Ok(true)
    }

    fn check_published(&self, entry: Entry) {
        let published = self.published[entry.slot].load(Ordering::Relaxed) == 1;
        check(published, "what is got was published");
    }

    fn get(&self) -> Option<usize> {
        loop {
            match self.ring().peek() {
                Ok(Some(offer)) if self.ring().take(offer) => {
                    self.check_published(offer.entry);
                    return Some(offer.entry.slot);
                }
                Ok(Some(_)) => {}
                Ok(None) => return None,
                Err(_) => {
                    check(false, "nothing is damaged");
                    return None;
                }
            }
        }
    }

    fn follow(&self) -> Option<usize> {
        let from = self.cursor.load(Ordering::Acquire);
        match self.ring().look(from) {
            Ok(Look::Item(entry)) => {
                self.check_published(entry);
                check(Ring::step(&self.cursor, from, from + 1), "a cursor has one consumer");
                Some(entry.slot)
            }
            Ok(Look::NotYet) => None,
            Ok(Look::Lapped(_)) | Err(_) => {
                check(false, "a consumer that is present is not overtaken");
                None
            }
        }
    }
}

fn aside<T: 'static>(
    model: &Arc<Model>,
    run: impl FnOnce(&Model) -> T + 'static,
) -> thread::JoinHandle<T> {
    let model = model.clone();
    thread::spawn(move || run(&model))
}

/// Everything that was put is got once.
fn check_all(put: &[(usize, bool)], got: &[usize]) {
    for &(slot, was_put) in put {
        let times = got.iter().filter(|&&found| found == slot).count();
        check(times == usize::from(was_put), "what was put is got once");
    }
}

/// Two producers and a consumer.
fn carrying(cells: usize) {
    let model = Model::new(cells);
    let other = aside(&model, |model| [(0, model.put(0)), (1, model.put(1))]);
    let mine = (2, model.put(2));
    let mut got: Vec<usize> = model.get().into_iter().collect();
    let [first, second] = other.join().unwrap();
    got.extend(core::iter::from_fn(|| model.get()));
    check_all(&[first, second, mine], &got);
    let place = |slot| got.iter().position(|&found| found == slot);
    if first.1 && second.1 {
        check(place(0) < place(1), "what one producer puts stays in order");
    }
    let (full, room) = (put_count(&[first, second, mine]), cells.min(3));
    check(full >= room, "a queue with room takes what is put");
}

fn put_count(put: &[(usize, bool)]) -> usize {
    put.iter().filter(|(_, was_put)| *was_put).count()
}

/// Two consumers take from each other.
fn competing() {
    let model = Model::new(2);
    check(model.put(0) && model.put(1), "there is room for two");
    let other = aside(&model, |model| model.get().into_iter().collect::<Vec<_>>());
    let mut got: Vec<usize> = model.get().into_iter().collect();
    got.extend(other.join().unwrap());
    check_all(&[(0, true), (1, true)], &got);
    check(model.put(2) && model.put(3), "there is room again");
    check(model.get() == Some(2) && model.get() == Some(3), "a lap later the order is kept");
}

/// A producer that was killed between the cell and the hint, and one that goes on at the same time.
fn stopping_after_the_cell() {
    let model = Model::new(2);
    let entry = model.publish(0);
    let full = model.ring().shape.full(0, entry);
    model.cells[0].store(full, Ordering::Release);
    let other = aside(&model, |model| model.put(1));
    let mut got: Vec<usize> = model.get().into_iter().collect();
    check(got == [0], "what was put is got, hint or no hint");
    let put = other.join().unwrap();
    got.extend(core::iter::from_fn(|| model.get()));
    check(put, "there is room for another");
    check_all(&[(0, true), (1, true)], &got);
}

/// A broadcast queue with one consumer that is present all the time.
fn following() {
    let model = Model::new(1);
    let putter = aside(&model, |model| [model.append(0), model.append(1), model.append(2)]);
    let mut got: Vec<usize> = model.follow().into_iter().collect();
    let put = putter.join().unwrap();
    got.extend(core::iter::from_fn(|| model.follow()));
    let expected: Vec<usize> = (0..3).filter(|&slot| put[slot]).collect();
    check(got == expected, "everything comes, in order");
}

/// A broadcast queue with two producers.
fn following_two() {
    let model = Model::new(2);
    let other = aside(&model, |model| (0, model.append(0)));
    let mine = (1, model.append(1));
    let mut got: Vec<usize> = model.follow().into_iter().collect();
    let theirs = other.join().unwrap();
    got.extend(core::iter::from_fn(|| model.follow()));
    check_all(&[theirs, mine], &got);
}

/// A queue is removed, and another one gets its words, while somebody still uses the first one.
fn replacing(base: u64, use_it: fn(&Ring<'_>, Entry)) {
    let model = Model::new(2);
    check(model.put(0), "there is room for one");
    let late = aside(&model, move |model| use_it(&model.ring(), model.publish(1)));
    model.life.store(0, Ordering::SeqCst);
    // The next queue has another shape.
    let next = model.ring_of(2, 1);
    next.prepare(base);
    model.life.store(2, Ordering::SeqCst);
    check(next.put(model.publish(2)) == Ok(true), "a new queue is empty");
    late.join().unwrap();
    let got = next.peek();
    check(matches!(got, Ok(Some(offer)) if offer.entry.slot == 2), "it has what was put into it");
    if let Ok(Some(offer)) = got {
        check(next.take(offer), "it can be taken");
    }
    check(next.peek() == Ok(None), "nothing else is in it");
    check(next.put(model.publish(3)) == Ok(true), "it goes on");
}

fn put_late(ring: &Ring<'_>, entry: Entry) {
    let put = ring.put(entry);
    check(matches!(put, Ok(_) | Err(Trouble::Removed)), "who is late is told so");
}

fn get_late(ring: &Ring<'_>, _: Entry) {
    match ring.peek() {
        Ok(Some(offer)) => {
            check(offer.entry.slot == 0, "what it sees was in the queue that it has");
            ring.take(offer);
        }
        Ok(None) | Err(Trouble::Removed) => {}
        Err(_) => check(false, "who is late is told so"),
    }
}

/// In both shapes it is the first cell's.
const NEVER_USED: u64 = 100;

#[test]
fn loom_queue_everything_is_got_once() {
    assert_eq!(violates(None, || carrying(1)), None);
    assert_eq!(violates(None, || carrying(2)), None);
}

#[test]
fn loom_queue_two_consumers_get_different_things() {
    assert_eq!(violates(None, competing), None);
}

#[test]
fn loom_queue_a_dead_producer_costs_nothing() {
    assert_eq!(violates(None, stopping_after_the_cell), None);
}

#[test]
fn loom_queue_a_present_consumer_misses_nothing() {
    assert_eq!(violates(None, following), None);
    assert_eq!(violates(None, following_two), None);
}

#[test]
fn loom_queue_the_next_queue_is_not_disturbed() {
    assert_eq!(violates(None, || replacing(NEVER_USED, put_late)), None);
    assert_eq!(violates(None, || replacing(NEVER_USED, get_late)), None);
}

#[test]
fn loom_queue_mutations_of_the_ring_fail() {
    assert!(violates(Some(Mutation::AnyLap), || carrying(1)).is_some(), "any lap");
    assert!(violates(Some(Mutation::PutRelaxed), || carrying(2)).is_some(), "put relaxed");
    assert!(violates(Some(Mutation::SlowestUnchecked), following).is_some(), "slowest");
}

#[test]
fn loom_queue_mutations_of_replacing_fail() {
    let late = || replacing(NEVER_USED, put_late);
    assert!(violates(Some(Mutation::AnyLife), late).is_some(), "any life");
    assert!(violates(Some(Mutation::PrepareRelaxed), late).is_some(), "prepare relaxed");
    assert!(violates(None, || replacing(0, put_late)).is_some(), "positions used twice");
}

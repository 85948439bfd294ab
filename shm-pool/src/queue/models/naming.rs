//! Names are unique and runs disjoint, whoever stops where.

use crate::queue::directory::{Claimed, Directory, Grant, field};
use crate::sync::{AtomicU64, Mutation, check, violates};
use loom::sync::Arc;
use loom::thread;

/// Words of an entry up to the first of the name, which is long enough here.
const STRIDE: usize = field::NAME + 1;
const CELLS: usize = 4;

struct Model(Vec<AtomicU64>);

impl Model {
    fn new(entries: usize) -> Arc<Model> {
        Arc::new(Model((0..entries * STRIDE).map(|_| AtomicU64::new(0)).collect()))
    }

    fn directory(&self) -> Directory<'_> {
        Directory { words: &self.0, stride: STRIDE, cells: CELLS }
    }

    fn create(&self, owner: u16, name: &[u8], cells: usize) -> (Option<Claimed>, Grant) {
        let Some(claimed) = self.directory().claim(owner) else {
            check(false, "there is an entry for everybody");
            return (None, Grant::Exists);
        };
        let grant = self.directory().grant(claimed, name, cells);
        match grant {
            Grant::First(_) => {
                check(self.directory().go_live(claimed), "what was granted stays the creator's");
            }
            _ => self.directory().abandon(claimed),
        }
        (Some(claimed), grant)
    }
}

fn aside(model: &Arc<Model>, name: &'static [u8]) -> thread::JoinHandle<Grant> {
    let model = model.clone();
    thread::spawn(move || model.create(1, name, 2).1)
}

/// Two create the same queue.
fn naming_the_same() {
    let model = Model::new(2);
    let other = aside(&model, b"a");
    let mine = model.create(2, b"a", 2).1;
    let theirs = other.join().unwrap();
    let granted = [mine, theirs].map(|grant| matches!(grant, Grant::First(_)));
    check(granted[0] != granted[1], "one of two gets the name");
    check([mine, theirs].contains(&Grant::Exists), "the other one is told that it exists");
    check(model.directory().find(b"a").is_some(), "there is a queue");
}

/// Two create different queues.
fn naming_others() {
    let model = Model::new(2);
    let other = aside(&model, b"a");
    let mine = model.create(2, b"b", 2).1;
    let theirs = other.join().unwrap();
    check(matches!(mine, Grant::First(0 | 2)), "there is room for one");
    check(matches!(theirs, Grant::First(0 | 2)), "there is room for the other");
    check(mine != theirs, "their cells are their own");
    let entries = [model.directory().find(b"a"), model.directory().find(b"b")];
    check(entries.iter().all(Option::is_some) && entries[0] != entries[1], "both are found");
}

/// A queue goes while another one is made.
fn freeing() {
    let model = Model::new(2);
    let (old, _) = model.create(3, b"old", CELLS);
    let other = {
        let model = model.clone();
        thread::spawn(move || model.create(1, b"a", 2).1)
    };
    if let Some(old) = old {
        let vacant = old.live().at(crate::queue::directory::Phase::Vacant);
        check(model.directory().exchange(old.entry, old.live(), vacant), "it is there");
    }
    match other.join().unwrap() {
        Grant::First(first) => check(first == 0, "it gets the cells that came free"),
        Grant::NoRoom(longest) => check(longest == 0, "nothing was free"),
        Grant::Exists => check(false, "names differ"),
    }
}

#[test]
fn loom_queue_names_are_unique() {
    assert_eq!(violates(None, naming_the_same), None);
}

#[test]
fn loom_queue_runs_are_disjoint() {
    assert_eq!(violates(None, naming_others), None);
    assert_eq!(violates(None, freeing), None);
}

#[test]
fn loom_queue_mutations_of_the_directory_fail() {
    let unmarked = Some(Mutation::GrantUnmarked);
    assert!(violates(unmarked, naming_the_same).is_some(), "unmarked grant");
}

//! Models of runs that are claimed and freed by several at once.

use super::*;
use crate::sync::{check, violates};
use loom::sync::Arc;
use loom::thread;

/// Three granules, each with who works in it, and a payload that its tenant alone changes.
struct Model {
    granules: Vec<AtomicU64>,
    inside: Vec<AtomicU64>,
    payload: Vec<AtomicU64>,
}

impl Model {
    fn new() -> Arc<Model> {
        let zeroes = || (0..3).map(|_| AtomicU64::new(0)).collect();
        Arc::new(Model { granules: zeroes(), inside: zeroes(), payload: zeroes() })
    }

    fn arena(&self) -> Arena<'_> {
        Arena { granules: &self.granules, frontier: usize::MAX }
    }

    /// Claims a run; whoever has it is alone in it, and sees what the tenants before left there.
    fn claim(&self, run: Range<usize>, tag: u64) -> bool {
        let claimed = self.arena().claim(run.clone(), tag);
        if claimed {
            for at in run {
                check(self.inside[at].fetch_add(1, Ordering::Relaxed) == 0, "one tenant at a time");
                let before = self.payload[at].load(Ordering::Relaxed);
                check(before != UNFINISHED, "the tenant before is done with its bytes");
                self.payload[at].store(UNFINISHED, Ordering::Relaxed);
            }
        }
        claimed
    }

    /// Finishes with a run, without freeing it yet.
    fn finish(&self, run: Range<usize>, tag: u64) {
        for at in run {
            self.payload[at].store(tag, Ordering::Relaxed);
            self.inside[at].fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn check_all_free(&self) {
        for granule in &self.granules {
            check(granule.load(Ordering::Relaxed) == 0, "no granule is lost");
        }
    }
}

const UNFINISHED: u64 = 1;

fn aside(model: &Arc<Model>, act: impl FnOnce(&Model) + 'static) -> thread::JoinHandle<()> {
    let model = model.clone();
    thread::spawn(move || act(&model))
}

/// Two runs that overlap.
fn overlapping() {
    let model = Model::new();
    let lend = |model: &Model, run: Range<usize>, tag: u64| {
        if model.claim(run.clone(), tag) {
            model.finish(run.clone(), tag);
            check(model.arena().clear(run.clone(), tag) == run.len(), "a tenant frees all it had");
        }
    };
    let other = aside(&model, move |model| lend(model, 1..3, tag(1, 1)));
    lend(&model, 0..2, tag(0, 1));
    other.join().unwrap();
    model.check_all_free();
    check(model.claim(0..3, tag(0, 2)), "all of it can be claimed in the end");
}

/// A chunk is freed by its last reader and by a sweep, and the next tenant comes at once.
fn clearing_late() {
    let model = Model::new();
    let old = tag(0, 1);
    check(model.claim(0..2, old), "free granules can be claimed");
    model.finish(0..2, old);
    let helper = aside(&model, move |model| {
        model.arena().clear(0..2, old);
    });
    model.arena().clear(0..2, old);
    let new = tag(1, 1);
    check(model.claim(0..2, new), "what was freed can be claimed");
    helper.join().unwrap();
    check(model.arena().is_owned(0..2, new), "a late helper leaves the next tenant alone");
    model.finish(0..2, new);
    check(model.arena().clear(0..2, new) == 2, "a tenant frees all it had");
    model.check_all_free();
}

/// A producer claims while another one's chunk is being freed.
fn following() {
    let model = Model::new();
    check(model.claim(0..2, tag(0, 1)), "free granules can be claimed");
    let next = aside(&model, |model| {
        if model.claim(1..3, tag(1, 1)) {
            model.finish(1..3, tag(1, 1));
            check(model.arena().clear(1..3, tag(1, 1)) == 2, "a tenant frees all it had");
        }
    });
    model.finish(0..2, tag(0, 1));
    check(model.arena().clear(0..2, tag(0, 1)) == 2, "a tenant frees all it had");
    next.join().unwrap();
    model.check_all_free();
}

#[test]
fn loom_runs_have_one_tenant() {
    assert_eq!(violates(None, overlapping), None);
    assert_eq!(violates(None, following), None);
}

#[test]
fn loom_a_late_helper_frees_nothing() {
    assert_eq!(violates(None, clearing_late), None);
}

#[test]
fn loom_mutations_of_the_arena_fail() {
    assert!(violates(Some(Mutation::ClearBlindly), overlapping).is_some(), "tenants");
    assert!(violates(Some(Mutation::ClearBlindly), clearing_late).is_some(), "helper");
    assert!(violates(Some(Mutation::ClaimRelaxed), following).is_some(), "claim");
}

//! Publications that end otherwise than by a release: taken back, revoked, or reaped.

use super::*;

/// The seats of a model: two in one lane, or one in each of two.
#[derive(Clone, Copy)]
struct Seats {
    lanes: usize,
    flags: &'static [u8],
    all: [usize; 2],
}

const ONE_LANE: Seats = Seats { lanes: 1, flags: &[0b11], all: [0, 1] };
const TWO_LANES: Seats = Seats { lanes: 2, flags: &[0b1, 0b1], all: [0, 8] };

impl Seats {
    fn published(self) -> Arc<Model> {
        Model::published(self.lanes, Readers::Seats(self.flags))
    }
}

/// A consumer begins to read while the publication is taken back.
fn taking_back(seats: Seats) {
    let model = seats.published();
    let reader = aside(&model, move |model| model.begin(seats.all[1], 1) == Redeem::Granted);
    let dropped = model.words().take_back(1, false);
    if dropped {
        check(model.claim_after(&[]), "what was taken back is free");
    }
    let held = reader.join().unwrap();
    check(held != dropped, "either it is held or it was taken back");
    if held {
        check(!model.is_free(), "what is held is not free");
    }
}

/// A publication for one is taken back while the only reader begins and ends.
fn taking_back_from_one() {
    let model = Model::published(1, Readers::Seats(&[0b1]));
    let reader = aside(&model, |model| match model.begin(0, 1) {
        Redeem::Granted => model.end(0, 1) == Release::Last,
        _ => false,
    });
    let dropped = model.words().take_back(1, false);
    let read = reader.join().unwrap();
    check(read != dropped, "it is freed once, by the one or the other");
    check(model.claim_after(&[]), "it is free in the end");
}

/// One consumer holds the publication and releases it, another redeems it, and it is revoked.
fn revoking(seats: Seats) {
    let model = seats.published();
    check(model.begin(seats.all[0], 1) == Redeem::Granted, "who is addressed is granted");
    let holder = aside(&model, move |model| model.end(seats.all[0], 1) == Release::Last);
    let redeemer = aside(&model, move |model| match model.begin(seats.all[1], 1) {
        Redeem::Granted => (true, model.end(seats.all[1], 1) == Release::Last),
        _ => (false, false),
    });
    let revoked = model.words().quarantine(1).is_ok();
    let freed = revoked && settle_revoked(&model);
    if model.is_free() {
        check(model.claim_after(&seats.all[..1]), "it is claimed after the holder is done");
    } else {
        check(!model.words().load().is(SlotState::Filling), "nobody else claims it");
    }
    let last = holder.join().unwrap();
    let (granted, last_too) = redeemer.join().unwrap();
    let frees = u8::from(freed) + u8::from(last) + u8::from(last_too);
    check(frees == 1, "it is freed once");
    check(revoked || granted, "what is released before it is revoked was read by all");
}

/// One of two consumers is dead; two sweeps clear its flags while the other one releases.
fn reaping(seats: Seats) {
    let model = seats.published();
    let [living, dead] = seats.all;
    check(model.begin(living, 1) == Redeem::Granted, "who is addressed is granted");
    check(model.begin(dead, 1) == Redeem::Granted, "who is addressed is granted");
    model.done[dead].store(1, Ordering::Relaxed);
    let holder = aside(&model, move |model| model.end(living, 1) == Release::Last);
    let sweep = move |model: &Model| {
        let words = model.words();
        let bit = 1 << (dead % SEATS_PER_LANE);
        let flags = |word: LaneWord| (word.held() & bit != 0).then_some(bit);
        let _ = words.clear(dead / SEATS_PER_LANE, 1, flags);
        words.free_if_done(1, 0, false)
    };
    let other = aside(&model, sweep);
    let mine = sweep(&model);
    let frees = [mine, other.join().unwrap(), holder.join().unwrap()];
    check(frees.iter().filter(|freed| **freed).count() == 1, "it is freed once");
    check(model.claim_after(&seats.all), "it is claimed after all are done");
}

#[test]
fn loom_a_publication_is_held_or_taken_back() {
    assert_eq!(violates(None, taking_back_from_one), None);
    assert_eq!(violates(None, || taking_back(ONE_LANE)), None, "one lane");
    assert_eq!(violates(None, || taking_back(TWO_LANES)), None, "two lanes");
}

#[test]
fn loom_a_revoked_publication_is_freed_once() {
    assert_eq!(violates(None, || revoking(ONE_LANE)), None, "one lane");
    assert_eq!(violates(None, || revoking(TWO_LANES)), None, "two lanes");
}

#[test]
fn loom_what_the_dead_held_is_freed_once() {
    assert_eq!(violates(None, || reaping(ONE_LANE)), None, "one lane");
    assert_eq!(violates(None, || reaping(TWO_LANES)), None, "two lanes");
}

#[test]
fn loom_mutations_of_taking_fail() {
    assert!(violates(Some(Mutation::TakeHeld), || taking_back(ONE_LANE)).is_some(), "take back");
    assert!(violates(Some(Mutation::LaneFence), || reaping(TWO_LANES)).is_some(), "reap");
    assert!(violates(Some(Mutation::LaneFence), || revoking(TWO_LANES)).is_some(), "revoke");
}

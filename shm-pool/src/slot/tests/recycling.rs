//! From a publication to the next claim of the slot.

use super::*;

/// A consumer that has the ticket before the publication is complete.
fn publishing() {
    let model = Model::new(1);
    let producer = aside(&model, |model| model.produce(Readers::Seats(&[0b01])));
    match model.begin(0, 1) {
        Redeem::Granted => {
            check(model.words().flags_of(0, 1) == Some((true, true)), "the lanes are the new ones");
            check(model.begin(0, 1) == Redeem::AlreadyHeld, "one seat, one hold");
        }
        refused => check(refused == Redeem::Stale, "what is not published is stale"),
    }
    check(producer.join().unwrap() == Some(1), "the slot was published");
    check(model.words().redeem(1, 1) == Redeem::NotAddressed, "only who is addressed may redeem");
}

/// Two consumers release, and a producer tries to claim all the while.
fn releasing(seats: [usize; 2]) {
    let lanes = seats[1] / SEATS_PER_LANE + 1;
    let mut flags = [0; 2];
    for seat in seats {
        flags[seat / SEATS_PER_LANE] |= 1 << (seat % SEATS_PER_LANE);
    }
    let model = Model::published(lanes, Readers::Seats(&flags[..lanes]));
    let consumer = aside(&model, move |model| model.consume(seats[0], 1));
    let other = aside(&model, move |model| model.consume(seats[1], 1));
    let claimed = model.claim_after(&seats);
    let last = u8::from(consumer.join().unwrap()) + u8::from(other.join().unwrap());
    check(last == 1, "exactly one of the releases is the last");
    check(claimed || model.claim_after(&seats), "a slot that all released can be claimed");
    check(!model.claim_after(&[]), "a slot is claimed once");
}

/// Two producers want the same slot.
fn claiming() {
    let model = Model::new(1);
    let other = aside(&model, |model| model.words().claim(1) == Claim::Taken(1));
    let mine = model.words().claim(0) == Claim::Taken(1);
    let taken = u8::from(mine) + u8::from(other.join().unwrap());
    check(taken == 1, "a slot has one owner");
}

/// A release that comes twice, late or by a stranger, while the slot is used again.
fn releasing_late() {
    let model = Model::published(1, Readers::Seats(&[0b01]));
    check(model.consume(0, 1), "the only consumer is the last");
    let late = aside(&model, |model| {
        let (twice, stranger) =
            (model.words().release(0, 1, false), model.words().release(1, 2, false));
        check(twice == Release::NotHeld, "a second release releases nothing");
        check(stranger == Release::NotHeld, "a stranger's release releases nothing");
    });
    check(model.produce(Readers::Seats(&[0b01])) == Some(2), "the slot is used again");
    check(model.begin(0, 2) == Redeem::Granted, "the second publication is there");
    check(!model.claim_after(&[]), "nobody else's release frees what is held");
    check(model.end(0, 2) == Release::Last, "the holder frees it");
    late.join().unwrap();
}

#[test]
fn loom_a_publication_is_seen_whole() {
    assert_eq!(violates(None, publishing), None);
}

#[test]
fn loom_the_last_release_in_a_lane_frees() {
    assert_eq!(violates(None, || releasing([0, 1])), None);
}

#[test]
fn loom_the_last_release_of_two_lanes_frees() {
    assert_eq!(violates(None, || releasing([0, 8])), None);
}

#[test]
fn loom_a_slot_is_claimed_once() {
    assert_eq!(violates(None, claiming), None);
}

#[test]
fn loom_late_releases_free_nothing() {
    assert_eq!(violates(None, releasing_late), None);
}

#[test]
fn loom_mutations_of_a_publication_fail() {
    assert!(violates(Some(Mutation::PublishRelaxed), publishing).is_some(), "publish");
    assert!(violates(Some(Mutation::RedeemRelaxed), publishing).is_some(), "redeem");
}

#[test]
fn loom_mutations_of_a_release_fail() {
    assert!(violates(Some(Mutation::ReleaseRelaxed), || releasing([0, 1])).is_some(), "release");
    assert!(violates(Some(Mutation::OneLane), || releasing([0, 8])).is_some(), "one lane");
    assert!(violates(Some(Mutation::LaneFence), || releasing([0, 8])).is_some(), "fence");
    assert!(violates(Some(Mutation::AnyGeneration), releasing_late).is_some(), "generation");
}

#[test]
fn loom_mutations_of_a_claim_fail() {
    assert!(violates(Some(Mutation::ClaimRelaxed), || releasing([0, 1])).is_some(), "relaxed");
    assert!(violates(Some(Mutation::ClaimBlindly), claiming).is_some(), "blindly");
}

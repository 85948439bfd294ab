//! A publication that exactly one consumer gets.

use super::*;

/// Two consumers want it.
fn competing() {
    let model = Model::published(1, Readers::Anybody);
    let attempt = |seat: usize| move |model: &Model| model.begin(seat, 1);
    let other = aside(&model, attempt(1));
    let mine = model.begin(0, 1);
    let theirs = other.join().unwrap();
    let granted = [mine, theirs].map(|redeemed| redeemed == Redeem::Granted);
    check(granted[0] != granted[1], "exactly one consumer gets it");
    let refused = if granted[0] { theirs } else { mine };
    check(refused == Redeem::Taken, "the other one is told that it was taken");
    check(!model.claim_after(&[]), "it is not claimed while it is held");
    let holder = usize::from(granted[1]);
    check(model.end(holder, 1) == Release::Last, "the one who has it frees it");
}

/// Two threads of one consumer have the same ticket, and a producer waits for the slot.
fn redeeming_twice() {
    let model = Model::published(1, Readers::Anybody);
    let attempt = |model: &Model| {
        let granted = model.begin(0, 1) == Redeem::Granted;
        if granted {
            check(model.end(0, 1) == Release::Last, "what was granted can be released");
        }
        u8::from(granted)
    };
    let other = aside(&model, attempt);
    let granted = attempt(&model) + other.join().unwrap();
    check(granted == 1, "it is granted once");
    check(model.claim_after(&[0]), "it is free in the end");
}

/// A consumer that took it from a queue redeems it later, in whatever thread.
fn claiming_a_share() {
    let model = Model::published(1, Readers::Anybody);
    let other = aside(&model, |model| model.words().claim_share(1, 1));
    let mine = model.words().claim_share(0, 1);
    let theirs = other.join().unwrap();
    let granted = [mine, theirs].map(|claimed| claimed == Redeem::Granted);
    check(granted[0] != granted[1], "exactly one consumer claims it");
    let seat = usize::from(granted[1]);
    check(model.begin(1 - seat, 1) == Redeem::Taken, "nobody else redeems it");
    check(model.consume(seat, 1), "the claimant redeems and frees it");
}

/// It is revoked while somebody claims or redeems it.
fn revoking(claim_first: bool) {
    let model = Model::published(1, Readers::Anybody);
    let revoker = aside(&model, |model| {
        if model.words().quarantine(1).is_ok() {
            let _ = settle_revoked(model);
        }
        model.claim_after(&[])
    });
    let claimed = match claim_first {
        true => model.words().claim_share(0, 1),
        false => Redeem::Granted,
    };
    if claimed == Redeem::Withdrawn {
        let _ = model.words().release(0, 1, false);
    }
    if claimed == Redeem::Granted && model.begin(0, 1) == Redeem::Granted {
        check(!model.claim_after(&[]), "what was granted is not claimed while it is held");
        check(model.end(0, 1) != Release::NotHeld, "what was granted is held");
    }
    let early = revoker.join().unwrap();
    check(early || model.claim_after(&[]), "it is free in the end");
}

#[test]
fn loom_one_consumer_gets_it() {
    assert_eq!(violates(None, competing), None);
}

#[test]
fn loom_one_thread_gets_it() {
    assert_eq!(violates(None, redeeming_twice), None);
}

#[test]
fn loom_a_share_is_claimed_once() {
    assert_eq!(violates(None, claiming_a_share), None);
}

#[test]
fn loom_a_revoked_share_is_not_held() {
    assert_eq!(violates(None, || revoking(false)), None, "redeemed");
    assert_eq!(violates(None, || revoking(true)), None, "claimed");
}

#[test]
fn loom_mutations_of_a_share_fail() {
    assert!(violates(Some(Mutation::ShareUnchecked), || revoking(false)).is_some(), "redeemed");
    assert!(violates(Some(Mutation::ShareUnchecked), || revoking(true)).is_some(), "claimed");
}

//! Leases, objects, and how long they stay.

use super::*;

fn object(rig: &mut Rig, connection: ConnectionId, key: i128) -> Answer {
    let caller = rig.call(connection, "f", key);
    if !rig.jobs.is_empty() {
        rig.build(key as u64);
    }
    rig.answer(caller)
}

fn released(rig: &mut Rig, connection: ConnectionId, leases: &[u64]) -> Vec<bool> {
    match rig.ask(connection, Request::Release(leases.to_vec())) {
        Reply::Released(released) => released,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_lease_is_given_back_once_and_by_whom_it_belongs_to() {
    let mut rig = Rig::new(config(), vec![endpoint("f", managed())]);
    let lease = object(&mut rig, 1, 5).lease.unwrap();
    let other = object(&mut rig, 2, 5).lease.unwrap();
    assert_eq!(released(&mut rig, 2, &[lease, 77]), [false, false], "another's");
    assert_eq!(rig.service.counters().leases, 2);
    assert_eq!(released(&mut rig, 1, &[lease, lease]), [true, false]);
    assert_eq!(released(&mut rig, 1, &[lease, other]), [false, false]);
    assert_eq!((rig.service.counters().leases, rig.service.stale_releases()), (1, 5));
    // Without a number it is done and not answered.
    let caller = Caller { connection: 2, request: 0 };
    let mut effects = Vec::new();
    rig.service.request(caller, Request::Release(vec![other]), rig.now, &mut effects);
    assert!(effects.is_empty());
    assert_eq!(rig.service.counters().leases, 0);
}

#[test]
fn a_connection_takes_exactly_its_leases_with_it() {
    let mut rig = Rig::new(config(), vec![endpoint("f", managed())]);
    rig.service.connected(1);
    rig.service.connected(2);
    let kept = object(&mut rig, 2, 0);
    for key in 0..20 {
        object(&mut rig, 1, key % 4);
    }
    assert_eq!(rig.service.counters().leases, 21);
    rig.hang_up(1);
    rig.hang_up(1);
    let counters = rig.service.counters();
    assert_eq!((counters.leases, counters.leases_hung_up, counters.connections), (1, 20, 1));
    assert_eq!(released(&mut rig, 2, &[kept.lease.unwrap()]), [true]);
}

#[test]
fn an_object_that_is_not_kept_goes_with_its_last_lease_and_its_entry_too() {
    let fleeting = EndpointOptions { keep_unleased: false, ..managed() };
    let mut rig = Rig::new(config(), vec![endpoint("f", fleeting)]);
    let (one, two) = (object(&mut rig, 1, 5), object(&mut rig, 2, 5));
    assert_eq!(one.object, two.object);
    released(&mut rig, 1, &[one.lease.unwrap()]);
    let Reply::Object(Some(info)) = rig.ask(1, Request::Object(one.object.unwrap())) else {
        panic!()
    };
    assert_eq!((info.leases, info.bytes, info.key.len()), (1, 10, 64));
    rig.hang_up(2);
    assert!(matches!(rig.ask(1, Request::Object(one.object.unwrap())), Reply::Object(None)));
    let caller = rig.send(1, Request::Acquire(one.object.unwrap()));
    assert_eq!(rig.failure(caller).kind, FailureKind::Stale);
    assert_eq!(rig.service.counters().cache_entries, 0);
    let again = object(&mut rig, 1, 5);
    assert_ne!(again.object, one.object, "numbers are never used again");
}

#[test]
fn an_object_that_is_kept_stays_and_can_be_acquired() {
    let mut rig = Rig::new(config(), vec![endpoint("f", managed())]);
    let one = object(&mut rig, 1, 5);
    rig.hang_up(1);
    let caller = rig.send(2, Request::Acquire(one.object.unwrap()));
    let acquired = rig.answer(caller);
    assert_eq!((acquired.object, token(&acquired.value)), (one.object, 5));
    assert_ne!(acquired.lease, one.lease);
    assert_eq!(released(&mut rig, 2, &[one.lease.unwrap()]), [false]);
}

#[test]
fn without_cache_an_object_lives_as_long_as_its_leases() {
    let uncached = EndpointOptions { cache: false, ..managed() };
    let mut rig = Rig::new(config(), vec![endpoint("f", uncached)]);
    let (one, two) = (object(&mut rig, 1, 5), object(&mut rig, 1, 5));
    assert_ne!(one.object, two.object);
    released(&mut rig, 1, &[one.lease.unwrap()]);
    assert_eq!(rig.service.counters().objects, 1);
    rig.hang_up(1);
    assert!(rig.is_clean());
}

#[test]
fn what_does_not_survive_the_server_is_leased_without_being_an_object() {
    let mut rig = Rig::new(config(), vec![endpoint("f", options())]);
    let caller = rig.call(1, "f", 5);
    let job = rig.job().id;
    rig.built(job, Ok(mortal(5, 10)));
    let answer = rig.answer(caller);
    assert_eq!(answer.object, None);
    let lease = answer.lease.expect("a lease keeps it");
    let caller = rig.send(2, Request::Acquire(1));
    assert_eq!(rig.failure(caller).kind, FailureKind::Stale, "it is no object");
    rig.service.forget_endpoint("f").unwrap();
    let (items, _) = rig.service.holdings.census();
    assert_eq!(items.len(), 1, "it stays for its lease");
    assert_eq!(rig.service.counters().objects, 0);
    assert_eq!(released(&mut rig, 1, &[lease]), [true]);
    rig.hang_up(1);
    assert!(rig.is_clean());
}

#[test]
fn the_longest_unused_goes_first_and_leased_ones_never() {
    let config = ServiceConfig { cache_entries: 3, ..config() };
    let mut rig = Rig::new(config, vec![endpoint("f", managed())]);
    let leases: Vec<u64> = (0..3).map(|key| object(&mut rig, 1, key).lease.unwrap()).collect();
    // All are leased: one more is not cached.
    let extra = object(&mut rig, 2, 3);
    assert_eq!((rig.service.counters().cache_entries, rig.service.counters().evicted), (3, 1));
    released(&mut rig, 2, &[extra.lease.unwrap()]);
    assert_eq!(rig.service.counters().objects, 3);
    released(&mut rig, 1, &leases[..2]);
    // 0 was used later than 1.
    let used = object(&mut rig, 1, 0).lease.unwrap();
    released(&mut rig, 1, &[used]);
    object(&mut rig, 2, 4);
    let known = |rig: &mut Rig, key| {
        let caller = rig.call(3, "f", key);
        let known = rig.reply(caller).is_some();
        rig.hang_up(3);
        rig.jobs.clear();
        known
    };
    assert_eq!([0, 1, 2, 4].map(|key| known(&mut rig, key)), [true, false, true, true]);
}

#[test]
fn bytes_of_unleased_results_are_bounded() {
    let config = ServiceConfig { cache_bytes: 25, ..config() };
    let mut rig = Rig::new(config, vec![endpoint("f", managed())]);
    for key in 0..10 {
        object(&mut rig, 1, key);
    }
    assert_eq!(rig.service.counters().cache_bytes, 100, "leased ones do not count");
    rig.hang_up(1);
    let counters = rig.service.counters();
    assert_eq!((counters.cache_bytes, counters.cache_entries, counters.evicted), (20, 2, 8));
}

#[test]
fn a_hundred_thousand_leases_are_no_burden() {
    let mut rig = Rig::new(config(), vec![endpoint("f", managed())]);
    let mut leases: Vec<u64> = (0..100_000)
        .map(|key| object(&mut rig, key % 16, (key % 50) as i128).lease.unwrap())
        .collect();
    assert_eq!(rig.service.counters().leases, 100_000);
    leases.sort_unstable();
    leases.dedup();
    assert_eq!(leases.len(), 100_000);
    for connection in 0..16 {
        rig.hang_up(connection);
    }
    assert_eq!(rig.service.counters().leases_hung_up, 100_000);
    rig.service.forget_endpoint("f").unwrap();
    assert!(rig.is_clean());
}

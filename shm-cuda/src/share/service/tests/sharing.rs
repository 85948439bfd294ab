//! Cache, shared builds, serialized builds, invalidation.

use super::*;

#[test]
fn a_result_is_built_once_and_served_from_then_on() {
    let mut rig = Rig::new(config(), vec![endpoint("f", options())]);
    let first = rig.call(1, "f", 5);
    rig.build(1);
    assert_eq!(token(&rig.answer(first).value), 1);
    let second = rig.call(2, "f", 5);
    let answer = rig.answer(second);
    assert_eq!((token(&answer.value), answer.lease, answer.object), (1, None, None));
    rig.call(2, "f", 6);
    assert_eq!(rig.jobs.len(), 1, "another argument is another call");
    let counters = rig.service.counters();
    assert_eq!((counters.cache_hits, counters.cache_misses, counters.cache_bytes), (1, 2, 10));
    rig.hang_up(1);
    rig.hang_up(2);
}

#[test]
fn callers_of_a_key_share_its_build_and_its_failure() {
    let mut rig = Rig::new(config(), vec![endpoint("f", managed())]);
    let callers: Vec<Caller> = (1..=32).map(|one| rig.call(one, "f", 5)).collect();
    let job = rig.job().id;
    rig.began(job);
    let late = rig.call(99, "f", 5);
    rig.built(job, Err(broken()));
    for caller in callers.into_iter().chain([late]) {
        assert_eq!(rig.failure(caller), broken());
    }
    assert_eq!(rig.service.counters().joined, 32);
    // A failure is not cached.
    let again = [rig.call(1, "f", 5), rig.call(2, "f", 5)];
    rig.build(8);
    let [one, two] = again.map(|caller| rig.answer(caller));
    assert_eq!((one.object, token(&one.value), token(&two.value)), (two.object, 8, 8));
    assert!(one.object.is_some() && one.lease.is_some() && one.lease != two.lease);
}

#[test]
fn without_singleflight_or_cache_everybody_builds() {
    for (singleflight, cache) in [(false, true), (true, false)] {
        let options = EndpointOptions { singleflight, cache, ..options() };
        let mut rig = Rig::new(config(), vec![endpoint("f", options)]);
        let callers = [rig.call(1, "f", 5), rig.call(2, "f", 5)];
        let jobs: Vec<Job> = std::mem::take(&mut rig.jobs);
        assert_eq!(jobs.len(), 2);
        // The one that began later is done first: it is what stays cached.
        rig.built(jobs[1].id, Ok(value(2, 10)));
        rig.built(jobs[0].id, Ok(value(1, 10)));
        assert_eq!(callers.map(|caller| token(&rig.answer(caller).value)), [1, 2]);
        assert_eq!(rig.service.counters().cache_entries, u64::from(cache));
        if cache {
            let caller = rig.call(3, "f", 5);
            assert_eq!(token(&rig.answer(caller).value), 2);
        }
        rig.hang_up(1);
        rig.hang_up(2);
    }
}

#[test]
fn a_build_that_nobody_waits_for_is_asked_to_stop_and_joined_by_nobody() {
    let mut rig = Rig::new(config(), vec![endpoint("f", options())]);
    let one = rig.call(1, "f", 5);
    rig.call(2, "f", 5);
    let job = rig.job();
    let Work::Build { cancellation, .. } = &job.work else { panic!() };
    rig.send(1, Request::Cancel(one.request));
    assert_eq!(rig.failure(one).kind, FailureKind::Cancelled);
    assert!(!cancellation.is_requested(), "one still waits");
    rig.hang_up(2);
    assert!(cancellation.is_requested());
    let other = rig.call(3, "f", 5);
    let second = rig.job().id;
    // It did not stop: what it gave is cached, until the later one is there.
    rig.built(job.id, Ok(value(1, 10)));
    let hit = rig.call(4, "f", 5);
    assert_eq!(token(&rig.answer(hit).value), 1);
    rig.built(second, Ok(value(2, 10)));
    assert_eq!(token(&rig.answer(other).value), 2);
    let hit = rig.call(4, "f", 5);
    assert_eq!(token(&rig.answer(hit).value), 2);
}

#[test]
fn what_is_invalidated_while_it_is_built_reaches_its_callers_and_nobody_else() {
    for whole in [false, true] {
        let mut rig = Rig::new(config(), vec![endpoint("f", options()), endpoint("g", options())]);
        let early = rig.call(1, "f", 5);
        let first = rig.job().id;
        if whole {
            let request = Request::InvalidateEndpoint("f".into());
            assert!(matches!(rig.ask(1, request), Reply::Invalidated(0)));
        } else {
            let caller = rig.invalidate(1, "f", 5);
            assert!(matches!(rig.reply(caller), Some(Reply::Invalidated(0))));
        }
        let late = rig.call(2, "f", 5);
        let second = rig.job().id;
        rig.built(first, Ok(value(1, 10)));
        assert_eq!(rig.service.counters().cache_entries, 0);
        rig.built(second, Ok(value(2, 10)));
        assert_eq!(token(&rig.answer(early).value), 1);
        assert_eq!(token(&rig.answer(late).value), 2);
        let hit = rig.call(3, "f", 5);
        assert_eq!(token(&rig.answer(hit).value), 2, "the later build is cached");
        assert_eq!(rig.service.counters().cache_entries, 1);
    }
}

#[test]
fn invalidation_counts_what_it_forgets_and_leaves_leases() {
    let endpoints = vec![endpoint("f", managed()), endpoint("g", options())];
    let mut rig = Rig::new(config(), endpoints);
    for key in 0..3 {
        rig.call(1, "f", key);
        rig.build(key as u64);
        rig.call(1, "g", key);
        rig.build(10 + key as u64);
    }
    let caller = rig.invalidate(1, "f", 0);
    assert!(matches!(rig.reply(caller), Some(Reply::Invalidated(1))));
    let caller = rig.invalidate(1, "f", 0);
    assert!(matches!(rig.reply(caller), Some(Reply::Invalidated(0))));
    let reply = rig.ask(1, Request::InvalidateEndpoint("f".into()));
    assert!(matches!(reply, Reply::Invalidated(2)));
    let counters = rig.service.counters();
    assert_eq!((counters.cache_entries, counters.leases, counters.objects), (3, 3, 3));
    assert_eq!(counters.invalidated, 3);
    rig.hang_up(1);
    assert_eq!(rig.service.counters().objects, 0, "they go with their last lease");
}

#[test]
fn serialized_builds_come_one_by_one_and_look_again_first() {
    let options =
        EndpointOptions { concurrency: Concurrency::Serialized, singleflight: false, ..options() };
    let mut rig = Rig::new(config(), vec![endpoint("f", options)]);
    let callers = [5, 5, 6, 7].map(|key| rig.call(1, "f", key));
    let first = rig.job().id;
    // One that waits in line and is wanted no more is never begun.
    rig.send(1, Request::Cancel(callers[3].request));
    rig.built(first, Ok(value(1, 10)));
    assert_eq!(token(&rig.answer(callers[0]).value), 1);
    assert_eq!(token(&rig.answer(callers[1]).value), 1, "built meanwhile");
    rig.build(2);
    assert_eq!(token(&rig.answer(callers[2]).value), 2);
    assert!(rig.jobs.is_empty());
    // One that fails does not keep the others from their turn.
    let callers = [8, 9].map(|key| rig.call(1, "f", key));
    let job = rig.job().id;
    rig.built(job, Err(broken()));
    rig.build(9);
    rig.failure(callers[0]);
    rig.answer(callers[1]);
    rig.invalidate(1, "f", 5);
    rig.service.forget_endpoint("f").unwrap();
    rig.hang_up(1);
    assert!(rig.is_clean());
}

#[test]
fn what_waits_in_line_is_not_stale_when_it_is_built() {
    let options = EndpointOptions { concurrency: Concurrency::Serialized, ..options() };
    let mut rig = Rig::new(config(), vec![endpoint("f", options)]);
    rig.call(1, "f", 5);
    let held = rig.call(1, "f", 6);
    rig.ask(1, Request::InvalidateEndpoint("f".into()));
    let joined = rig.call(2, "f", 6);
    rig.build(5);
    rig.build(6);
    assert_eq!(token(&rig.answer(held).value), 6);
    assert_eq!(token(&rig.answer(joined).value), 6);
    assert_eq!(rig.service.counters().cache_entries, 1, "6, not 5");
}

#[test]
fn keys_of_functions_are_made_by_workers() {
    let parity =
        KeyRule::Function(Arc::new(|arguments: &Arguments| match arguments.positional.first() {
            Some(Value::Int(number)) if *number >= 0 => Ok((number % 2).to_string()),
            _ => Err(Failure::new(FailureKind::Value, "no number").of_type("TypeError")),
        }));
    let options = EndpointOptions { key: parity, ..options() };
    let mut rig = Rig::new(config(), vec![endpoint("f", options)]);
    let odd = [1, 3].map(|number| {
        let caller = rig.call(1, "f", number);
        let job = rig.jobs.pop().unwrap();
        rig.keyed(job);
        caller
    });
    rig.build(1);
    assert_eq!(odd.map(|caller| token(&rig.answer(caller).value)), [1, 1]);
    let wrong = rig.call(1, "f", -1);
    let job = rig.job();
    rig.keyed(job);
    assert_eq!(rig.failure(wrong).error_type, "TypeError");
    // One that is given up before its key is there.
    let given_up = rig.call(1, "f", 2);
    rig.send(1, Request::Cancel(given_up.request));
    rig.failure(given_up);
    let job = rig.job();
    rig.keyed(job);
    assert!(rig.jobs.is_empty());
    let caller = rig.invalidate(1, "f", 7);
    assert!(rig.reply(caller).is_none());
    let job = rig.job();
    rig.keyed(job);
    assert!(matches!(rig.reply(caller), Some(Reply::Invalidated(1))));
    rig.hang_up(1);
    assert!(rig.is_clean());
}

#[test]
fn arguments_without_a_key_are_built_each_time_and_counted() {
    let mut rig = Rig::new(config(), vec![endpoint("f", options())]);
    for _ in 0..2 {
        let caller = rig.caller(1);
        let opaque = super::super::super::value::Opaque { encoding: "x".into(), bytes: vec![1] };
        let arguments = Arguments::positional([Value::Opaque(opaque)]);
        let mut effects = Vec::new();
        rig.service.call(caller, "f", arguments, rig.now, &mut effects);
        rig.take(effects);
        rig.build(3);
        rig.answer(caller);
    }
    let counters = rig.service.counters();
    assert_eq!((counters.uncacheable, counters.cache_entries, counters.builds_total), (2, 0, 2));
}

#[test]
fn formats_key_by_what_they_name() {
    let key = KeyRule::Format("model:{size}".into());
    let mut one = endpoint("f", EndpointOptions { key, ..options() });
    one.parameters = None;
    let mut rig = Rig::new(config(), vec![one]);
    let call = |rig: &mut Rig, name: &str, size: i128, other: i128| {
        let caller = rig.caller(1);
        let entries = [(name, Value::Int(size)), ("other", Value::Int(other))];
        let mut effects = Vec::new();
        rig.service.call(caller, "f", Arguments::named(entries), rig.now, &mut effects);
        rig.take(effects);
        caller
    };
    let first = call(&mut rig, "size", 1, 1);
    rig.build(1);
    rig.answer(first);
    let second = call(&mut rig, "size", 1, 2);
    assert_eq!(token(&rig.answer(second).value), 1);
    let wrong = call(&mut rig, "sise", 1, 1);
    let failure = rig.failure(wrong);
    assert_eq!(failure.kind, FailureKind::Configuration);
    assert_eq!(failure.detail("field"), Some("size"));
    assert_eq!(failure.detail("expected"), Some("sise, other"));
    for format in ["{", "}", "{}", "{0}", "{a!r}", "{a:3}", "{a.b}", "{a[0]}", "{a b}"] {
        let key = KeyRule::Format(format.into());
        let refused = rig.service.register(endpoint("g", EndpointOptions { key, ..options() }));
        let failure = refused.expect_err(format);
        assert_eq!(
            (failure.kind, failure.detail("found")),
            (FailureKind::Configuration, Some(format))
        );
    }
}

#[test]
fn host_tensors_are_hashed_by_workers_from_their_bytes() {
    let tensor = |bytes: &[u8]| {
        let shape = [bytes.len()];
        let one = super::super::super::tensor::Tensor::copy_of(shm_core::Dtype::U8, &shape, bytes);
        Arguments::positional([Value::Tensor(one.unwrap())])
    };
    let mut rig = Rig::new(config(), vec![endpoint("f", options())]);
    let mut call = |bytes: &[u8]| {
        let caller = rig.caller(1);
        let mut effects = Vec::new();
        rig.service.call(caller, "f", tensor(bytes), rig.now, &mut effects);
        rig.take(effects);
        let job = rig.job();
        rig.keyed(job);
        if !rig.jobs.is_empty() {
            rig.build(bytes[0].into());
        }
        token(&rig.answer(caller).value)
    };
    assert_eq!([call(&[1, 2]), call(&[2, 2]), call(&[1, 2])], [1, 2, 1]);
    let counters = rig.service.counters();
    assert_eq!((counters.cache_hits, counters.builds_total), (1, 2));
}

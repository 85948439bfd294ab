//! Limits, refusals, the end.

use super::super::super::endpoint::{Parameter, ParameterKind};
use super::*;

#[test]
fn more_builds_than_may_wait_are_refused() {
    let mut rig = Rig::new(ServiceConfig { queue: 2, ..config() }, vec![endpoint("f", options())]);
    let callers = [1, 2, 3].map(|key| rig.call(1, "f", key));
    let failure = rig.failure(callers[2]);
    assert_eq!((failure.kind, failure.detail("limit")), (FailureKind::Busy, Some("2")));
    let joined = rig.call(1, "f", 2);
    assert!(rig.reply(joined).is_none(), "one more waiter is no one more build");
    let first = rig.jobs.remove(0).id;
    rig.began(first);
    let fits = rig.call(1, "f", 3);
    assert!(rig.reply(fits).is_none(), "a build that has begun waits no more");
    assert!(matches!(rig.submit(1, "f", 4), Reply::Failed(_)));
    assert_eq!((rig.service.counters().refused, rig.service.counters().tasks), (2, 0));
}

#[test]
fn requests_that_are_not_answered_are_bounded_per_connection() {
    let limits = Limits { in_flight: 2, ..Limits::default() };
    let mut rig = Rig::new(ServiceConfig { limits, ..config() }, vec![endpoint("f", options())]);
    let callers = [1, 2, 3].map(|key| rig.call(1, "f", key));
    assert_eq!(rig.failure(callers[2]).kind, FailureKind::Busy);
    assert!(matches!(rig.ask(1, Request::Ping), Reply::Pong));
    let other = rig.call(2, "f", 1);
    assert!(rig.reply(other).is_none());
    rig.send(1, Request::Cancel(callers[0].request));
    rig.failure(callers[0]);
    let fits = rig.call(1, "f", 1);
    assert!(rig.reply(fits).is_none());
}

#[test]
fn a_number_that_is_in_flight_is_refused_and_the_first_still_answered() {
    let mut rig = Rig::new(config(), vec![endpoint("f", options())]);
    let caller = rig.call(1, "f", 1);
    let mut effects = Vec::new();
    let arguments = Arguments::positional([Value::Int(2)]);
    rig.service.call(caller, "f", arguments, rig.now, &mut effects);
    rig.take(effects);
    assert_eq!(rig.failure(caller).kind, FailureKind::Protocol);
    rig.build(1);
    rig.answer(caller);
}

#[test]
fn cached_results_are_served_until_they_are_too_old() {
    let age = Some(Duration::from_secs(10));
    let config = ServiceConfig { cache_age: age, ..config() };
    let mut rig = Rig::new(config, vec![endpoint("f", managed())]);
    rig.call(1, "f", 1);
    rig.build(1);
    assert_eq!(rig.pass(Duration::from_secs(4)), Some(Duration::from_secs(6)));
    let hit = rig.call(1, "f", 1);
    rig.answer(hit);
    // Not yet expired by the timer, but too old for a call.
    rig.now.instant += Duration::from_secs(6);
    let late = rig.call(1, "f", 1);
    assert!(rig.reply(late).is_none());
    rig.build(2);
    assert_eq!(token(&rig.answer(late).value), 2);
    assert_eq!(rig.pass(Duration::from_secs(10)), None);
    let counters = rig.service.counters();
    assert_eq!((counters.evicted, counters.cache_entries), (2, 0));
    assert_eq!((counters.leases, counters.objects), (3, 2), "leases live on");
}

#[test]
fn nothing_is_cached_where_nothing_may_be() {
    for config in [
        ServiceConfig { cache_entries: 0, ..config() },
        ServiceConfig { cache_bytes: 9, ..config() },
    ] {
        let mut rig = Rig::new(config, vec![endpoint("f", options())]);
        for token in 0..2 {
            let caller = rig.call(1, "f", 1);
            rig.build(token);
            rig.answer(caller);
        }
        rig.hang_up(1);
        assert!(rig.is_clean());
    }
}

#[test]
fn a_drain_finishes_what_was_accepted() {
    let serialized =
        EndpointOptions { concurrency: Concurrency::Serialized, ..EndpointOptions::default() };
    let mut rig = Rig::new(config(), vec![endpoint("f", serialized)]);
    rig.service.connected(1);
    let callers = [1, 2].map(|key| rig.call(1, "f", key));
    let task = rig.task(1, "f", 3);
    rig.stop(Stop::Drain);
    rig.stop(Stop::Drain);
    let notice = Caller { connection: 1, request: 0 };
    assert!(matches!(rig.reply(notice), Some(Reply::Stopping)), "told once");
    let late = rig.call(1, "f", 1);
    assert_eq!(rig.failure(late).kind, FailureKind::Stopping);
    assert!(matches!(rig.submit(1, "f", 1), Reply::Failed(_)));
    assert!(rig.service.register(endpoint("g", options())).is_err());
    assert!(matches!(rig.ask(1, Request::Ping), Reply::Pong));
    let waiter = rig.send(1, Request::WaitTask(task));
    for token in 1..=3 {
        assert!(!rig.service.is_idle());
        rig.build(token);
    }
    assert_eq!(callers.map(|caller| token(&rig.answer(caller).value)), [1, 2]);
    assert_eq!(token(&rig.answer(waiter).value), 3);
    assert!(rig.service.is_idle());
}

#[test]
fn an_abort_answers_everybody_and_asks_workers_to_stop() {
    let serialized =
        EndpointOptions { concurrency: Concurrency::Serialized, ..EndpointOptions::default() };
    let key = KeyRule::Function(Arc::new(|_| Ok(String::new())));
    let keyed = EndpointOptions { key, ..options() };
    let mut rig = Rig::new(config(), vec![endpoint("f", serialized), endpoint("k", keyed)]);
    let callers = [rig.call(1, "f", 1), rig.call(2, "f", 2), rig.call(3, "k", 3)];
    let task = rig.task(1, "f", 4);
    let waiter = rig.send(2, Request::WaitTask(task));
    rig.stop(Stop::Drain);
    rig.stop(Stop::Abort);
    for caller in callers.into_iter().chain([waiter]) {
        assert_eq!(rig.failure(caller).kind, FailureKind::Stopping);
    }
    assert!(!rig.service.is_idle(), "workers are still at it");
    let jobs = std::mem::take(&mut rig.jobs);
    assert_eq!(jobs.len(), 2, "what waited in line is never begun");
    for job in jobs {
        match &job.work {
            Work::Key { .. } => rig.keyed(job),
            Work::Build { cancellation, .. } => {
                assert!(cancellation.is_requested());
                rig.built(job.id, Ok(value(1, 10)));
            }
        }
    }
    assert!(rig.service.is_idle() && rig.jobs.is_empty());
    for connection in [1, 2, 3] {
        rig.hang_up(connection);
    }
    assert!(rig.is_clean());
}

#[test]
fn wrong_calls_are_refused_before_anybody_works_for_them() {
    let mut one = endpoint("f", options());
    let parameter =
        |name: &str, default| Parameter { name: name.into(), default, kind: ParameterKind::Either };
    one.parameters = Some(vec![parameter("a", None), parameter("b", Some(Value::Int(2)))]);
    let mut rig = Rig::new(config(), vec![one]);
    let unknown = rig.call(1, "g", 1);
    let failure = rig.failure(unknown);
    assert_eq!((failure.kind, failure.detail("expected")), (FailureKind::Endpoint, Some("f")));
    let mut call = |arguments: Arguments| {
        let caller = rig.caller(1);
        let mut effects = Vec::new();
        rig.service.call(caller, "f", arguments, rig.now, &mut effects);
        rig.take(effects);
        (caller, rig.reply(caller))
    };
    let (_, reply) = call(Arguments::default());
    let Some(Reply::Failed(failure)) = reply else { panic!() };
    assert_eq!(failure.message, "f() missing 1 required argument: 'a'");
    let int = Value::Int;
    let (first, _) = call(Arguments::positional([int(1)]));
    let (second, _) = call(Arguments::named([("b", int(2)), ("a", int(1))]));
    rig.build(1);
    assert_eq!([first, second].map(|caller| token(&rig.answer(caller).value)), [1, 1]);
}

#[test]
fn endpoints_are_registered_once_and_sensibly() {
    let mut rig = Rig::new(config(), vec![endpoint("f", options())]);
    for name in ["f", "", "a\nb"] {
        let failure = rig.service.register(endpoint(name, options())).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Endpoint);
    }
    let rest =
        |name: &str, default| Parameter { name: name.into(), default, kind: ParameterKind::Rest };
    for parameters in [
        vec![rest("a", None), rest("a", None)],
        vec![rest("a", None), rest("b", None)],
        vec![rest("a", Some(Value::Null))],
    ] {
        let mut one = endpoint("g", options());
        one.parameters = Some(parameters);
        let failure = rig.service.register(one).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Configuration);
    }
    let Reply::Info(Value::List(listed)) = rig.ask(1, Request::Endpoints) else { panic!() };
    assert_eq!(listed.len(), 1);
    let Reply::Info(Value::Map(info)) = rig.ask(1, Request::ServerInfo) else { panic!() };
    let names: Vec<&str> = info.iter().map(|(name, _)| &**name).collect();
    assert_eq!(
        names,
        [
            "server",
            "version",
            "server_id",
            "socket_path",
            "pid",
            "uptime",
            "running",
            "ready",
            "endpoints",
            "workers",
            "capabilities",
            "stats"
        ]
    );
}

#[test]
fn what_is_said_of_a_job_twice_changes_nothing() {
    let mut rig = Rig::new(config(), vec![endpoint("f", managed())]);
    let caller = rig.call(1, "f", 1);
    let job = rig.job().id;
    rig.began(job);
    rig.began(job);
    rig.built(job, Ok(value(1, 10)));
    rig.answer(caller);
    rig.built(job, Ok(value(2, 10)));
    rig.began(job);
    let mut effects = Vec::new();
    rig.service.keyed(job, Ok([0; 32]), rig.now, &mut effects);
    assert!(rig.replies.is_empty() && effects.is_empty());
    assert_eq!(rig.service.counters().builds, 0);
}

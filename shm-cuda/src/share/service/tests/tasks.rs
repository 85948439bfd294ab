//! Tasks: how far they are, who gets their results, how long these stay.

use super::super::super::wire::TaskState;
use super::*;

fn state(rig: &mut Rig, task: u64) -> TaskState {
    match rig.ask(50, Request::Task(task)) {
        Reply::Task(info) => info.state,
        other => panic!("{other:?}"),
    }
}

fn refused(rig: &mut Rig, request: Request) -> Failure {
    match rig.ask(50, request) {
        Reply::Failed(failure) => failure,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_task_says_how_far_it_is() {
    let mut rig = Rig::new(config(), vec![endpoint("f", options())]);
    let task = rig.task(1, "f", 5);
    assert_eq!(state(&mut rig, task), TaskState::Pending);
    let failure = refused(&mut rig, Request::TaskResult(task));
    assert_eq!((failure.kind, failure.detail("state")), (FailureKind::Task, Some("pending")));
    let job = rig.job().id;
    rig.began(job);
    assert_eq!(state(&mut rig, task), TaskState::Running);
    let late = rig.task(2, "f", 5);
    assert_eq!(state(&mut rig, late), TaskState::Running, "it shares a build that has begun");
    let waiter = rig.send(3, Request::WaitTask(task));
    rig.built(job, Ok(value(5, 10)));
    assert_eq!(token(&rig.answer(waiter).value), 5);
    let cached = rig.task(2, "f", 5);
    for task in [task, late, cached] {
        assert_eq!(state(&mut rig, task), TaskState::Completed);
        let caller = rig.send(4, Request::TaskResult(task));
        assert_eq!(token(&rig.answer(caller).value), 5);
    }
    let listed = |rig: &mut Rig, state| match rig.ask(1, Request::Tasks(state)) {
        Reply::Tasks(tasks) => tasks.iter().map(|info| info.task).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(listed(&mut rig, None), [task, late, cached]);
    assert_eq!(listed(&mut rig, Some(TaskState::Failed)), [0_u64; 0]);
}

#[test]
fn a_task_that_fails_says_why() {
    let mut rig = Rig::new(config(), vec![endpoint("f", options())]);
    let task = rig.task(1, "f", 5);
    let waiter = rig.send(2, Request::WaitTask(task));
    let job = rig.job().id;
    rig.built(job, Err(broken()));
    let told = rig.failure(waiter);
    assert_eq!((told.kind, &*told.error_type), (FailureKind::Task, "LookupError"));
    assert!(told.message.contains("no such model"), "{told}");
    assert_eq!(refused(&mut rig, Request::TaskResult(task)), told);
    assert_eq!(state(&mut rig, task), TaskState::Failed);
    assert_eq!(refused(&mut rig, Request::Task(999)).kind, FailureKind::Task);
}

#[test]
fn a_pending_task_is_cancelled_and_a_running_one_asked_to_stop() {
    let mut rig = Rig::new(config(), vec![endpoint("f", options())]);
    let pending = rig.task(1, "f", 1);
    let waiter = rig.send(2, Request::WaitTask(pending));
    let job = rig.job();
    assert!(matches!(rig.ask(2, Request::CancelTask(pending)), Reply::Cancelled(true)));
    assert_eq!(rig.failure(waiter).kind, FailureKind::Task);
    assert_eq!(state(&mut rig, pending), TaskState::Cancelled);
    assert!(matches!(rig.ask(2, Request::CancelTask(pending)), Reply::Cancelled(false)));
    let Work::Build { cancellation, .. } = &job.work else { panic!() };
    assert!(cancellation.is_requested());
    rig.built(job.id, Err(broken()));

    let [stops, finishes] = [true, false].map(|stops| {
        let task = rig.task(1, "f", 2);
        let job = rig.job();
        rig.began(job.id);
        assert!(matches!(rig.ask(2, Request::CancelTask(task)), Reply::Cancelled(true)));
        let Work::Build { cancellation, .. } = &job.work else { panic!() };
        assert!(cancellation.is_requested());
        assert_eq!(state(&mut rig, task), TaskState::Running);
        rig.built(job.id, if stops { Err(broken()) } else { Ok(value(2, 10)) });
        task
    });
    assert_eq!(state(&mut rig, stops), TaskState::Cancelled);
    assert_eq!(state(&mut rig, finishes), TaskState::Completed);
}

#[test]
fn cancelling_one_task_of_a_shared_build_leaves_the_build_to_the_others() {
    let mut rig = Rig::new(config(), vec![endpoint("f", options())]);
    let (one, two) = (rig.task(1, "f", 1), rig.task(2, "f", 1));
    let job = rig.job();
    rig.began(job.id);
    assert!(matches!(rig.ask(1, Request::CancelTask(one)), Reply::Cancelled(true)));
    let Work::Build { cancellation, .. } = &job.work else { panic!() };
    assert!(!cancellation.is_requested());
    assert_eq!(state(&mut rig, one), TaskState::Cancelled);
    rig.built(job.id, Ok(value(1, 10)));
    assert_eq!(state(&mut rig, two), TaskState::Completed);
}

#[test]
fn each_fetch_is_a_lease_and_a_fetched_object_is_not_kept_by_the_task() {
    let fleeting = EndpointOptions { keep_unleased: false, ..managed() };
    let mut rig = Rig::new(config(), vec![endpoint("f", fleeting)]);
    let task = rig.task(1, "f", 5);
    rig.build(5);
    assert_eq!(rig.service.counters().objects, 1, "kept for whoever fetches it");
    let fetches = [2, 2, 3].map(|connection| {
        let caller = rig.send(connection, Request::WaitTask(task));
        rig.answer(caller)
    });
    let mut leases = fetches.clone().map(|answer| answer.lease.unwrap());
    leases.sort_unstable();
    assert!(leases.windows(2).all(|pair| pair[0] < pair[1]));
    rig.hang_up(2);
    assert_eq!(rig.service.counters().leases, 1);
    rig.hang_up(3);
    let counters = rig.service.counters();
    assert_eq!((counters.objects, counters.cache_entries, counters.tasks), (0, 0, 1));
    let caller = rig.send(4, Request::TaskResult(task));
    assert_eq!(rig.failure(caller).kind, FailureKind::Stale);
    let Reply::Task(info) = rig.ask(4, Request::Task(task)) else { panic!() };
    assert_eq!(info.object, fetches[0].object);
}

#[test]
fn a_call_of_a_task_endpoint_is_a_task_and_a_wait() {
    let tasked = EndpointOptions { execution: Execution::Task, ..managed() };
    let mut rig = Rig::new(config(), vec![endpoint("f", tasked)]);
    let caller = rig.call(1, "f", 5);
    let Reply::Tasks(tasks) = rig.ask(2, Request::Tasks(Some(TaskState::Pending))) else {
        panic!()
    };
    assert_eq!((tasks.len(), &*tasks[0].endpoint), (1, "f"));
    rig.build(5);
    let answer = rig.answer(caller);
    assert!(answer.lease.is_some());
    assert_eq!(state(&mut rig, tasks[0].task), TaskState::Completed);
    // Who stops waiting does not cancel the task.
    let given_up = rig.call(1, "f", 6);
    rig.send(1, Request::Cancel(given_up.request));
    assert_eq!(rig.failure(given_up).kind, FailureKind::Cancelled);
    rig.build(6);
    assert_eq!(state(&mut rig, tasks[0].task + 1), TaskState::Completed);
    let failing = rig.call(1, "f", 7);
    let job = rig.job().id;
    rig.built(job, Err(broken()));
    assert_eq!(rig.failure(failing).kind, FailureKind::Task);
}

#[test]
fn results_and_tasks_go_when_they_are_old_enough() {
    let uncached = EndpointOptions { cache: false, ..options() };
    let mut rig = Rig::new(config(), vec![endpoint("f", uncached)]);
    let task = rig.task(1, "f", 5);
    rig.build(5);
    assert_eq!(rig.pass(Duration::from_secs(20)), Some(Duration::from_secs(40)));
    assert_eq!(state(&mut rig, task), TaskState::Completed);
    assert_eq!(rig.pass(Duration::from_secs(40)), None);
    assert_eq!(refused(&mut rig, Request::TaskResult(task)).kind, FailureKind::Task);
    rig.hang_up(1);
    assert!(rig.is_clean());
}

#[test]
fn too_many_tasks_push_out_the_one_that_has_been_over_for_longest() {
    let mut rig = Rig::new(ServiceConfig { tasks: 3, ..config() }, vec![endpoint("f", options())]);
    let tasks = [0, 1, 2].map(|key| rig.task(1, "f", key));
    let Reply::Failed(failure) = rig.submit(1, "f", 3) else { panic!() };
    assert_eq!((failure.kind, rig.service.counters().refused), (FailureKind::Busy, 1));
    for at in [1, 0] {
        let job = rig.jobs.remove(at).id;
        rig.built(job, Ok(value(at as u64, 10)));
    }
    rig.task(1, "f", 3);
    assert_eq!(refused(&mut rig, Request::Task(tasks[1])).kind, FailureKind::Task);
    assert_eq!(state(&mut rig, tasks[0]), TaskState::Completed);
}

#[test]
fn tasks_end_with_the_connection_of_their_submitter() {
    let mut rig = Rig::new(config(), vec![endpoint("f", options())]);
    let running = rig.task(1, "f", 1);
    let job = rig.job();
    rig.began(job.id);
    let pending = rig.task(1, "f", 2);
    let other = rig.job();
    let waiters = [running, pending].map(|task| rig.send(2, Request::WaitTask(task)));
    rig.hang_up(1);
    for waiter in waiters {
        assert_eq!(rig.failure(waiter).kind, FailureKind::Task);
    }
    for job in [&job, &other] {
        let Work::Build { cancellation, .. } = &job.work else { panic!() };
        assert!(cancellation.is_requested());
    }
    assert_eq!(rig.service.counters().tasks, 0);
    rig.built(job.id, Ok(value(1, 10)));
    rig.built(other.id, Err(broken()));
    let hit = rig.call(2, "f", 1);
    assert_eq!(token(&rig.answer(hit).value), 1, "what came of it is cached");
    rig.hang_up(2);
    rig.service.forget_endpoint("f").unwrap();
    assert!(rig.is_clean());
}

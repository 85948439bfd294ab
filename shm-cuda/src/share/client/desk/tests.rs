//! Every order of the steps of a few threads that wait, read, run out of time and lose their server.
//!
//! A step is what a thread does between taking the lock and letting go of it, or a system call: finer
//! orders cannot be told apart.

use super::super::super::wire::Header;
use super::*;
use std::collections::VecDeque;

/// What can be left out; a model that holds all the same would show nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// Whoever stops to wait wakes nobody.
    LeaveSilently,
    /// Delivers without waking.
    DeliverSilently,
    /// Answers are taken in without the baton.
    ReadWithoutBaton,
}

#[derive(Clone, Copy, Debug)]
struct Plan {
    threads: usize,
    /// How many of them have a deadline that may pass.
    hurried: usize,
    /// Whether the server may be gone before it has answered all.
    mortal: bool,
    /// Whether an event loop takes in beside them, this often.
    drives: usize,
    fault: Fault,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Before,
    Polling,
    /// Has taken in, and has the baton.
    Read,
    Parked,
    Answered,
    TimedOut,
}

#[derive(Clone, Copy, Debug)]
enum Action {
    Go(usize),
    RunOut(usize),
    Send(usize),
    Die,
    Drive,
}

struct World {
    plan: Plan,
    desk: Desk<usize>,
    places: Vec<Place>,
    late: Vec<bool>,
    tokens: Vec<bool>,
    unsent: Vec<bool>,
    socket: VecDeque<u64>,
    gone: bool,
    drives: usize,
}

impl World {
    fn new(plan: Plan) -> World {
        let mut desk = Desk::new();
        for thread in 0..plan.threads {
            assert_eq!(desk.open().unwrap(), thread as u64 + 1);
        }
        World {
            plan,
            desk,
            places: vec![Place::Before; plan.threads],
            late: vec![false; plan.threads],
            tokens: vec![false; plan.threads],
            unsent: vec![true; plan.threads],
            socket: VecDeque::new(),
            gone: false,
            drives: plan.drives,
        }
    }

    fn enabled(&self) -> Vec<Action> {
        let mut actions = Vec::new();
        for (thread, &place) in self.places.iter().enumerate() {
            let goes = match place {
                Place::Before | Place::Read => true,
                Place::Polling => self.is_readable() || self.late[thread],
                Place::Parked => self.tokens[thread] || self.late[thread],
                Place::Answered | Place::TimedOut => false,
            };
            let over = matches!(place, Place::Answered | Place::TimedOut);
            actions.extend(goes.then_some(Action::Go(thread)));
            let may_run_out = thread < self.plan.hurried && !self.late[thread] && !over;
            actions.extend(may_run_out.then_some(Action::RunOut(thread)));
            let answers = self.unsent[thread] && !self.gone;
            actions.extend(answers.then_some(Action::Send(thread)));
        }
        actions.extend((self.plan.mortal && !self.gone).then_some(Action::Die));
        actions.extend((self.drives > 0 && self.is_readable()).then_some(Action::Drive));
        actions
    }

    fn is_readable(&self) -> bool {
        !self.socket.is_empty() || self.gone
    }

    fn apply(&mut self, action: Action) {
        match action {
            Action::RunOut(thread) => self.late[thread] = true,
            Action::Die => self.gone = true,
            Action::Send(thread) => {
                self.unsent[thread] = false;
                self.socket.push_back(thread as u64 + 1);
            }
            Action::Drive => {
                self.drives -= 1;
                if self.plan.fault == Fault::ReadWithoutBaton {
                    self.take_in();
                } else if self.desk.try_read() {
                    self.take_in();
                    self.desk.put_down();
                    self.leave();
                }
            }
            Action::Go(thread) => self.go(thread),
        }
    }

    fn go(&mut self, thread: usize) {
        match self.places[thread] {
            Place::Polling => {
                self.take_in();
                self.places[thread] = Place::Read;
                return;
            }
            Place::Read => {
                self.desk.put_down();
                if self.late[thread] {
                    return self.stop(thread);
                }
            }
            Place::Parked => {
                self.tokens[thread] = false;
                self.desk.awake(thread as u64 + 1);
                if self.late[thread] {
                    return self.stop(thread);
                }
            }
            _ => {}
        }
        match self.desk.step(thread as u64 + 1, || thread) {
            Step::Ready => self.stop(thread),
            Step::Read => self.places[thread] = Place::Polling,
            Step::Sleep => self.places[thread] = Place::Parked,
        }
    }

    fn stop(&mut self, thread: usize) {
        let ready = self.desk.is_answered(thread as u64 + 1);
        self.leave();
        self.places[thread] = if ready { Place::Answered } else { Place::TimedOut };
        if !ready {
            self.desk.give_up(thread as u64 + 1);
        }
    }

    fn leave(&mut self) {
        if self.plan.fault != Fault::LeaveSilently
            && let Some(next) = self.desk.leave()
        {
            self.tokens[next] = true;
        }
    }

    fn take_in(&mut self) {
        while let Some(request) = self.socket.pop_front() {
            let header = Header { kind: 0x8002, descriptors: 0, request, body: 0 };
            let frame = Frame { header, body: Vec::new(), descriptors: Vec::new() };
            match self.desk.deliver(frame) {
                Delivery::Done(Some(thread), _) if self.plan.fault != Fault::DeliverSilently => {
                    self.tokens[thread] = true;
                }
                Delivery::Done(..) | Delivery::Unwanted(_) => {}
                Delivery::Unknown(_) => panic!("an answer was lost"),
            }
        }
        if self.gone {
            for thread in self.desk.end(End::Gone).sleepers {
                self.tokens[thread] = true;
            }
        }
    }

    /// Nothing can happen any more: is everybody done?
    fn verdict(&self) -> bool {
        self.places.iter().all(|place| matches!(place, Place::Answered | Place::TimedOut))
            && self.desk.sleepers.is_empty()
            && !self.desk.reading
    }
}

/// Walks through all orders; how many there are, or the first in which somebody waits for ever.
fn explore(plan: Plan) -> Result<u64, Vec<Action>> {
    let mut path: Vec<(usize, usize)> = Vec::new();
    for count in 1.. {
        let mut world = World::new(plan);
        let mut taken = Vec::new();
        loop {
            let actions = world.enabled();
            if actions.is_empty() {
                break;
            }
            if taken.len() == path.len() {
                path.push((0, actions.len()));
            }
            let action = actions[path[taken.len()].0];
            taken.push(action);
            world.apply(action);
        }
        if !world.verdict() {
            return Err(taken);
        }
        while path.last().is_some_and(|&(choice, count)| choice + 1 == count) {
            path.pop();
        }
        match path.last_mut() {
            Some((choice, _)) => *choice += 1,
            None => return Ok(count),
        }
    }
    unreachable!()
}

const PLAN: Plan = Plan { threads: 2, hurried: 0, mortal: false, drives: 0, fault: Fault::None };

#[test]
fn nobody_waits_for_ever() {
    for plan in [
        Plan { threads: 3, ..PLAN },
        Plan { threads: 2, hurried: 2, mortal: true, ..PLAN },
        Plan { threads: 2, hurried: 1, drives: 2, ..PLAN },
        Plan { threads: 2, mortal: true, drives: 1, ..PLAN },
    ] {
        match explore(plan) {
            Ok(orders) => assert!(orders > 100, "{plan:?}: only {orders} orders"),
            Err(order) => panic!("{plan:?}: somebody waits for ever after {order:?}"),
        }
    }
}

#[test]
fn the_model_notices_what_is_left_out() {
    for plan in [
        Plan { fault: Fault::LeaveSilently, ..PLAN },
        Plan { fault: Fault::DeliverSilently, ..PLAN },
        Plan { fault: Fault::ReadWithoutBaton, drives: 1, ..PLAN },
    ] {
        assert!(explore(plan).is_err(), "{plan:?} should fail");
    }
}

#[test]
fn a_request_has_one_answer() {
    let mut desk: Desk<usize> = Desk::new();
    let id = desk.open().unwrap();
    let frame = |request| Frame {
        header: Header { kind: 0x8002, descriptors: 0, request, body: 0 },
        body: Vec::new(),
        descriptors: Vec::new(),
    };
    assert!(matches!(desk.deliver(frame(id)), Delivery::Done(None, None)));
    assert!(matches!(desk.deliver(frame(id)), Delivery::Unknown(_)));
    assert!(desk.take(id).is_some_and(|answer| answer.is_ok()));
    assert!(desk.take(id).is_none());
    assert!(matches!(desk.deliver(frame(id)), Delivery::Unknown(_)));
    assert!(matches!(desk.deliver(frame(77)), Delivery::Unknown(_)));
}

#[test]
fn what_was_given_up_is_remembered_until_its_answer_comes() {
    let mut desk: Desk<usize> = Desk::new();
    let id = desk.open().unwrap();
    assert!(matches!(desk.give_up(id), GivenUp::Open(None)));
    assert_eq!(desk.given_up(), 1);
    let header = Header { kind: 0x8002, descriptors: 0, request: id, body: 0 };
    let frame = Frame { header, body: Vec::new(), descriptors: Vec::new() };
    assert!(matches!(desk.deliver(frame), Delivery::Unwanted(_)));
    assert_eq!(desk.given_up(), 0);
    assert!(desk.requests.is_empty());
    // Nothing of those is kept when the end has come.
    let id = desk.open().unwrap();
    assert!(matches!(desk.give_up(id), GivenUp::Open(None)));
    desk.end(End::Gone);
    assert_eq!((desk.given_up(), desk.requests.len()), (0, 0));
    assert!(desk.open().is_err());
}

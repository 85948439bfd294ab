//! Regions that the server still has to be told to let go of.
//!
//! A server answers an unregistration with an error while a request uses the region (2.50 to 2.52), so it is
//! asked again until it agrees. Servers before 2.50 unmap at once, under a running request: they are not asked
//! while any request may be running.
//!
//! Upholds invariants 5 and 10: the waiting is done by the transport's own clock.

use crate::transport::{Lost, Reply, Request, Transport};
use crate::wire::Code;
use parking_lot::{Condvar, Mutex};
use shm_core::Deadline;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// How long until the server is asked again, at first and at most.
const SOON: Duration = Duration::from_millis(5);
const LATER: Duration = Duration::from_secs(1);

/// Regions that the server still has to be told to let go of.
#[derive(Debug)]
pub(crate) struct Debts {
    transport: Weak<dyn Transport>,
    owed: Mutex<BTreeSet<String>>,
    settled: Condvar,
    leaked: AtomicU64,
}

impl Debts {
    pub(crate) fn new(transport: &Arc<dyn Transport>) -> Debts {
        Debts {
            transport: Arc::downgrade(transport),
            owed: Mutex::new(BTreeSet::new()),
            settled: Condvar::new(),
            leaked: AtomicU64::new(0),
        }
    }

    /// Has the server told, now and until it agrees.
    pub(crate) fn owe(self: &Arc<Debts>, region: String) {
        self.owed.lock().insert(region.clone());
        self.ask(region, SOON);
    }

    /// Notes a region that cannot safely be unregistered: it stays mapped in the server until that ends.
    pub(crate) fn leak(&self) {
        self.leaked.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count(&self) -> usize {
        self.owed.lock().len()
    }

    pub(crate) fn leaked(&self) -> u64 {
        self.leaked.load(Ordering::Relaxed)
    }

    /// Waits until nothing is owed; tells what is at the deadline.
    pub(crate) fn wait(&self, deadline: Deadline) -> Vec<String> {
        let mut owed = self.owed.lock();
        while !owed.is_empty() && !deadline.has_passed() {
            match deadline.remaining() {
                Some(left) => drop(self.settled.wait_for(&mut owed, left)),
                None => self.settled.wait(&mut owed),
            }
        }
        owed.iter().cloned().collect()
    }

    /// Waits until `region` is no longer owed; false if it still is at the deadline.
    pub(crate) fn wait_for(&self, region: &str, deadline: Deadline) -> bool {
        let mut owed = self.owed.lock();
        while owed.contains(region) && !deadline.has_passed() {
            match deadline.remaining() {
                Some(left) => drop(self.settled.wait_for(&mut owed, left)),
                None => self.settled.wait(&mut owed),
            }
        }
        !owed.contains(region)
    }

    fn ask(self: &Arc<Debts>, region: String, patience: Duration) {
        let Some(transport) = self.transport.upgrade() else { return };
        let (debts, name) = (self.clone(), region.clone());
        let ending = move |answer| debts.hear(name, patience, answer);
        transport.start(Request::Unregister(&region), Box::new(ending));
    }

    fn hear(self: Arc<Debts>, region: String, patience: Duration, answer: Result<Reply, Lost>) {
        match answer {
            Ok(Reply::Done | Reply::Refused { code: Code::NotFound, .. }) => {
                self.owed.lock().remove(&region);
                self.settled.notify_all();
            }
            // A server that has no such request has no such region.
            Ok(Reply::Refused { code: Code::Unimplemented, .. }) => {
                self.owed.lock().remove(&region);
                self.settled.notify_all();
            }
            // In use, not reachable, ...: later.
            Ok(_) | Err(_) => {
                let Some(transport) = self.transport.upgrade() else { return };
                let then = move || self.ask(region, (patience * 2).min(LATER));
                transport.after(patience, Box::new(then));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::{Ending, Outcome, Patience};
    use std::collections::VecDeque;

    /// A server that answers what the test says, one answer after the other.
    #[derive(Debug)]
    struct Script {
        answers: Mutex<VecDeque<Result<Reply, Lost>>>,
        asked: Mutex<Vec<String>>,
        delays: Mutex<Vec<Duration>>,
    }

    impl Transport for Script {
        fn call(&self, _: Request<'_>, _: &Patience<'_>, _: &mut dyn FnMut() -> Ending) -> Outcome {
            unreachable!("debts never block")
        }

        fn start(&self, request: Request<'_>, ending: Ending) {
            let Request::Unregister(name) = request else { panic!("{request:?}") };
            self.asked.lock().push(name.to_owned());
            let answer = self.answers.lock().pop_front();
            ending(answer.unwrap_or(Ok(Reply::Done)));
        }

        fn after(&self, delay: Duration, then: Box<dyn FnOnce() + Send>) {
            self.delays.lock().push(delay);
            then();
        }

        fn in_flight(&self) -> usize {
            0
        }
    }

    fn refused(code: Code) -> Result<Reply, Lost> {
        Ok(Reply::Refused { code, message: "it is currently in use".into() })
    }

    #[test]
    fn the_server_is_asked_until_it_agrees_and_less_and_less_often() {
        let lost = || Err(Lost { sent: true, source: std::io::ErrorKind::ConnectionReset.into() });
        let mut answers: VecDeque<_> = (0..10).map(|_| refused(Code::InvalidArgument)).collect();
        answers.push_back(lost());
        let script = Arc::new(Script {
            answers: Mutex::new(answers),
            asked: Mutex::default(),
            delays: Mutex::default(),
        });
        let transport: Arc<dyn Transport> = script.clone();
        let debts = Arc::new(Debts::new(&transport));
        debts.owe("r".into());
        assert!(debts.wait_for("r", Deadline::NOW));
        assert_eq!((debts.count(), script.asked.lock().len()), (0, 12));
        let delays = script.delays.lock();
        assert!(delays.is_sorted() && delays[0] == SOON && delays.last() == Some(&LATER));
    }

    #[test]
    fn what_the_server_does_not_know_is_settled() {
        for code in [Code::NotFound, Code::Unimplemented] {
            let answers = Mutex::new([refused(code)].into());
            let script = Script { answers, asked: Mutex::default(), delays: Mutex::default() };
            let transport: Arc<dyn Transport> = Arc::new(script);
            let debts = Arc::new(Debts::new(&transport));
            debts.owe("r".into());
            assert!(debts.wait(Deadline::NOW).is_empty());
        }
    }
}

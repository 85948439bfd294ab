//! Who waits for which answer, and who of them reads: the state behind the baton.
//!
//! Upholds invariants 1 and 5. Nothing here blocks, reads or wakes; whoever calls does that with what
//! it is given back, after letting go of the lock that guards this state.
//!
//! # The baton
//! One thread at a time reads the socket: it holds the baton (`reading`). The others sleep, each
//! registered in `sleepers`. With every change made under one lock, three rules are enough:
//! 1. Only the holder of the baton takes frames in, so a holder that sleeps in `poll` cannot miss that
//!    somebody else took its answer.
//! 2. Whoever delivers an answer to a sleeper takes it off `sleepers` and wakes it.
//! 3. Whoever lets go of the lock having just put the baton down, or having stopped to wait for any
//!    reason, asks [`leave`](Desk::leave) first: if nobody reads, one sleeper is taken off and woken.
//!
//! So whenever the lock is free: somebody reads, or nobody sleeps, or a sleeper has been woken that has not
//! had the lock since. The last one keeps the rule going, because it either reads, or sleeps because
//! somebody reads, or stops to wait, which is rule 3. A wake-up cannot be lost between letting go of the
//! lock and falling asleep: waking leaves a token ([`std::thread::park`]). The tests of this file walk
//! through every order of these steps.

use super::super::wire::Frame;
use super::connection::End;
use std::collections::HashMap;

/// Called once when an answer is there.
pub(super) type Notify = Box<dyn FnOnce() + Send>;

/// `W` wakes a thread that sleeps.
pub(super) struct Desk<W> {
    requests: HashMap<u64, Request<W>>,
    /// Requests whose waiters sleep and have not been woken; as many as there are threads, at most.
    sleepers: Vec<u64>,
    reading: bool,
    /// Requests in `requests` that nobody waits for.
    given_up: usize,
    last: u64,
    end: Option<End>,
    on_gone: Vec<Notify>,
}

enum Request<W> {
    Open { waiter: Option<W>, notify: Option<Notify> },
    Answered(Result<Frame, End>),
    GivenUp,
}

/// What a waiter does next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Its answer is there.
    Ready,
    /// It has the baton: it reads, and puts it down afterwards.
    Read,
    /// It sleeps until it is woken.
    Sleep,
}

/// What becomes of a frame that was taken in.
pub(super) enum Delivery<W> {
    /// It was wanted; wake and tell whoever wanted it.
    Done(Option<W>, Option<Notify>),
    /// Nobody wants it any more: what it brought is to be given back.
    Unwanted(Frame),
    /// It answers nothing that was asked.
    Unknown(Frame),
}

/// What became of a request that is given up.
pub(super) enum GivenUp {
    /// The server is to be told. The callback is dropped without the lock.
    Open(Option<Notify>),
    /// The answer was there: what it brought is to be given back.
    Answered(Frame),
    /// There is nothing to do.
    Over,
}

/// Whom to wake and tell when the connection has ended.
pub(super) struct Ended<W> {
    pub(super) sleepers: Vec<W>,
    pub(super) notify: Vec<Notify>,
}

impl<W> Desk<W> {
    pub(super) fn new() -> Desk<W> {
        Desk {
            requests: HashMap::new(),
            sleepers: Vec::new(),
            reading: false,
            given_up: 0,
            last: 0,
            end: None,
            on_gone: Vec::new(),
        }
    }

    /// Opens a request, if there is still somebody to ask.
    pub(super) fn open(&mut self) -> Result<u64, End> {
        if let Some(end) = &self.end {
            return Err(end.clone());
        }
        self.last += 1;
        self.requests.insert(self.last, Request::Open { waiter: None, notify: None });
        Ok(self.last)
    }

    /// Forgets a request that could not be sent.
    pub(super) fn withdraw(&mut self, id: u64) {
        self.requests.remove(&id);
    }

    /// What the waiter of `id` does next; `waker` wakes it.
    pub(super) fn step(&mut self, id: u64, waker: impl FnOnce() -> W) -> Step {
        let Some(Request::Open { waiter, .. }) = self.requests.get_mut(&id) else {
            return Step::Ready;
        };
        if self.reading {
            if waiter.replace(waker()).is_none() {
                self.sleepers.push(id);
            }
            Step::Sleep
        } else {
            self.reading = true;
            Step::Read
        }
    }

    /// Takes the baton if it is free, for somebody who reads without waiting.
    pub(super) fn try_read(&mut self) -> bool {
        let free = !self.reading && self.end.is_none();
        self.reading |= free;
        free
    }

    /// Puts the baton down. [`leave`](Desk::leave) or another [`step`](Desk::step) follows.
    pub(super) fn put_down(&mut self) {
        self.reading = false;
    }

    /// Does not sleep any more.
    pub(super) fn awake(&mut self, id: u64) {
        if let Some(Request::Open { waiter, .. }) = self.requests.get_mut(&id)
            && waiter.take().is_some()
        {
            self.sleepers.retain(|&sleeper| sleeper != id);
        }
    }

    /// Whom to wake because nobody reads.
    #[must_use]
    pub(super) fn leave(&mut self) -> Option<W> {
        if self.reading {
            return None;
        }
        let id = self.sleepers.pop()?;
        match self.requests.get_mut(&id) {
            Some(Request::Open { waiter, .. }) => waiter.take(),
            // Answered and given up requests have no sleepers.
            _ => None,
        }
    }

    /// A frame has come.
    pub(super) fn deliver(&mut self, frame: Frame) -> Delivery<W> {
        let id = frame.header.request;
        match self.requests.get_mut(&id) {
            Some(Request::GivenUp) => {
                self.requests.remove(&id);
                self.given_up -= 1;
                Delivery::Unwanted(frame)
            }
            Some(open @ Request::Open { .. }) => {
                let before = std::mem::replace(open, Request::Answered(Ok(frame)));
                let Request::Open { waiter, notify } = before else {
                    return Delivery::Done(None, None);
                };
                if waiter.is_some() {
                    self.sleepers.retain(|&sleeper| sleeper != id);
                }
                Delivery::Done(waiter, notify)
            }
            // A second answer to the same request is one too many.
            Some(Request::Answered(_)) | None => Delivery::Unknown(frame),
        }
    }

    /// The answer, if it is there.
    pub(super) fn take(&mut self, id: u64) -> Option<Result<Frame, End>> {
        match self.requests.get(&id)? {
            Request::Answered(_) => match self.requests.remove(&id) {
                Some(Request::Answered(answer)) => Some(answer),
                _ => None,
            },
            Request::Open { .. } | Request::GivenUp => None,
        }
    }

    /// True if there is nothing to wait for.
    pub(super) fn is_answered(&self, id: u64) -> bool {
        !matches!(self.requests.get(&id), Some(Request::Open { .. }))
    }

    /// Calls it when the answer is there, and gives back the one it replaces, which is dropped without
    /// the lock; `Err` gives it back because the answer is there now.
    pub(super) fn notify(&mut self, id: u64, call: Notify) -> Result<Option<Notify>, Notify> {
        match self.requests.get_mut(&id) {
            Some(Request::Open { notify, .. }) => Ok(notify.replace(call)),
            _ => Err(call),
        }
    }

    /// Nobody waits for it any more.
    pub(super) fn give_up(&mut self, id: u64) -> GivenUp {
        match self.requests.remove(&id) {
            Some(Request::Open { notify, waiter }) => {
                if waiter.is_some() {
                    self.sleepers.retain(|&sleeper| sleeper != id);
                }
                self.requests.insert(id, Request::GivenUp);
                self.given_up += 1;
                GivenUp::Open(notify)
            }
            Some(Request::Answered(Ok(frame))) => GivenUp::Answered(frame),
            _ => GivenUp::Over,
        }
    }

    /// How many answers are still to come that nobody waits for.
    pub(super) fn given_up(&self) -> usize {
        self.given_up
    }

    /// Nothing comes any more.
    pub(super) fn end(&mut self, end: End) -> Ended<W> {
        let mut ended = Ended { sleepers: Vec::new(), notify: Vec::new() };
        if self.end.is_some() {
            return ended;
        }
        self.requests.retain(|_, request| !matches!(request, Request::GivenUp));
        self.given_up = 0;
        for request in self.requests.values_mut() {
            if matches!(request, Request::Open { .. })
                && let Request::Open { waiter, notify } =
                    std::mem::replace(request, Request::Answered(Err(end.clone())))
            {
                ended.sleepers.extend(waiter);
                ended.notify.extend(notify);
            }
        }
        self.sleepers.clear();
        self.end = Some(end);
        ended
    }

    /// How it ended.
    pub(super) fn ended(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// Calls it when the server is gone. Gives it back if that is now.
    pub(super) fn on_gone(&mut self, call: Notify) -> Option<Notify> {
        if self.end.is_some() {
            return Some(call);
        }
        self.on_gone.push(call);
        None
    }

    /// Whom to tell that the server is gone, each once.
    pub(super) fn take_on_gone(&mut self) -> Vec<Notify> {
        std::mem::take(&mut self.on_gone)
    }
}

#[cfg(test)]
#[path = "desk/tests.rs"]
mod tests;

//! Answers as they come in, for whoever wants them.
//!
//! Upholds invariants 1 (the right to read is put down however its holder goes on) and 2 (what answers
//! nothing that was asked ends the connection).

use super::super::super::wire::{Frame, Received, Reply};
use super::super::desk::{Delivery, Desk, Notify};
use super::super::line::{Line, await_events};
use super::{Connection, End, end_of, wake};
use parking_lot::MutexGuard;
use rustix::event::PollFlags;
use shm_core::Deadline;
use std::thread::Thread;

/// Reads of one turn of an event loop.
const TURN: usize = 64;

/// What came of an attempt to take in without waiting.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Driven {
    /// Another thread reads.
    Elsewhere,
    /// There may be more.
    Partly,
    /// There is nothing more.
    Wholly,
}

impl Connection {
    /// Takes in what has arrived without waiting, unless somebody else does.
    pub(in super::super) fn drive(&self, line: &Line) -> Driven {
        let mut baton = Baton { connection: self, held: self.desk.lock().try_read() };
        if !baton.held {
            return Driven::Elsewhere;
        }
        let mut taken = Taken::default();
        let more = (0..TURN).all(|_| self.take_in(line, &mut taken));
        let mut desk = baton.put_down();
        let next = desk.leave();
        drop(desk);
        wake(next);
        taken.hand_on(self);
        if more { Driven::Partly } else { Driven::Wholly }
    }

    /// Waits for the socket, then takes in what has arrived. For the holder of the baton.
    pub(super) fn read(&self, deadline: Deadline) -> Taken {
        let mut taken = Taken::default();
        if let Some(line) = self.line() {
            if !deadline.has_passed() {
                await_events(&line.socket, PollFlags::IN, deadline);
            }
            self.take_in(&line, &mut taken);
        }
        taken
    }

    /// Reads once and deals out what is complete; false if there was nothing. For the holder of the baton.
    fn take_in(&self, line: &Line, taken: &mut Taken) -> bool {
        let mut reader = line.reader.lock();
        let filled = reader.fill();
        let dealt = loop {
            match reader.next_frame() {
                Ok(Some(frame)) => {
                    if let Err(end) = self.deal(frame, taken) {
                        break Err(end);
                    }
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(end_of(error)),
            }
        };
        drop(reader);
        let ended = match (dealt, filled) {
            (Err(end), _) => end,
            (Ok(()), Err(error)) => end_of(error),
            (Ok(()), Ok(read)) => return read > 0,
        };
        taken.notify.extend(self.end(ended));
        false
    }

    fn deal(&self, frame: Frame, taken: &mut Taken) -> Result<(), End> {
        if frame.header.request == 0 {
            return notice(frame);
        }
        let delivery = self.desk.lock().deliver(frame);
        match delivery {
            Delivery::Done(waiter, notify) => {
                wake(waiter);
                taken.notify.extend(notify);
                Ok(())
            }
            Delivery::Unwanted(frame) => {
                taken.unwanted.push(frame);
                Ok(())
            }
            Delivery::Unknown(frame) => {
                let request = frame.header.request;
                Err(End::Protocol(format!("it answered request {request}, which is not open")))
            }
        }
    }
}

/// The right to read; put down however its holder goes on, so that a panic stops nobody else.
pub(super) struct Baton<'a> {
    pub(super) connection: &'a Connection,
    pub(super) held: bool,
}

impl<'a> Baton<'a> {
    /// Puts it down, with the lock under which the next step follows.
    pub(super) fn put_down(&mut self) -> MutexGuard<'a, Desk<Thread>> {
        self.held = false;
        let mut desk = self.connection.desk.lock();
        desk.put_down();
        desk
    }
}

impl Drop for Baton<'_> {
    fn drop(&mut self) {
        if self.held {
            let next = {
                let mut desk = self.put_down();
                desk.leave()
            };
            wake(next);
        }
    }
}

/// What is to be done after something was taken in, without a lock and without the baton.
#[derive(Default)]
pub(super) struct Taken {
    notify: Vec<Notify>,
    unwanted: Vec<Frame>,
}

impl Taken {
    pub(super) fn is_empty(&self) -> bool {
        self.notify.is_empty() && self.unwanted.is_empty()
    }

    pub(super) fn hand_on(self, connection: &Connection) {
        self.unwanted.into_iter().for_each(|frame| connection.give_back(frame));
        self.notify.into_iter().for_each(|notify| notify());
    }
}

/// What the server says to nobody's request.
fn notice(frame: Frame) -> Result<(), End> {
    match Reply::decode(&frame.header, &frame.body, frame.descriptors) {
        // It takes no more calls, and says so to each of them.
        Ok(Received::Reply(Reply::Stopping)) => Ok(()),
        Ok(Received::Reply(Reply::Failed(failure))) => Err(End::Refused(failure)),
        Ok(_) => Err(End::Protocol("it answered what nobody asked".to_owned())),
        Err(error) => Err(End::Protocol(error.to_string())),
    }
}

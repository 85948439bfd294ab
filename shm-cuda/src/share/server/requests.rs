//! What clients ask, and what they are answered.
//!
//! Upholds invariants 2 and 5: a frame is read only after the one who sent it has said who it is, frames of
//! one client are few per turn, and an answer that cannot be sent leaves no lease behind.

use super::super::failure::{Failure, FailureKind};
use super::super::service::{Caller, ConnectionId, Effect};
use super::super::wire::{ChannelError, DecodeError, Frame, Hello, Reply, Request, Welcome};
use super::connection::{broken, negotiate};
use super::event_loop::{EventLoop, now};

/// Frames of one connection that are looked at before the others have their turn.
const FRAMES_PER_TURN: usize = 64;
/// Kinds of requests are 1 to this; other frames are not a client's.
const LAST_REQUEST: u16 = 17;

impl EventLoop {
    /// Looks at what a client sent: what is there now if `fill`, else what was read before.
    pub(super) fn read(&mut self, id: ConnectionId, fill: bool) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if connection.is_full() {
            return;
        }
        if fill && let Err(error) = connection.fill() {
            return self.give_up(id, &error);
        }
        for _ in 0..FRAMES_PER_TURN {
            let Some(connection) = self.connections.get_mut(&id) else { return };
            if connection.is_full() {
                return;
            }
            match connection.next_frame() {
                Ok(Some(frame)) => self.on_frame(id, frame),
                Ok(None) => return,
                Err(error) => return self.give_up(id, &error),
            }
        }
        self.is_unfinished(id);
    }

    fn give_up(&mut self, id: ConnectionId, error: &ChannelError) {
        if let ChannelError::Protocol(error) = error {
            self.refuse(id, 0, wrong_body(error));
        } else {
            self.close(id);
        }
    }

    /// Tells a client why, and closes.
    fn refuse(&mut self, id: ConnectionId, request: u64, failure: Failure) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.refuse(request, failure);
        }
        self.close(id);
    }

    fn on_frame(&mut self, id: ConnectionId, frame: Frame) {
        let header = frame.header;
        if !(1..=LAST_REQUEST).contains(&header.kind) {
            let found = format!("kind {:#06x}", header.kind);
            let failure = broken(&format!("frame: expected a request, found {found}"));
            return self.refuse(id, header.request, failure.with("field", "kind"));
        }
        let decoded = Request::decode(&header, &frame.body, frame.descriptors);
        let is_known = self.connections.get(&id).is_some_and(|one| one.is_known);
        match (decoded, is_known) {
            (Ok(Request::Hello(hello)), false) => self.greet(id, header.request, &hello),
            (Ok(Request::Hello(_)), true) => {
                let text = "a second hello: a client says once who it is";
                self.fail(id, header.request, Failure::new(FailureKind::Protocol, text));
            }
            (Ok(request), true) => {
                if matches!(request, Request::ServerInfo) {
                    self.introduce();
                }
                let caller = Caller { connection: id, request: header.request };
                self.service.request(caller, request, now(), &mut self.effects);
                self.apply();
            }
            (Ok(_), false) => {
                let failure = broken(&"frame: expected a hello before anything else");
                self.refuse(id, header.request, failure.with("field", "kind"));
            }
            (Err(error), true) => self.fail(id, header.request, wrong_body(&error)),
            (Err(error), false) => self.refuse(id, header.request, wrong_body(&error)),
        }
    }

    fn greet(&mut self, id: ConnectionId, request: u64, hello: &Hello) {
        let version = match negotiate(hello) {
            Ok(version) => version,
            Err(failure) => return self.refuse(id, request, failure),
        };
        let welcome = Welcome {
            version,
            server: self.identity.id,
            pid: self.identity.pid,
            process: self.identity.process,
            body_limit: self.limits.body.try_into().unwrap_or(u32::MAX),
            in_flight_limit: self.limits.in_flight.try_into().unwrap_or(u32::MAX),
            opaque: self.limits.opaque,
        };
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.is_known = true;
        }
        if let Some(reception) = &mut self.reception {
            reception.is_heard(id);
        }
        self.send(id, request, &Reply::Welcome(welcome));
    }

    /// Carries out what the service decided, and what follows from that.
    pub(super) fn apply(&mut self) {
        while !self.effects.is_empty() {
            let mut effects = std::mem::take(&mut self.effects);
            for effect in effects.drain(..) {
                match effect {
                    Effect::Run(job) => self.workers.run(job),
                    Effect::Reply(caller, reply) => self.reply(caller, reply),
                }
            }
            if self.effects.is_empty() {
                // Its memory serves again.
                self.effects = effects;
                return;
            }
        }
    }

    fn reply(&mut self, caller: Caller, reply: Reply) {
        if let Some(answer) = self.local.remove(&caller.connection) {
            let _ = answer.send(reply);
            self.service.hung_up(caller.connection, now(), &mut self.effects);
        } else {
            self.send(caller.connection, caller.request, &reply);
        }
    }

    /// Queues an answer, or a failure that says why it cannot be sent.
    pub(super) fn send(&mut self, id: ConnectionId, request: u64, reply: &Reply) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let pushed = connection.push(request, reply.encode());
        let mut lost = None;
        if let Err(failure) = pushed {
            connection.push_failure(request, failure);
            if let Reply::Answer(answer) = reply {
                lost = answer.lease;
            }
        }
        self.is_unflushed(id);
        self.release(id, lost);
    }

    fn fail(&mut self, id: ConnectionId, request: u64, failure: Failure) {
        if request != 0 {
            self.send(id, request, &Reply::Failed(failure));
        }
    }

    fn is_unflushed(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(&id)
            && !connection.is_unflushed
        {
            connection.is_unflushed = true;
            self.unflushed.push(id);
        }
    }

    /// Ends a lease that its client never learns of.
    fn release(&mut self, id: ConnectionId, lease: Option<u64>) {
        if let Some(lease) = lease {
            let caller = Caller { connection: id, request: 0 };
            let request = Request::Release(vec![lease]);
            self.service.request(caller, request, now(), &mut self.effects);
        }
    }
}

fn wrong_body(error: &DecodeError) -> Failure {
    Failure::new(FailureKind::Protocol, error.to_string())
        .with("field", error.field)
        .with("expected", &error.expected)
        .with("found", &error.found)
}

//! Requests on their way: sent by whoever asks, written by the watcher where the socket is full.
//!
//! Upholds invariant 5: only a request with a deadline waits for a server that is far behind.

use super::super::super::failure::{Failure, FailureKind};
use super::super::super::wire::{Channel, Message, Request};
use super::super::error::ClientError;
use super::super::line::{Line, await_events};
use super::{Connection, End, end_of};
use parking_lot::MutexGuard;
use rustix::event::PollFlags;
use shm_core::Deadline;

/// Bytes that may wait for a server that does not read before more requests are held back.
const QUEUE: usize = 16 << 20;

impl Connection {
    /// Sends requests with as few system calls as it takes, and gives their numbers. What does not fit
    /// into the socket is written when there is room. With a deadline, waits for a server that is far
    /// behind.
    pub(in super::super) fn send(
        &self,
        messages: Vec<Message>,
        deadline: Option<Deadline>,
    ) -> Result<Vec<u64>, ClientError> {
        let mut sent = Vec::with_capacity(messages.len());
        let result = self.send_each(messages, deadline, &mut sent);
        if let Err(error) = result {
            // Those that are on their way have nobody who waits for them.
            sent.into_iter().for_each(|id| self.give_up(id));
            return Err(error);
        }
        Ok(sent)
    }

    fn send_each(
        &self,
        messages: Vec<Message>,
        deadline: Option<Deadline>,
        sent: &mut Vec<u64>,
    ) -> Result<(), ClientError> {
        self.check_process()?;
        let line = self.open_line()?;
        let mut writer = self.writer_with_room(&line, deadline)?;
        for message in messages {
            let id = self.desk.lock().open().map_err(|end| self.error_of(&end))?;
            if let Err(failure) = writer.push(id, message) {
                self.desk.lock().withdraw(id);
                drop(writer);
                self.flush(&line);
                return Err(failure.into());
            }
            sent.push(id);
        }
        self.flush_with(&line, writer);
        Ok(())
    }

    /// Sends one request and gives its number.
    pub(in super::super) fn send_one(
        &self,
        message: Message,
        deadline: Option<Deadline>,
    ) -> Result<u64, ClientError> {
        self.check_process()?;
        let line = self.open_line()?;
        let mut writer = self.writer_with_room(&line, deadline)?;
        let id = self.desk.lock().open().map_err(|end| self.error_of(&end))?;
        if let Err(failure) = writer.push(id, message) {
            drop(writer);
            self.desk.lock().withdraw(id);
            return Err(failure.into());
        }
        self.flush_with(&line, writer);
        Ok(id)
    }

    /// Sends what has no answer. Never waits, and fails only where there is nobody to hear it.
    pub(in super::super) fn tell(&self, request: &Request) {
        if self.is_inherited() {
            return;
        }
        let Some(line) = self.line() else { return };
        let mut writer = line.writer.lock();
        if writer.push(0, request.encode()).is_ok() {
            self.flush_with(&line, writer);
        }
    }

    fn writer_with_room<'a>(
        &self,
        line: &'a Line,
        deadline: Option<Deadline>,
    ) -> Result<MutexGuard<'a, Channel>, ClientError> {
        loop {
            let writer = line.writer.lock();
            if writer.queued() < QUEUE {
                return Ok(writer);
            }
            drop(writer);
            let Some(deadline) = deadline else {
                let failure = Failure::new(
                    FailureKind::Busy,
                    format!("the server at {} does not read; try later", self.path.display()),
                );
                return Err(failure.with("limit", QUEUE).into());
            };
            if let Some(end) = self.ended() {
                return Err(self.error_of(&end));
            }
            if deadline.has_passed() {
                return Err(ClientError::TimedOut);
            }
            await_events(&line.socket, PollFlags::OUT, deadline);
            self.flush(line);
        }
    }

    /// Writes what is queued as far as it goes.
    pub(in super::super) fn flush(&self, line: &Line) {
        self.flush_with(line, line.writer.lock());
    }

    fn flush_with(&self, line: &Line, mut writer: MutexGuard<'_, Channel>) {
        let flushed = writer.flush();
        drop(writer);
        match flushed {
            Ok(true) => {}
            Ok(false) => line.watch.want_room(line),
            Err(error) => match end_of(error) {
                // Answers may have arrived before it went; whoever reads comes to the end by itself.
                End::Gone => {}
                end => self.end_with(end),
            },
        }
    }
}

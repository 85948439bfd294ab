//! A request that was sent.
//!
//! Upholds invariants 5 and 7: it is waited for until a deadline, and given up when nobody can ask for its
//! answer any more.

use super::super::tensor::Storage;
use super::super::wire::Message;
use super::ask::{Ask, Expected};
use super::connection::Connection;
use super::error::ClientError;
use super::response::{Response, read};
use shm_core::Deadline;
use std::sync::Arc;

/// A request that was sent. Dropping it cancels it.
#[derive(Debug)]
pub struct Pending {
    connection: Arc<Connection>,
    id: u64,
    expected: Expected,
    /// What its arguments lie in: device memory that goes by a handle must be there until the server has
    /// opened it, which it has when it answers.
    arguments: Option<Arc<[Storage]>>,
    /// Its answer was taken.
    over: bool,
}

fn arguments_of(message: &Message) -> Option<Arc<[Storage]>> {
    message.value.as_ref().map(|value| value.storages.clone())
}

impl Pending {
    /// Sends a request and waits for its answer.
    pub(super) fn ask(
        connection: &Arc<Connection>,
        ask: Ask,
        deadline: Deadline,
    ) -> Result<Response, ClientError> {
        Pending::start(connection, ask, Some(deadline))?.wait(deadline)
    }

    /// Sends a request; with a deadline, waits for a server that is far behind.
    pub(super) fn start(
        connection: &Arc<Connection>,
        ask: Ask,
        deadline: Option<Deadline>,
    ) -> Result<Pending, ClientError> {
        connection.check_process()?;
        let expected = ask.expected();
        let message = ask.encode(&connection.sending)?;
        let arguments = arguments_of(&message);
        let id = connection.send_one(message, deadline)?;
        Ok(Pending { connection: connection.clone(), id, expected, arguments, over: false })
    }

    /// Sends many requests at once.
    pub(super) fn start_all(
        connection: &Arc<Connection>,
        asks: Vec<Ask>,
    ) -> Result<Vec<Pending>, ClientError> {
        connection.check_process()?;
        let expected: Vec<Expected> = asks.iter().map(Ask::expected).collect();
        let messages: Result<Vec<_>, _> =
            asks.into_iter().map(|ask| ask.encode(&connection.sending)).collect();
        let messages = messages?;
        let arguments: Vec<_> = messages.iter().map(arguments_of).collect();
        let ids = connection.send(messages, None)?;
        let pending = ids.into_iter().zip(expected).zip(arguments);
        let pending = pending.map(|((id, expected), arguments)| Pending {
            connection: connection.clone(),
            id,
            expected,
            arguments,
            over: false,
        });
        Ok(pending.collect())
    }

    /// Waits for the answer; gives the request up when time is up.
    ///
    /// # Errors
    /// What the server says, [`ClientError::TimedOut`], or how the connection ended.
    pub fn wait(mut self, deadline: Deadline) -> Result<Response, ClientError> {
        if self.ready(deadline) { self.finish() } else { Err(ClientError::TimedOut) }
    }

    /// Waits until the answer is there and says whether it is; the request goes on if it is not.
    pub fn ready(&mut self, deadline: Deadline) -> bool {
        self.over || self.connection.is_inherited() || self.connection.wait(self.id, deadline)
    }

    /// The answer, if it has arrived. `None` once it has been given.
    pub fn poll(&mut self) -> Option<Result<Response, ClientError>> {
        if self.over || !self.ready(Deadline::NOW) {
            return None;
        }
        Some(self.finish())
    }

    /// Calls `notify` once when the answer is there; at once if it is. A second call replaces the first.
    ///
    /// It is called by the thread that takes the answer in: one that waits for another answer, one that
    /// calls [`Client::drive`](super::Client::drive), or a thread of the client's. It may use the client,
    /// but holds up those who wait for that thread.
    pub fn on_ready(&mut self, notify: Box<dyn FnOnce() + Send>) {
        if self.over || self.connection.is_inherited() {
            notify();
        } else {
            self.connection.notify(self.id, notify);
        }
    }

    /// The answer, which is there.
    fn finish(&mut self) -> Result<Response, ClientError> {
        self.connection.check_process()?;
        self.over = true;
        self.arguments = None;
        match self.connection.take(self.id) {
            Some(Ok(frame)) => read(&self.connection, self.expected, frame),
            Some(Err(error)) => Err(error),
            None => Err(ClientError::TimedOut),
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.over {
            self.connection.give_up(self.id);
        }
    }
}

//! What all handles and requests of a client share: its line, who waits for what, and how it ends.
//!
//! Upholds invariants 1 and 5: nothing waits without a deadline but for a server that is there, and its
//! end ends every wait; see [`desk`](super::desk) for who reads. Callbacks run without any lock held.
//!
//! Locks are taken in this order: watch, reader or writer, desk. Nothing is called, woken or dropped that is
//! not this client's own while the desk is locked.

mod reading;
mod sending;

pub(super) use reading::Driven;

use super::super::failure::Failure;
use super::super::limits::Limits;
use super::super::memory::Access;
use super::super::wire::{ChannelError, Frame, Received, Reply, Request, Welcome};
use super::config::ClientConfig;
use super::desk::{Desk, GivenUp, Notify, Step};
use super::error::ClientError;
use super::line::Line;
use parking_lot::{Mutex, RwLock};
use reading::Baton;
use rustix::io::Errno;
use shm_core::{Deadline, fork_generation};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{JoinHandle, Thread};

/// One connection.
pub(super) struct Connection {
    pub(super) path: PathBuf,
    pub(super) server: [u8; 16],
    pub(super) pid: u32,
    /// What the server may send.
    pub(super) limits: Limits,
    /// What it takes.
    pub(super) sending: Limits,
    pub(super) access: Access,
    born: Origin,
    /// `None` once it is closed, or its end has been told.
    line: RwLock<Option<Arc<Line>>>,
    desk: Mutex<Desk<Thread>>,
    watcher: Mutex<Option<JoinHandle<()>>>,
}

/// How a connection ended.
#[derive(Clone, Debug)]
pub(super) enum End {
    /// The server hung up.
    Gone,
    /// This side did.
    Closed,
    /// The server does not speak the protocol.
    Protocol(String),
    /// The server said why before it hung up.
    Refused(Failure),
    /// The system refused.
    Broken(String),
}

/// Which process made a connection. Forks are counted only in processes that hold locks of shm-core, so
/// the number of the process is looked at, too.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Origin(u64, u32);

impl Connection {
    pub(super) fn new(
        config: ClientConfig,
        line: Line,
        welcome: &Welcome,
    ) -> Result<Arc<Connection>, ClientError> {
        let path = config.path;
        let failed = |error: std::io::Error| ClientError::Broken {
            path: path.clone(),
            reason: format!("its watcher cannot begin ({error})"),
        };
        let connection = Arc::new(Connection {
            path: path.clone(),
            server: welcome.server,
            pid: welcome.pid,
            limits: config.limits,
            sending: line.limits,
            access: config.access,
            born: Origin::here(),
            line: RwLock::new(Some(Arc::new(line))),
            desk: Mutex::new(Desk::new()),
            watcher: Mutex::new(None),
        });
        let line = connection.open_line()?;
        let watcher = line.watch.start(Arc::downgrade(&connection)).map_err(failed)?;
        *connection.watcher.lock() = Some(watcher);
        Ok(connection)
    }

    /// An error in a forked child, where nothing may be touched.
    pub(super) fn check_process(&self) -> Result<(), ClientError> {
        if self.is_inherited() {
            let reason = "it belongs to the process that this one was forked from";
            return Err(ClientError::Closed { path: self.path.clone(), reason });
        }
        Ok(())
    }

    pub(super) fn is_inherited(&self) -> bool {
        self.born != Origin::here()
    }

    pub(super) fn line(&self) -> Option<Arc<Line>> {
        self.line.read().clone()
    }

    /// The line, or why there is none.
    fn open_line(&self) -> Result<Arc<Line>, ClientError> {
        let closed = || self.error_of(&self.ended().unwrap_or(End::Closed));
        self.line().ok_or_else(closed)
    }

    // Waiting.

    /// Waits until the answer to `id` is there, and says whether it is. The only place where a thread
    /// waits for the server.
    pub(super) fn wait(&self, id: u64, deadline: Deadline) -> bool {
        let mut desk = self.desk.lock();
        loop {
            match desk.step(id, std::thread::current) {
                Step::Ready => break,
                Step::Read => {
                    drop(desk);
                    let mut baton = Baton { connection: self, held: true };
                    let taken = self.read(deadline);
                    desk = baton.put_down();
                    if !taken.is_empty() {
                        // The next one reads while callbacks run, which may use this client.
                        let next = desk.leave();
                        drop(desk);
                        wake(next);
                        taken.hand_on(self);
                        desk = self.desk.lock();
                    }
                }
                Step::Sleep => {
                    drop(desk);
                    match deadline.remaining() {
                        None => std::thread::park(),
                        Some(left) if left.is_zero() => {}
                        Some(left) => std::thread::park_timeout(left),
                    }
                    desk = self.desk.lock();
                    desk.awake(id);
                }
            }
            if deadline.has_passed() {
                break;
            }
        }
        let ready = desk.is_answered(id);
        let next = desk.leave();
        drop(desk);
        wake(next);
        ready
    }

    /// The answer, if it is there.
    pub(super) fn take(&self, id: u64) -> Option<Result<Frame, ClientError>> {
        let answer = self.desk.lock().take(id)?;
        Some(answer.map_err(|end| self.error_of(&end)))
    }

    /// Calls it when the answer is there, or now.
    pub(super) fn notify(&self, id: u64, call: Notify) {
        let set = self.desk.lock().notify(id, call);
        match set {
            Ok(replaced) => drop(replaced),
            Err(now) => now(),
        }
    }

    /// Nobody waits for the answer any more: the server is told, and what comes all the same goes back.
    pub(super) fn give_up(&self, id: u64) {
        if self.is_inherited() {
            return;
        }
        let given_up = self.desk.lock().give_up(id);
        match given_up {
            GivenUp::Open(notify) => {
                drop(notify);
                self.tell(&Request::Cancel(id));
                if let Some(line) = self.line() {
                    line.watch.want_answers(&line);
                }
            }
            GivenUp::Answered(frame) => self.give_back(frame),
            GivenUp::Over => {}
        }
    }

    pub(super) fn has_given_up(&self) -> bool {
        self.desk.lock().given_up() > 0
    }

    /// Releases what came for nobody; its descriptors close by themselves.
    pub(super) fn give_back(&self, frame: Frame) {
        let reply = Reply::decode(&frame.header, &frame.body, frame.descriptors);
        if let Ok(Received::Answer { lease: Some(lease), .. }) = reply {
            self.tell(&Request::Release(vec![lease]));
        }
    }

    // Ending.

    pub(super) fn has_ended(&self) -> bool {
        self.desk.lock().ended().is_some()
    }

    /// How it ended.
    pub(super) fn ended(&self) -> Option<End> {
        self.desk.lock().ended().cloned()
    }

    /// Ends it and tells whoever waits.
    pub(super) fn end_with(&self, end: End) {
        self.end(end).into_iter().for_each(|notify| notify());
    }

    /// Ends it, wakes whoever waits, and gives back whom to tell without a lock.
    fn end(&self, end: End) -> Vec<Notify> {
        let ended = self.desk.lock().end(end);
        // Wakes the watcher, and a reader that polls. The line stays until the watcher has seen it: epoll
        // forgets a socket that is closed.
        if let Some(line) = self.line() {
            line.hang_up();
        }
        ended.sleepers.into_iter().for_each(|thread| thread.unpark());
        ended.notify
    }

    /// The watcher's last act: lets the line go and calls who wanted to know.
    pub(super) fn farewell(&self) {
        drop(self.line.write().take());
        let (calls, closed) = {
            let mut desk = self.desk.lock();
            (desk.take_on_gone(), matches!(desk.ended(), Some(End::Closed)))
        };
        if !closed {
            calls.into_iter().for_each(|call| call());
        }
    }

    /// Calls it when the server is gone, or now.
    pub(super) fn on_gone(&self, call: Notify) {
        let now = self.desk.lock().on_gone(call);
        if let Some(call) = now {
            call();
        }
    }

    /// Ends the connection from this side and waits for the watcher.
    pub(super) fn close(&self) {
        if self.is_inherited() {
            // Another thread of the parent may have held this lock for ever.
            if let Some(mut line) = self.line.try_write() {
                line.take();
            }
            return;
        }
        self.end_with(End::Closed);
        let watcher = self.watcher.lock().take();
        if let Some(watcher) = watcher
            && watcher.thread().id() != std::thread::current().id()
        {
            // A panic in there has been reported already.
            let _ = watcher.join();
        }
        drop(self.line.write().take());
    }

    pub(super) fn error_of(&self, end: &End) -> ClientError {
        let path = self.path.clone();
        match end {
            End::Gone => ClientError::Gone { path, pid: self.pid },
            End::Closed => ClientError::Closed { path, reason: "it was closed" },
            End::Protocol(reason) => ClientError::Protocol { path, reason: reason.clone() },
            End::Refused(failure) => ClientError::Failed(failure.clone()),
            End::Broken(reason) => ClientError::Broken { path, reason: reason.clone() },
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.is_inherited() {
            // The watcher does not exist here. The descriptors close with the fields.
            std::mem::forget(self.watcher.get_mut().take());
            return;
        }
        self.close();
    }
}

impl core::fmt::Debug for Connection {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Connection")
            .field("path", &self.path)
            .field("pid", &self.pid)
            .finish_non_exhaustive()
    }
}

impl Origin {
    fn here() -> Origin {
        Origin(fork_generation(), std::process::id())
    }
}

fn wake(thread: Option<Thread>) {
    if let Some(thread) = thread {
        thread.unpark();
    }
}

fn end_of(error: ChannelError) -> End {
    match error {
        ChannelError::Closed => End::Gone,
        ChannelError::Protocol(error) => End::Protocol(error.to_string()),
        ChannelError::System(error) => match Errno::from_io_error(&error) {
            Some(Errno::PIPE | Errno::CONNRESET) => End::Gone,
            _ => End::Broken(error.to_string()),
        },
    }
}

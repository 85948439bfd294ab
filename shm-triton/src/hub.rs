//! What a client's models share: the transport, the deadline of calls, what is owed to the server.
//!
//! Upholds invariants 5 and 8 (what went another way than usual is counted).

use crate::address::Address;
use crate::alarm::Alarms;
use crate::config::{ClientConfig, SharedMemory};
use crate::debts::Debts;
use crate::error::CallError;
use crate::transport::{Ending, Outcome, Patience, Reply, Request, Transport};
use crate::wire::{Code, RegionStatus};
use parking_lot::{Condvar, Mutex};
use shm_core::{Deadline, fork_generation};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

/// What a client's models share.
#[derive(Debug)]
pub(crate) struct Hub {
    pub transport: Arc<dyn Transport>,
    pub address: Address,
    pub config: ClientConfig,
    pub debts: Arc<Debts>,
    pub counts: Counts,
    /// Set once the server has refused shared memory and the client may do without.
    pub inline: AtomicBool,
    born: u64,
    closed: AtomicBool,
    /// Version of the server, as it last said.
    version: Mutex<Option<String>>,
    pub alarms: Alarms,
    /// Segments that this client has mapped, and the signal that one is gone.
    segments: Mutex<usize>,
    gone: Condvar,
}

/// What happened, beyond the usual.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub late: AtomicU64,
    pub lost: AtomicU64,
    pub registered_again: AtomicU64,
    pub retired: AtomicU64,
    pub inline_calls: AtomicU64,
}

impl Counts {
    pub(crate) fn add(count: &AtomicU64) {
        count.fetch_add(1, Ordering::Relaxed);
    }
}

impl Hub {
    pub(crate) fn new(
        transport: Arc<dyn Transport>,
        address: Address,
        config: ClientConfig,
    ) -> Hub {
        let inline = config.shared_memory == SharedMemory::Never;
        Hub {
            debts: Arc::new(Debts::new(&transport)),
            transport,
            address,
            config,
            counts: Counts::default(),
            inline: AtomicBool::new(inline),
            born: fork_generation(),
            closed: AtomicBool::new(false),
            version: Mutex::new(None),
            alarms: Alarms::default(),
            segments: Mutex::new(0),
            gone: Condvar::new(),
        }
    }

    /// False once closed, and in a forked child: the connections and the memory are the parent's.
    pub(crate) fn is_open(&self) -> bool {
        !self.closed.load(Ordering::Acquire) && self.is_ours()
    }

    pub(crate) fn is_ours(&self) -> bool {
        self.born == fork_generation()
    }

    /// Closes; false if it was closed before.
    pub(crate) fn shut(&self) -> bool {
        !self.closed.swap(true, Ordering::AcqRel)
    }

    /// The deadline of a call that names none.
    pub(crate) fn usual_deadline(&self) -> Deadline {
        self.config.timeout.map_or(Deadline::NEVER, Deadline::after)
    }

    /// Asks the server. A server's error is an error.
    pub(crate) fn ask(
        &self,
        what: &'static str,
        request: Request<'_>,
        deadline: Deadline,
    ) -> Result<Reply, CallError> {
        if !self.is_open() {
            return Err(CallError::Closed);
        }
        self.ask_even_closed(what, request, deadline)
    }

    pub(crate) fn ask_even_closed(
        &self,
        what: &'static str,
        request: Request<'_>,
        deadline: Deadline,
    ) -> Result<Reply, CallError> {
        let began = Instant::now();
        // Nothing of this process is in the hands of such a request, so nobody needs to be told.
        let mut late = || -> Ending { Box::new(|_| {}) };
        let address = || self.address.to_string();
        let patience = Patience::until(deadline);
        match self.transport.call(request, &patience, &mut late) {
            Outcome::Answered(Reply::Refused { code, message }) => {
                Err(CallError::Refused { what, code, message })
            }
            Outcome::Answered(Reply::Malformed(wrong)) => Err(CallError::Malformed { what, wrong }),
            Outcome::Answered(reply) => Ok(reply),
            Outcome::Late => Err(CallError::Timeout { what, after: began.elapsed() }),
            Outcome::Lost(lost) if patience.ended_unsent(&lost) => {
                Err(CallError::Timeout { what, after: began.elapsed() })
            }
            Outcome::Lost(lost) if lost.sent => {
                Err(CallError::Lost { what, address: address(), source: lost.source })
            }
            Outcome::Lost(lost) => {
                Err(CallError::Unavailable { what, address: address(), source: lost.source })
            }
        }
    }

    /// The regions that the server has, or the one of that name.
    pub(crate) fn regions(
        &self,
        name: &str,
        deadline: Deadline,
    ) -> Result<Vec<RegionStatus>, CallError> {
        match self.ask("region status", Request::RegionStatus(name), deadline) {
            Ok(Reply::Regions(regions)) => Ok(regions),
            Ok(reply) => Err(unexpected("region status", &reply)),
            Err(CallError::Refused { code: Code::NotFound, .. }) if !name.is_empty() => {
                Ok(Vec::new())
            }
            Err(error) => Err(error),
        }
    }

    /// Asks the server for its version, on which it depends what is safe.
    pub(crate) fn learn_version(&self, deadline: Deadline) -> Result<(), CallError> {
        match self.ask("server metadata", Request::ServerMetadata, deadline)? {
            Reply::ServerMetadata(said) => {
                // Only the versions of Triton itself say what Triton does.
                let version = if said.name == "triton" { said.version } else { String::new() };
                *self.version.lock() = Some(version);
                Ok(())
            }
            reply => Err(unexpected("server metadata", &reply)),
        }
    }

    /// True if the server refuses to let go of a region while a request uses it, or does so late
    /// (2.50 and later). Earlier ones unmap it under the request.
    pub(crate) fn fences(&self) -> bool {
        match self.version.lock().as_deref() {
            Some("") => true,
            Some(version) => {
                let mut parts = version.split('.').map_while(|part| part.parse::<u32>().ok());
                (parts.next(), parts.next()) >= (Some(2), Some(50))
            }
            None => false,
        }
    }

    pub(crate) fn segment_mapped(&self) {
        *self.segments.lock() += 1;
    }

    pub(crate) fn segment_gone(&self) {
        *self.segments.lock() -= 1;
        self.gone.notify_all();
    }

    /// Waits until every segment is gone; tells how many are left at the deadline.
    pub(crate) fn wait_for_segments(&self, deadline: Deadline) -> usize {
        self.wait_until(deadline, |segments| segments == 0)
    }

    /// Waits until `enough` of the number of segments, asked whenever one is gone; tells how many are
    /// left.
    pub(crate) fn wait_until(&self, deadline: Deadline, enough: impl Fn(usize) -> bool) -> usize {
        let mut segments = self.segments.lock();
        while !enough(*segments) && !deadline.has_passed() {
            match deadline.remaining() {
                Some(left) => drop(self.gone.wait_for(&mut segments, left)),
                None => self.gone.wait(&mut segments),
            }
        }
        *segments
    }
}

/// A reply to another question.
pub(crate) fn unexpected(what: &'static str, reply: &Reply) -> CallError {
    let wrong = format!("a reply to something else: {reply:.200?}");
    CallError::Malformed { what, wrong }
}

//! Threads that do what takes time: they run the code of endpoints, and make keys and bytes of values.
//!
//! Upholds invariants 5 and 10: idle workers sleep, and they belong to the server that started them.

use super::super::endpoint::{Cancellation, Endpoint};
use super::super::failure::{Failure, FailureKind};
use super::super::key;
use super::super::limits::Limits;
use super::super::service::{Job, JobId, Work};
use super::super::tensor::Storage;
use super::super::value::{Arguments, Value};
use super::super::wire::{EncodedValue, encode_value};
use super::bell::Bell;
use super::signals;
use crossbeam_channel::{Receiver, Sender, unbounded};
use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Instant;

/// What a worker tells the event loop.
#[derive(Debug)]
pub(super) enum Progress {
    /// It began.
    Began(JobId),
    /// It made a key.
    Keyed(JobId, Result<[u8; 32], Failure>),
    /// It built a value, and encoded it.
    Built(JobId, Result<EncodedValue, Failure>),
}

/// The threads, and the way to them.
#[derive(Debug)]
pub(super) struct Workers {
    jobs: Option<Sender<Job>>,
    progress: Receiver<Progress>,
    /// Nothing is ever sent: it disconnects when the last thread has ended.
    ended: Receiver<()>,
    quit: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// Starts `count` threads, which ring `bell` when there is progress.
    pub(super) fn start(count: usize, limits: Limits, bell: &Arc<Bell>) -> io::Result<Workers> {
        let (jobs, queue) = unbounded();
        let (report, progress) = unbounded();
        let (alive, ended) = unbounded();
        let quit = Arc::new(AtomicBool::new(false));
        let mut workers = Workers { jobs: Some(jobs), progress, ended, quit, threads: Vec::new() };
        for number in 0..count.max(1) {
            let worker = Worker {
                queue: queue.clone(),
                report: report.clone(),
                bell: bell.clone(),
                quit: workers.quit.clone(),
                limits,
                _alive: alive.clone(),
            };
            let name = format!("share-work-{number}");
            // If this fails, those that were started end when their queue is dropped.
            let thread = thread::Builder::new().name(name).spawn(move || worker.run())?;
            workers.threads.push(thread);
        }
        Ok(workers)
    }

    /// Hands over a job.
    pub(super) fn run(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            // The threads have the other end for as long as this one is there.
            let _ = jobs.send(job);
        }
    }

    /// What they report.
    pub(super) fn progress(&self) -> &Receiver<Progress> {
        &self.progress
    }

    /// Ends the threads: none begins another job. True if all have ended by `until`; one that is still in
    /// an endpoint's code is left to end by itself.
    pub(super) fn end(mut self, until: Instant) -> bool {
        self.quit.store(true, Ordering::Relaxed);
        drop(self.jobs.take());
        // Disconnected, or time is up.
        let _ = self.ended.recv_deadline(until);
        let mut all = true;
        for thread in self.threads.drain(..) {
            // The last thing a thread does before it is finished is to hang up.
            if thread.is_finished() || self.ended.try_recv().is_err_and(|e| e.is_disconnected()) {
                let _ = thread.join();
            } else {
                all = false;
            }
        }
        all
    }
}

struct Worker {
    queue: Receiver<Job>,
    report: Sender<Progress>,
    bell: Arc<Bell>,
    quit: Arc<AtomicBool>,
    limits: Limits,
    _alive: Sender<()>,
}

impl Worker {
    fn run(self) {
        signals::block();
        while let Ok(job) = self.queue.recv() {
            if self.quit.load(Ordering::Relaxed) {
                return;
            }
            self.tell(Progress::Began(job.id));
            let done = self.carry_out(job);
            self.tell(done);
        }
    }

    fn tell(&self, progress: Progress) {
        // Nobody listens any more if the server stopped while this thread was in an endpoint's code.
        if self.report.send(progress).is_ok() {
            self.bell.ring();
        }
    }

    fn carry_out(&self, job: Job) -> Progress {
        match job.work {
            Work::Key { arguments, function } => {
                let made =
                    contained("key function", || key::of_work(&arguments, function.as_ref()));
                Progress::Keyed(job.id, made)
            }
            Work::Build { endpoint, arguments, cancellation } => {
                let built = self.build(&endpoint, &arguments, &cancellation);
                Progress::Built(job.id, built)
            }
        }
    }

    fn build(
        &self,
        endpoint: &Endpoint,
        arguments: &Arguments,
        cancellation: &Cancellation,
    ) -> Result<EncodedValue, Failure> {
        if cancellation.is_requested() {
            // Nobody waits for it, and nobody joins what was asked to stop.
            let text = "it was cancelled before a worker began";
            return Err(Failure::new(FailureKind::Cancelled, text));
        }
        contained(&format!("endpoint '{}'", endpoint.name), || {
            let value = (endpoint.build)(arguments, cancellation)?;
            settle(&value)?;
            encode_value(&value, &self.limits)
        })
    }
}

/// Waits for what the device still does to memory that is about to be seen by others.
fn settle(value: &Value) -> Result<(), Failure> {
    let mut settled = Vec::new();
    let mut outcome = Ok(());
    value.for_each_tensor(&mut |tensor| {
        let Storage::Device(storage) = tensor.storage() else {
            return;
        };
        let device = storage.device().uuid();
        if outcome.is_err() || settled.contains(&device) {
            return;
        }
        settled.push(device);
        outcome = storage.settle();
    });
    outcome.map_err(|error| {
        Failure::new(FailureKind::Build, format!("the device did not finish the value: {error}"))
    })
}

/// Turns a panic into a failure. What it leaves broken is the endpoint's own.
fn contained<T>(whose: &str, work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let message = message_of(&*panic);
        // What was thrown may itself throw when it is dropped.
        if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
            std::mem::forget(again);
        }
        let text = format!("{whose} panicked: {message}");
        Err(Failure::new(FailureKind::Build, text).of_type("panic"))
    })
}

fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no message)")
        .to_owned()
}

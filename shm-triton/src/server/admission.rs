//! How many requests are served at once, and in which order.

use super::{Refusal, SequenceId};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{Mutex as Turn, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};

/// Requests of a whole service.
#[derive(Debug)]
pub(super) struct Admission {
    running: Arc<AtomicUsize>,
    max: usize,
    closed: AtomicBool,
}

/// A request that was admitted and has not ended.
#[derive(Debug)]
pub(super) struct Admitted(Arc<AtomicUsize>);

impl Admission {
    pub fn new(max: usize) -> Admission {
        Admission { running: Arc::default(), max, closed: AtomicBool::new(false) }
    }

    pub fn admit(&self) -> Result<Admitted, Refusal> {
        let before = self.running.fetch_add(1, Ordering::SeqCst);
        let admitted = Admitted(Arc::clone(&self.running));
        if self.closed.load(Ordering::SeqCst) {
            return Err(Refusal::unavailable(
                "the server is shutting down and takes no more requests",
            ));
        }
        if before >= self.max {
            return Err(Refusal::unavailable(format!(
                "the server has {before} requests in flight, which is its limit; try again later"
            )));
        }
        Ok(admitted)
    }

    /// Admits nobody from now on.
    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    pub fn running(&self) -> usize {
        self.running.load(Ordering::SeqCst)
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The instances of one model, and the turns of its sequences.
#[derive(Debug)]
pub(super) struct Queue {
    instances: Arc<Semaphore>,
    sequences: Mutex<HashMap<SequenceId, Arc<Turn<()>>>>,
}

/// The right to run a model; to be held until it has run.
#[derive(Debug)]
pub(super) struct Ticket {
    _instance: OwnedSemaphorePermit,
    _turn: Option<InSequence>,
}

impl Queue {
    pub fn new(instances: usize) -> Queue {
        let instances = instances.clamp(1, Semaphore::MAX_PERMITS);
        Queue { instances: Arc::new(Semaphore::new(instances)), sequences: Mutex::default() }
    }

    /// Waits for the request's turn in its sequence and for an instance, both in order of arrival, and
    /// at most as long as the client allows.
    pub async fn enter(
        self: &Arc<Queue>,
        sequence: Option<&SequenceId>,
        timeout: Option<Duration>,
    ) -> Result<Ticket, Refusal> {
        if sequence.is_none()
            && let Ok(instance) = Arc::clone(&self.instances).try_acquire_owned()
        {
            return Ok(Ticket { _instance: instance, _turn: None });
        }
        let wait = self.wait(sequence);
        match timeout {
            None => Ok(wait.await),
            Some(timeout) => tokio::time::timeout(timeout, wait)
                .await
                .map_err(|_| Refusal::unavailable("Request timeout expired")),
        }
    }

    async fn wait(self: &Arc<Queue>, sequence: Option<&SequenceId>) -> Ticket {
        let turn = match sequence {
            Some(id) => Some(InSequence::wait(self, id).await),
            None => None,
        };
        let instance = Arc::clone(&self.instances)
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        Ticket { _instance: instance, _turn: turn }
    }
}

/// A request whose turn in its sequence it is, or that waits for it.
#[derive(Debug)]
struct InSequence {
    queue: Arc<Queue>,
    id: SequenceId,
    turn: Option<OwnedMutexGuard<()>>,
}

impl InSequence {
    async fn wait(queue: &Arc<Queue>, id: &SequenceId) -> InSequence {
        let turn = Arc::clone(queue.sequences.lock().entry(id.clone()).or_default());
        let mut waiting = InSequence { queue: Arc::clone(queue), id: id.clone(), turn: None };
        // A tokio mutex serves in order of arrival.
        waiting.turn = Some(turn.lock_owned().await);
        waiting
    }
}

impl Drop for InSequence {
    fn drop(&mut self) {
        let mut sequences = self.queue.sequences.lock();
        self.turn = None;
        // The map's own is then the only one left: nobody waits.
        if sequences.get(&self.id).is_some_and(|turn| Arc::strong_count(turn) == 1) {
            sequences.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Code;

    fn seven() -> SequenceId {
        SequenceId::Number(7)
    }

    #[test]
    fn only_so_many_are_admitted_and_none_once_closed() {
        let admission = Admission::new(1);
        let first = admission.admit().unwrap();
        assert_eq!(admission.admit().unwrap_err().code, Code::Unavailable);
        assert_eq!(admission.running(), 1);
        drop(first);
        drop(admission.admit().unwrap());
        admission.close();
        assert!(admission.admit().unwrap_err().message.contains("shutting down"));
        assert_eq!(admission.running(), 0);
    }

    #[tokio::test]
    async fn a_sequence_takes_turns_though_instances_are_free() {
        let queue = Arc::new(Queue::new(4));
        let first = queue.enter(Some(&seven()), None).await.unwrap();
        let soon = Some(Duration::from_millis(10));
        let refusal = queue.enter(Some(&seven()), soon).await.unwrap_err();
        assert_eq!(
            (refusal.code, refusal.message.as_str()),
            (Code::Unavailable, "Request timeout expired")
        );
        drop(queue.enter(Some(&SequenceId::Number(8)), soon).await.unwrap());
        drop(queue.enter(None, soon).await.unwrap());
        drop(first);
        drop(queue.enter(Some(&seven()), soon).await.unwrap());
        assert!(queue.sequences.lock().is_empty(), "a sequence that nobody waits for is forgotten");
    }

    #[tokio::test]
    async fn whoever_waits_no_longer_leaves_no_trace() {
        let queue = Arc::new(Queue::new(1));
        let running = queue.enter(None, None).await.unwrap();
        for _ in 0..3 {
            queue.enter(Some(&seven()), Some(Duration::from_millis(1))).await.unwrap_err();
        }
        assert!(queue.sequences.lock().is_empty());
        drop(running);
        drop(queue.enter(Some(&seven()), None).await.unwrap());
    }
}

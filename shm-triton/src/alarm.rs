//! Wakes futures at their deadlines.
//!
//! Most are answered long before: what nobody waits for any more is thrown out as the heap grows.
//!
//! Upholds invariant 5.

use crate::transport::Transport;
use parking_lot::Mutex;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// Who can be woken.
pub(crate) trait Sleeper: Send + Sync {
    /// The deadline has passed, or may have.
    fn wake(&self);
}

/// Deadlines of those who wait.
#[derive(Default)]
pub(crate) struct Alarms {
    due: Arc<Mutex<Due>>,
}

#[derive(Default)]
struct Due {
    sleepers: BTreeMap<(Instant, u64), Weak<dyn Sleeper>>,
    next: u64,
    /// When the transport will ring, the soonest last.
    set: Vec<Reverse<Instant>>,
    sweep_at: usize,
}

impl Alarms {
    /// Has `sleeper` woken at `due`, if it still exists then.
    pub(crate) fn set(
        &self,
        transport: &Arc<dyn Transport>,
        due: Instant,
        sleeper: Weak<dyn Sleeper>,
    ) {
        let mut table = self.due.lock();
        let key = (due, table.next);
        table.next += 1;
        table.sleepers.insert(key, sleeper);
        if table.sleepers.len() > table.sweep_at {
            table.sleepers.retain(|_, sleeper| sleeper.strong_count() > 0);
            table.sweep_at = (2 * table.sleepers.len()).max(64);
        }
        let sooner = table.set.last().is_none_or(|&Reverse(soonest)| due < soonest);
        if sooner {
            table.set.push(Reverse(due));
            drop(table);
            ring_at(&self.due, transport, due);
        }
    }
}

fn ring_at(due: &Arc<Mutex<Due>>, transport: &Arc<dyn Transport>, at: Instant) {
    let (table, weak) = (due.clone(), Arc::downgrade(transport));
    let delay = at.saturating_duration_since(Instant::now()) + Duration::from_micros(100);
    transport.after(delay, Box::new(move || ring(&table, &weak)));
}

fn ring(due: &Arc<Mutex<Due>>, transport: &Weak<dyn Transport>) {
    let now = Instant::now();
    let mut awake = Vec::new();
    let next = {
        let mut table = due.lock();
        table.set.retain(|&Reverse(at)| at > now);
        while let Some(first) = table.sleepers.first_entry() {
            if first.key().0 > now {
                break;
            }
            awake.push(first.remove());
        }
        match (table.set.is_empty(), table.sleepers.keys().next().copied()) {
            (true, Some((at, _))) => {
                table.set.push(Reverse(at));
                Some(at)
            }
            _ => None,
        }
    };
    awake.iter().filter_map(Weak::upgrade).for_each(|sleeper| sleeper.wake());
    if let (Some(at), Some(transport)) = (next, transport.upgrade()) {
        ring_at(due, &transport, at);
    }
}

impl std::fmt::Debug for Alarms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Alarms").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Socket;
    use crate::transport::HttpTransport;
    use std::sync::mpsc::{Sender, channel};

    struct Told(Sender<u32>, u32);

    impl Sleeper for Told {
        fn wake(&self) {
            self.0.send(self.1).unwrap();
        }
    }

    fn transport() -> Arc<dyn Transport> {
        Arc::new(HttpTransport::new(Socket::Tcp("127.0.0.1".into(), 1), 1024))
    }

    #[test]
    fn sleepers_are_woken_in_the_order_of_their_deadlines() {
        let (alarms, transport) = (Alarms::default(), transport());
        let (send, hear) = channel();
        let began = Instant::now();
        let sleepers: Vec<_> = [60, 20, 40, 20]
            .into_iter()
            .map(|ms| {
                let told: Arc<dyn Sleeper> = Arc::new(Told(send.clone(), ms));
                let due = began + Duration::from_millis(ms.into());
                alarms.set(&transport, due, Arc::downgrade(&told));
                told
            })
            .collect();
        let order: Vec<u32> =
            sleepers.iter().map(|_| hear.recv_timeout(Duration::from_secs(20)).unwrap()).collect();
        assert_eq!(order, [20, 20, 40, 60]);
        assert!(began.elapsed() >= Duration::from_millis(60));
    }

    #[test]
    fn those_who_no_longer_wait_are_forgotten() {
        let (alarms, transport) = (Alarms::default(), transport());
        let (send, hear) = channel();
        let late = Instant::now() + Duration::from_secs(3600);
        for _ in 0..10_000 {
            let gone: Arc<dyn Sleeper> = Arc::new(Told(send.clone(), 0));
            alarms.set(&transport, late, Arc::downgrade(&gone));
        }
        assert!(alarms.due.lock().sleepers.len() <= 65);
        // One that is due sooner is not held up by those that are late.
        let told: Arc<dyn Sleeper> = Arc::new(Told(send.clone(), 7));
        alarms.set(&transport, Instant::now(), Arc::downgrade(&told));
        assert_eq!(hear.recv_timeout(Duration::from_secs(20)), Ok(7));
    }
}

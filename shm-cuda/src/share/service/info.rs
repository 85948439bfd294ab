//! What a server says of itself.

use super::super::server::Counters;
use super::super::value::Value;
use super::{Now, Service};
use std::time::{Instant, SystemTime};

/// What only the server around the state machine knows.
#[derive(Clone, Debug)]
pub struct About {
    /// What the server calls itself.
    pub name: String,
    /// Where clients find it.
    pub socket_path: String,
    /// Its process.
    pub pid: u32,
    /// Threads that build.
    pub workers: usize,
    /// What it can do: `cuda`, `simulated`, `routes`.
    pub capabilities: Vec<(String, Value)>,
    /// When it began to serve.
    pub started: Instant,
}

impl Service {
    /// The same as [`Request::ServerInfo`](super::Request::ServerInfo).
    pub fn info(&self, now: Now) -> Value {
        let about = self.about.as_ref();
        let text = |text: &str| Value::Str(text.to_owned());
        let name = about.map_or("", |about| &about.name);
        let path = about.map_or("", |about| &about.socket_path);
        let uptime = about.map_or(0.0, |about| {
            now.instant.saturating_duration_since(about.started).as_secs_f64()
        });
        let workers = about.map_or(0, |about| about.workers as i128);
        let id: String = self.server.iter().map(|byte| format!("{byte:02x}")).collect();
        let capabilities = about.map(|about| about.capabilities.clone()).unwrap_or_default();
        let entries = [
            ("server", text(name)),
            ("version", text(env!("CARGO_PKG_VERSION"))),
            ("server_id", Value::Str(id)),
            ("socket_path", text(path)),
            ("pid", Value::Int(about.map_or(0, |about| about.pid.into()))),
            ("uptime", Value::Float(uptime)),
            ("running", Value::Bool(self.stopping != Some(super::Stop::Abort))),
            ("ready", Value::Bool(self.stopping.is_none())),
            ("endpoints", Value::List(self.offers.names().map(text).collect())),
            ("workers", Value::Int(workers)),
            ("capabilities", Value::Map(capabilities)),
            ("stats", self.stats()),
        ];
        Value::Map(entries.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    /// Counters.
    pub fn counters(&self) -> Counters {
        Counters {
            cache_entries: self.cache.len() as u64,
            cache_bytes: self.cache.bytes(),
            builds: self.builds.building(),
            objects: self.holdings.objects(),
            leases: self.holdings.leases(),
            tasks: self.tasks.len() as u64,
            ..self.counters
        }
    }

    /// Leases that somebody wanted to give back who did not have them, or not any more.
    #[cfg(test)]
    pub(super) fn stale_releases(&self) -> u64 {
        self.stale_releases
    }

    fn stats(&self) -> Value {
        // Taken apart, so that a new counter is not forgotten here.
        let Counters {
            connections,
            connections_total,
            requests,
            errors,
            cache_hits,
            cache_misses,
            joined,
            uncacheable,
            cache_entries,
            cache_bytes,
            evicted,
            invalidated,
            builds,
            builds_total,
            objects,
            leases,
            leases_hung_up,
            tasks,
            tasks_total,
            refused,
        } = self.counters();
        let entries = [
            ("connections", connections),
            ("connections_total", connections_total),
            ("requests", requests),
            ("errors", errors),
            ("cache_hits", cache_hits),
            ("cache_misses", cache_misses),
            ("joined", joined),
            ("uncacheable", uncacheable),
            ("cache_entries", cache_entries),
            ("cache_bytes", cache_bytes),
            ("evicted", evicted),
            ("invalidated", invalidated),
            ("builds", builds),
            ("builds_total", builds_total),
            ("objects", objects),
            ("leases", leases),
            ("leases_hung_up", leases_hung_up),
            ("stale_releases", self.stale_releases),
            ("tasks", tasks),
            ("tasks_total", tasks_total),
            ("refused", refused),
        ];
        let int = |(name, count): (&str, u64)| (name.to_owned(), Value::Int(count.into()));
        Value::Map(entries.into_iter().map(int).collect())
    }
}

/// Seconds since 1970, as clients are told of times; negative before.
pub(super) fn seconds(time: SystemTime) -> f64 {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => since.as_secs_f64(),
        Err(before) => -before.duration().as_secs_f64(),
    }
}

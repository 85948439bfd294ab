//! What a server counts.

/// What has happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections now, and all so far.
    pub connections: u64,
    /// All so far.
    pub connections_total: u64,
    /// Requests that were answered.
    pub requests: u64,
    /// Of these with an error.
    pub errors: u64,
    /// Calls that found their result.
    pub cache_hits: u64,
    /// Calls that did not.
    pub cache_misses: u64,
    /// Calls that joined a build.
    pub joined: u64,
    /// Calls whose arguments have no key.
    pub uncacheable: u64,
    /// Results that are cached now.
    pub cache_entries: u64,
    /// Their bytes.
    pub cache_bytes: u64,
    /// Results that had to go for others or were too old.
    pub evicted: u64,
    /// Results that were invalidated.
    pub invalidated: u64,
    /// Builds now, and all so far.
    pub builds: u64,
    /// All so far.
    pub builds_total: u64,
    /// Objects that are managed now.
    pub objects: u64,
    /// Leases that are out.
    pub leases: u64,
    /// Leases that ended with their connection.
    pub leases_hung_up: u64,
    /// Tasks that are known.
    pub tasks: u64,
    /// All that were submitted.
    pub tasks_total: u64,
    /// Refused because the queue or a limit was full.
    pub refused: u64,
}
